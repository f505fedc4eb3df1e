"""Retained messages on their way to a new subscription: index, read, decide, deliver.

They are read after the subscription is routed. One whose topic got a newer retained publish meanwhile is left out: the
subscriber is in that publish's plan and gets it live, so that an old value never arrives after a new one.
"""

import asyncio
import logging

from mqtt_api.policy import Facts
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.routing.delivery import Receiver
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import Accept, Accepted, Result, StoreUnavailable, Target

log = logging.getLogger("mqtt_broker.retained")

READ_TOPICS_MAX = 200  # payloads fetched at once: bounds memory and the turn's length for a wide filter


def send(hub: Hub, session: LiveSession, subscriptions: list[Subscription], planned_before: int) -> None:
    """Start sending what is retained under them. `planned_before`: hub.retained_plans when they were routed."""
    for subscription in subscriptions:
        for message in hub.sys_topics.match(subscription.filter):
            if _allowed(hub, session, subscription, message):
                _deliver(hub, session, subscription, message)
        topics = hub.retained.match(subscription.filter)
        if topics:
            task = hub.loop.create_task(_send(hub, session, subscription, topics, planned_before), name="retained")
            task.add_done_callback(_note_failure)


def _note_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (problem := task.exception()) is not None:
        log.error("retained messages could not be sent: %s", problem, exc_info=problem)


async def _send(
    hub: Hub, session: LiveSession, subscription: Subscription, topics: list[str], planned_before: int
) -> None:
    for start in range(0, len(topics), READ_TOPICS_MAX):
        try:
            messages = await hub.store.read_retained(topics[start : start + READ_TOPICS_MAX])
        except StoreUnavailable as problem:
            log.warning("retained messages for %r wait for the next subscribe: %s", session.client_id, problem)
            return
        for message in messages:
            if session.outlet is None or session.subscriptions.get(subscription.key) != subscription:
                return
            if hub.retained_planned.get(message.topic, 0) > planned_before:
                continue
            if _allowed(hub, session, subscription, message):
                _deliver(hub, session, subscription, message)


def _allowed(hub: Hub, session: LiveSession, subscription: Subscription, message: Message) -> bool:
    """The receiver may have it, and its publisher still has the right to retain it; else it stays unseen."""
    if subscription.no_local and message.publisher == session.client_id:  # [MQTT-3.8.3-3]
        return False
    if subscription.has_exceptions and not session.rights.may_receive(message.topic, subscription.qos, None).allowed:
        return False
    publisher = Facts(client_id=message.publisher, username=message.username, anonymous=not message.username)
    principal = hub.principal(publisher)
    if principal is None or principal.certificates:
        return True  # by a certificate, or without an object of its own: the facts to decide by are not known here
    facts = Facts(
        client_id=message.publisher,
        username=message.username,
        namespace=principal.namespace,
        attributes=principal.attributes,
    )
    return hub.rights_of(facts).may_publish(message.topic, message.qos, retain=True).allowed


def _deliver(hub: Hub, session: LiveSession, subscription: Subscription, message: Message) -> None:
    revision = hub.revision
    qos = min(message.qos, subscription.qos)
    identifiers = subscription.identifiers
    # [3.1.1 MQTT-3.3.1-8] The flag of a message that is sent because of a new subscription.
    receiver = Receiver(client_id=session.client_id, qos=qos, retain=True, identifiers=identifiers)
    if not qos or not session.is_persistent:
        hub.deliver(message, (receiver,), {}, revision)
        return
    target = Target(
        client_id=session.client_id, incarnation=session.incarnation, qos=qos, retain=True, identifiers=identifiers
    )

    def queued(result: Result) -> None:
        if isinstance(result, Accepted):
            hub.note_evicted(result.evicted)
            hub.deliver(message, (receiver,), {session.client_id: result.sequences[0]}, revision)

    hub.pump.submit(Accept(message=message, targets=(target,)), queued)
