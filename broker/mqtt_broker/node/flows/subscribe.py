"""The story of SUBSCRIBE and UNSUBSCRIBE: check, authorize, write, route, acknowledge, then the retained messages."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mqtt_api.topics import TopicError, parse_shared, validate_filter
from mqtt_broker.auth import audit
from mqtt_broker.node import groups, retained
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.overload import LEVEL_MAX
from mqtt_broker.node.retained import Routed
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import Done, Result
from mqtt_broker.store.ports import Subscribe as WriteSubscriptions
from mqtt_broker.store.ports import Unsubscribe as RemoveSubscriptions
from mqtt_broker.wire.packets import Subscribe, SubscriptionRequest, Unsubscribe
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

Granted = tuple[Subscription, SubscriptionRequest]

NEVER_RETAINED = 2  # retain handling: send none


def on_subscribe(client: "ClientConnection", packet: Subscribe) -> None:
    """Each filter gets its own answer; what is granted is written before SUBACK says so."""
    session = client.session
    identifiers = packet.properties.subscription_identifiers
    identifier = identifiers[0] if identifiers else 0
    answers = [_decide(client, request, identifier) for request in packet.subscriptions]  # [MQTT-3.8.4-5]
    # [MQTT-3.8.4-7] The QoS granted, or why not; in the order of the filters [MQTT-3.9.3-1].
    reasons = tuple(answer if isinstance(answer, ReasonCode) else ReasonCode(answer[0].qos) for answer in answers)
    granted = [answer for answer in answers if not isinstance(answer, ReasonCode)]
    if not granted:
        client.order.run(lambda: _suback(client, packet.packet_id, reasons))
        return
    write = WriteSubscriptions(
        client_id=session.client_id,
        incarnation=session.incarnation,
        epoch=session.epoch,
        subscriptions=tuple(subscription for subscription, _ in granted),
        owes=_owed(session, granted),
    )
    client.order.commit(
        write, lambda result: _subscribed(client, packet.packet_id, reasons, granted, result), client.hub.peers.in_force
    )


def _owed(session: LiveSession, granted: list[Granted]) -> tuple[str, ...]:
    """Filters whose retained messages the session is to have, though it takes another connection, or another node."""
    if not session.outlives_connection:
        return ()
    wanted = [each for each, request in granted if each.group is None and request.retain_handling != NEVER_RETAINED]
    return tuple([subscription.filter for subscription in wanted])


def _decide(client: "ClientConnection", request: SubscriptionRequest, identifier: int) -> Granted | ReasonCode:
    """The subscription as granted, or why not."""
    session, mqtt = client.session, client.hub.settings.mqtt
    try:
        group, topic_filter = parse_shared(request.filter)
        validate_filter(topic_filter, mqtt.topic_levels_max)
    except TopicError as problem:
        _denied(client, request, None, str(problem))
        return ReasonCode.TOPIC_FILTER_INVALID
    if group is not None and not mqtt.shared_subscription_available:
        return ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
    # [3.1.1 MQTT-3.8.3-2]
    if not mqtt.wildcard_subscription_available and ("+" in topic_filter or "#" in topic_filter):
        return ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
    if client.hub.overload.level >= LEVEL_MAX:
        _denied(client, request, None, "the node is overloaded")
        return ReasonCode.QUOTA_EXCEEDED
    if (topic_filter, group) not in session.subscriptions and _is_full(client):
        _denied(client, request, None, "the client has as many subscriptions as it may have")
        return ReasonCode.QUOTA_EXCEEDED
    wanted_qos = min(request.qos, mqtt.maximum_qos)  # [MQTT-3.2.2-10]
    grant = session.rights.may_subscribe(topic_filter, wanted_qos, group)
    if grant.qos is None:
        _denied(client, request, grant.rule, grant.reason)
        return ReasonCode.NOT_AUTHORIZED
    client.subscribe_count += 1
    client.subscribing += 1
    subscription = Subscription(
        filter=topic_filter,
        group=group,
        qos=grant.qos,
        requested_qos=wanted_qos,
        no_local=request.no_local,
        retain_as_published=request.retain_as_published,
        identifier=identifier,
        has_exceptions=grant.has_exceptions,
        generation=client.subscribe_count,
    )
    return subscription, request


def _is_full(client: "ClientConnection") -> bool:
    limit = client.hub.settings.mqtt.subscriptions_per_client_max
    if client.session.limits.subscriptions_max is not None:
        limit = min(limit, client.session.limits.subscriptions_max)
    return len(client.session.subscriptions) + client.subscribing >= limit


def _denied(client: "ClientConnection", request: SubscriptionRequest, rule: str | None, reason: str) -> None:
    client.hub.counters.denials += 1
    audit.denied(
        client_id=client.session.client_id,
        username=client.session.facts.username,
        action="subscribe",
        topic=request.filter,
        rule=rule,
        reason=reason,
        qos=request.qos,
    )


def _subscribed(
    client: "ClientConnection",
    packet_id: int,
    reasons: tuple[ReasonCode, ...],
    granted: list[Granted],
    result: Result,
) -> None:
    hub, session = client.hub, client.session
    client.subscribing -= len(granted)
    if not isinstance(result, Done):
        client.close_stale()
        return
    if client.closed and not session.outlives_connection:
        return
    wanted: list[Granted] = []
    planned_before = hub.retained_plans
    codes = list(reasons)
    places = _granted_positions(reasons)
    for place, (subscription, request), existed in zip(places, granted, result.existed, strict=True):
        current = session.decided(subscription)  # SUBACK compares again what was decided before the write [D9]
        if current.muted:
            codes[place] = ReasonCode.NOT_AUTHORIZED
            _take_back(client, subscription)
            continue
        codes[place] = ReasonCode(current.qos)
        if current != subscription:
            hub.pump.submit(
                WriteSubscriptions(
                    client_id=session.client_id,
                    incarnation=session.incarnation,
                    epoch=session.epoch,
                    subscriptions=(current,),
                    only_known=True,  # an UNSUBSCRIBE may be on its way behind what was just written
                )
            )
        if not hub.peers.follow_feed:
            hub.route(session, current)
        # [MQTT-3.3.1-9..11] [MQTT-3.8.4-4]
        if request.retain_handling == 0 or (request.retain_handling == 1 and not existed):
            wanted.append((current, request))
    _suback(client, packet_id, tuple(codes))
    plain = [current for current, _ in wanted if current.group is None]  # none for shared: MQTT 5.0, 4.8.2
    _send_retained(client, plain, _owed(session, granted), Routed(planned_before, result.position))
    for subscription, _ in granted:
        if subscription.group is not None:  # only what is new: a client may have thousands of others
            groups.take_up(hub, (subscription.group, subscription.filter))


def _send_retained(
    client: "ClientConnection", wanted: list[Subscription], owed: tuple[str, ...], routed: Routed
) -> None:
    """`owed` is what the store keeps in mind: more than is `wanted`, for now it is known what had existed."""
    hub, session = client.hub, client.session
    if wanted:
        retained.send(hub, session, wanted, replace(routed, is_owed=bool(owed)))
    sent = {subscription.filter for subscription in wanted}
    for topic_filter in owed:
        if topic_filter not in sent:
            retained.settle(hub, session, topic_filter, routed.position)


def _granted_positions(reasons: tuple[ReasonCode, ...]) -> list[int]:
    return [position for position, reason in enumerate(reasons) if reason <= ReasonCode.GRANTED_QOS_2]


def _take_back(client: "ClientConnection", subscription: Subscription) -> None:
    """The right is gone since the subscription was written."""
    session = client.session
    remove = RemoveSubscriptions(
        client_id=session.client_id, incarnation=session.incarnation, epoch=session.epoch, keys=(subscription.key,)
    )
    client.hub.pump.submit(remove)
    if not client.hub.peers.follow_feed:
        client.hub.unroute(session, subscription.key)


def _suback(client: "ClientConnection", packet_id: int, reasons: tuple[ReasonCode, ...]) -> None:
    if not client.closed:
        client.connection.suback(packet_id, reasons)  # [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-2.2.1-6]
        client.wrote()


def on_unsubscribe(client: "ClientConnection", packet: Unsubscribe) -> None:
    """All filters in one step and one answer; the removal is durable before UNSUBACK."""
    session = client.session
    keys = [_key(topic_filter) for topic_filter in packet.filters]  # [MQTT-3.10.4-6]
    remove = RemoveSubscriptions(  # all of them: one may be in a SUBSCRIBE that is still being written [MQTT-3.10.4-1]
        client_id=session.client_id, incarnation=session.incarnation, epoch=session.epoch, keys=tuple(keys)
    )
    client.order.commit(
        remove, lambda result: _unsubscribed(client, packet.packet_id, keys, result), client.hub.peers.in_force
    )


def _key(topic_filter: str) -> tuple[str, str | None]:
    try:
        group, inner = parse_shared(topic_filter)
    except TopicError:
        return topic_filter, None
    return inner, group


def _unsubscribed(
    client: "ClientConnection", packet_id: int, keys: list[tuple[str, str | None]], result: Result
) -> None:
    if not isinstance(result, Done):
        client.close_stale()
        return
    if not client.hub.peers.follow_feed:
        for key in keys:
            client.hub.unroute(client.session, key)
    reasons = tuple(  # [MQTT-3.10.4-2] [MQTT-3.11.3-1]
        ReasonCode.SUCCESS if existed else ReasonCode.NO_SUBSCRIPTION_EXISTED for existed in result.existed
    )
    if not client.closed:
        client.connection.unsuback(packet_id, reasons)  # [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-2.2.1-6]
        client.wrote()
