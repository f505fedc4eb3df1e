"""The store server of our own as a process: it keeps what it was given, and never outlives who started it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from mqtt_api.kinds.session_store import DurabilityLevel
from mqtt_api.node_settings import RedisSettings
from mqtt_api.resources import MQTTBroker, parse_document
from mqtt_operator.channel.connection import connect
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import Identity, Writer
from mqtt_operator.desired.redis_settings import build_redis_settings
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.store_server import StoreServer, command_line, prepare_store_server
from support.processes import environment
from support.tools import require
from support.up import resource
from support.waiting import wait_until

WORLD = "the-world"
BROKER = resource(
    "MQTTBroker",
    "plant",
    sessionStore={"managed": {}},
    authentication=[{"name": "anyone", "type": "Anonymous"}],
    listeners=[{"name": "mqtt", "port": 1883, "allowPlaintext": True}],
)


class Guarded:
    """A store server behind its guard, whose standard input we hold."""

    def __init__(self, data: DataFolder) -> None:
        broker = parse_document(BROKER)
        assert isinstance(broker, MQTTBroker)
        self.server: StoreServer = prepare_store_server(broker, data, DurabilityLevel.DISK)
        self.settings: RedisSettings = build_redis_settings(broker, self.server.place, self.server.place.operator)
        self.process = subprocess.Popen(
            command_line(self.server), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
        )
        self.store = SharedStore(self.settings)

    def start(self) -> "Guarded":
        wait_until(self.answers, what="the store server to answer")
        return self

    def answers(self) -> bool:
        try:
            with connect(self.settings) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def server_pid(self) -> int:
        with connect(self.settings) as client:
            return int(client.info("server")["process_id"])

    def end(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(10)


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    require("redis-server")
    return DataFolder(tmp_path / "data")


@pytest.fixture
def guarded(data: DataFolder) -> Iterator[Guarded]:
    running = Guarded(data).start()
    yield running
    running.end()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_was_written_is_there_after_a_restart_and_after_a_power_cut(guarded: Guarded, data: DataFolder) -> None:
    """Transactions too: a default user without rights would make Redis leave them out of what it reads back."""
    found = guarded.store.found(WORLD, may_be_new=True)
    guarded.store.write_policy(Writer(world=WORLD, fence=found.fence), 1, b"policy")
    guarded.end()
    again = Guarded(data).start()
    assert again.store.found(WORLD, may_be_new=False).revision == 1
    os.kill(again.server_pid(), signal.SIGKILL)
    again.end()
    once_more = Guarded(data).start()
    found = once_more.store.found(WORLD, may_be_new=False)
    once_more.end()
    assert (found.identity, found.revision, found.fence) == (Identity.OURS, 1, 3)


def test_it_ends_when_whoever_started_it_is_gone(guarded: Guarded) -> None:
    pid = guarded.server_pid()
    guarded.end()
    assert not is_alive(pid)


def test_one_that_lost_its_guard_still_keeps_others_out_of_its_folder(guarded: Guarded, data: DataFolder) -> None:
    """Two servers that write one append-only file would ruin it."""
    pid = guarded.server_pid()
    guarded.process.kill()
    guarded.process.wait(10)
    assert is_alive(pid)
    second = Guarded(data)
    os.kill(pid, signal.SIGTERM)
    wait_until(second.answers, what="the second one, once the first is gone")
    second.end()


def test_no_command_line_holds_a_password(guarded: Guarded, data: DataFolder) -> None:
    passwords = [path.read_text() for path in data.store_server.glob("*.password")]
    shown = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (guarded.process.pid, guarded.server_pid())]
    assert len(passwords) == 2
    assert not any(password in line for password in passwords for line in shown)
