"""One real broker process on files in a temporary folder, started the way an operator starts it.

Knows the node's settings, its policy file, its admin socket and its log; does not import the broker.
"""

import http.client
import json
import socket
import ssl
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

import msgspec

from mqtt_api.node_settings import (
    AuthenticationSettings,
    ConnectionRateSettings,
    ListenerSettings,
    MQTTSettings,
    NodeSettings,
    TLSSettings,
)
from mqtt_api.policy import Policy, encode_policy
from mqtt_broker.wire.packets import ProtocolVersion
from support.client import Client, dial
from support.processes import Program, environment, free_port
from support.waiting import eventually, wait_until

READY_S_MAX = 60.0  # on whatever machine this is
APPLIED_S_MAX = 5.0
PASSWORDS = AuthenticationSettings(name="passwords", type="Password")
ANYONE = AuthenticationSettings(name="anyone", type="Anonymous")


def listener(
    name: str = "plain",
    port: int | None = None,
    tls: TLSSettings | None = None,
    authentication: tuple[AuthenticationSettings, ...] | None = None,
    max_connections: int = 1_000,
    connection_rate: ConnectionRateSettings | None = None,
) -> ListenerSettings:
    return ListenerSettings(
        name=name,
        host="127.0.0.1",
        port=port or free_port(),
        tls=tls,
        authentication=authentication,
        max_connections=max_connections,
        connection_rate=connection_rate,
    )


def write(path: Path, data: bytes) -> None:
    """Replace a file in one step, so that its watcher never reads half of it."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(data)
    beside.replace(path)


class Broker:
    """A node. `start` may be called again after `kill` or `stop`: same settings, same data."""

    def __init__(
        self,
        folder: Path,
        policy: Policy | None,
        *,
        listeners: tuple[ListenerSettings, ...] | None = None,
        authentication: tuple[AuthenticationSettings, ...] = (PASSWORDS, ANYONE),
        mqtt: MQTTSettings | None = None,
        on_revoke: str = "Mute",
        persistent: bool = True,
        store_bytes_max: int | None = None,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.policy_file = folder / "policy.json"
        self.settings = NodeSettings(
            node="node-0",
            broker="test/broker",
            world="world-of-this-test",
            store=f"sqlite:{folder / 'store.db'}" if persistent else "sqlite::memory:",
            store_bytes_max=store_bytes_max,
            policy_file=str(self.policy_file),
            admin_socket=str(folder / "admin.sock"),
            listeners=listeners or (listener(),),
            authentication=authentication,
            on_revoke=on_revoke,
            mqtt=mqtt or MQTTSettings(),
        )
        self._wrapper = wrapper
        self._program: Program | None = None
        if policy is not None:
            write(self.policy_file, encode_policy(policy))

    # --- life --------------------------------------------------------------------------------------------------------

    @property
    def program(self) -> Program:
        assert self._program is not None, "the broker was not started"
        return self._program

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return self.settings.listeners[0].port

    def port_of(self, name: str) -> int:
        return next(entry.port for entry in self.settings.listeners if entry.name == name)

    def launch(self) -> Program:
        """Start the process and return at once: for brokers that are meant not to become ready."""
        path = self.folder / "settings.json"
        path.write_bytes(msgspec.json.encode(self.settings))
        command = [*self._wrapper, sys.executable, "-m", "mqtt_broker", "--settings", str(path)]
        self._program = Program(command, environment())
        return self._program

    def start(self) -> Self:
        """One that is not ready in time does not go on beside the tests that follow."""
        program = self.launch()
        try:
            program.wait_for_line(lambda line: _event(line) in ("node.ready", "node.waiting"), READY_S_MAX)
        except AssertionError:
            program.kill()
            raise
        return self

    def unwrap(self) -> Self:
        """The next start happens without `wrapper`."""
        self._wrapper = ()
        return self

    def stop(self) -> int:
        return self.program.stop()

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self.program.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._program is not None and self._program.returncode() is None:
            self._program.stop()

    # --- what it knows and says --------------------------------------------------------------------------------------

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The JSON lines of its log so far, of one event or all."""
        parsed = (_parse(line) for line in list(self.program.err))
        return [entry for entry in parsed if entry and name in (None, entry.get("event"))]

    async def logged(self, name: str, **fields: object) -> dict[str, Any]:
        """Wait for a log line of this event with these fields."""

        def found() -> dict[str, Any] | None:
            for entry in self.events(name):
                if all(entry.get(key) == value for key, value in fields.items()):
                    return entry
            return None

        entry = await eventually(found, what=f"log event {name} {fields}; log:\n{self.program.dump()}")
        assert entry is not None
        return entry

    def status(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(get(Path(self.settings.admin_socket), "/status")))

    def answers(self) -> bool:
        """Whether its admin socket is there, and tells a status."""
        try:
            self.status()
        except (OSError, AssertionError):  # not there, or 503: it is starting
            return False
        return True

    def apply(self, policy: Policy) -> None:
        """Write a new policy and wait until the node decides by it."""
        write(self.policy_file, encode_policy(policy))
        wait_until(
            lambda: self.status()["policy_revision"] == policy.revision, APPLIED_S_MAX, f"revision {policy.revision}"
        )

    def assert_no_traceback(self) -> None:
        """Expected input, however bad, never ends in a traceback."""
        traces = [line for line in self.program.lines if "Traceback (most recent call last)" in line]
        assert not traces, self.program.dump()

    # --- clients -----------------------------------------------------------------------------------------------------

    async def dial(
        self,
        version: ProtocolVersion = ProtocolVersion.V5,
        *,
        tls: ssl.SSLContext | None = None,
        to: str | None = None,
    ) -> Client:
        return await dial(self.port_of(to) if to else self.port, version, tls)


class StartBroker(Protocol):
    """The fixture `start_broker`: a running broker that ends with the test. No policy: an open one."""

    def __call__(self, policy: Policy | None = None, **options: Any) -> Broker: ...


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _event(line: str) -> object:
    return (_parse(line) or {}).get("event")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(str(self._path))


def get(admin_socket: Path, path: str) -> bytes:
    """One GET on a node's admin socket. Fails unless the answer is 200."""
    connection = _UnixConnection(admin_socket)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    assert response.status == 200, (response.status, body)
    return body
