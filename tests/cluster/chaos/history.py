"""A record, put in order once for all judges: messages, sessions, subscriptions, receipts.

Pure. Knows what the standard means by session and subscription; does not know what is right, and imports no broker.
"""

from collections import defaultdict
from functools import cached_property
from math import inf

from msgspec import Struct, field

from cluster.chaos.record import (
    Acknowledged,
    Connected,
    Ended,
    FaultBegan,
    FaultEnded,
    How,
    Received,
    Record,
    Sent,
    Stray,
    Subscribed,
    Unsubscribed,
    WillOffered,
    only,
    publisher_of,
)
from cluster.chaos.terms import Terms, has_level
from support.topic_oracle import is_matched

REFUSAL = 0x80  # reasons from here on say no


class Message(Struct):
    """One message of one publisher, first sent on `link`. `acked_at` is inf while nobody said yes to it."""

    name: str
    publisher: str
    number: int
    topic: str
    qos: int
    retain: bool
    expiry_s: int | None
    deletes: bool
    link: int
    sent: list[float]
    acked_at: float = inf
    reason: int | None = None

    @property
    def sent_at(self) -> float:
        """When it was sent first."""
        return self.sent[0]

    @property
    def stream(self) -> tuple[str, str, int, int]:
        """What order is promised within: QoS 0 is in nobody's store, and goes by connections."""
        return self.publisher, self.topic, self.qos, 0 if self.qos else self.link


class Life(Struct):
    """One connection that got its CONNACK."""

    connected: Connected
    ended_at: float = inf
    how: How | None = None
    reason: int | None = None


class Subscription(Struct):
    """In force from SUBACK to UNSUBSCRIBE, or to the end of its connection if the session ends with that."""

    client: str
    link: int
    filter: str
    granted: int
    since: float
    lasts: bool
    until: float = inf

    @property
    def share(self) -> str | None:
        """The name of the group; None for an ordinary subscription."""
        return self.filter.split("/", 2)[1] if self.filter.startswith("$share/") else None

    @property
    def topics(self) -> str:
        """The filter without the group."""
        return self.filter.split("/", 2)[2] if self.share else self.filter


class Fault(Struct):
    """`target` is a node, or the store."""

    number: int
    kind: str
    target: str
    began_at: float
    ended_at: float = inf

    @property
    def strikes_store(self) -> bool:
        """Whether nodes could not write, or not in time, while it went on."""
        return self.kind.startswith(("store-", "primary-"))


class Receipts(Struct):
    """What one client received, in order, and by message."""

    every: list[Received] = field(default_factory=list)
    by_message: dict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))


class History:
    """The record, and what follows from it. Made once, read by all judges."""

    def __init__(self, record: Record, terms: Terms) -> None:
        self.record = record
        self.terms = terms
        self.links: dict[int, Life] = {event.link: Life(event) for event in only(record, Connected)}
        for ended in only(record, Ended):
            if life := self.links.get(ended.link):
                life.ended_at, life.how, life.reason = ended.at, ended.how, ended.reason
        self.messages = _messages(record)
        self.receipts = _receipts(record)
        self.subscriptions = self._subscriptions()
        self._matches: dict[tuple[str, str], bool] = {}

    def _subscriptions(self) -> list[Subscription]:
        found: list[Subscription] = []
        living: dict[tuple[str, str], Subscription] = {}
        for event in self.record:
            if isinstance(event, Subscribed) and event.granted < REFUSAL:
                life = self.links[event.link]
                lasts = life.connected.lasts
                known = living.get((event.client, event.filter))
                if known and known.lasts and lasts:
                    continue  # written again for a session that has it: the older promise stands
                until = inf if lasts else life.ended_at
                made = Subscription(event.client, event.link, event.filter, event.granted, event.at, lasts, until)
                found.append(made)
                living[event.client, event.filter] = made
            elif isinstance(event, Unsubscribed) and (gone := living.pop((event.client, event.filter), None)):
                gone.until = min(gone.until, event.at)
        return found

    def matches(self, topic_filter: str, topic: str) -> bool:
        """By the definition of the standard; remembered, for there are few of both."""
        key = (topic_filter, topic)
        if key not in self._matches:
            self._matches[key] = is_matched(*key)
        return self._matches[key]

    def is_owed(self, message: Message, subscription: Subscription) -> bool:
        """Every copy of it was accepted while the subscription was in force, and matches."""
        return (
            subscription.since <= message.sent_at < subscription.until
            and message.acked_at < subscription.until
            and self.matches(subscription.topics, message.topic)
        )

    @cached_property
    def promised(self) -> list[Message]:
        """QoS 1 and 2 that somebody said yes to, without those that may expire or that nobody may hear."""
        return [m for m in self.messages.values() if m.qos and m.acked_at < inf and self._may_be_due(m)]

    def _may_be_due(self, message: Message) -> bool:
        return message.expiry_s is None and not has_level(message.topic, self.terms.unheard)

    @cached_property
    def lasting(self) -> list[Subscription]:
        """Subscriptions of sessions that outlive connections, outside groups, at QoS 1 or 2."""
        return [s for s in self.subscriptions if s.lasts and s.share is None and s.granted > 0]

    @cached_property
    def groups(self) -> dict[str, list[Subscription]]:
        """Shared subscriptions, by the whole filter."""
        found: dict[str, list[Subscription]] = defaultdict(list)
        for subscription in self.subscriptions:
            if subscription.share is not None:
                found[subscription.filter].append(subscription)
        return dict(found)

    def of(self, client: str) -> Receipts:
        """What a client received; empty for one that received nothing."""
        return self.receipts.get(client) or Receipts()

    def first_receipt(self, client: str, message: str) -> float:
        """When it arrived there first; inf = never."""
        got = self.of(client).by_message.get(message)
        return got[0].at if got else inf

    @cached_property
    def traffic(self) -> dict[str, list[Received | Stray]]:
        """What arrived on any connection of a client, in order, also when the client had done with it."""
        found: dict[str, list[Received | Stray]] = defaultdict(list)
        for event in self.record:
            if isinstance(event, Received | Stray):
                found[event.client].append(event)
        return found

    @cached_property
    def faults(self) -> list[Fault]:
        """In the order in which they began."""
        found = {
            event.number: Fault(event.number, event.kind, event.target, event.at)
            for event in only(self.record, FaultBegan)
        }
        for ended in only(self.record, FaultEnded):
            found[ended.number].ended_at = ended.at
        return list(found.values())

    @cached_property
    def connected(self) -> dict[str, list[float]]:
        """When each client got a CONNACK."""
        found: dict[str, list[float]] = defaultdict(list)
        for life in self.links.values():
            found[life.connected.client].append(life.connected.at)
        return found

    @cached_property
    def disturbances(self) -> list[float]:
        """When a fault began or ended."""
        return [event.at for event in self.record if isinstance(event, FaultBegan | FaultEnded)]

    @cached_property
    def wills(self) -> dict[str, WillOffered]:
        """By message."""
        return {event.message: event for event in only(self.record, WillOffered)}


def _messages(record: Record) -> dict[str, Message]:
    found: dict[str, Message] = {}
    for event in record:
        if isinstance(event, Sent):
            if known := found.get(event.message):
                known.sent.append(event.at)
                continue
            publisher, number = publisher_of(event.message)
            found[event.message] = Message(
                event.message,
                publisher,
                number,
                event.topic,
                event.qos,
                event.retain,
                event.expiry_s,
                event.deletes,
                event.link,
                [event.at],
            )
        elif isinstance(event, Acknowledged):
            message = found[event.message]
            message.reason = event.reason
            if event.reason < REFUSAL and message.acked_at == inf:
                message.acked_at = event.at
    return found


def _receipts(record: Record) -> dict[str, Receipts]:
    found: dict[str, Receipts] = defaultdict(Receipts)
    for event in only(record, Received):
        receipts = found[event.client]
        receipts.every.append(event)
        receipts.by_message[event.message].append(event)
    return dict(found)
