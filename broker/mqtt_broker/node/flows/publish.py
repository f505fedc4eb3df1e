"""The story of a PUBLISH: resolve, authorize, accept, acknowledge, deliver.

The order is the security and durability property. The topic alias was resolved by the connection's machine before this
file sees the packet.
"""

from typing import TYPE_CHECKING

from mqtt_api.policy import Decision
from mqtt_api.topics import TopicError, validate_topic_name
from mqtt_broker.auth import audit
from mqtt_broker.node import spread
from mqtt_broker.node.accepting import accept_of, hand_over, redeem, relax
from mqtt_broker.node.counters import DropReason
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.outlet import Outlet
from mqtt_broker.routing.delivery import Plan
from mqtt_broker.session.message import Message, from_publish, has_its_format
from mqtt_broker.store.ports import Accept, Accepted, Duplicate, Marker, Rejected, Result, Stale
from mqtt_broker.wire.packets import ProtocolVersion, Publish
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

# What is refused for another reason than rights, which are counted as denials.
DROPPED_AS: dict[ReasonCode, DropReason] = {
    ReasonCode.QUOTA_EXCEEDED: "rejected",
    ReasonCode.PAYLOAD_FORMAT_INVALID: "invalid_payload",
}


def on_publish(client: "ClientConnection", packet: Publish) -> None:
    """One PUBLISH of a connected client, its topic resolved.

    Behind a SUBSCRIBE of the same client that is being written, it is planned when that is in force: a client that asks
    for a topic and then publishes to it expects to hear itself.
    """
    if client.subscribing or client.spreading or client.deferred:
        client.deferred += 1
        client.order.run(lambda: _deferred(client, packet), size=len(packet.payload))
        return
    _publish(client, packet)


def _deferred(client: "ClientConnection", packet: Publish) -> None:
    client.deferred -= 1
    if not client.closed:
        _publish(client, packet)


def _publish(client: "ClientConnection", packet: Publish) -> None:
    hub, session = client.hub, client.session
    hub.counters.messages_received += 1
    hub.counters.payload_bytes_received += len(packet.payload)
    if packet.qos == 2 and not session.inbound.add(packet.packet_id):
        _acknowledge_later(client, packet, ReasonCode.SUCCESS)  # seen before: never deliver twice [MQTT-4.3.3-10]
        return
    refusal = _refusal(client, packet)
    if refusal is not None:
        _refuse(client, packet, refusal)
        return
    now = hub.store_now()
    message = from_publish(packet, session.facts, now, hub.settings.mqtt.message_expiry_s_max)
    plan = hub.plan(message)
    if plan is not None and _reject_full(hub, plan):
        _refuse(client, packet, ReasonCode.QUOTA_EXCEEDED)
        return
    marker = None
    if packet.qos == 2 and session.is_persistent:
        marker = Marker(client_id=session.client_id, epoch=session.epoch, packet_id=packet.packet_id)
    if plan is None:
        _spread(client, packet, message, marker)
        return
    outlets: list[Outlet | None] = []
    accept = accept_of(hub, message, plan, marker, outlets=outlets)
    reason = ReasonCode.SUCCESS if plan.receivers or plan.groups else ReasonCode.NO_MATCHING_SUBSCRIBERS
    decisions = hub.decisions
    if accept is None:
        client.order.run(
            lambda: _accepted(client, packet, message, plan, Accepted(), decisions, reason), size=message.size
        )
    else:
        client.order.commit(
            accept,
            lambda r: _stored(client, packet, message, plan, accept, outlets, r, decisions, reason),
            size=message.size,
        )


def accept_message(
    hub: Hub, message: Message, fires_will_of: tuple[str, int] | None = None, will_epoch: int = 0
) -> None:
    """Publish a message that has no connection to answer: a will. Authorized by the caller."""
    plan = hub.plan(message)
    if plan is None:
        spread.start(hub, message, None, fires_will_of, will_epoch=will_epoch)
        return
    accept = accept_of(hub, message, plan, None, fires_will_of)
    decisions = hub.decisions

    def stored(result: Result) -> None:
        hub.retained_under_way -= message.retain
        if isinstance(result, Accepted):
            hand_over(hub, message, plan, accept, result, decisions)

    if accept is None:
        hand_over(hub, message, plan, None, Accepted(), decisions)
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
    if not decision.allowed:
        _audit(client, packet, decision)
        return ReasonCode.NOT_AUTHORIZED
    if client.hub.settings.mqtt.validate_payload_format and not has_its_format(packet.payload, packet.properties):
        return ReasonCode.PAYLOAD_FORMAT_INVALID
    return None


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
    if reason in DROPPED_AS:
        client.hub.drop(DROPPED_AS[reason], 1)
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


def _spread(client: "ClientConnection", packet: Publish, message: Message, marker: Marker | None) -> None:
    """More receivers than one turn can serve: acknowledged behind the last part; what this client sends next waits."""
    answer = client.order.hold()
    client.spreading += 1

    def done(result: Result) -> None:
        client.spreading -= 1
        answer(lambda: _spread_done(client, packet, result))

    spread.start(client.hub, message, marker, None, done)


def _spread_done(client: "ClientConnection", packet: Publish, result: Result) -> None:
    if isinstance(result, Stale):
        client.close_stale()
        return
    _acknowledge(client, packet, ReasonCode.SUCCESS)
    client.wait_for_receivers()


# Acknowledge, deliver ------------------------------------------------------------------------------------------------


def _stored(
    client: "ClientConnection",
    packet: Publish,
    message: Message,
    plan: Plan,
    accept: Accept,
    outlets: list[Outlet | None],
    result: Result,
    decisions: int,
    reason: ReasonCode,
) -> None:
    client.hub.retained_under_way -= message.retain
    redeem(outlets, accept, result)
    match result:
        case Accepted():
            _accepted(client, packet, message, plan, result, decisions, reason, accept)
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
    relax(outlets)


def _accepted(
    client: "ClientConnection",
    packet: Publish,
    message: Message,
    plan: Plan,
    result: Accepted,
    decisions: int,
    reason: ReasonCode,
    accept: Accept | None = None,
) -> None:
    _acknowledge(client, packet, reason)
    hand_over(client.hub, message, plan, accept, result, decisions)
    client.wait_for_receivers()


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
