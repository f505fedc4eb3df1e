"""A guarded program holds its folder's lock; a second one is told so instead of being started."""

import fcntl
import json
import os
import sys
from pathlib import Path

import pytest

from mqtt_operator.errors import ExpectedError
from mqtt_operator.local import guard, store_server
from mqtt_operator.local.guarded import guarded


def test_a_second_one_is_not_started_while_the_first_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock"
    first = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(first, fcntl.LOCK_EX)
    monkeypatch.setattr(guard, "LOCK_S_MAX", 0.0)
    monkeypatch.setattr(sys, "argv", ["guard", str(lock), "/no/such/program"])
    assert guard.main() == guard.EXIT_LOCKED
    os.close(first)
    told = json.loads(capsys.readouterr().err)
    assert (told["level"], told["event"]) == ("error", "guard.locked")
    assert str(tmp_path) in told["message"]


def test_the_command_line_names_the_lock_before_the_program() -> None:
    assert guarded(Path("/data/lock"), ["program", "file"])[-3:] == ["/data/lock", "program", "file"]


def test_when_no_port_is_free_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_server, "PORT_ATTEMPTS_MAX", 0)
    with pytest.raises(ExpectedError, match="is free for the store server"):
        store_server._free_port()
