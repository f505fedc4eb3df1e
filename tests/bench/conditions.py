"""Under what conditions figures were taken: they mean nothing without."""

import datetime as dt
import os
import platform
import ssl
from collections.abc import Sequence
from pathlib import Path

from bench.peers.base import Peer
from bench.workloads.base import Budget

CPU_INFO = Path("/proc/cpuinfo")


def describe(peers: Sequence[Peer], budget: Budget, rounds: int, cores: tuple[int | None, int | None]) -> list[str]:
    """One sentence a line: machine, software, method, and how each peer is set up."""
    placed = (
        "on whatever cores the system chose" if cores[0] is None else f"on core {cores[0]}, driver on core {cores[1]}"
    )
    version = "5.0" if budget.version == 5 else "3.1.1"
    method = (
        f"{rounds} rounds, peers in turns, broker {placed}, loopback; measured {budget.measure_s:g} s "
        f"(sparse {budget.sparse_s:g} s) after {budget.warm_s:g} s; median (lowest-highest)"
    )
    checks = (
        "64-byte payload; user name and password; topics allowed by rule; each message checked: content, count, order; "
        "who loses, doubles or reorders has no rank"
    )
    rates = (
        "'> ': the broker's core was not full, so the rate is a lower bound; "
        "CPU: user and system time of the whole broker, counted in steps of 10 ms"
    )
    shape = (
        "streams: 500 messages in flight over all publishers, equal frames in large writes, which favours brokers that "
        "handle runs; the rows with 10 topics in turn have no two alike in a row"
    )
    software = f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}; MQTT {version} unless a row says otherwise"
    setups = [f"{peer.title} {peer.version()}: {peer.conditions()}" for peer in peers]
    return [machine(), software, method, checks, rates, shape, *setups]


def machine() -> str:
    return (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores, {_memory_gib()}, "
        f"{platform.system()} {platform.release()}; load average now {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> str:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return f"{pages * size / 2**30:.0f} GiB"
