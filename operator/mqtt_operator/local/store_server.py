"""The store server of our own: a redis-server or valkey-server of this machine, for this data folder alone.

Knows its configuration, passwords and lines; does not know keys, nodes or how a process is kept alive. It listens at
127.0.0.1 only; two users exist, whose passwords are files of mode 0600 and stand on no command line. What it holds
outlives it, in the data folder.
"""

import secrets
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from mqtt_api.kinds.session_store import DurabilityLevel
from mqtt_api.resources import MQTTBroker
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.acl import NODE, OPERATOR, user_lines
from mqtt_operator.desired.redis_settings import RedisPlace, key_prefix
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import make_private_folder, write_private
from mqtt_operator.local.guarded import guarded
from mqtt_operator.local.node_events import NodeEvent, parse_line
from mqtt_operator.local.store_users import make_log_in, read_password

PROGRAMS = ("redis-server", "valkey-server")
HOST = "127.0.0.1"
# Below the ports that systems give to outgoing connections: a node that looks for a server which is away could
# otherwise be given the server's own port, meet itself there, and keep the server from coming back.
PORT_MIN, PORTS = 20_000, 10_000
PORT_ATTEMPTS_MAX = 100
READY_WORDS = "Ready to accept connections"
READY_EVENT = "store.ready"


class StoreServer(Struct, frozen=True, kw_only=True):
    """A server that is configured, and not started yet."""

    program: Path
    configuration: Path
    place: RedisPlace


def prepare_store_server(broker: MQTTBroker, data: DataFolder, level: DurabilityLevel) -> StoreServer:
    """Write its configuration; passwords are made once. Raises ExpectedError if no such program is here."""
    program = find_program()
    folder = make_private_folder(data.store_server)
    log_ins = {user: make_log_in(folder, user, user) for user in (NODE, OPERATOR)}
    passwords = {user: read_password(log_in) for user, log_in in log_ins.items()}
    port = _free_port()
    lines = [*_lines(folder, port, level), *user_lines(StoreKeys(key_prefix(broker)), passwords)]
    configuration = folder / "server.conf"
    write_private(configuration, "\n".join([*lines, ""]).encode())
    place = RedisPlace(addresses=(f"{HOST}:{port}",), node=log_ins[NODE], operator=log_ins[OPERATOR])
    return StoreServer(program=program, configuration=configuration, place=place)


def find_program() -> Path:
    """The first of the programs that the shell would find. Raises ExpectedError."""
    for name in PROGRAMS:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise ExpectedError(
        f"There is no {' and no '.join(PROGRAMS)} on this machine.",
        to_do="Install one (on Debian: apt install redis-server), or name a store with --store redis://HOST:PORT.",
    )


def command_line(server: StoreServer) -> list[str]:
    """Starts it so that it cannot outlive us, and that no two of them use its folder."""
    return guarded(server.configuration.with_name("lock"), [str(server.program), str(server.configuration)])


def parse_server_line(line: bytes) -> NodeEvent | None:
    """What a line of the server says: that it is ready, a warning ("#"), or something that nobody needs to know."""
    event = parse_line(line)
    if event is None or event.event != "node.stderr":
        return event
    if READY_WORDS in event.message:
        return NodeEvent(event=READY_EVENT, message="The store server is ready.")
    is_warning = " # " in event.message
    return NodeEvent(level="debug" if not is_warning else "info", event="store.line", message=event.message)


def _lines(folder: Path, port: int, level: DurabilityLevel) -> list[str]:
    """Every write on the disk before it is answered, unless less was asked for; nothing is ever thrown out."""
    return [
        f"bind {HOST}",
        f"port {port}",
        "protected-mode yes",
        f'dir "{folder}"',
        "daemonize no",
        'logfile ""',
        'save ""',
        "appendonly yes",
        f"appendfsync {'always' if level is DurabilityLevel.DISK else 'everysec'}",
        "maxmemory-policy noeviction",
    ]


def _free_port() -> int:
    """Chosen anew at each start: nothing else needs to know it. Raises ExpectedError if there is none."""
    for _ in range(PORT_ATTEMPTS_MAX):
        port = PORT_MIN + secrets.randbelow(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise ExpectedError(
        f"No port between {PORT_MIN} and {PORT_MIN + PORTS} is free for the store server.",
        to_do="Stop programs that you do not need, or name a store with --store redis://HOST:PORT.",
    )
