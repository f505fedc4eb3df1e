"""A running node's own account of itself, asked over its admin socket.

Knows the document at /status; does not know how it is shown.
"""

from collections.abc import Mapping, Sequence
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


class AmongOthers(Struct, frozen=True, kw_only=True):
    """Where a node stands among others. `position`: how far it has applied the feed; None: it is alone."""

    position: int | None = None
    frozen: bool = False


class NodeStatus(Struct, frozen=True, kw_only=True):
    """Counters grow while the node runs and start at 0 with it.

    `nodes` of `nodes_wanted` have answered, where this is the sum of several.
    """

    node: str = ""
    nodes: int = 1
    nodes_wanted: int = 1
    ready: bool = False
    draining: bool = False
    cluster: AmongOthers = AmongOthers()
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


def summed(statuses: Sequence[NodeStatus | None]) -> NodeStatus | None:
    """Of all nodes that answered. What every node knows of the whole broker (sessions, retained) is not added up."""
    answers = [each for each in statuses if each is not None]
    if len(statuses) == 1 or not answers:
        return answers[0] if answers else None
    return NodeStatus(
        nodes=len(answers),
        nodes_wanted=len(statuses),
        ready=all(each.ready for each in answers),
        policy_revision=min(each.policy_revision for each in answers),
        connections=sum(each.connections for each in answers),
        sessions=max(each.sessions for each in answers),
        subscriptions=max(each.subscriptions for each in answers),
        retained=max(each.retained for each in answers),
        messages_received=sum(each.messages_received for each in answers),
        messages_sent=sum(each.messages_sent for each in answers),
        messages_dropped=sum(each.messages_dropped for each in answers),
        denials=sum(each.denials for each in answers),
    )


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
