"""What every workload shares: how long it lasts, what it measures, and the broker it is given.

Knows when figures are read; does not know what is sent, nor which broker it is.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from bench import accounting
from bench.driver.crowd import Crowd, Target
from bench.driver.ledger import Ledger
from bench.figures import Result, percentile

DRAIN_QUIET_S = 2.0  # nothing came for so long: what is missing now is lost


class Broker(Protocol):
    """A running broker under measurement. `others`: further nodes of it. `store_pid`: what they share, if measured."""

    pid: int

    @property
    def others(self) -> Sequence["Broker"]: ...

    @property
    def store_pid(self) -> int | None: ...

    def target(self, *, tls: bool, version: int) -> Target: ...

    def rewrite_policy(self) -> bool:
        """Change what others may do, and have the broker read it. False: this broker cannot."""
        ...


@dataclass(frozen=True)
class Budget:
    """How long one measurement may take, and with how many clients at most."""

    warm_s: float = 1.0
    measure_s: float = 4.0
    sparse_s: float = 6.0
    connections: int = 5_000
    version: int = 4


class Unsuitable(Exception):  # noqa: N818 - not an error: this broker has no such feature
    """The workload cannot be run against this broker; the text says why."""


class Workload(Protocol):
    """`fresh`: needs a broker that nothing was asked of before."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def fresh(self) -> bool: ...

    def run(self, broker: Broker, budget: Budget) -> Result:
        """Raises BrokenError when the broker breaks, Unsuitable when it has no such feature."""
        ...


class Stopwatch:
    """Deliveries, latencies and CPU between `start` and `stop`: of the nodes, of their store, of the driver."""

    def __init__(self, broker: Broker, crowd: Crowd) -> None:
        self._broker = broker
        self._crowd = crowd

    def start(self) -> None:
        self._latencies = [len(ledger.latencies_ns) for ledger in self._ledgers()]
        self._count = self._crowd.delivered()
        self._driver_s = time.process_time()
        self._at = time.monotonic()
        self._cpu_s = self._nodes_cpu_s()
        self._store_cpu_s = self._store_s()

    def stop(self) -> None:
        self.cpu_s = self._nodes_cpu_s() - self._cpu_s
        self.store_cpu_s = None if self._broker.store_pid is None else self._store_s() - self._store_cpu_s
        self.seconds = time.monotonic() - self._at
        self.driver_share = (time.process_time() - self._driver_s) / self.seconds
        self.count = self._crowd.delivered() - self._count
        starts = zip(self._ledgers(), self._latencies, strict=True)
        self.latencies_us = [ns / 1_000 for ledger, start in starts for ns in ledger.latencies_ns[start:]]

    def latency_us(self, share: float) -> float | None:
        return percentile(self.latencies_us, share) if self.latencies_us else None

    def _nodes_cpu_s(self) -> float:
        return sum(accounting.cpu_seconds(node.pid) for node in (self._broker, *self._broker.others))

    def _store_s(self) -> float:
        return 0.0 if self._broker.store_pid is None else accounting.cpu_seconds(self._broker.store_pid)

    def _ledgers(self) -> Iterator[Ledger]:
        return (link.scanner.ledger for link in self._crowd.links)


@contextmanager
def crowd_for(broker: Broker, streams: int, topics: "TopicsOf", *, tls: bool = False, version: int) -> Iterator[Crowd]:
    with Crowd(broker.target(tls=tls, version=version), streams, topics.of) as crowd:
        yield crowd


@dataclass(frozen=True)
class TopicsOf:
    """Topic names of the load: publisher `load-pNNNN` may write below `bench/load-pNNNN`, and nowhere else."""

    per_publisher: int = 1

    def names(self, publisher: int) -> list[str]:
        return [f"bench/{client_id(publisher)}/{i:05d}" for i in range(self.per_publisher)]

    def of(self, stream: int, sequence: int) -> bytes:
        """The topic that a message with these numbers must carry."""
        return b"bench/load-p%04d/%05d" % (stream, sequence % self.per_publisher)


def client_id(publisher: int) -> str:
    return f"load-p{publisher:04d}"
