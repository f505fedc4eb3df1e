"""Shared subscriptions on this node: which member gets a message, and what happens when a member is lost.

Knows groups and their backlogs; does not know topics or rights (the plan left unpermitted members out already).
A group lies in the store as soon as one member's session outlives its connection: its QoS 1 and 2 messages wait in
the group's queue and members take them as their windows have room. A group of transient members lives in memory.
"""

from collections.abc import Iterable
from functools import partial

from mqtt_api.policy import NO_LIMITS
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.outlet import UNDECIDED, Delivery
from mqtt_broker.routing.delivery import SharedMatch
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import Accept, GroupTarget, Result, Take, Taken

TAKE_MAX = 64  # entries one member takes at once, so that a backlog is spread over the group

Member = tuple[str, Subscription]


def is_stored(hub: Hub, match: SharedMatch) -> bool:
    """True if the group's QoS 1 and 2 messages wait in the store: decided once for a message, when it is planned."""
    key = (match.group, match.filter)
    if not any(subscription.qos for _, subscription in match.members):
        return False
    if hub.group_backlog.get(key) or key in hub.group_taking:
        return True  # what waits there must leave first, or order is lost
    sessions = hub.sessions
    known = (session for client_id, _ in match.members if (session := sessions.get(client_id)) is not None)
    return any(session.is_persistent or session.owner is not None for session in known)


def target(hub: Hub, match: SharedMatch) -> GroupTarget:
    """The group's queue in the store, and who is to be told that there is something in it."""
    return GroupTarget(
        group=match.group,
        filter=match.filter,
        bounds=hub.bounds_for(NO_LIMITS),
        wakes=hub.peers.nodes_of(client_id for client_id, _ in match.members),
    )


def note_stored(hub: Hub, key: tuple[str, str]) -> None:
    """One message more lies in the group's queue: wake those who take from it."""
    hub.group_backlog[key] = hub.group_backlog.get(key, 0) + 1
    for client_id, _ in _connected(hub, hub.tree.members(*key)):
        outlet = hub.sessions[client_id].outlet
        if outlet is not None and outlet.groups_given_back:
            outlet.groups_given_back -= {key}  # what is new it may have
    wake(hub, key)


def deliver(hub: Hub, message: Message, match: SharedMatch, decisions: int) -> None:
    """One copy to one member from memory (MQTT 5.0, 4.8.2). `decisions`: those that the match was made under."""
    key = (match.group, match.filter)
    member = _pick(hub, key, message, match.members)
    if member is None:
        hub.drop("no_receiver", 1)
    else:
        _send(hub, message, key, member, decisions)


def wake(hub: Hub, key: tuple[str, str]) -> None:
    """Let a member with room take from the group's queue; again until the queue is empty or nobody has room."""
    backlog = hub.group_backlog.get(key, 0)
    if not backlog or key in hub.group_taking:
        return
    members = [member for member in _connected(hub, hub.tree.members(*key)) if _may_take(hub, key, member[0])]
    # Whom no deny rule touches comes first: what another may not have it would have to give back.
    members = [member for member in members if not member[1].has_exceptions] or members
    chosen = hub.picker.pick(key, [client_id for client_id, _ in members])
    if chosen is None:
        return
    session = hub.sessions[chosen]
    subscription = next(subscription for client_id, subscription in members if client_id == chosen)
    limit = min(_room(hub, chosen), max(1, backlog // len(members)), TAKE_MAX)
    hub.group_taking.add(key)
    take = Take(
        group=key[0],
        filter=key[1],
        client_id=chosen,
        epoch=session.epoch,
        limit=limit,
        qos=subscription.qos,  # [MQTT-4.8.2-3]
        identifiers=subscription.identifiers,
        retain_as_published=subscription.retain_as_published,
    )
    hub.pump.submit(take, lambda result: _taken(hub, key, session, result))


def _taken(hub: Hub, key: tuple[str, str], session: LiveSession, result: Result) -> None:
    hub.group_taking.discard(key)
    if not isinstance(result, Taken):
        client = hub.connections.get(session.client_id)
        if client is not None and client.session is session:
            client.close_stale()
        wake(hub, key)  # the member was lost: the next one with room asks again
        return
    left = result.left
    if session.outlet is None:
        left += len(result.entries)  # the member left meanwhile: what it took is given back
    else:
        outlet, given_back = session.outlet, session.outlet.given_back
        for entry in result.entries:
            outlet.offer_stored(
                Delivery(
                    message=entry.message,
                    qos=entry.qos,
                    retain=entry.retain,
                    identifiers=entry.identifiers,
                    decided_under=UNDECIDED,
                    sequence=entry.sequence,
                    group=entry.group,
                )
            )
        left += outlet.given_back - given_back
    if left and hub.tree.members(*key):
        hub.group_backlog[key] = left
        wake(hub, key)
    else:
        hub.group_backlog.pop(key, None)


def wake_all(hub: Hub, session: LiveSession) -> None:
    """This session has room, or is here again: its groups may have something for it."""
    for topic_filter, group in list(session.subscriptions):
        if group is not None and hub.group_backlog.get((group, topic_filter)):
            wake(hub, (group, topic_filter))


def redeliver(hub: Hub, deliveries: Iterable[Delivery]) -> None:
    """A member is lost: what it did not finish goes to another one, as new to it."""
    for delivery in deliveries:
        assert delivery.group is not None
        message, key = delivery.message, delivery.group
        members = _permitted(hub, message, hub.tree.members(*key))
        match = SharedMatch(*key, tuple(members))
        if message.qos and is_stored(hub, match):  # somebody elsewhere may take it
            stored = target(hub, match)
            hub.pump.submit(Accept(message=message, groups=(stored,)), partial(_stored_again, hub, key))
            continue
        member = _pick(hub, key, message, members)
        if member is None:
            hub.drop("no_receiver", 1)
        else:
            _send(hub, message, key, member, hub.decisions)


def _stored_again(hub: Hub, key: tuple[str, str], _: Result) -> None:
    note_stored(hub, key)


def _permitted(hub: Hub, message: Message, members: Iterable[Member]) -> list[Member]:
    """Those who may have this topic by the policy of now, whether or not their subscriptions were decided by it yet."""
    return [member for member in members if hub.may_receive(message.topic, *member)]


def _send(hub: Hub, message: Message, key: tuple[str, str], member: Member, decisions: int) -> None:
    client_id, subscription = member
    outlet = hub.sessions[client_id].outlet
    if outlet is None:
        hub.peers.post_shared(message, key, client_id, subscription)
        return
    qos = min(message.qos, subscription.qos)  # [MQTT-4.8.2-3]
    identifiers = subscription.identifiers
    retain = message.retain and subscription.retain_as_published
    delivery = Delivery(message, qos, retain, identifiers, decisions, group=key)
    if qos:
        outlet.offer(delivery)
    else:
        outlet.offer_qos0(delivery)


def _pick(hub: Hub, key: tuple[str, str], message: Message, members: Iterable[Member]) -> Member | None:
    """A connected member that takes packets of this size, one with room before one without."""
    members = list(members)
    connected = [member for member in _connected(hub, members) if _fits(hub, message, member)]
    ready = [member for member in connected if _room(hub, member[0])]
    ready += _connected_elsewhere(hub, members)
    ready = ready or connected
    chosen = hub.picker.pick(key, [client_id for client_id, _ in ready])
    return next((member for member in ready if member[0] == chosen), None)


def _connected(hub: Hub, members: Iterable[Member]) -> list[Member]:
    return [m for m in members if (s := hub.sessions.get(m[0])) is not None and s.outlet is not None]


def _connected_elsewhere(hub: Hub, members: Iterable[Member]) -> list[Member]:
    return [m for m in members if (s := hub.sessions.get(m[0])) is not None and s.owner is not None]


def _fits(hub: Hub, message: Message, member: Member) -> bool:
    client_id, subscription = member
    outlet = hub.sessions[client_id].outlet
    identifiers = subscription.identifiers
    return outlet is not None and outlet.fits(message, min(message.qos, subscription.qos), identifiers)


def _may_take(hub: Hub, key: tuple[str, str], client_id: str) -> bool:
    """It has room, and did not just give back what it may not have."""
    outlet = hub.sessions[client_id].outlet
    return outlet is not None and outlet.room > 0 and key not in outlet.groups_given_back


def _room(hub: Hub, client_id: str) -> int:
    outlet = hub.sessions[client_id].outlet
    return 0 if outlet is None else outlet.room
