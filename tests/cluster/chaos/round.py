"""One round: load on a cluster, faults by schedule, healing, a drain, and a record of all of it.

Knows the order of these steps; does not judge. Everything it decides by chance comes from the seed.
"""

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from cluster.chaos import checker
from cluster.chaos.device import Scene
from cluster.chaos.faults.catalogue import KINDS
from cluster.chaos.faults.kind import NODES, Stage
from cluster.chaos.invariants.bounds import STORE
from cluster.chaos.population import Population, Size
from cluster.chaos.record import FaultBegan, FaultEnded, Misbehaved, Record, Recorder, Sampled
from cluster.chaos.schedule import Planned, draw
from cluster.chaos.terms import Terms
from cluster.chaos.world import World
from support.waiting import NotInTimeError, eventually

WARM_UP_S = 1.0
HEAL_S_MAX = 90.0
DRAIN_S_MAX = 90.0
DRAIN_POLL_S = 0.5
SAMPLE_INTERVAL_S = 1.0
LAST_DUPLICATE_S = 1.0  # what would come twice has come by then
FAULT_S_MAX = 120.0


class Plan(Struct, frozen=True, kw_only=True):
    """`seconds` of faults; `kinds` by name, none = load only. `prefix` begins every name of the round."""

    seed: str
    prefix: str
    seconds: float
    kinds: tuple[str, ...] = ()
    size: Size = Size()
    terms: Terms = Terms()


Say = Callable[[str], None]


class Round:
    """For one plan on one world; `run` it once. A healthy world is the caller's duty, and what it gets back."""

    def __init__(self, world: World, plan: Plan, say: Say) -> None:
        self.world = world
        self.plan = plan
        self.recorder = Recorder()
        chance = random.Random(f"clients {plan.seed}")
        self.population = Population(Scene(world.doors, self.recorder, chance), plan.prefix, plan.size)
        self._say = say
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, schedule: Iterator[Planned] | None = None) -> Record:
        """The record of the whole round. `schedule`: instead of the one drawn from the seed."""
        if schedule is None and self.plan.kinds:
            kinds = tuple(KINDS[name] for name in self.plan.kinds)
            schedule = draw(self.plan.seed, kinds, self.world.names)
        sampler = asyncio.create_task(self._sample_now_and_then())
        try:
            await self.population.start()
            await asyncio.sleep(WARM_UP_S)
            if schedule is None:
                await asyncio.sleep(self.plan.seconds)
            else:
                await self._strike(schedule)
            await self._settle()
        finally:
            sampler.cancel()
            await self.population.close()
        return self.recorder.events

    # --- faults ------------------------------------------------------------------------------------------------------

    async def _strike(self, schedule: Iterator[Planned]) -> None:
        ends_at = time.monotonic() + self.plan.seconds
        running: set[asyncio.Task[None]] = set()
        try:
            for planned in schedule:
                if running and not planned.joins:
                    await asyncio.gather(*running)
                    running.clear()
                await asyncio.sleep(planned.gap_s)
                if time.monotonic() > ends_at:
                    break
                running.add(asyncio.create_task(self._one(planned)))
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()

    async def _one(self, planned: Planned) -> None:
        """A fault that does not go as it should is a finding, not the end of the round."""
        names = self._nodes_of(planned)
        async with self._alone(names or (planned.target,)):
            try:
                async with asyncio.timeout(FAULT_S_MAX):
                    await asyncio.to_thread(self.world.wait_until_ready, names)
                    await self._carry_out(planned)
            except (AssertionError, TimeoutError) as problem:
                self._accuse(planned.target, f"{planned.kind}: {problem!r}")

    async def _carry_out(self, planned: Planned) -> None:
        def begin() -> None:
            self._say(f"fault {planned.number}: {planned.kind} {planned.target} {planned.seconds:g} s")
            self.recorder.add(FaultBegan(self.recorder.now(), planned.number, planned.kind, planned.target))

        stage = Stage(self.world, self.population, planned.target, planned.seconds, begin)
        await KINDS[planned.kind].strike(stage)
        self.recorder.add(FaultEnded(self.recorder.now(), planned.number, planned.kind, planned.target))

    def _nodes_of(self, planned: Planned) -> tuple[str, ...]:
        if planned.target == NODES:
            return self.world.names
        return (planned.target,) if planned.target in self.world.names else ()

    @asynccontextmanager
    async def _alone(self, names: tuple[str, ...]) -> AsyncIterator[None]:
        """Two faults never have the same node, or the store, in hand at the same time."""
        async with AsyncExitStack() as locks:
            for name in names:
                await locks.enter_async_context(self._locks[name])
            yield

    # --- the end -----------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Healed, rested, drained: whatever is missing after that is lost."""
        self._complain()
        async with asyncio.timeout(HEAL_S_MAX):
            await asyncio.to_thread(self.world.heal)
        healed_at = time.monotonic()
        await self.population.rest()
        await self._drain()
        self._say(f"drained {time.monotonic() - healed_at:.1f} s after healing")
        for name in await self.population.look_at_retained():
            self._accuse(name, "lets no reader in")
        await self._sample(is_final=True)
        self._complain()

    async def _drain(self) -> None:
        """Until nothing is owed any more, or for long enough: a debt that stays is for the judges."""
        try:
            await eventually(lambda: self.population.under_way() == 0, DRAIN_S_MAX, "publishers are done")
        except NotInTimeError:
            self._say(f"publishers are not done: {self.population.under_way()} left, {self.population.waiting()}")
        with contextlib.suppress(NotInTimeError):
            await eventually(self._owes_nothing, DRAIN_S_MAX, "nothing is owed")
        await asyncio.sleep(LAST_DUPLICATE_S)

    async def _owes_nothing(self) -> bool:
        await asyncio.sleep(DRAIN_POLL_S)  # looking through the whole record takes a while
        return checker.owed(self.recorder.events, self.plan.terms) == 0

    # --- looking -----------------------------------------------------------------------------------------------------

    def _complain(self) -> None:
        for name, what in self.world.complaints():
            self._accuse(name, what)

    def _accuse(self, name: str, what: str) -> None:
        self._say(f"{name} {what}")
        self.recorder.add(Misbehaved(self.recorder.now(), name, what))

    async def _sample_now_and_then(self) -> None:
        while True:
            for name in self.world.supervise():
                self._say(f"{name} has given up, and is started again")
            await self._sample(is_final=False)
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    async def _sample(self, *, is_final: bool) -> None:
        for name, rss_bytes, fds in self.world.samples():
            self.recorder.add(Sampled(self.recorder.now(), name, rss_bytes, fds, is_final))
        if is_final:
            used = await asyncio.to_thread(self.world.place.used_bytes)
            self.recorder.add(Sampled(self.recorder.now(), STORE, used, 0, is_final))
