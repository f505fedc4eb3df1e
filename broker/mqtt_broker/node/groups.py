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
PATIENCE_S = 0.1  # what it is another node's turn to take is left to it for so long
GIVEN_BACK_S = 5.0  # who gave back what it may not have is not asked again for so long

Member = tuple[str, Subscription]


def is_stored(hub: Hub, match: SharedMatch) -> bool:
    """True if the group's QoS 1 and 2 messages wait in the store: decided once for a message, when it is planned."""
    key = (match.group, match.filter)
    if not any(subscription.qos for _, subscription in match.members):
        return False
    if hub.group_backlog.get(key) or key in hub.group_taking or key in hub.group_timers:
        return True  # what waits there must leave first, or order is lost
    sessions = hub.sessions
    known = (session for client_id, _ in match.members if (session := sessions.get(client_id)) is not None)
    return any(session.is_persistent or session.owner is not None for session in known)


def target(hub: Hub, match: SharedMatch) -> GroupTarget:
    """The group's queue in the store, who is to be told that there is something in it, and whose turn it is."""
    connected = [client_id for client_id, _ in (*_connected(hub, match.members), *_elsewhere(hub, match.members))]
    chosen = hub.turn_picker.pick((match.group, match.filter), connected)
    return GroupTarget(
        group=match.group,
        filter=match.filter,
        bounds=hub.bounds_for(NO_LIMITS),
        wakes=hub.peers.nodes_of(connected),
        turn="" if chosen is None else hub.sessions[chosen].owner or "",
    )


# What lies in a group's queue, as far as this node has to care: `hub.group_backlog`. Of a group with members on other
# nodes those are first what it is this node's turn to take (`hub.group_in_turns`); whatever else is there is left to
# the others for PATIENCE_S, for they may have no room, or be lost.


def note_stored(hub: Hub, key: tuple[str, str], turns: int = 1) -> None:
    """Something more lies in the group's queue, `turns` of it for this node to take: wake those who do."""
    hub.group_noted.add(key)
    _forgive(hub, key)
    if hub.peers.follow_feed:
        if key not in hub.group_backlog:
            hub.group_in_turns.add(key)
        _be_patient(hub, key)
    if turns:
        hub.group_backlog[key] = hub.group_backlog.get(key, 0) + turns
        wake(hub, key)


def note_given_back(hub: Hub, key: tuple[str, str]) -> None:
    """Something is in the group's queue again, for anybody. Who gave back may be who may not have it: not at once."""
    hub.group_noted.add(key)
    outlets = [hub.sessions[client_id].outlet for client_id, _ in _connected(hub, hub.tree.members(*key))]
    gave_back = any(outlet is not None and key in outlet.groups_given_back for outlet in outlets)
    if gave_back and key not in hub.group_forgiving:
        hub.group_forgiving.add(key)
        hub.loop.call_later(GIVEN_BACK_S, _ask_again, hub, key)
    _take_all(hub, key)


def take_up(hub: Hub, key: tuple[str, str]) -> None:
    """A member is new here, and other nodes know what waits for its group: ask the store."""
    if hub.peers.follow_feed:
        _take_all(hub, key)
    else:
        wake(hub, key)


def take_up_all(hub: Hub, session: LiveSession) -> None:
    """`take_up` for every shared subscription of a session that is connected here."""
    if session.outlet is None or not session.has_shared:
        return
    for topic_filter, group in list(session.subscriptions):
        if group is not None:
            take_up(hub, (group, topic_filter))


def _forgive(hub: Hub, key: tuple[str, str]) -> None:
    """What is new, members may have that gave something else back."""
    for client_id, _ in _connected(hub, hub.tree.members(*key)):
        outlet = hub.sessions[client_id].outlet
        if outlet is not None and outlet.groups_given_back:
            outlet.groups_given_back -= {key}


def _be_patient(hub: Hub, key: tuple[str, str]) -> None:
    if key not in hub.group_timers:
        hub.group_timers[key] = hub.loop.call_later(PATIENCE_S, _patience_ended, hub, key)


def _patience_ended(hub: Hub, key: tuple[str, str]) -> None:
    hub.group_timers.pop(key, None)
    if hub.tree.members(*key):
        _take_all(hub, key)


def _ask_again(hub: Hub, key: tuple[str, str]) -> None:
    hub.group_forgiving.discard(key)
    _forgive(hub, key)
    if hub.tree.members(*key):
        _take_all(hub, key)


def _take_all(hub: Hub, key: tuple[str, str]) -> None:
    """Whatever is there is anybody's."""
    hub.group_in_turns.discard(key)
    hub.group_backlog[key] = max(1, hub.group_backlog.get(key, 0))
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
    sharers = len(members)
    if key not in hub.group_in_turns:  # everybody's: leave the others theirs
        sharers += len(_elsewhere(hub, hub.tree.members(*key)))
    limit = min(_room(hub, chosen), max(1, backlog // sharers), TAKE_MAX)
    hub.group_taking.add(key)
    hub.group_noted.discard(key)
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
    is_news = key in hub.group_noted  # stored since the store looked, or so it may be
    if not hub.tree.members(*key) or not (left or is_news):
        hub.forget_backlog(key)
        return
    if key in hub.group_in_turns:
        left = max(0, hub.group_backlog.get(key, 0) - len(result.entries))
        _be_patient(hub, key)
    hub.group_backlog[key] = max(left, int(is_news and key not in hub.group_in_turns))
    if not hub.group_backlog[key]:
        del hub.group_backlog[key]
    wake(hub, key)


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
            hub.pump.submit(Accept(message=message, groups=(stored,)), partial(_stored_again, hub, stored))
            continue
        member = _pick(hub, key, message, members)
        if member is None:
            hub.drop("no_receiver", 1)
        else:
            _send(hub, message, key, member, hub.decisions)


def _stored_again(hub: Hub, stored: GroupTarget, _: Result) -> None:
    note_stored(hub, (stored.group, stored.filter), turns=not stored.turn)


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
    ready += _elsewhere(hub, members)
    ready = ready or connected
    chosen = hub.picker.pick(key, [client_id for client_id, _ in ready])
    return next((member for member in ready if member[0] == chosen), None)


def _connected(hub: Hub, members: Iterable[Member]) -> list[Member]:
    return [m for m in members if (s := hub.sessions.get(m[0])) is not None and s.outlet is not None]


def _elsewhere(hub: Hub, members: Iterable[Member]) -> list[Member]:
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
