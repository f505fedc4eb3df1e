"""The story of a PUBLISH: resolve, authorize, accept, acknowledge, deliver.

The order is the security and durability property. The topic alias was resolved by the connection's machine before this
file sees the packet.
"""

from typing import TYPE_CHECKING

from mqtt_api.policy import NO_LIMITS, Decision
from mqtt_api.topics import TopicError, validate_topic_name
from mqtt_broker.auth import audit
from mqtt_broker.node import groups
from mqtt_broker.node.hub import Hub
from mqtt_broker.routing.delivery import Plan, Receiver
from mqtt_broker.session.message import Message, from_publish
from mqtt_broker.store.ports import Accept, Accepted, Duplicate, GroupTarget, Marker, Rejected, Result, Stale, Target
from mqtt_broker.wire.packets import ProtocolVersion, Publish
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection


def on_publish(client: "ClientConnection", packet: Publish) -> None:
    """One PUBLISH of a connected client, its topic resolved.

    Behind a SUBSCRIBE of the same client that is being written, it is planned when that is in force: a client that asks
    for a topic and then publishes to it expects to hear itself.
    """
    if client.subscribing or client.deferred:
        client.deferred += 1
        client.order.run(lambda: _deferred(client, packet))
        return
    _publish(client, packet)


def _deferred(client: "ClientConnection", packet: Publish) -> None:
    client.deferred -= 1
    if not client.closed:
        _publish(client, packet)


def _publish(client: "ClientConnection", packet: Publish) -> None:
    hub, session = client.hub, client.session
    hub.counters.messages_received += 1
    if packet.qos == 2 and not session.inbound.add(packet.packet_id):
        _acknowledge_later(client, packet, ReasonCode.SUCCESS)  # seen before: never deliver twice [MQTT-4.3.3-10]
        return
    refusal = _refusal(client, packet)
    if refusal is not None:
        _refuse(client, packet, refusal)
        return
    now = hub.store_now()
    message = from_publish(
        packet, session.client_id, session.facts.username, now, hub.settings.mqtt.message_expiry_s_max
    )
    plan = hub.plan(message)
    if _reject_full(hub, plan):
        _refuse(client, packet, ReasonCode.QUOTA_EXCEEDED)
        return
    marker = None
    if packet.qos == 2 and session.is_persistent:
        marker = Marker(client_id=session.client_id, epoch=session.epoch, packet_id=packet.packet_id)
    accept = _accept(hub, message, plan, marker)
    reason = ReasonCode.SUCCESS if plan.receivers or plan.groups else ReasonCode.NO_MATCHING_SUBSCRIBERS
    revision = hub.revision
    if accept is None:
        client.order.run(lambda: _accepted(client, packet, message, plan, Accepted(), revision, reason))
    else:
        client.order.commit(accept, lambda r: _stored(client, packet, message, plan, accept, r, revision, reason))


def accept_message(hub: Hub, message: Message, fires_will_of: tuple[str, int] | None = None) -> None:
    """Publish a message that has no connection to answer: a will. Authorized by the caller."""
    plan = hub.plan(message)
    accept = _accept(hub, message, plan, None, fires_will_of)
    revision = hub.revision

    def stored(result: Result) -> None:
        if isinstance(result, Accepted):
            hand_over(hub, message, plan, accept, result, revision)

    if accept is None:
        hand_over(hub, message, plan, None, Accepted(), revision)
    else:
        hub.pump.submit(accept, stored)


# Authorize -----------------------------------------------------------------------------------------------------------


def _refusal(client: "ClientConnection", packet: Publish) -> ReasonCode | None:
    """Why this publish may not happen, after telling the audit line; None if it may."""
    session = client.session
    try:
        validate_topic_name(packet.topic, client.hub.settings.mqtt.topic_levels_max)
    except TopicError as problem:
        _audit(client, packet, Decision(allowed=False, rule=None, reason=str(problem)))
        return ReasonCode.TOPIC_NAME_INVALID
    decision = session.rights.may_publish(packet.topic, packet.qos, packet.retain)
    if decision.allowed:
        return None
    _audit(client, packet, decision)
    return ReasonCode.NOT_AUTHORIZED


def _audit(client: "ClientConnection", packet: Publish, decision: Decision) -> None:
    client.hub.counters.denials += 1
    audit.denied(
        client_id=client.session.client_id,
        username=client.session.facts.username,
        action="publish",
        topic=packet.topic,
        rule=decision.rule,
        reason=decision.reason,
        qos=packet.qos,
        retain=packet.retain,
    )


def _refuse(client: "ClientConnection", packet: Publish, reason: ReasonCode) -> None:
    """MQTT 5 QoS 1 and 2 learn the reason; QoS 0 and 3.1.1 have no word for it: dropped."""
    if reason is ReasonCode.QUOTA_EXCEEDED:
        client.hub.drop("rejected", 1)
    if packet.qos:
        client.order.run(lambda: _refuse_now(client, packet, reason))


def _refuse_now(client: "ClientConnection", packet: Publish, reason: ReasonCode) -> None:
    if packet.qos == 2:
        client.session.inbound.release(packet.packet_id)  # [MQTT-4.3.3-9]
    version = client.connection.version
    # [3.1.1 MQTT-3.3.5-2]
    _acknowledge(client, packet, reason if version is ProtocolVersion.V5 else ReasonCode.SUCCESS)


def _reject_full(hub: Hub, plan: Plan) -> bool:
    """Under overflow: Reject, a full receiver in memory refuses the publish; the store does so for its queues."""
    if hub.settings.mqtt.queue.overflow != "Reject":
        return False
    sessions = (hub.sessions.get(receiver.client_id) for receiver in plan.receivers if receiver.qos)
    return any(s is not None and not s.is_persistent and s.outlet is not None and s.outlet.is_full for s in sessions)


# Accept --------------------------------------------------------------------------------------------------------------


def _accept(
    hub: Hub, message: Message, plan: Plan, marker: Marker | None, fires_will_of: tuple[str, int] | None = None
) -> Accept | None:
    """What the store must hold before this message is acknowledged; None if nothing: then it is not asked at all."""
    targets = tuple(target for receiver in plan.receivers if (target := _target(hub, receiver)) is not None)
    queues: tuple[GroupTarget, ...] = ()
    if message.qos:
        queues = tuple(
            GroupTarget(group=match.group, filter=match.filter, bounds=hub.bounds_for(NO_LIMITS))
            for match in plan.groups
            if groups.is_stored(hub, match)
        )
    if message.retain:
        hub.note_retained_planned(message.topic)
    if not (targets or queues or marker or message.retain or fires_will_of):
        return None
    return Accept(
        message=message,
        targets=targets,
        groups=queues,
        marker=marker,
        retain=message.retain,
        fires_will_of=fires_will_of,
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


# Acknowledge, deliver ------------------------------------------------------------------------------------------------


def _stored(
    client: "ClientConnection",
    packet: Publish,
    message: Message,
    plan: Plan,
    accept: Accept,
    result: Result,
    revision: int,
    reason: ReasonCode,
) -> None:
    match result:
        case Accepted():
            _accepted(client, packet, message, plan, result, revision, reason, accept)
        case Duplicate():
            _acknowledge(client, packet, ReasonCode.SUCCESS)
        case Rejected():
            if message.retain and message.topic not in client.hub.retained:
                client.hub.retained_planned.pop(message.topic, None)
            client.hub.drop("rejected", 1)
            _refuse_now(client, packet, ReasonCode.QUOTA_EXCEEDED)  # it is this packet's turn already
        case Stale():
            client.close_stale()
        case _:
            raise AssertionError(f"a store answered an Accept with {result!r}")


def _accepted(
    client: "ClientConnection",
    packet: Publish,
    message: Message,
    plan: Plan,
    result: Accepted,
    revision: int,
    reason: ReasonCode,
    accept: Accept | None = None,
) -> None:
    _acknowledge(client, packet, reason)
    hand_over(client.hub, message, plan, accept, result, revision)
    client.wait_for_receivers()


def hand_over(hub: Hub, message: Message, plan: Plan, accept: Accept | None, result: Accepted, revision: int) -> None:
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
    if revision != hub.revision:
        again = hub.plan(message)
        allowed = {receiver.client_id for receiver in again.receivers}
        receivers = tuple(r for r in receivers if r.client_id in allowed or sequences.get(r.client_id))
        matches = {key: match for match in again.groups if (key := (match.group, match.filter)) in matches}
    hub.deliver(message, receivers, sequences, revision)
    stored = [(target.group, target.filter) for target in accept.groups] if accept is not None else []
    for key in stored:
        groups.note_stored(hub, key)
    for key, match in matches.items():
        if key not in stored:
            groups.deliver(hub, message, match, revision)


def _acknowledge_later(client: "ClientConnection", packet: Publish, reason: ReasonCode) -> None:
    client.order.run(lambda: _acknowledge(client, packet, reason))


def _acknowledge(client: "ClientConnection", packet: Publish, reason: ReasonCode) -> None:
    if packet.qos == 0 or client.closed:
        return
    if packet.qos == 1:  # [MQTT-3.3.4-1]
        client.connection.puback(packet.packet_id, reason)  # [MQTT-4.3.2-4] [MQTT-2.2.1-5]
    else:
        client.connection.pubrec(packet.packet_id, reason)  # [MQTT-4.3.3-8]
    client.wrote()
