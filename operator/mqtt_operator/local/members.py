"""The nodes of a running broker, each with what it says of itself and what its lease says.

Knows how the two accounts make one; does not know terminals, or how a node is asked.
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.terms import Member, Members, SharedStoreError
from mqtt_operator.local.node_status import NodeStatus, fetch_status
from mqtt_operator.local.run_document import Run, RunNode


class State(StrEnum):
    """SILENT: it holds a lease, but does not answer here. AWAY: neither."""

    READY = "ready"
    STARTING = "starting"
    DRAINING = "draining"
    FROZEN = "frozen"
    SILENT = "silent"
    AWAY = "away"


class NodeView(Struct, frozen=True, kw_only=True):
    """One node. None: nobody could say. `lag`: entries of the feed that it has not applied yet."""

    node: str
    state: State
    address: str
    connections: int | None = None
    sessions: int | None = None
    feed: int | None = None
    lag: int | None = None
    policy: int | None = None


class Look(Struct, frozen=True, kw_only=True):
    """All nodes at one moment. `problem`: why the store could not be asked."""

    nodes: tuple[NodeView, ...]
    problem: SharedStoreError | None = None


ReadMembers = Callable[[RedisSettings], Members]


def _read(settings: RedisSettings) -> Members:
    from mqtt_operator.channel.shared_store import SharedStore  # a single node need not wait for it to be loaded

    return SharedStore(settings).members()


async def look_at(run: Run, read_members: ReadMembers = _read) -> Look:
    """Ask every node, and the store if they share one."""
    asked = [fetch_status(Path(each.admin_socket)) for each in run.nodes]
    statuses = dict(zip((each.node for each in run.nodes), await asyncio.gather(*asked), strict=True))
    members, problem = await _members(run, read_members)
    return Look(nodes=tuple(views(run.nodes, statuses, members)), problem=problem)


async def _members(run: Run, read_members: ReadMembers) -> tuple[Members | None, SharedStoreError | None]:
    if run.store is None:
        return None, None
    try:
        return await asyncio.to_thread(read_members, run.store), None
    except SharedStoreError as error:
        return None, error


def views(
    nodes: tuple[RunNode, ...], statuses: Mapping[str, NodeStatus | None], members: Members | None
) -> list[NodeView]:
    """Nodes of this machine first, then those that only have a lease."""
    leases = {} if members is None else members.nodes
    feed_end = None if members is None else members.feed_end
    here = [_view(each.node, _address(each), statuses[each.node], leases.get(each.node), feed_end) for each in nodes]
    known = {each.node for each in nodes}
    elsewhere = [_view(name, "", None, lease, feed_end) for name, lease in sorted(leases.items()) if name not in known]
    return here + elsewhere


def _view(node: str, address: str, status: NodeStatus | None, lease: Member | None, feed_end: int | None) -> NodeView:
    state = _state(status, lease)
    if status is not None:
        return NodeView(
            node=node,
            state=state,
            address=address,
            connections=status.connections,
            sessions=status.sessions,
            feed=status.cluster.position,
            lag=_lag(status.cluster.position, feed_end),
            policy=status.policy_revision,
        )
    if lease is None:
        return NodeView(node=node, state=state, address=address)
    return NodeView(
        node=node,
        state=state,
        address=address,
        connections=lease.facts.connections,
        feed=lease.facts.applied,
        lag=_lag(lease.facts.applied, feed_end),
        policy=lease.facts.policy_revision,
    )


def _lag(position: int | None, feed_end: int | None) -> int | None:
    return None if position is None or feed_end is None else max(0, feed_end - position)


def _state(status: NodeStatus | None, lease: Member | None) -> State:
    if status is None:
        return State.AWAY if lease is None else State.SILENT
    if status.cluster.frozen:
        return State.FROZEN
    if status.draining or (lease is not None and lease.facts.is_draining):
        return State.DRAINING
    return State.READY if status.ready else State.STARTING


def _address(node: RunNode) -> str:
    host = f"[{node.host}]" if ":" in node.host else node.host
    return ", ".join(f"{name} {host}:{port}" for name, port in node.ports.items())
