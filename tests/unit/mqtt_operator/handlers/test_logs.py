"""Log lines of the operator."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from mqtt_operator.handlers import logs
from mqtt_operator.settings import LogFormat, LogLevel


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    root, ours, kopf = logging.getLogger(), logging.getLogger("mqtt_operator"), logging.getLogger("kopf")
    before = (root.handlers[:], root.level, ours.level, kopf.level)
    yield None
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])
    kopf.setLevel(before[3])


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("mqtt_operator.kube.api", logging.WARNING, "", 1, message, (), None)
    made.created = 1_769_860_800.0
    made.__dict__.update(extra)
    return made


def test_a_line_for_machines_is_one_object_with_what_happened_to_whom() -> None:
    line = logs.JSONLines("operator-0").format(
        record("Two\nlines", event="policy.pass", fields={"broker": "plant", "message": "not this one"})
    )
    assert "\n" not in line
    assert json.loads(line) == {
        "ts": "2026-01-31T12:00:00.000Z",
        "level": "warning",
        "event": "policy.pass",
        "pod": "operator-0",
        "message": "Two\nlines",
        "broker": "plant",
    }


def test_a_line_that_names_no_event_is_called_after_who_wrote_it() -> None:
    assert json.loads(logs.JSONLines("x").format(record("a")))["event"] == "kube.api"


def test_a_line_for_people_cannot_be_ended_by_what_is_in_it() -> None:
    line = logs.PlainLines().format(record("a\nFORGED\x1b[31m"))
    assert line == "12:00:00 warning  a FORGED [31m"


@pytest.mark.parametrize("formatter", [logs.JSONLines("x"), logs.PlainLines()])
def test_a_bug_comes_with_its_traceback(formatter: logging.Formatter) -> None:
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        line = formatter.format(record("failed", exc_info=sys.exc_info()))
    assert "RuntimeError: a bug" in line


@pytest.mark.usefixtures("untouched_logging")
def test_our_lines_come_at_the_asked_level_and_others_only_as_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("operator-0", LogLevel.DEBUG, LogFormat.TEXT)
    logging.getLogger("mqtt_operator.handlers").debug("ours")
    logging.getLogger("kopf.objects").info("the whole object")
    logging.getLogger("aiohttp").info("a request")
    logging.getLogger("aiohttp").warning("a warning")
    assert [line.split(maxsplit=2)[2] for line in capsys.readouterr().err.splitlines()] == ["ours", "a warning"]
