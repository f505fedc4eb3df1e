"""I3: per publisher, topic and QoS first deliveries come in order; a repetition only after a reconnect, and with DUP.

Where order is not promised it is not asked for: shared subscriptions spread messages over members, and what a publisher
sent again may reach a session that only began in between, or whose first copy expired before the store had it. QoS 0
is in nobody's store: what a publisher sends through another node may overtake what the one before still has of it.
"""

from collections import Counter

from cluster.chaos.history import History, Subscription
from cluster.chaos.record import Received
from cluster.chaos.verdict import Finding


def judge(history: History) -> Finding:
    finding = Finding("I3", "order is kept, repetitions say so")
    for subscription in history.subscriptions:
        if subscription.share is None:
            receipts = [e for e in history.of(subscription.client).every if _is_of(history, e, subscription)]
            _judge_order(history, finding, subscription, receipts)
            _judge_repetitions(history, finding, receipts)
    return finding


def _is_of(history: History, event: Received, subscription: Subscription) -> bool:
    return (
        not event.retain
        and event.message in history.messages
        and subscription.since <= event.at
        and (event.at < subscription.until if subscription.lasts else event.link == subscription.link)
        and history.matches(subscription.topics, event.topic)
    )


def _judge_order(history: History, finding: Finding, subscription: Subscription, receipts: list[Received]) -> None:
    highest: dict[tuple[str, str, int, int], Received] = {}
    seen: set[str] = set()
    for event in receipts:
        message = history.messages[event.message]
        if event.message in seen or message.sent_at < subscription.since:
            continue
        seen.add(event.message)
        if len(message.sent) > 1 and (message.expiry_s is not None or not subscription.lasts):
            continue  # its first copy may have expired, or gone down with a node that this session does not survive
        finding.looked_at += 1
        before = highest.get(message.stream)
        if before and history.messages[before.message].number > message.number:
            finding.accuse(f"{subscription.client} got {event.message} after {before.message}", [before, event])
        else:
            highest[message.stream] = event


def _judge_repetitions(history: History, finding: Finding, receipts: list[Received]) -> None:
    """A publisher that sent again at QoS 1 may cause as many copies as it sent; no broker adds one without DUP."""
    plain: Counter[str] = Counter()
    on_link: Counter[tuple[int, str]] = Counter()
    for event in receipts:
        message = history.messages[event.message]
        copies = len(message.sent) if message.qos == 1 else 1
        on_link[event.link, event.message] += 1
        if on_link[event.link, event.message] > copies:
            finding.accuse(f"{event.client} got {event.message} again on one connection", [event])
        if event.dup:
            finding.looked_at += 1
            _judge_dup(history, finding, event)
            continue
        plain[event.message] += 1
        if plain[event.message] > copies:
            finding.accuse(f"{event.client} got {event.message} again without DUP", [event])


def _judge_dup(history: History, finding: Finding, event: Received) -> None:
    if not history.links[event.link].connected.session_present:
        finding.accuse(f"{event.client} got {event.message} with DUP in a new session", [event])
