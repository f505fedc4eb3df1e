"""The store server of our own: private, durable, with two users, and no password anywhere but in its file."""

import re
import stat
from pathlib import Path
from typing import Any

import pytest

from mqtt_api.kinds.session_store import DurabilityLevel
from mqtt_api.resources import MQTTBroker, parse_document
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local import store_server
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.store_server import (
    READY_EVENT,
    StoreServer,
    command_line,
    find_program,
    parse_server_line,
    prepare_store_server,
)


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where programs are found."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    # A port that nobody opens: no socket in a unit test.
    monkeypatch.setattr(store_server, "_free_port", lambda: 7777)
    return programs


def install(programs: Path, name: str) -> Path:
    program = programs / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def prepare(on_path: Path, tmp_path: Path, broker: Any) -> Any:
    install(on_path, "redis-server")
    declared = parse_document(broker())
    assert isinstance(declared, MQTTBroker)

    def make(level: DurabilityLevel = DurabilityLevel.DISK) -> StoreServer:
        return prepare_store_server(declared, DataFolder(tmp_path / "data"), level)

    return make


def test_either_program_will_do(on_path: Path) -> None:
    with pytest.raises(ExpectedError, match="no redis-server and no valkey-server") as refused:
        find_program()
    assert "apt install redis-server" in refused.value.to_do
    valkey = install(on_path, "valkey-server")
    assert find_program() == valkey
    redis = install(on_path, "redis-server")
    assert find_program() == redis


def test_every_write_is_on_the_disk_before_it_is_answered_and_nothing_is_thrown_out(prepare: Any) -> None:
    lines = prepare().configuration.read_text().splitlines()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction", "bind 127.0.0.1"} <= set(lines)


def test_less_durable_is_quicker_only_on_request(prepare: Any) -> None:
    assert "appendfsync everysec" in prepare(DurabilityLevel.MEMORY).configuration.read_text()


def test_passwords_are_made_once_and_stand_in_their_own_files_only(prepare: Any) -> None:
    server = prepare()
    files = [Path(each.password_file or "") for each in (server.place.node, server.place.operator)]
    passwords = [file.read_text() for file in files]
    assert len(set(passwords)) == 2
    again = prepare()
    assert [file.read_text() for file in files] == passwords
    text = server.configuration.read_text()
    assert not any(password in text or password in " ".join(command_line(again)) for password in passwords)
    for path in server.configuration.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_nobody_but_the_two_users_gets_in_and_only_the_operator_may_write_the_policy(prepare: Any) -> None:
    users = [line for line in prepare().configuration.read_text().splitlines() if line.startswith("user ")]
    default, node, operator = users
    assert default.startswith("user default off resetpass ")
    assert re.match(r"user node on #[0-9a-f]{64} ", node)
    assert re.match(r"user operator on #[0-9a-f]{64} ", operator)
    assert "%R~{mqtt.default.plant}:policy*" in node
    assert " ~{mqtt.default.plant}:policy*" in operator
    assert " ~{mqtt.default.plant}:policy*" not in node


def test_the_default_user_keeps_the_rights_to_read_the_append_only_file_back(prepare: Any) -> None:
    """Redis 7 leaves out each transaction of the file that this user may not run."""
    assert "user default off resetpass ~* &* +@all" in prepare().configuration.read_text().splitlines()


@pytest.mark.parametrize(
    ("line", "event", "level"),
    [
        (b"1:M 23 Nov 2026 08:00:00.000 * Ready to accept connections tcp\n", READY_EVENT, "info"),
        (b"1:M 23 Nov 2026 08:00:00.000 # WARNING overcommit_memory\n", "store.line", "info"),
        (b"1:M 23 Nov 2026 08:00:00.000 * DB loaded\n", "store.line", "debug"),
        (b'{"level": "error", "event": "guard.locked", "message": "x"}\n', "guard.locked", "error"),
    ],
)
def test_its_lines_say_when_it_is_ready(line: bytes, event: str, level: str) -> None:
    parsed = parse_server_line(line)
    assert parsed is not None
    assert (parsed.event, parsed.level) == (event, level)


def test_an_empty_line_of_it_is_nothing() -> None:
    assert parse_server_line(b"\n") is None
