"""Sparse traffic: many publishers, each a few messages a second, none of them together. Latency is measured here.

Knows the fixed rate; does not know brokers. Every message carries the moment it was handed to the socket.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.driver import frames
from bench.driver.crowd import Crowd, Member
from bench.driver.link import Link
from bench.figures import Result, percentile
from bench.workloads.base import DRAIN_QUIET_S, Broker, Budget, Stopwatch, TopicsOf, client_id, crowd_for

SELECT_STEP_S = 0.001  # a selector waits in whole milliseconds; a shorter wait is spent asking, to be in time
_LATE_MS_MAX = 0.5  # p99; a driver that gets its core later than that measures itself


class Sender:
    """One publisher with one frame, patched for each message."""

    def __init__(self, stream: int, link: Link, version: int) -> None:
        self.link = link
        self.sent = 0
        topic = TopicsOf().names(stream)[0]
        self._stream = stream
        self._frame = bytearray(frames.publish(topic, 0, version, frames.payload(stream, 0)))
        self._marks_at = len(self._frame) - frames.PAYLOAD_BYTES

    def send(self) -> None:
        frames.MARKS.pack_into(self._frame, self._marks_at, self._stream, self.sent, time.monotonic_ns())
        self.link.send(self._frame)
        self.sent += 1


@dataclass(frozen=True, kw_only=True)
class Sparse:
    """`pairs`: each publisher has a subscriber of its own; else one subscriber has them all. QoS 0."""

    name: str
    title: str
    publishers: int
    rate_per_s: int
    pairs: bool = False
    tls: bool = False
    fresh: bool = False

    def run(self, broker: Broker, budget: Budget) -> Result:
        topics = TopicsOf()
        with crowd_for(broker, self.publishers, topics, tls=self.tls, version=budget.version) as crowd:
            receivers = crowd.join(self._subscribers())
            links = crowd.join([Member(client_id(number)) for number in range(self.publishers)])
            senders = [Sender(number, link, budget.version) for number, link in enumerate(links)]
            self._send_for(budget.warm_s, crowd, senders)
            watch = Stopwatch(broker, crowd)
            watch.start()
            late_ms = self._send_for(budget.sparse_s, crowd, senders)
            watch.stop()
            return self._judge(crowd, watch, senders, receivers, late_ms)

    def _subscribers(self) -> list[Member]:
        if not self.pairs:
            return [Member("load-s0", ("bench/#",))]
        names = TopicsOf()
        return [Member(f"load-s{number}", names.names(number)) for number in range(self.publishers)]

    def _send_for(self, seconds: float, crowd: Crowd, senders: Sequence[Sender]) -> float:
        """Message after message at the common rate, from one publisher after the other; how late, ms at p99."""
        rate = self.publishers * self.rate_per_s
        late_ms: list[float] = []
        start = time.monotonic()
        for number in range(int(seconds * rate)):
            due = start + number / rate
            while (early := due - time.monotonic()) > 0:
                crowd.loop.turn(early - SELECT_STEP_S if early > 2 * SELECT_STEP_S else 0)
            late_ms.append((time.monotonic() - due) * 1_000)
            senders[number % self.publishers].send()
            if not number % 16:  # also when late, what arrived is read: its latency is the broker's, not ours
                crowd.loop.turn(0)
        return percentile(late_ms, 0.99)

    def _judge(
        self, crowd: Crowd, watch: Stopwatch, senders: Sequence[Sender], receivers: Sequence[Link], late_ms: float
    ) -> Result:
        sent = {number: sender.sent for number, sender in enumerate(senders)}
        crowd.drain(lambda: crowd.delivered() >= sum(sent.values()), DRAIN_QUIET_S)
        ledgers = [receiver.scanner.ledger for receiver in receivers]
        expected = [{i: sent[i]} for i in sent] if self.pairs else [sent]
        return Result(
            count=watch.count,
            seconds=watch.seconds,
            cpu_s=watch.cpu_s,
            driver_share=0.0,  # it asks the clock all the time, on purpose
            sent=sum(sent.values()),
            lost=sum(ledger.lost(due) for ledger, due in zip(ledgers, expected, strict=True)),
            duplicated=sum(ledger.duplicated for ledger in ledgers),
            reordered=sum(ledger.reordered for ledger in ledgers),
            corrupt=sum(ledger.corrupt for ledger in ledgers),
            latency_p50_us=watch.latency_us(0.5),
            latency_p99_us=watch.latency_us(0.99),
            note=f"driver itself late, p99 {late_ms:.1f} ms: no latencies" if late_ms > _LATE_MS_MAX else None,
        )
