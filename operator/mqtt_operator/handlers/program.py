"""The operator from start to end: definitions, leadership, memory, stories; and everything in order when it stops.

Knows the parts and the order in which they start and stop; does not know what any of them does.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

from prometheus_client import ProcessCollector

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.handlers.access import Accesses
from mqtt_operator.handlers.following import Watching
from mqtt_operator.handlers.framework import Framework
from mqtt_operator.handlers.health import HealthServer, Readiness
from mqtt_operator.handlers.stories import Runner, Served, Stories, Strays
from mqtt_operator.kube.api import ApiKube
from mqtt_operator.kube.definitions import check, schema_path
from mqtt_operator.kube.election import ATTEMPT_S_MAX, Election, LeaseLostError
from mqtt_operator.kube.events import EventSource
from mqtt_operator.kube.port import Kube
from mqtt_operator.kube.session import NoAnswerError, Session
from mqtt_operator.observability.conditions import BrokerConditions
from mqtt_operator.reconcile.metrics import OperatorMetrics
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.settings import LEASE_NAME, OperatorSettings

log = logging.getLogger(__name__)

CONTROLLER = "stoa-operator"
DEFINITIONS_AGAIN_S = 5.0
LOOK_AGAIN_S = 1.0
LEASE_CALLS_MAX = 1
DEFINITIONS, ACCESS, MEMORY = "definitions", "access", "memory"  # what readiness may wait for

MakeStories = Callable[[Kube, Registry, OperatorSettings, AsyncExitStack], Awaitable[Stories]]
"""Makes what is told about brokers. Whatever has to be ended goes on the stack."""


class Program:
    """`run` once. `stop` may be called at any time, from a signal as well.

    `leave_at_once` ends the process: others may lead by now. `definitions`: the CustomResourceDefinitions it needs.
    """

    def __init__(
        self,
        settings: OperatorSettings,
        make_stories: MakeStories,
        definitions: Sequence[Manifest],
        *,
        leave_at_once: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._make_stories = make_stories
        self._definitions = definitions
        self._leave_at_once = leave_at_once
        self._readiness = Readiness()
        self._metrics = OperatorMetrics()
        self._health = HealthServer(self._readiness, self._metrics.registry)
        self._source = EventSource(CONTROLLER, settings.identity)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return in order. Idempotent."""
        self._stop.set()

    async def run(self) -> None:
        """Until stopped. Raises ExpectedError for what a person has to mend before it can start."""
        self._take_signals()
        ProcessCollector(registry=self._metrics.registry)
        async with AsyncExitStack() as stack:
            await self._work(stack)
            log.info("The operator stops.", extra={"event": "operator.stopping"})

    async def _work(self, stack: AsyncExitStack) -> None:
        session = await self._session(stack)
        kube = ApiKube(session, self._source)
        self._metrics.count_calls(kube.call_counts)
        await self._serve_health(stack)
        if not await self._unless_stopped(self._definitions_are_served(kube)):
            return
        election = await self._election(stack) if self._settings.leader_election else None
        if election is not None and not await self._unless_stopped(election.acquire()):
            return
        self._metrics.leader.set(1)
        await self._reconcile(kube, session, election, stack)

    async def _session(self, stack: AsyncExitStack) -> Session:
        session = Session()
        stack.push_async_callback(session.close)
        await session.open()
        return session

    async def _serve_health(self, stack: AsyncExitStack) -> None:
        if not self._settings.metrics_port:
            return
        stack.push_async_callback(self._health.stop)
        try:
            await self._health.start(self._settings.metrics_host, self._settings.metrics_port)
        except OSError as error:
            raise ExpectedError(
                f"Port {self._settings.metrics_port} cannot be listened on: {error.strerror}.",
                to_do="Choose another with --metrics-port.",
            ) from error

    async def _definitions_are_served(self, kube: ApiKube) -> None:
        """Wait until the API server knows our kinds as we need them; meanwhile not ready, and it says why."""
        told = ""
        while True:
            try:
                check(await kube.published_schema(schema_path(self._definitions[0])), self._definitions)
            except (ExpectedError, NoAnswerError) as problem:
                sentence = str(problem)
                self._readiness.wait_for(DEFINITIONS, sentence)
                if sentence != told:
                    log.warning("%s", sentence, extra={"event": "operator.definitions"})
                    told = sentence
                await asyncio.sleep(DEFINITIONS_AGAIN_S)
            else:
                self._readiness.has(DEFINITIONS)
                return

    async def _election(self, stack: AsyncExitStack) -> Election:
        """With a connection of its own: a renewal must not wait behind anything."""
        kube = ApiKube(await self._session(stack), self._source, calls_max=LEASE_CALLS_MAX, call_s_max=ATTEMPT_S_MAX)
        self._metrics.count_calls(kube.call_counts)
        election = Election(kube, self._settings.namespace, LEASE_NAME, self._settings.identity)
        stack.push_async_callback(election.release)
        return election

    async def _reconcile(
        self, kube: ApiKube, session: Session, election: Election | None, stack: AsyncExitStack
    ) -> None:
        registry = Registry()
        accesses = Accesses(kube, self._settings.watched)
        accesses.observe(partial(self._note_access, accesses))
        self._metrics.count_resources(registry.counts)
        self._metrics.count_namespaces(accesses.counts)
        self._metrics.registry.register(BrokerConditions(lambda: [seen.status for seen in registry.brokers.values()]))
        stories = await self._make_stories(kube, registry, self._settings, stack)
        runner = Runner(stories, registry, self._metrics)
        framework = Framework(accesses, session.login, runner)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(work()) for work in stories.beside]
            if election is not None:
                beside.append(group.create_task(self._hold(election)))
            telling = [group.create_task(work()) for work in (accesses.run, Watching(kube, registry, accesses).run)]
            if await self._unless_stopped(self._all_is_known(registry)):
                tellers = (Served(registry, runner), Strays(registry, runner.serve_stray), framework)
                telling += [group.create_task(each.run()) for each in tellers]
                await self._stop.wait()
            await self._end(telling)
            await self._end(beside)

    def _note_access(self, accesses: Accesses) -> None:
        """It serves what it can: no answer in one namespace is no answer about another."""
        sentences = accesses.sentences
        self._readiness.remarks = sentences
        if accesses.served:
            self._readiness.has(ACCESS)
        else:
            self._readiness.wait_for(ACCESS, "\n".join(sentences))

    async def _all_is_known(self, registry: Registry) -> None:
        """Wait until everything that people declare has been listed: no pass before that."""
        changed = asyncio.Event()
        registry.observe(changed.set)
        while sentence := registry.unknown():
            self._readiness.wait_for(MEMORY, sentence)
            await self._until(changed, LOOK_AGAIN_S)
        self._readiness.has(MEMORY)

    async def _hold(self, election: Election) -> None:
        try:
            await election.hold()
        except LeaseLostError as error:
            log.critical("The operator ends at once: %s.", error, extra={"event": "lease.lost"})
            self._leave_at_once()

    async def _unless_stopped(self, coroutine: Coroutine[object, object, None]) -> bool:
        """Await it; True when it is done, False if the program is to stop, and then it was cancelled."""
        task, stopped = asyncio.create_task(coroutine), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
                return True
            return False
        finally:
            await self._end([task, stopped])

    @staticmethod
    async def _until(event: asyncio.Event, seconds: float) -> None:
        event.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    @staticmethod
    async def _end(tasks: Sequence["asyncio.Task[Any]"]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
