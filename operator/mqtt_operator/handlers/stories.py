"""The stories of brokers, and the loops that run them: who has one, who is woken by what, none twice at a time.

Knows which concerns wake which story; does not know what a story does, or where news come from.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

from mqtt_operator.handlers.propagation import Propagation
from mqtt_operator.reconcile.deletion import needs_end
from mqtt_operator.reconcile.exchange import Exchange
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.loop import Loop, Meter, Reconciler
from mqtt_operator.reconcile.registry import Concern, Registry, UnseenError

BROKER_CONCERNS = Concern.BROKER | Concern.DATA | Concern.CHILDREN
POLICY_CONCERNS = Concern.BROKER | Concern.MEMBERS | Concern.DATA | Concern.NAMESPACES | Concern.CHILDREN
SETTLE_S = 0.1  # what we apply comes back as several changes; the policy does not wait: a right is to be gone at once


Deafen = Callable[[], None]


class BrokerStory(Reconciler, Protocol):
    """The one that remembers."""

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone, or another one of its name has come: nothing is remembered of it. Idempotent."""
        ...


class Stories(NamedTuple):
    """`broker`: everything but rights. `policy`: who may what. `exchange`: what the two tell each other.

    `beside`: what else has to run as long as stories are told.
    """

    broker: BrokerStory
    policy: Reconciler
    exchange: Exchange
    beside: Sequence[Callable[[], Coroutine[object, object, None]]] = ()


class StoryMeter(Meter, Protocol):
    """Who counts passes, and measures policies on their way."""

    def policy_propagated(self, seconds: float) -> None: ...


class Runner:
    """Runs stories for one broker after the other, or for many at a time."""

    def __init__(self, stories: Stories, registry: Registry, meter: StoryMeter) -> None:
        self._stories = stories
        self._registry = registry
        self._meter = meter
        self._turns: WeakValueDictionary[tuple[str, BrokerKey], asyncio.Lock] = WeakValueDictionary()

    async def serve(self, key: BrokerKey) -> None:
        """Both stories of a broker that is there, until cancelled."""
        await self._together(self._broker_loop(key), self._policy_loop(key))

    def holds(self, namespace: str, spec: Mapping[str, Any]) -> bool:
        """Whether a finalizer is to keep a broker of this spec in this namespace until its end was told."""
        return needs_end(spec) and self._registry.ending_since(namespace) is None

    async def end(self, key: BrokerKey) -> None:
        """The story of a broker that is being deleted: returns when its finalizer may go."""
        await self._together(self._broker_loop(key))

    def leave(self, key: BrokerKey) -> None:
        """The broker is about to go: nothing goes on beside its story any more."""
        self._stories.exchange.forget(key)

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone."""
        self._stories.broker.forget(key)

    async def serve_stray(self, key: BrokerKey) -> None:
        """The policy story of a broker that is only named by others, until cancelled."""
        await self._together(self._policy_loop(key))

    def _broker_loop(self, key: BrokerKey) -> "_Woken":
        loop = self._loop("broker", self._stories.broker, key, SETTLE_S)
        return _Woken(
            loop, [self._listen(key, BROKER_CONCERNS, loop), self._stories.exchange.on_report(key, loop.wake)]
        )

    def _policy_loop(self, key: BrokerKey) -> "_Woken":
        loop = self._loop("policy", self._stories.policy, key, 0.0)
        exchange = self._stories.exchange
        propagation = Propagation(exchange, key, self._meter.policy_propagated)
        deafen = [self._listen(key, POLICY_CONCERNS, loop), exchange.on_place(key, loop.wake), propagation.start()]
        return _Woken(loop, deafen)

    def _listen(self, key: BrokerKey, concerns: Concern, loop: Loop) -> Deafen:
        return self._registry.listen(key, concerns, loop.wake)

    def _loop(self, story: str, reconciler: Reconciler, key: BrokerKey, settle_s: float) -> Loop:
        turn = self._turns.get((story, key))
        if turn is None:
            turn = self._turns[story, key] = asyncio.Lock()
        return Loop(story, reconciler, key, turn=turn, meter=self._meter, settle_s=settle_s)

    async def _together(self, *woken: "_Woken") -> None:
        with ExitStack() as stack:
            for deafen in (deafen for each in woken for deafen in each.deafen):
                stack.callback(deafen)
            async with asyncio.TaskGroup() as group:
                for each in woken:
                    group.create_task(each.loop.run())


class _Woken(NamedTuple):
    """A loop, and what makes it deaf again."""

    loop: Loop
    deafen: Sequence[Deafen]


class Served:
    """Keeps the stories of each broker going: from the moment that it is seen until it is gone, or about to go.

    Follows the memory of the cluster, which overlooks no deletion. `run` it until it is cancelled.
    """

    def __init__(self, registry: Registry, runner: Runner) -> None:
        self._registry = registry
        self._runner = runner
        self._known: dict[BrokerKey, str] = {}  # the uid of each that there is something to forget of
        self._running: dict[BrokerKey, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        registry.observe(self._changed.set)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                there = dict(self._registry.brokers)
                for key in [key for key, uid in self._known.items() if key not in there or there[key].uid != uid]:
                    await self._stop(key)
                    del self._known[key]
                    self._runner.forget(key)
                for key in [key for key in self._running if there[key].deleting]:
                    await self._stop(key)
                    self._runner.leave(key)
                for key, seen in there.items():
                    self._known[key] = seen.uid
                    if not seen.deleting and key not in self._running:
                        self._running[key] = group.create_task(self._runner.serve(key))
                await self._changed.wait()

    async def _stop(self, key: BrokerKey) -> None:
        task = self._running.pop(key, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Strays:
    """Keeps a policy story going for each broker that is named, but not there: somebody has to tell those who wait.

    `run` it until it is cancelled. `serve` runs the story of one.
    """

    def __init__(self, registry: Registry, serve: Callable[[BrokerKey], Coroutine[object, object, None]]) -> None:
        self._registry = registry
        self._serve = serve
        self._changed = asyncio.Event()
        registry.observe(self._changed.set)

    async def run(self) -> None:
        running: dict[BrokerKey, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                strays = self._strays()
                for key in strays - running.keys():
                    running[key] = group.create_task(self._serve(key))
                for key in running.keys() - strays:
                    running.pop(key).cancel()
                await self._changed.wait()

    def _strays(self) -> set[BrokerKey]:
        try:
            return self._registry.strays()
        except UnseenError:  # until all is known, nobody is a stray
            return set()
