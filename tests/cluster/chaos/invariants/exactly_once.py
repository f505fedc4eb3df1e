"""I2: a QoS 2 message is handed over once per session, whatever broke, and once per shared subscription."""

from collections import Counter

from cluster.chaos.history import History, Subscription
from cluster.chaos.record import Received
from cluster.chaos.verdict import Finding


def judge(history: History) -> Finding:
    finding = Finding("I2", "QoS 2 arrives exactly once")
    for subscription in history.subscriptions:
        if subscription.granted == 2 and subscription.share is None and subscription.lasts:
            _judge_receiver(history, finding, [subscription])
    for members in history.groups.values():
        _judge_receiver(history, finding, [member for member in members if member.granted == 2])
    return finding


def _judge_receiver(history: History, finding: Finding, members: list[Subscription]) -> None:
    """All members together are one receiver; a client that subscribed several times counts once."""
    handed: Counter[str] = Counter()
    for client in {member.client for member in members}:
        handed.update(event.message for event in history.of(client).every if _counts(history, event, members))
    finding.looked_at += len(handed)
    for name, count in handed.items():
        if count > 1:
            receipts = [e for m in members for e in history.of(m.client).by_message.get(name, ()) if e.is_new]
            finding.accuse(f"{name} was handed over {count} times for {members[0].filter}", receipts)


def _counts(history: History, event: Received, members: list[Subscription]) -> bool:
    return event.is_new and event.qos == 2 and history.matches(members[0].topics, event.topic)
