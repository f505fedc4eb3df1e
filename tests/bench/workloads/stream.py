"""Streams: publishers that send as fast as the broker delivers, bounded by a window of messages in flight.

Knows flow control and the measured interval; does not know brokers.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.driver import frames
from bench.driver.crowd import Crowd, Member
from bench.driver.link import SEND_BUFFER_BYTES_HIGH, BrokenError, Link
from bench.figures import Result
from bench.workloads.base import DRAIN_QUIET_S, Broker, Budget, Stopwatch, TopicsOf, client_id, crowd_for
from bench.workloads.churn import Churn

STALLED_S_MAX = 3.0  # no delivery for so long while the window is full: what is missing will not come
ALIAS = 1
TWO_PROPERTIES = frames.user_property("site", "plant-7") + frames.user_property("unit", "celsius")


class Publisher:
    """One publishing client and how far it is. `streams` are the ledgers of everyone who receives it."""

    def __init__(self, number: int, link: Link, receivers: Sequence[Link], stream: "Stream", version: int) -> None:
        topics = stream.topics_of.names(number)
        self.number = number
        self.link = link
        self.sent = 0
        self.ledgers = [receiver.scanner.ledger for receiver in receivers]
        self._qos = stream.qos
        self._window = min(max(1, stream.window // stream.publishers), link.receive_maximum if stream.qos else 1 << 30)
        self._is_saturating = stream.saturating
        if stream.aliased:
            self._introduce_alias(topics[0], version)
            alias = frames.topic_alias(ALIAS) + TWO_PROPERTIES
            self._block = frames.Block(number, topics, stream.qos, version, alias, aliased=True)
        else:
            self._block = frames.Block(number, topics, stream.qos, version)

    def _introduce_alias(self, topic: str, version: int) -> None:
        """Message 0 carries the topic and its alias; all others the alias only."""
        properties = frames.topic_alias(ALIAS) + TWO_PROPERTIES
        data = frames.payload(self.number, 0)
        self.link.send(frames.publish(topic, self._qos, version, data, frames.packet_id_of(0), properties))
        self.sent = 1

    def in_flight(self) -> int:
        """Messages that some receiver does not have yet, or that are not acknowledged."""
        behind = self.sent - min(ledger.next[self.number] for ledger in self.ledgers)
        return max(behind, self.sent - self.link.scanner.acknowledged) if self._qos else behind

    def top_up(self) -> None:
        """Send what the window has room for, once a quarter of it is free."""
        if self._is_saturating:
            while len(self.link.unsent) < SEND_BUFFER_BYTES_HIGH:
                self._send(self._block.count)
            return
        room = self._window - self.in_flight()
        if room * 4 >= self._window:
            while room > 0:
                room -= self._send(room)

    def _send(self, count: int) -> int:
        data = self._block.frames(self.sent, count)
        sent = len(data) // self._block.frame_bytes
        self.link.send(data)
        self.sent += sent
        return sent


@dataclass(frozen=True, kw_only=True)
class Stream:
    """`subscribers` all receive what all `publishers` send. `window`: messages in flight, over all publishers.

    `saturating`: no window for QoS 0, only what the sockets take. `aliased`: MQTT 5, topic alias, two user properties.
    `persistent`: the subscribers' sessions outlive their connections. `churn`: subscriptions and policies change.
    """

    name: str
    title: str
    publishers: int = 1
    subscribers: int = 1
    qos: int = 0
    tls: bool = False
    window: int = 500
    topics: int = 1
    aliased: bool = False
    saturating: bool = False
    persistent: bool = False
    churn: bool = False
    fresh: bool = False

    @property
    def topics_of(self) -> TopicsOf:
        return TopicsOf(self.topics)

    def run(self, broker: Broker, budget: Budget) -> Result:
        version = frames.V5 if self.aliased else budget.version
        with crowd_for(broker, self.publishers, self.topics_of, tls=self.tls, version=version) as crowd:
            receivers = crowd.join(self._subscribers(broker))
            links = crowd.join([Member(client_id(number)) for number in range(self.publishers)])
            publishers = [Publisher(i, link, receivers, self, version) for i, link in enumerate(links)]
            churn = Churn(crowd, broker, version) if self.churn else None
            send_for(budget.warm_s, crowd, publishers, churn)
            watch = Stopwatch(broker, crowd)
            watch.start()
            send_for(budget.measure_s, crowd, publishers, churn)
            watch.stop()
            result = self._judge(crowd, watch, publishers, receivers, churn)
            if self.persistent:
                _end_sessions(crowd, receivers)
            return result

    def _subscribers(self, broker: Broker) -> list[Member]:
        # A number of its own per broker process and run: no session is met again.
        run = time.monotonic_ns() if self.persistent else 0
        names = [f"load-s{run}-{number}" for number in range(self.subscribers)]
        return [Member(name, ("bench/#",), self.qos, clean=not self.persistent) for name in names]

    def _judge(
        self,
        crowd: Crowd,
        watch: Stopwatch,
        publishers: Sequence[Publisher],
        receivers: Sequence[Link],
        churn: Churn | None,
    ) -> Result:
        sent = {publisher.number: publisher.sent for publisher in publishers}
        total = sum(sent.values()) * len(receivers)
        ledgers = [receiver.scanner.ledger for receiver in receivers]
        crowd.drain(lambda: crowd.delivered() >= total and not any(p.in_flight() for p in publishers), DRAIN_QUIET_S)
        unacknowledged = sum(p.sent - p.link.scanner.acknowledged for p in publishers) if self.qos else 0
        if unacknowledged:
            raise BrokenError(f"{unacknowledged} messages were never acknowledged")
        return Result(
            count=watch.count,
            seconds=watch.seconds,
            cpu_s=watch.cpu_s,
            store_cpu_s=watch.store_cpu_s,
            driver_share=watch.driver_share,
            sent=total,
            lost=sum(ledger.lost(sent) for ledger in ledgers),
            duplicated=sum(ledger.duplicated for ledger in ledgers),
            reordered=sum(ledger.reordered for ledger in ledgers),
            corrupt=sum(ledger.corrupt for ledger in ledgers),
            refused=sum(publisher.link.scanner.refused for publisher in publishers),
            note=None if churn is None else churn.note,
        )


def _end_sessions(crowd: Crowd, receivers: Sequence[Link]) -> None:
    """What this run left behind would receive the messages of the next one too."""
    for receiver in receivers:
        receiver.close()
    crowd.join([Member(receiver.name) for receiver in receivers])


def send_for(seconds: float, crowd: Crowd, publishers: Sequence[Publisher], churn: Churn | None = None) -> None:
    """Keep the windows full for so long; ends early when nothing is delivered any more."""
    end = time.monotonic() + seconds
    last, since = -1, time.monotonic()
    while (now := time.monotonic()) < end:
        for publisher in publishers:
            publisher.top_up()
        if churn is not None:
            churn.due(now)
        crowd.loop.turn()
        delivered = crowd.delivered()
        if delivered != last:
            last, since = delivered, now
        elif now - since > STALLED_S_MAX:
            return
