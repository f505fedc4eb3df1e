"""What other nodes sent for sessions that are connected here.

Knows outlets; does not know streams. A message for a session that is not here (any more) is dropped without a word: the
session has it in its queue, or nothing was promised.
"""

from typing import TYPE_CHECKING

from mqtt_broker.node import outlet as outlets
from mqtt_broker.node.groups import note_stored
from mqtt_broker.store.cluster import Backlog, Delivery, Forwarded, Stored

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub


def deliver(hub: "Hub", delivery: Delivery) -> None:
    """Hand one delivery over. What was decided elsewhere is decided again here, under this node's policy [D9]."""
    match delivery:
        case Forwarded():
            _forwarded(hub, delivery)
        case Stored():
            _stored(hub, delivery)
        case Backlog(group=group, filter=topic_filter, turns=turns):
            note_stored(hub, (group, topic_filter), turns)


def _forwarded(hub: "Hub", delivery: Forwarded) -> None:
    if delivery.message.retain:
        hub.note_retained_live(delivery.message.topic)
    for target in delivery.forward.targets:
        outlet = _outlet(hub, target.client_id, target.incarnation)
        if outlet is None:
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
        else:
            outlet.offer_qos0(one)


def _stored(hub: "Hub", delivery: Stored) -> None:
    outlet = _outlet(hub, delivery.client_id, delivery.incarnation)
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


def _outlet(hub: "Hub", client_id: str, incarnation: int) -> "outlets.Outlet | None":
    session = hub.sessions.get(client_id)
    return None if session is None or session.incarnation != incarnation else session.outlet
