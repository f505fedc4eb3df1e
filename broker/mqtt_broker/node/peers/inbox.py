"""What other nodes sent for sessions that are connected here.

Knows outlets; does not know streams. A message for a session that is not here (any more) is dropped without a word: the
session has it in its queue, or nothing was promised.
"""

from typing import TYPE_CHECKING

from mqtt_broker.node import outlet as outlets
from mqtt_broker.node.groups import note_stored
from mqtt_broker.node.peers.runs import ReceivedRuns
from mqtt_broker.store.cluster import Backlog, Delivery, Forwarded, ForwardedRun, Overflowed, Stored

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub
    from mqtt_broker.node.live import LiveSession


def deliver(hub: "Hub", runs: ReceivedRuns, delivery: Delivery) -> int:
    """Hand one delivery over. What was decided elsewhere is decided again here, under this node's policy [D9].

    The effort it took, as `hub.turns` counts it. Raises StoreMismatch for what another version wrote.
    """
    match delivery:
        case ForwardedRun():
            return runs.deliver(delivery)
        case Forwarded():
            _forwarded(hub, delivery)
        case Stored():
            _stored(hub, delivery)
        case Overflowed():
            _overflowed(hub, delivery)
        case Backlog(group=group, filter=topic_filter, turns=turns):
            note_stored(hub, (group, topic_filter), turns)
    return 1


def _forwarded(hub: "Hub", delivery: Forwarded) -> None:
    if delivery.message.retain:
        hub.note_retained_live(delivery.message.topic)
    for target in delivery.forward.targets:
        session = _session(hub, target.client_id, target.incarnation)
        outlet = None if session is None else session.outlet
        if session is None or outlet is None:
            continue
        one = outlets.Delivery(
            delivery.message,
            target.qos,
            target.retain,
            target.identifiers,
            outlets.UNDECIDED,
            group=delivery.forward.group,
        )
        if target.qos:
            outlet.offer(one)
        elif session.may_still_receive(one.message.topic, 0, None if one.group is None else one.group[0]):
            outlet.offer_qos0(one)  # which asks no more
        else:
            hub.drop("revoked", 1)


def _stored(hub: "Hub", delivery: Stored) -> None:
    session = _session(hub, delivery.client_id, delivery.incarnation)
    outlet = None if session is None else session.outlet
    if outlet is None:
        return
    entry = delivery.entry
    if entry is None:
        outlet.note_stored(delivery.sequence)
        return
    if entry.message.retain:
        hub.note_retained_live(entry.message.topic)
    outlet.offer_stored(
        outlets.Delivery(
            entry.message,
            entry.qos,
            entry.retain,
            entry.identifiers,
            outlets.UNDECIDED,
            sequence=delivery.sequence,
            group=entry.group,
        )
    )


def _overflowed(hub: "Hub", delivery: Overflowed) -> None:
    """Whoever wrote the newer ones has counted them."""
    session = _session(hub, delivery.client_id, delivery.incarnation)
    if session is not None and session.outlet is not None:
        session.outlet.forget(frozenset(delivery.sequences))


def _session(hub: "Hub", client_id: str, incarnation: int) -> "LiveSession | None":
    session = hub.sessions.get(client_id)
    return None if session is None or session.incarnation != incarnation else session
