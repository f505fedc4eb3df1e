"""What the feed says, done to this node: sessions and subscriptions of all nodes, retained topics, who is there.

Knows the hub's tables; does not know streams, positions' bookkeeping or who wrote an entry. Applying an entry twice
changes nothing, for a snapshot may hold what the feed tells again.
"""

from typing import TYPE_CHECKING

from mqtt_broker.node import groups
from mqtt_broker.node.live import LiveSession
from mqtt_broker.session.session import QueueBounds, SessionRecord
from mqtt_broker.store.cluster import (
    RetainedChanged,
    SessionEnded,
    SessionOwned,
    SessionSubscribed,
    SessionUnsubscribed,
)

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub

NO_BOUNDS = QueueBounds(messages_max=0, bytes_max=0, overflow="DropNewest")  # elsewhere: its node's and the store's

SessionChange = SessionSubscribed | SessionUnsubscribed | SessionOwned | SessionEnded


def apply_session(hub: "Hub", change: SessionChange) -> None:
    """One change of a session, here or elsewhere. What speaks of an earlier session of the client id is old news."""
    known = hub.sessions.get(change.client_id)
    if known is not None and known.incarnation > change.incarnation:
        return
    match change:
        case SessionSubscribed():
            session = _told(hub, change, known)
            for subscription in change.subscriptions:
                hub.route(session, session.decided(subscription))
            hub.release_rights(session)
        case SessionUnsubscribed() if known is not None and known.incarnation == change.incarnation:
            for key in change.keys:
                hub.unroute(known, key)
            forget_if_idle(hub, known)
        case SessionOwned():
            _told(hub, change, known)
        case SessionEnded() if known is not None and known.incarnation == change.incarnation:
            client = hub.connections.get(change.client_id)
            if client is not None:  # the order to let go is on its way
                client.close_stale()
            hub.forget(known)
        case _:
            pass


def _told(hub: "Hub", change: SessionSubscribed | SessionOwned, known: LiveSession | None) -> LiveSession:
    """The session as this node knows it from now on. One that is connected here knows itself better."""
    owner = None if change.owner == hub.settings.node else change.owner
    if known is not None and known.outlet is not None and change.epoch > known.epoch:
        hub.connections[known.client_id].close_stale()  # claimed elsewhere; the order to let go is on its way
        known = hub.sessions.get(change.client_id)
    if known is None or known.incarnation < change.incarnation:
        return hub.adopt(_record(change, owner))
    if known.outlet is None and change.epoch >= known.epoch:
        has_moved = (known.owner, known.expiry_interval_s) != (owner, change.expiry_interval_s)
        known.owner, known.epoch, known.expiry_interval_s = owner, change.epoch, change.expiry_interval_s
        if known.facts != change.facts:
            known.facts = hub.refreshed(change.facts)
            known.forget_rights()
            has_moved = True
        if has_moved:  # whoever keeps an answer about its subscriptions has to ask again
            for subscription in known.subscriptions.values():
                hub.tree.renew(subscription.filter)
    return known


def _record(change: SessionSubscribed | SessionOwned, owner: str | None) -> SessionRecord:
    return SessionRecord(
        client_id=change.client_id,
        incarnation=change.incarnation,
        epoch=change.epoch,
        facts=change.facts,
        protocol_version=0,
        expiry_interval_s=change.expiry_interval_s,
        bounds=NO_BOUNDS,
        owner=owner,
    )


def forget_if_idle(hub: "Hub", session: LiveSession) -> None:
    """A session without a subscription that is not connected here is no business of this node."""
    if session.outlet is None and not session.subscriptions:
        hub.forget(session)


def apply_retained(hub: "Hub", change: RetainedChanged) -> None:
    if change.is_set:
        hub.retained.add(change.topic)
    else:
        hub.forget_retained(change.topic)


def apply_backlog(hub: "Hub", key: tuple[str, str]) -> None:
    """Something waits for members of this shared subscription: those here with room may take it."""
    if hub.tree.members(*key):
        groups.note_given_back(hub, key)
