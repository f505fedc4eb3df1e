"""One run: every workload, every round, every peer in turn.

Knows the order and who is started when; does not know what is measured, nor how it is shown.
"""

import gc
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench import accounting
from bench.driver.link import BrokenError
from bench.driver.scanner import FrameError
from bench.figures import Result, Summary
from bench.peers.base import Peer, PeerError, Running
from bench.report import Section, number_text, remarks
from bench.workloads.base import Budget, Unsuitable, Workload
from bench.world import World

Say = Callable[[str], None]


def choose_cores() -> tuple[int | None, int | None]:
    """A core for the broker and one for the driver; None, None where there are not two or the system cannot bind."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (available[0], available[-1]) if len(available) > 1 else (None, None)


class Runner:
    """Starts brokers, measures, ends them. Everything it writes lies in one temporary folder."""

    def __init__(self, peers: Sequence[Peer], budget: Budget, rounds: int, say: Say) -> None:
        self.cores = choose_cores()
        self._peers = peers
        self._budget = budget
        self._rounds = rounds
        self._say = say
        self._starts = 0

    def run(self, workloads: Sequence[Workload]) -> list[Section]:
        """Raises nothing for a broker that breaks: its result says so."""
        accounting.pin(0, self.cores[1])
        gc.collect()
        gc.freeze()
        gc.disable()  # between runs only: a collection would be booked as the broker's latency
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            world = World(Path(folder))
            return [self._section(workload, world) for workload in workloads]

    def _section(self, workload: Workload, world: World) -> Section:
        results: dict[str, list[Result]] = {peer.title: [] for peer in self._peers}
        with ExitStack() as stack:
            turns = {peer.title: _Turn(peer, lambda peer=peer: self._start(peer, world)) for peer in self._peers}  # type: ignore[misc]
            for turn in turns.values():
                stack.callback(turn.end)
            for number in range(self._rounds):
                shift = number % len(self._peers)
                for peer in [*self._peers[shift:], *self._peers[:shift]]:
                    result = turns[peer.title].measure(workload, self._budget)
                    results[peer.title].append(result)
                    self._say(f"{workload.name} {number + 1}/{self._rounds} {peer.title}: {_brief(result)}")
                    gc.collect()
        return Section(workload.name, workload.title, {name: Summary(tuple(r)) for name, r in results.items()})

    def _start(self, peer: Peer, world: World) -> Running:
        self._starts += 1
        folder = world.folder / f"{peer.name}-{self._starts}"
        folder.mkdir()
        return peer.start(folder, world, self.cores[0])


class _Turn:
    """One peer's broker during one workload: started when it is first needed, and again after it broke."""

    def __init__(self, peer: Peer, start: Callable[[], Running]) -> None:
        self._peer = peer
        self._start = start
        self._running: Running | None = None

    def measure(self, workload: Workload, budget: Budget) -> Result:
        if workload.fresh:
            self.end()
        try:
            if self._running is None:
                self._running = self._start()
                budget = replace(budget, warm_s=max(budget.warm_s, self._peer.warm_s_min))
            return workload.run(self._running, budget)
        except Unsuitable as why:
            return Result(problem=f"not measured: {why}")
        except (BrokenError, FrameError, PeerError, OSError) as problem:
            self.end()
            return Result(problem=str(problem) or type(problem).__name__)

    def end(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None


def _brief(result: Result) -> str:
    figures = [
        f"{number_text(result.per_second)}/s" if result.seconds else "",
        f"{number_text(result.cpu_us)} µs" if result.cpu_us is not None else "",
        f"p99 {number_text(result.latency_p99_us)} µs" if result.latency_p99_us is not None else "",
        f"{number_text(result.memory_kib)} KiB" if result.memory_kib is not None else "",
        f"stall {number_text(result.stall_ms)} ms" if result.stall_ms is not None else "",
        f"driver {result.driver_share:.0%}" if result.driver_share else "",
        remarks(Summary((result,))),
    ]
    return ", ".join(figure for figure in figures if figure)
