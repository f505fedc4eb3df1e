"""Connections themselves: what an idle one weighs, and how many a second a broker accepts.

Knows connecting and leaving; nothing is published here.
"""

import time
from dataclasses import dataclass

from bench import accounting
from bench.driver import frames
from bench.driver.crowd import CONNECTING_MAX, Member, accepted
from bench.driver.ledger import Ledger
from bench.driver.link import Link
from bench.driver.scanner import Scanner
from bench.figures import Result
from bench.workloads.base import Broker, Budget, Stopwatch, TopicsOf, crowd_for

FIRST_CONNECTIONS = 100  # what the first ones cause, code and pools, is no connection's weight
SETTLE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Memory that each of many idle, authenticated connections takes."""

    name: str
    title: str
    tls: bool = False
    fresh: bool = True

    def run(self, broker: Broker, budget: Budget) -> Result:
        with crowd_for(broker, 0, TopicsOf(), tls=self.tls, version=budget.version) as crowd:
            crowd.join([Member(f"load-w{number}") for number in range(FIRST_CONNECTIONS)])
            time.sleep(SETTLE_S)
            before = accounting.memory_kib(broker.pid)
            crowd.join([Member(f"load-i{number}") for number in range(budget.connections)])
            time.sleep(SETTLE_S)
            crowd.loop.turn(0)  # raises if the broker closed one meanwhile
            after = accounting.memory_kib(broker.pid)
        return Result(memory_kib=(after - before) / budget.connections, note=f"{budget.connections:,} connections")


@dataclass(frozen=True, kw_only=True)
class Connects:
    """Connect with a password, leave at once, again; a few at a time."""

    name: str
    title: str
    tls: bool = False
    fresh: bool = False

    def run(self, broker: Broker, budget: Budget) -> Result:
        with crowd_for(broker, 0, TopicsOf(), tls=self.tls, version=budget.version) as crowd:
            target = broker.target(tls=self.tls, version=budget.version)
            watch = Stopwatch(broker, crowd)
            watch.start()
            end = time.monotonic() + budget.measure_s
            open_links: list[Link] = []
            made = number = 0
            while time.monotonic() < end:
                while len(open_links) < CONNECTING_MAX:
                    number += 1
                    name = f"load-n{number}"
                    scanner = Scanner(target.version, Ledger(0), TopicsOf().of)
                    link = Link(crowd.loop, (target.host, target.port), name, scanner, target.tls)
                    link.send(frames.connect(name, target.username, target.password, target.version))
                    open_links.append(link)
                crowd.loop.turn()
                for link in [link for link in open_links if accepted(link)]:
                    made += 1
                    open_links.remove(link)
                    link.send(frames.disconnect())
                    link.close()
            watch.stop()
        return Result(
            count=made,
            seconds=watch.seconds,
            cpu_s=watch.cpu_s,
            store_cpu_s=watch.store_cpu_s,
            driver_share=watch.driver_share,
        )
