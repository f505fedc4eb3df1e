"""A running node's own account of itself, asked over its admin socket.

Knows the document at /status; does not know how it is shown.
"""

from collections.abc import Mapping
from pathlib import Path

import aiohttp
import msgspec
from msgspec import Struct

ANSWER_S_MAX = 2.0


class ListenerStatus(Struct, frozen=True, kw_only=True):
    """`serial` and `not_after` are those of the certificate served now, absent without TLS."""

    port: int
    connections: int = 0
    serial: str | None = None
    not_after: str | None = None


class NodeStatus(Struct, frozen=True, kw_only=True):
    """Counters grow while the node runs and start at 0 with it."""

    node: str = ""
    ready: bool = False
    policy_revision: int = 0
    connections: int = 0
    sessions: int = 0
    subscriptions: int = 0
    retained: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    messages_dropped: int = 0
    denials: int = 0
    listeners: Mapping[str, ListenerStatus] = {}


def decode_status(document: bytes) -> NodeStatus | None:
    """None if it is not a status document: a screen shows nothing rather than stopping."""
    try:
        return msgspec.json.decode(document, type=NodeStatus)
    except msgspec.DecodeError:
        return None


async def fetch_status(socket: Path) -> NodeStatus | None:
    """The node's status, or None if it does not answer (it is starting, stopping or busy)."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
    connector = aiohttp.UnixConnector(path=str(socket))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://node/status") as response,
        ):
            return decode_status(await response.read()) if response.status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
