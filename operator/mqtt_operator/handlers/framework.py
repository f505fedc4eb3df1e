"""The operator framework, kopf, tuned: no MQTTBroker that needs an end of its own goes before it.

Knows kopf; does not know what a story does, or which brokers need an end. kopf puts a finalizer on those, takes it off
where it is not needed any more, and calls the end until it is over, after a restart too. Stories of brokers that are
there do not hang on it: its daemons would hold every broker by a finalizer, and so every namespace whose operator, or
whose rights, are gone first. Objects are followed by `kube.follow`, for two more reasons, measured with kopf 1.45.2:

- After a watch that expired (an API server that was away for some minutes) kopf lists anew, and never tells that an
  object is missing from the new list: a deleted client would keep its rights until the operator is started again.
- Ten thousand indexed objects cost it a quarter of a gigabyte; and its start is quadratic in their number, for every
  object adds a toggle to a ToggleSet, and each change of that wakes every waiting worker.

It gives up when it is refused in one namespace, cannot be told of another one, and at its end cancels every task of its
event loop. So it has a loop and a thread of its own, and is begun anew for the namespaces that are served at the time.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import kopf

from mqtt_operator.desired.kinds import MQTT_BROKER
from mqtt_operator.desired.names import FINALIZER
from mqtt_operator.handlers.access import Accesses
from mqtt_operator.kube.api import CALL_S_MAX, SILENCE_S_MAX
from mqtt_operator.kube.follow import WATCH_S_MAX
from mqtt_operator.kube.session import CONNECT_S_MAX, Login
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.registry import EVERYWHERE

log = logging.getLogger(__name__)

STOP_S_MAX = 5.0  # for what is under way to end, before it is abandoned
ERROR_BACKOFFS_S = (0.2, 0.5, 1, 2, 4, 8, 16)
AGAIN_S_MIN, AGAIN_S_MAX = 1.0, 60.0  # after it gave up
WELL_S = 300.0  # if it lived for so long, what ends it is another story
PREFIX = MQTT_BROKER.group
END = "end"  # how its notes are called


T = TypeVar("T")


class BrokerStories(Protocol):
    """What is run for a broker: see Runner. `holds` is asked in another thread, and looks at one thing only."""

    def holds(self, namespace: str, spec: Mapping[str, Any]) -> bool: ...

    def end(self, key: BrokerKey) -> Coroutine[Any, Any, None]: ...


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no copy of what was handled last: passes look at everything, so nobody asks for a difference.

    kopf's own would copy each spec into an annotation of its object.
    """

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class Framework:
    """`run` it until it is cancelled: nothing of it is left then."""

    def __init__(self, accesses: Accesses, login: Callable[[], Awaitable[Login]], stories: BrokerStories) -> None:
        self._accesses = accesses
        self._login = login
        self._stories = stories
        self._changed = asyncio.Event()
        self._wait_s = AGAIN_S_MIN
        self._complaint = ""
        accesses.observe(self._changed.set)

    async def run(self) -> None:
        """See to the end of brokers wherever we may look, and begin anew when that is elsewhere, or kopf gives up."""
        clock = asyncio.get_running_loop().time
        while True:
            self._changed.clear()
            served, begun_at = self._accesses.served, clock()
            problem = await self._run_for(served) if served else await self._idle()
            if not problem or clock() - begun_at > WELL_S:
                self._wait_s, self._complaint = AGAIN_S_MIN, ""
            if problem:
                self._complain(problem)
                self._accesses.doubt()
                await self._pause()

    async def _idle(self) -> str:
        """Nothing is served. Returns as `_run_for` does."""
        await self._changed.wait()
        return ""

    async def _run_for(self, namespaces: Sequence[str]) -> str:
        """Until others are served. Returns why it ended before that; "" if it did not."""
        ours, stop = asyncio.get_running_loop(), asyncio.Event()
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        theirs = runner.get_loop()
        thread = ThreadPoolExecutor(1, "kopf")
        ended = ours.run_in_executor(thread, _run, runner, self._operate(namespaces, ours, stop))
        changed = asyncio.create_task(self._changed.wait())
        either: set[asyncio.Future[Any]] = {ended, changed}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            has_given_up = ended.done()
        finally:
            changed.cancel()
            with suppress(RuntimeError):  # it has ended, and its loop is closed
                theirs.call_soon_threadsafe(stop.set)
            await asyncio.wait({ended})
            thread.shutdown(wait=False)  # nothing runs in it any more
        return _why(ended) if has_given_up else ""

    async def _operate(self, namespaces: Sequence[str], ours: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        """In its own loop; `ours` is where everything else goes on."""
        is_everywhere = EVERYWHERE in namespaces
        await kopf.operator(
            registry=self._registry(ours),
            settings=tuned(),
            standalone=True,
            clusterwide=is_everywhere,
            namespaces=() if is_everywhere else namespaces,
            stop_flag=stop,
        )

    def _complain(self, problem: str) -> None:
        """Once for each thing that is wrong."""
        if problem != self._complaint:
            self._complaint = problem
            log.warning(
                "Brokers whose keys are to go are not let go for now, kopf gave up: %s. It is begun anew.",
                problem,
                extra={"event": "framework.failed"},
            )

    async def _pause(self) -> None:
        """Ever longer; shorter if other namespaces are served by then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(self._wait_s / 2, self._wait_s)):  # noqa: S311 - spreads load
                await self._changed.wait()
        self._wait_s = min(self._wait_s * 2, AGAIN_S_MAX)

    def _registry(self, ours: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        """What it is to do, in its thread; whatever waits is done in our loop."""
        registry = kopf.OperatorRegistry()
        resource = (MQTT_BROKER.group, MQTT_BROKER.version, MQTT_BROKER.plural)

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return connection_info(await _in_loop(ours, _call(self._login)))

        def holds(namespace: str | None, spec: Mapping[str, Any], **_: Any) -> bool:
            assert namespace is not None
            return self._stories.holds(namespace, spec)

        @kopf.on.delete(*resource, registry=registry, id=END, when=holds)
        async def end(namespace: str | None, name: str, **_: Any) -> None:
            assert namespace is not None
            await _in_loop(ours, self._stories.end(BrokerKey(namespace, name)))

        return registry


def _run(runner: asyncio.Runner, work: Coroutine[Any, Any, None]) -> None:
    with runner:
        runner.run(work)


def _why(ended: asyncio.Future[None]) -> str:
    error = ended.exception()
    return "it ended" if error is None else f"{type(error).__name__}: {error}"


async def _in_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Do it in another loop. Who is cancelled here cancels it there."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


async def _call(function: Callable[[], Awaitable[T]]) -> T:
    return await function()


def tuned() -> kopf.OperatorSettings:
    """The framework's settings: its notes under our name and as few as can be, no events, no search for kinds."""
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.posting.enabled = False  # passes tell their own
    settings.posting.loggers = False
    settings.posting.level = logging.WARNING
    settings.scanning.disabled = (
        True  # namespaces and kinds are told at the start; it asks for no right to look for them
    )
    settings.background.instant_exit_timeout = STOP_S_MAX
    settings.execution.max_workers = 1  # no handler is synchronous
    settings.networking.connect_timeout = CONNECT_S_MAX
    settings.networking.request_timeout = CALL_S_MAX
    settings.networking.error_backoffs = ERROR_BACKOFFS_S
    settings.watching.connect_timeout = CONNECT_S_MAX
    settings.watching.server_timeout = WATCH_S_MAX
    settings.watching.inactivity_timeout = SILENCE_S_MAX
    settings.process.ultimate_exiting_timeout = None  # the program sees to its own end
    return settings


def connection_info(login: Login) -> kopf.ConnectionInfo:
    """Who we are, in kopf's words."""
    return kopf.ConnectionInfo(
        server=login.server,
        ca_path=login.ca_file,
        insecure=not login.verify,
        token=login.token,
        certificate_path=login.certificate_file,
        private_key_path=login.key_file,
        proxy_url=login.proxy,
    )
