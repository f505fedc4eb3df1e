"""The operator framework, kopf, tuned: each MQTTBroker has its stories while it is there, and none goes before its end.

Knows kopf; does not know what a story does. kopf handles MQTTBrokers only, of which there are few. Clients, permissions
and everything else are followed by `kube.follow`, for two reasons that were measured with kopf 1.45.2:

- After a watch that expired (an API server that was away for some minutes) kopf lists anew, and never tells that an
  object is missing from the new list: a deleted client would keep its rights until the operator is started again.
- Ten thousand indexed objects cost it a quarter of a gigabyte; and its start is quadratic in their number, for every
  object adds a toggle to a ToggleSet, and each change of that wakes every waiting worker.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import kopf

from mqtt_operator.desired.kinds import MQTT_BROKER
from mqtt_operator.desired.names import FINALIZER
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.api import CALL_S_MAX, SILENCE_S_MAX
from mqtt_operator.kube.follow import WATCH_S_MAX
from mqtt_operator.kube.session import CONNECT_S_MAX, Login
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.settings import OperatorSettings

STOP_S_MAX = 5.0  # for a pass under way to end, before it is abandoned
ERROR_BACKOFFS_S = (0.2, 0.5, 1, 2, 4, 8, 16)
PREFIX = MQTT_BROKER.group
SERVE, END = "serve", "end"  # how its notes about the two are called


class FrameworkError(ExpectedError):
    """The framework cannot go on."""


class BrokerStories(Protocol):
    """What is run for a broker: see Runner."""

    async def serve(self, key: BrokerKey) -> None: ...

    async def end(self, key: BrokerKey) -> None: ...


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no copy of what was handled last: passes look at everything, so nobody asks for a difference.

    kopf's own would copy each spec into an annotation of its object.
    """

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class Framework:
    """`run` it as a task; it ends when `stop` was called and every story has ended."""

    def __init__(
        self, settings: OperatorSettings, login: Callable[[], Awaitable[Login]], stories: BrokerStories
    ) -> None:
        self._settings = settings
        self._login = login
        self._stories = stories
        self._stop = asyncio.Event()
        self.started = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return. Idempotent."""
        self._stop.set()

    async def run(self) -> None:
        """Raises FrameworkError for what kopf gives up on, such as a watch that is forbidden: begin anew then.

        kopf takes SIGTERM and SIGINT for itself. Whoever wants them takes them after `started`. It also cancels every
        task that came into being after it began, so this should be the last one.
        """
        watched = self._settings.watched
        try:
            await kopf.operator(
                registry=self._registry(),
                settings=tuned(),
                standalone=True,
                clusterwide=not watched,
                namespaces=watched,
                stop_flag=self._stop,
                ready_flag=self.started,
            )
        except Exception as error:
            raise FrameworkError(f"kopf gave up: {error}") from error

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        resource = (MQTT_BROKER.group, MQTT_BROKER.version, MQTT_BROKER.plural)

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return connection_info(await self._login())

        @kopf.daemon(*resource, registry=registry, id=SERVE, cancellation_timeout=STOP_S_MAX)
        async def serve(namespace: str | None, name: str, stopped: kopf.DaemonStopped, **_: Any) -> None:
            assert namespace is not None
            await _until(stopped.wait(), self._stories.serve(BrokerKey(namespace, name)))

        @kopf.on.delete(*resource, registry=registry, id=END)
        async def end(namespace: str | None, name: str, **_: Any) -> None:
            assert namespace is not None
            await self._stories.end(BrokerKey(namespace, name))

        return registry


async def _until(stopped: Awaitable[object], work: Coroutine[object, object, None]) -> None:
    """Do the work until told to stop, which is sooner than to be cancelled. Raises what the work raises."""

    async def wait() -> None:
        await stopped

    working, waiting = asyncio.create_task(work), asyncio.create_task(wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)


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
