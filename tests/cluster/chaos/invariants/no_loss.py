"""I1: every acknowledged QoS 1 or 2 message reaches every lasting session that had its SUBACK before the PUBLISH.

A shared subscription is one such receiver: some member gets the message, as long as one with a lasting session stays.
"""

from collections import defaultdict
from collections.abc import Iterator
from math import inf

from cluster.chaos.history import History, Message, Subscription
from cluster.chaos.record import Acknowledged, Event, Sent, only
from cluster.chaos.verdict import Finding


def judge(history: History) -> Finding:
    finding = Finding("I1", "nothing acknowledged is lost")
    for message, receivers in debts(history):
        finding.looked_at += 1
        if not any(history.first_receipt(client, message.name) < inf for client in receivers):
            whom = " nor ".join(receivers)
            finding.accuse(f"{message.name} never reached {whom}", _evidence(history, message.name))
    return finding


def debts(history: History) -> Iterator[tuple[Message, list[str]]]:
    """Each acknowledged message with the clients of which one must get it, once per receiver."""
    by_topic: dict[str, list[Message]] = defaultdict(list)
    for message in history.promised:
        if not message.deletes:
            by_topic[message.topic].append(message)
    for receivers in _receivers(history):
        for topic, messages in by_topic.items():
            if not history.matches(receivers[0].topics, topic):
                continue
            for message in messages:
                if any(history.is_owed(message, one) and one.lasts for one in receivers):
                    yield message, [one.client for one in receivers]


def missing(history: History) -> int:
    """How many such debts are still open: what a drain waits for."""
    return sum(
        not any(history.first_receipt(client, message.name) < inf for client in receivers)
        for message, receivers in debts(history)
    )


def _receivers(history: History) -> Iterator[list[Subscription]]:
    for subscription in history.lasting:
        yield [subscription]
    for members in history.groups.values():
        yield [member for member in members if member.granted > 0]


def _evidence(history: History, name: str) -> list[Event]:
    sent: list[Event] = [event for event in only(history.record, Sent) if event.message == name]
    return sent + [event for event in only(history.record, Acknowledged) if event.message == name]
