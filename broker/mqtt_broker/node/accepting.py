"""A message on its way in: what the store must hold before it is acknowledged, and who is handed it after that.

Knows plans, targets and the store's answer; does not know who published, or what an acknowledgement looks like.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from mqtt_broker.node import groups
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.outlet import Outlet
from mqtt_broker.routing.delivery import Plan, Receiver
from mqtt_broker.session.message import Message
from mqtt_broker.store.ports import Accept, Accepted, GroupTarget, Marker, Part, Result, Target


def accept_of(
    hub: Hub,
    message: Message,
    plan: Plan,
    marker: Marker | None,
    fires_will_of: tuple[str, int] | None = None,
    part: Part | None = None,
    *,
    outlets: list[Outlet | None] | None = None,
) -> Accept | None:
    """What the store must hold before this message is acknowledged; None if nothing: then it is not asked at all.

    `outlets`: those of the targets are told that it is under way, and added here; then the caller must `redeem` them.
    """
    if not (message.qos or message.retain or marker or fires_will_of or part):
        return None  # nothing of a QoS 0 message is kept anywhere
    targets = tuple([target for receiver in plan.receivers if (target := _target(hub, receiver, outlets)) is not None])
    queues: tuple[GroupTarget, ...] = ()
    if message.qos:
        queues = tuple(groups.target(hub, match) for match in plan.groups if groups.is_stored(hub, match))
    if message.retain:
        hub.note_retained_planned(message.topic)
    forwards = hub.peers.forwards(plan.receivers) if message.qos else ()
    if targets:
        hub.peers.press(plan.receivers)
    if part is not None:
        part = replace(part, heard=tuple(incarnation for incarnation, _ in _in_memory(hub, plan)))
    if not (targets or queues or forwards or marker or message.retain or fires_will_of):
        return None
    return Accept(
        message=message,
        targets=targets,
        groups=queues,
        marker=marker,
        retain=message.retain,
        fires_will_of=fires_will_of,
        forwards=forwards,
        position=hub.peers.position,
        part=part,
    )


def _in_memory(hub: Hub, plan: Plan) -> Iterator[tuple[int, Receiver]]:
    """Receivers of QoS 1 and 2 whose copies lie in the memory of this node alone, with the incarnation of each."""
    for receiver in plan.receivers:
        session = hub.sessions.get(receiver.client_id)
        if receiver.qos and session is not None and session.outlet is not None and not session.is_persistent:
            yield session.incarnation, receiver


def _target(hub: Hub, receiver: Receiver, outlets: list[Outlet | None] | None) -> Target | None:
    session = hub.sessions.get(receiver.client_id)
    if session is None or receiver.qos == 0 or not session.is_persistent:
        return None
    outlet = None
    if outlets is not None:
        outlet = session.outlet
        outlets.append(outlet)
    return target_of(receiver, session, outlet, 1)


def target_of(receiver: Receiver, session: LiveSession, outlet: Outlet | None, count: int) -> Target:
    """The queue of this receiver. `outlet`, if any, is told that so many messages are under way to it."""
    return Target(
        client_id=receiver.client_id,
        incarnation=session.incarnation,
        qos=receiver.qos,
        retain=receiver.retain,
        identifiers=receiver.identifiers,
        epoch=0 if outlet is None else outlet.epoch,
        raises_mark=outlet is not None and outlet.expect(count),
    )


def redeem(outlets: Iterable[Outlet | None], accept: Accept, result: Result) -> None:
    """The store has answered, whatever it said: the message is not under way any more."""
    sequences, stale = (result.sequences, result.stale) if isinstance(result, Accepted) else ((), ())
    for number, outlet in enumerate(outlets):
        if outlet is not None:
            target = accept.targets[number]
            marked_up_to = sequences[number] if sequences and target.raises_mark else 0
            outlet.answered(marked_up_to, is_stale=target.client_id in stale)
            outlet.arrive(1)


def relax(outlets: Iterable[Outlet | None]) -> None:
    """What was redeemed is handed over."""
    for outlet in outlets:
        if outlet is not None:
            outlet.relax()


def hand_over(hub: Hub, message: Message, plan: Plan, accept: Accept | None, result: Accepted, decisions: int) -> None:
    """Deliver to connected receivers and wake the groups. A plan made under an older policy is made again [D9]."""
    sequences: dict[str, int] = {}
    if accept is not None:
        sequences = {target.client_id: s for target, s in zip(accept.targets, result.sequences, strict=True)}
        hub.note_evicted(result.evicted)
        hub.drop("overflow", sum(1 for sequence in sequences.values() if not sequence))
    if message.retain and not hub.peers.follow_feed:  # else it says so, to every node in one order
        if message.payload:
            hub.retained.add(message.topic)
        else:
            hub.forget_retained(message.topic)  # an empty retained message deletes [MQTT-3.3.1-6]
    receivers = plan.receivers
    if hub.adoptions != plan.as_of:  # a client may have another session by now, with subscriptions of its own
        receivers = tuple(r for r in receivers if sequences.get(r.client_id) or hub.was_known(r.client_id, plan.as_of))
    if result.heard:
        had = {receiver.client_id for incarnation, receiver in _in_memory(hub, plan) if incarnation in result.heard}
        receivers = tuple(receiver for receiver in receivers if receiver.client_id not in had)
    matches = {(match.group, match.filter): match for match in plan.groups}
    if decisions != hub.decisions:
        again = hub.plan(message)
        if again is not None:  # of very many each outlet decides for itself
            allowed = {receiver.client_id for receiver in again.receivers}
            receivers = tuple(r for r in receivers if r.client_id in allowed or sequences.get(r.client_id))
            matches = {key: match for match in again.groups if (key := (match.group, match.filter)) in matches}
    hub.deliver(message, receivers, sequences, decisions)
    hub.peers.post(message, receivers)
    stored = {(target.group, target.filter): target.turn for target in accept.groups} if accept is not None else {}
    for key, turn in stored.items():
        groups.note_stored(hub, key, turns=not turn)
    for key, match in matches.items():
        if key not in stored:
            groups.deliver(hub, message, match, decisions)
