"""One entrance for several nodes: HAProxy, if this machine has it, at the declared ports.

Knows its configuration and lines; does not know MQTT or TLS: bytes pass through it as they are, so clients verify the
nodes' own certificate. A node gets connections while its admin socket calls it ready.
"""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mqtt_api.node_settings import ListenerSettings
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.deploy import ANY_ADDRESS, Deployment
from mqtt_operator.local.files import make_private_folder, write_private
from mqtt_operator.local.guarded import STARTED_EVENT, guarded
from mqtt_operator.local.node_events import NodeEvent, parse_line
from mqtt_operator.local.ports import is_open

PROGRAM = "haproxy"
LOOPBACK = "127.0.0.1"
LISTENING_S_MAX = 5.0
LISTENING_RETRY_S = 0.02

_DEFAULTS = """\
defaults
    mode tcp
    timeout connect 5s
    # MQTT has a keep-alive of its own, which may be as long as 18 hours.
    timeout client 24h
    timeout server 24h
    option redispatch
    balance leastconn
    option httpchk GET /readyz
    default-server inter 500ms fall 2 rise 1
"""


def prepare_front(deployment: Deployment) -> list[str]:
    """Write its configuration; the command line that starts it. Raises ExpectedError if there is no HAProxy."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise ExpectedError(
            f"There is no {PROGRAM} on this machine.",
            to_do="Install it (on Debian: apt install haproxy), or leave --front out: every node has ports of its own.",
        )
    folder = make_private_folder(deployment.data.front)
    configuration = folder / "haproxy.cfg"
    write_private(configuration, front_configuration(deployment).encode())
    return guarded(folder / "lock", [program, "-db", "-f", str(configuration)])


def front_configuration(deployment: Deployment) -> str:
    """One frontend for each listener, and behind it that listener of each node."""
    return "\n".join([_DEFAULTS, *(line for each in deployment.entrance for line in _listener(deployment, each)), ""])


def parse_front_line(line: bytes) -> NodeEvent | None:
    """That it started, or what it complains of; which nodes it holds for alive is nobody's news."""
    event = parse_line(line)
    if event is None or event.event != "node.stderr":
        return event
    return NodeEvent(
        level="error" if "[ALERT]" in event.message else "debug", event="front.line", message=event.message
    )


async def wait_listening(listeners: Sequence[ListenerSettings]) -> None:
    """Return when each port is open. Raises ExpectedError if that is not soon."""
    try:
        async with asyncio.timeout(LISTENING_S_MAX):
            for listener in listeners:
                while not is_open(listener):  # noqa: ASYNC110  nothing tells
                    await asyncio.sleep(LISTENING_RETRY_S)
    except TimeoutError as error:
        raise ExpectedError(
            f"The front did not open its ports within {LISTENING_S_MAX:g} s.",
            to_do=f"Try again without --front, or try its configuration by hand: {PROGRAM} -c -f FILE.",
        ) from error


def _listener(deployment: Deployment, listener: ListenerSettings) -> Iterator[str]:
    yield f"frontend {listener.name}"
    yield f"    bind {_bind(listener.host)}:{listener.port}"
    yield f"    default_backend {listener.name}-nodes"
    yield f"backend {listener.name}-nodes"
    for node in deployment.nodes:
        (own,) = [each for each in node.settings.listeners if each.name == listener.name]
        check = f"check addr unix@{_quoted(Path(node.settings.admin_socket))}"
        yield f"    server {node.settings.node} {_bind(_near(own.host))}:{own.port} {check}"
    yield ""


def _near(host: str) -> str:
    return LOOPBACK if host in ANY_ADDRESS else host


def _bind(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _quoted(path: Path) -> str:
    """As HAProxy reads words: a backslash takes away the meaning of what follows."""
    return "".join(f"\\{each}" if each in "\\ #'\"" else each for each in str(path))


__all__ = ["STARTED_EVENT", "front_configuration", "parse_front_line", "prepare_front", "wait_listening"]
