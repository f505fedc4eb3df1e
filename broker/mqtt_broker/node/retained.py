"""Retained messages on their way to a new subscription: index, read, decide, deliver.

They are read after the subscription is routed. One whose topic got a newer retained publish meanwhile is left out: the
subscriber is in that publish's plan and gets it live, so that an old value never arrives after a new one.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from mqtt_api.node_settings import NodeSettings
from mqtt_broker.node.hub import RULES_PER_EFFORT, Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.routing.delivery import Receiver
from mqtt_broker.session.message import Message, publisher_of
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import Accept, Accepted, Result, RetainedMessage, Settle, StoreUnavailable, Target

log = logging.getLogger("mqtt_broker.retained")

READ_TOPICS_MAX = 200  # payloads fetched at once: bounds memory and the turn's length for a wide filter
# How much of it costs as much as one unit of `hub.turns`, some 50 µs.
NODES_PER_EFFORT = 50  # levels of the index passed
MESSAGES_PER_EFFORT = 3  # decided and delivered

Walk = Iterator[str | None]


class Routed(Struct, frozen=True):
    """Since when a subscription is in plans: `plans` is hub.retained_plans then, `position` that in the feed (or 0).

    What was planned on this node after that many plans, or on any node at or behind that position, comes live.
    `is_owed`: the store keeps in mind that their retained messages are to be sent, until it is told that they are.
    """

    plans: int
    position: int = 0
    is_owed: bool = False


def send(hub: Hub, session: LiveSession, subscriptions: list[Subscription], routed: Routed) -> None:
    """Start sending what is retained under them. `routed`: when they were."""
    for subscription in subscriptions:
        for message in hub.sys_topics.match(subscription.filter):
            if _may_receive(session, subscription, message):
                _deliver(hub, session, subscription, message)
    _start(hub, session, subscriptions, routed)


def take_up(hub: Hub, session: LiveSession, owed: Iterable[tuple[str, int]]) -> None:
    """Send what an earlier connection was owed: it, or its node, was gone before all of it was in the queue.

    `owed`: topic filters, and the positions of their SUBSCRIBEs. Some of it may be there twice then.
    """
    for topic_filter, position in owed:
        subscription = session.subscriptions.get((topic_filter, None))
        if subscription is not None and not subscription.muted:
            _start(hub, session, [subscription], Routed(hub.retained_plans, position, is_owed=True))


def settle(hub: Hub, session: LiveSession, topic_filter: str, position: int) -> None:
    """All is sent, or in the queue with what was submitted before."""
    hub.pump.submit(
        Settle(client_id=session.client_id, incarnation=session.incarnation, filter=topic_filter, position=position)
    )


def _start(hub: Hub, session: LiveSession, subscriptions: list[Subscription], routed: Routed) -> None:
    waiting: list[tuple[Subscription, list[str], Walk]] = []
    for subscription in subscriptions:
        walk = hub.retained.walk(subscription.filter)
        topics, is_done = ([], False) if hub.retained_under_way else _found(hub, walk)
        if topics or not is_done:
            waiting.append((subscription, topics, walk))
        elif routed.is_owed:
            settle(hub, session, subscription.filter, routed.position)
    if waiting:
        hub.retained_sending += 1
        task = hub.loop.create_task(_send_all(hub, session, waiting, routed), name="retained")
        task.add_done_callback(lambda task: _ended(hub, task))


def _found(hub: Hub, walk: Walk) -> tuple[list[str], bool]:
    """Up to READ_TOPICS_MAX topics more, and whether that is all; fewer if this turn is over."""
    topics: list[str] = []
    for passed, topic in enumerate(walk, 1):
        if topic is not None:
            topics.append(topic)
        if passed % NODES_PER_EFFORT == 0:
            hub.turns.spend(1)
            if hub.turns.is_over:
                return topics, False
        if len(topics) == READ_TOPICS_MAX:
            return topics, False
    return topics, True


def _ended(hub: Hub, task: "asyncio.Task[None]") -> None:
    hub.note_retained_sent()
    if not task.cancelled() and (problem := task.exception()) is not None:
        log.error("retained messages could not be sent: %s", problem, exc_info=problem)


async def _send_all(
    hub: Hub, session: LiveSession, waiting: list[tuple[Subscription, list[str], Walk]], routed: Routed
) -> None:
    """One filter after the other, so that a client that asks for many is no more than one of those who take turns.

    What was planned before the subscription was routed does not come live, and is waited for.
    """
    if hub.retained_under_way:
        written: asyncio.Future[None] = hub.loop.create_future()
        hub.pump.when_written(lambda: None if written.done() else written.set_result(None))
        await written
    for subscription, topics, walk in waiting:
        is_done = False
        while topics or not is_done:
            if not await _send(hub, session, subscription, topics, routed):
                break
            topics, is_done = _found(hub, walk)
            await hub.turns.share()
        else:  # not given up
            if routed.is_owed:
                settle(hub, session, subscription.filter, routed.position)


async def _send(hub: Hub, session: LiveSession, subscription: Subscription, topics: list[str], routed: Routed) -> bool:
    """False if nothing more is to be sent for this subscription."""
    found: Sequence[RetainedMessage] = ()
    if topics:
        try:
            found = await hub.store.read_retained(topics)
        except StoreUnavailable as problem:
            log.warning("retained messages for %r could not be read: %s", session.client_id, problem)
            return False
    for count, each in enumerate(found, 1):
        if session.outlet is None or session.subscriptions.get(subscription.key) != subscription:
            return False
        message, resolved = each.message, hub.rules_resolved
        if (
            not _comes_live(hub, each, routed)
            and _may_receive(session, subscription, message)
            and _may_be_retained(hub, message)
        ):
            _deliver(hub, session, subscription, message, routed)
        hub.turns.spend((count % MESSAGES_PER_EFFORT == 0) + (hub.rules_resolved - resolved) // RULES_PER_EFFORT)
        await hub.turns.share()
    return session.outlet is not None and session.subscriptions.get(subscription.key) == subscription


def _comes_live(hub: Hub, found: RetainedMessage, routed: Routed) -> bool:
    """True if its publish was planned when the subscription was routed: the old value must not come after it."""
    if routed.position and found.planned_at >= routed.position:
        return True
    return hub.has_come_live(found.message.topic, routed.plans)


def _may_receive(session: LiveSession, subscription: Subscription, message: Message) -> bool:
    if subscription.no_local and message.publisher == session.client_id:  # [MQTT-3.8.3-3]
        return False
    return not subscription.has_exceptions or session.rights.may_receive(message.topic, subscription.qos, None).allowed


def _may_be_retained(hub: Hub, message: Message) -> bool:
    """Its publisher still has the right to retain it; else it stays unseen.

    A user without an MQTTClient has rights of its own only where a certificate is enough. Everywhere else its object
    is gone, and that says nothing of what it published.
    """
    facts = publisher_of(message)
    if not facts.anonymous:
        if hub.principal(facts) is None and not _is_open(hub.settings, facts.source):
            return True
        facts = hub.refreshed(facts)
    return hub.rights_of(facts).may_publish(message.topic, message.qos, retain=True).allowed


def _is_open(settings: NodeSettings, source: str) -> bool:
    """True if this authentication entry makes a principal of every valid certificate."""
    chains = (settings.authentication, *(listener.authentication or () for listener in settings.listeners))
    return any(entry.name == source and entry.principals == "Open" for chain in chains for entry in chain)


def _deliver(
    hub: Hub, session: LiveSession, subscription: Subscription, message: Message, routed: Routed | None = None
) -> None:
    """`routed` for what the store keeps: what replaced it meanwhile on another node may stand in the queue already."""
    decisions = hub.decisions
    qos = min(message.qos, subscription.qos)
    identifiers = subscription.identifiers
    # [3.1.1 MQTT-3.3.1-8] The flag of a message that is sent because of a new subscription.
    receiver = Receiver(client_id=session.client_id, qos=qos, retain=True, identifiers=identifiers)
    if not qos or not session.is_persistent:
        hub.deliver(message, (receiver,), {}, decisions)
        return
    target = Target(
        client_id=session.client_id, incarnation=session.incarnation, qos=qos, retain=True, identifiers=identifiers
    )

    def queued(result: Result) -> None:
        if isinstance(result, Accepted):
            hub.note_evicted(result.evicted)
            hub.deliver(message, (receiver,), {session.client_id: result.sequences[0]}, decisions)

    before = 0 if routed is None else routed.position
    hub.pump.submit(Accept(message=message, targets=(target,), retained_before=before), queued)
