"""What is only worth something at once is dropped when it comes late, and only then."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mqtt_broker.store.redis import script as scripts
from support.redis_server import RedisServer
from support.tools import require

KEY = "{late}:d:"
# So far ahead that all readings of that clock are one number: an estimate of it is right to the last digit.
AHEAD_S = 2.0**100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require("redis-server")
    with RedisServer(tmp_path_factory.mktemp("late")) as running:
        running.execute("HSET", f"{KEY}clock", "offset", repr(AHEAD_S))
        yield running


def is_late(server: RedisServer, told: str) -> bool:
    names = (Path(scripts.__file__).parent / "scripts" / "names.lua").read_text("utf-8")
    text = f"{names}\ntell_time(ARGV[1])\nreturn is_late() and 1 or 0"
    return bool(server.execute("EVAL", text, 1, KEY, told))


@pytest.mark.parametrize(
    ("told", "late"),
    [
        (f"~{AHEAD_S!r}", False),
        (f"~{AHEAD_S / 2!r}", True),
        (repr(AHEAD_S / 2), False),
        ("", False),
    ],
    ids=["an estimate that is exact", "one that is long past", "a time that is given", "the server's time"],
)
def test_only_who_is_told_of_a_time_long_past_is_late(server: RedisServer, told: str, late: bool) -> None:
    assert is_late(server, told) is late
