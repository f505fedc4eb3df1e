"""A message on its way in: what the store must hold before it is acknowledged, and who is handed it after that.

Knows plans, targets and the store's answer; does not know who published, or what an acknowledgement looks like.
"""

from mqtt_broker.node import groups
from mqtt_broker.node.hub import Hub
from mqtt_broker.routing.delivery import Plan, Receiver
from mqtt_broker.session.message import Message
from mqtt_broker.store.ports import Accept, Accepted, GroupTarget, Marker, Part, Target


def accept_of(
    hub: Hub,
    message: Message,
    plan: Plan,
    marker: Marker | None,
    fires_will_of: tuple[str, int] | None = None,
    part: Part | None = None,
) -> Accept | None:
    """What the store must hold before this message is acknowledged; None if nothing: then it is not asked at all."""
    targets = tuple(target for receiver in plan.receivers if (target := _target(hub, receiver)) is not None)
    queues: tuple[GroupTarget, ...] = ()
    if message.qos:
        queues = tuple(groups.target(hub, match) for match in plan.groups if groups.is_stored(hub, match))
    if message.retain:
        hub.note_retained_planned(message.topic)
    forwards = hub.peers.forwards(plan.receivers) if message.qos else ()
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


def _target(hub: Hub, receiver: Receiver) -> Target | None:
    session = hub.sessions.get(receiver.client_id)
    if session is None or receiver.qos == 0 or not session.is_persistent:
        return None
    return Target(
        client_id=receiver.client_id,
        incarnation=session.incarnation,
        qos=receiver.qos,
        retain=receiver.retain,
        identifiers=receiver.identifiers,
    )


def hand_over(hub: Hub, message: Message, plan: Plan, accept: Accept | None, result: Accepted, decisions: int) -> None:
    """Deliver to connected receivers and wake the groups. A plan made under an older policy is made again [D9]."""
    sequences: dict[str, int] = {}
    if accept is not None:
        sequences = {target.client_id: s for target, s in zip(accept.targets, result.sequences, strict=True)}
        hub.note_evicted(result.evicted)
        hub.drop("overflow", sum(1 for sequence in sequences.values() if not sequence))
    if message.retain:
        if message.payload:
            hub.retained.add(message.topic)
        else:
            hub.retained.remove(message.topic)  # an empty retained message deletes [MQTT-3.3.1-6]
            hub.retained_planned.pop(message.topic, None)
    receivers, matches = plan.receivers, {(match.group, match.filter): match for match in plan.groups}
    if decisions != hub.decisions:
        again = hub.plan(message)
        if again is not None:  # of very many each outlet decides for itself
            allowed = {receiver.client_id for receiver in again.receivers}
            receivers = tuple(r for r in receivers if r.client_id in allowed or sequences.get(r.client_id))
            matches = {key: match for match in again.groups if (key := (match.group, match.filter)) in matches}
    hub.deliver(message, receivers, sequences, decisions)
    hub.peers.post(message, receivers)
    stored = [(target.group, target.filter) for target in accept.groups] if accept is not None else []
    for key in stored:
        groups.note_stored(hub, key)
    for key, match in matches.items():
        if key not in stored:
            groups.deliver(hub, message, match, decisions)
