"""What crossing from one node to another costs: latency at a fixed low rate, and CPU of a stream.

Knows who is connected to which node; does not know how messages get across.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.driver.crowd import Crowd, Member, Target
from bench.driver.link import Link
from bench.figures import Result, percentile
from bench.report import number_text
from bench.workloads.base import DRAIN_QUIET_S, Broker, Budget, Stopwatch, TopicsOf, Unsuitable, client_id, crowd_for
from bench.workloads.sparse import SELECT_STEP_S, Sender
from bench.workloads.stream import Publisher, Stream, send_for

MESSAGES_MIN = 500


def other_node(broker: Broker, version: int) -> Target:
    """Raises Unsuitable if there is only one."""
    if not broker.others:
        raise Unsuitable("one node only")
    return broker.others[0].target(tls=False, version=version)


@dataclass(frozen=True, kw_only=True)
class AddedLatency:
    """Each message has two receivers, one on the publisher's node and one on the other; how much later is the latter?

    QoS 0, one publisher at a fixed rate: a low one finds every process asleep.
    """

    name: str
    title: str
    rate_per_s: int = 100
    fresh: bool = False

    def run(self, broker: Broker, budget: Budget) -> Result:
        far = other_node(broker, budget.version)
        with crowd_for(broker, 1, TopicsOf(), version=budget.version) as crowd:
            here = crowd.join([Member("load-s0", TopicsOf().names(0))])[0]
            there = crowd.join([Member("load-s1", TopicsOf().names(0))], far)[0]
            sender = Sender(0, crowd.join([Member(client_id(0))])[0], budget.version)
            self._send(crowd, sender, int(budget.warm_s * self.rate_per_s))
            first = sender.sent
            watch = Stopwatch(broker, crowd)
            watch.start()
            self._send(crowd, sender, max(MESSAGES_MIN, int(budget.sparse_s * self.rate_per_s)))
            watch.stop()
            crowd.drain(lambda: crowd.delivered() >= 2 * sender.sent, DRAIN_QUIET_S)
            return self._judge(watch, sender, first, here, there)

    def _send(self, crowd: Crowd, sender: Sender, count: int) -> None:
        start = time.monotonic()
        for number in range(count):
            due = start + number / self.rate_per_s
            while (early := due - time.monotonic()) > 0:
                crowd.loop.turn(early - SELECT_STEP_S if early > 2 * SELECT_STEP_S else 0)
            sender.send()
            crowd.loop.turn(0)  # also when late: what arrived is read

    def _judge(self, watch: Stopwatch, sender: Sender, first: int, here: Link, there: Link) -> Result:
        near, far = (link.scanner.ledger for link in (here, there))
        sent = {0: sender.sent}
        lost = near.lost(sent) + far.lost(sent)
        added = [(b - a) / 1_000 for a, b in zip(near.latencies_ns[first:], far.latencies_ns[first:], strict=not lost)]
        local_us = percentile([ns / 1_000 for ns in near.latencies_ns[first:]], 0.5)
        return Result(
            count=watch.count,
            seconds=watch.seconds,
            cpu_s=watch.cpu_s,
            store_cpu_s=watch.store_cpu_s,
            sent=2 * sender.sent,
            lost=lost,
            duplicated=near.duplicated + far.duplicated,
            reordered=near.reordered + far.reordered,
            corrupt=near.corrupt + far.corrupt,
            latency_p50_us=percentile(added, 0.5),
            latency_p99_us=percentile(added, 0.99),
            note=f"on one node p50 {number_text(local_us)} µs",
        )


@dataclass(frozen=True, kw_only=True)
class AcrossNodes:
    """A stream of QoS 1 by several publishers, each with receivers of its own, on one node or two.

    `nodes`: over how many the publishers are spread. `remote` of `receivers` (per publisher) are on the other node.
    """

    name: str
    title: str
    nodes: int = 2
    publishers: int = 8
    receivers: int = 2
    remote: int = 0
    topics: int = 1
    window: int = 500
    fresh: bool = False

    def run(self, broker: Broker, budget: Budget) -> Result:
        targets = [broker.target(tls=False, version=budget.version), other_node(broker, budget.version)]
        stream = Stream(name="", title="", publishers=self.publishers, qos=1, topics=self.topics, window=self.window)
        with crowd_for(broker, self.publishers, stream.topics_of, version=budget.version) as crowd:
            publishers = [
                self._pair(crowd, number, targets, stream, budget.version) for number in range(self.publishers)
            ]
            send_for(budget.warm_s, crowd, publishers)
            watch = Stopwatch(broker, crowd)
            watch.start()
            send_for(budget.measure_s, crowd, publishers)
            watch.stop()
            return self._judge(crowd, watch, publishers)

    def _pair(self, crowd: Crowd, number: int, targets: Sequence[Target], stream: Stream, version: int) -> Publisher:
        own = number % self.nodes
        wanted = [f"bench/{client_id(number)}/#"]
        receivers = []
        for place in range(self.receivers):
            node = 1 - own if place < self.remote else own
            receivers += crowd.join([Member(f"load-s{number}-{place}", wanted, 1)], targets[node])
        link = crowd.join([Member(client_id(number))], targets[own])[0]
        return Publisher(number, link, receivers, stream, version)

    def _judge(self, crowd: Crowd, watch: Stopwatch, publishers: Sequence[Publisher]) -> Result:
        total = sum(publisher.sent for publisher in publishers) * self.receivers
        crowd.drain(lambda: crowd.delivered() >= total and not any(p.in_flight() for p in publishers), DRAIN_QUIET_S)
        lost = sum(ledger.lost({p.number: p.sent}) for p in publishers for ledger in p.ledgers)
        ledgers = [ledger for p in publishers for ledger in p.ledgers]
        return Result(
            count=watch.count,
            seconds=watch.seconds,
            cpu_s=watch.cpu_s,
            store_cpu_s=watch.store_cpu_s,
            driver_share=watch.driver_share,
            sent=total,
            lost=lost,
            duplicated=sum(ledger.duplicated for ledger in ledgers),
            reordered=sum(ledger.reordered for ledger in ledgers),
            corrupt=sum(ledger.corrupt for ledger in ledgers),
            refused=sum(p.link.scanner.refused for p in publishers),
        )
