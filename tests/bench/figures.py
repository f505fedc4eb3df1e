"""The arithmetic of results: percentiles, medians over rounds, ratios, ranks. Pure.

A run that lost, doubled or spoiled messages, or that broke, has figures but no rank: nobody wins by losing messages.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BUSY_SHARE_MIN = 0.9  # of one core: below it a broker was waiting, for load or for its turn on a shared machine


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all are not above (nearest rank). `values` is not empty."""
    ordered = sorted(values)
    rank = math.ceil(round(share * len(ordered), 6))  # 0.07 * 100 is a little more than 7
    return ordered[max(1, rank) - 1]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measurement. `count` messages delivered (or connections made) within `seconds` of measuring.

    `sent` counts the deliveries that were due, the faults those that went wrong: both with the warm-up.
    `store_cpu_s`: what the store that nodes share used, beside `cpu_s`; None = none, or not measured.
    `driver_share` is the driver's own use of its core, `stall_ms` the longest time a steady stream stood still.
    `problem` is set when the run broke: then figures mean nothing.
    """

    count: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    store_cpu_s: float | None = None
    driver_share: float = 0.0
    sent: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupt: int = 0
    refused: int = 0
    latency_p50_us: float | None = None
    latency_p99_us: float | None = None
    memory_kib: float | None = None
    stall_ms: float | None = None
    problem: str | None = None
    note: str | None = None

    @property
    def per_second(self) -> float:
        return self.count / self.seconds if self.seconds else 0.0

    @property
    def cpu_us(self) -> float | None:
        """Broker CPU per delivered message, microseconds; None where nothing was counted."""
        return self.cpu_s / self.count * 1e6 if self.count and self.seconds else None

    @property
    def store_us(self) -> float | None:
        """The same of the store that nodes share."""
        return self.store_cpu_s / self.count * 1e6 if self.store_cpu_s is not None and self.count else None

    @property
    def busy(self) -> float | None:
        """Cores the broker used: far below 1 means that `per_second` is not its limit, whoever's it is."""
        return self.cpu_s / self.seconds if self.seconds else None

    @property
    def faults(self) -> dict[str, int]:
        """What went wrong with messages, by name; empty when all came once, whole and in order."""
        names = ("lost", "duplicated", "reordered", "corrupt", "refused")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float | None]) -> Spread | None:
    """None if any round has no such figure: a median over the lucky rounds would flatter."""
    known = [value for value in values if value is not None]
    if not known or len(known) != len(values):
        return None
    return Spread(statistics.median(known), min(known), max(known))


@dataclass(frozen=True)
class Summary:
    """All rounds of one peer in one workload."""

    results: Sequence[Result] = field(default_factory=tuple)

    @property
    def per_second(self) -> Spread | None:
        return spread([result.per_second or None for result in self.results])

    @property
    def cpu_us(self) -> Spread | None:
        return spread([result.cpu_us for result in self.results])

    @property
    def store_us(self) -> Spread | None:
        return spread([result.store_us for result in self.results])

    @property
    def busy(self) -> Spread | None:
        return spread([result.busy for result in self.results])

    @property
    def p50_us(self) -> Spread | None:
        return spread([result.latency_p50_us for result in self.results])

    @property
    def p99_us(self) -> Spread | None:
        return spread([result.latency_p99_us for result in self.results])

    @property
    def memory_kib(self) -> Spread | None:
        return spread([result.memory_kib for result in self.results])

    @property
    def stall_ms(self) -> Spread | None:
        return spread([result.stall_ms for result in self.results])

    @property
    def faults(self) -> dict[str, int]:
        """Summed over the rounds."""
        total: dict[str, int] = {}
        for result in self.results:
            for name, count in result.faults.items():
                total[name] = total.get(name, 0) + count
        return total

    @property
    def problem(self) -> str | None:
        return next((result.problem for result in self.results if result.problem), None)

    @property
    def is_ranked(self) -> bool:
        return bool(self.results) and not self.faults and self.problem is None

    @property
    def is_below_limit(self) -> bool:
        """The broker's core was not full: its rate is a lower bound, whatever else set it. CPU per message holds."""
        return any(result.busy is not None and result.busy < BUSY_SHARE_MIN for result in self.results)

    @property
    def figure(self) -> Spread | None:
        """What this workload is ranked by, the smaller the better: memory or stall where measured, else CPU."""
        return self.memory_kib or self.stall_ms or self.cpu_us


def ranking(summaries: Mapping[str, Summary]) -> list[str]:
    """Peers that may be ranked, the leanest first."""
    ranked = [(s.figure.median, name) for name, s in summaries.items() if s.is_ranked and s.figure is not None]
    return [name for _, name in sorted(ranked)]


def ratio(figure: Spread | None, reference: Spread | None) -> float | None:
    """How many times the reference's; None where one is missing."""
    if figure is None or reference is None or not reference.median:
        return None
    return figure.median / reference.median
