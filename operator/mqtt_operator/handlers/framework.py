"""The operator framework, kopf, tuned: no MQTTBroker that needs an end of its own goes before it.

Knows kopf; does not know what a story does, or which brokers need an end. kopf puts a finalizer on those, takes it off
where it is not needed any more, and calls the end until it is over, after a restart too. Stories of brokers that are
there do not hang on it: its daemons would hold every broker by a finalizer, and so every namespace whose operator, or
whose rights, are gone first. Objects are followed by `kube.follow`, for two more reasons, measured with kopf 1.45.2:

- After a watch that expired (an API server that was away for some minutes) kopf lists anew, and never tells that an
  object is missing from the new list: a deleted client would keep its rights until the operator is started again.
- Ten thousand indexed objects cost it a quarter of a gigabyte; and its start is quadratic in their number, for every
  object adds a toggle to a ToggleSet, and each change of that wakes every waiting worker.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
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

STOP_S_MAX = 5.0  # for what is under way to end, before it is abandoned
ERROR_BACKOFFS_S = (0.2, 0.5, 1, 2, 4, 8, 16)
PREFIX = MQTT_BROKER.group
END = "end"  # how its notes are called


class FrameworkError(ExpectedError):
    """The framework cannot go on."""


class BrokerStories(Protocol):
    """What is run for a broker: see Runner."""

    def holds(self, namespace: str, spec: Mapping[str, Any]) -> bool: ...

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
    """`run` it as a task; it ends when `stop` was called."""

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

        def holds(namespace: str | None, spec: Mapping[str, Any], **_: Any) -> bool:
            assert namespace is not None
            return self._stories.holds(namespace, spec)

        @kopf.on.delete(*resource, registry=registry, id=END, when=holds)
        async def end(namespace: str | None, name: str, **_: Any) -> None:
            assert namespace is not None
            await self._stories.end(BrokerKey(namespace, name))

        return registry


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
