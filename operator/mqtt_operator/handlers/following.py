"""Keeps the registry true: follows what concerns us, and tells the registry what is there and what is gone.

Knows which following tells which part of the registry; does not know what anybody makes of it.
"""

import asyncio
from collections.abc import Iterable

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.handlers.access import Access, Accesses
from mqtt_operator.handlers.places import Followed, of_home, standing
from mqtt_operator.kube.follow import Following, Source
from mqtt_operator.kube.port import ForbiddenError
from mqtt_operator.reconcile.registry import Registry, Scope


class RegistryFollower:
    """A Follower that tells the registry. `access` to the place, None = nobody finds out whether there is any."""

    def __init__(self, registry: Registry, scope: Scope | None, access: Access | None) -> None:
        self._registry = registry
        self._scope = scope
        self._access = access
        if scope is not None:
            registry.expect(scope)

    def see(self, document: Manifest) -> None:
        self._registry.see(document)

    def forget(self, document: Manifest) -> None:
        self._registry.forget(document)

    def complete(self) -> None:
        if self._scope is not None:
            self._registry.complete(self._scope)

    async def fail(self, problem: ExpectedError) -> bool:
        if self._scope is not None:
            self._registry.fail(self._scope, problem)
        if self._access is None or not isinstance(problem, ForbiddenError):
            return False
        return await self._access.regained()


class Watching:
    """`run` it until it is cancelled, with `accesses` beside it."""

    def __init__(self, source: Source, registry: Registry, accesses: Accesses) -> None:
        self._source = source
        self._registry = registry
        self._accesses = accesses
        self._homes_changed = asyncio.Event()
        registry.observe(self._homes_changed.set)

    async def run(self) -> None:
        """Follow what stands, and the Secrets and ConfigMaps of the namespaces that matter by now."""
        homes: dict[str, list[asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as group:
            for followed in standing(self._accesses.watched):
                self._start(group, followed)
            while True:
                self._homes_changed.clear()
                wanted = self._registry.homes
                for namespace in wanted - homes.keys():
                    homes[namespace] = [self._start(group, followed) for followed in of_home(namespace)]
                for namespace in homes.keys() - wanted:
                    self._end(namespace, homes.pop(namespace))
                await self._homes_changed.wait()

    def _start(self, group: asyncio.TaskGroup, followed: Followed) -> "asyncio.Task[None]":
        follower = RegistryFollower(self._registry, followed.scope, self._accesses.of(followed.place.namespace))
        return group.create_task(Following(self._source, followed.place, follower).run())

    def _end(self, namespace: str, tasks: Iterable["asyncio.Task[None]"]) -> None:
        """Nothing there concerns us any more. What is known of it is forgotten at once: it will not be kept true."""
        for task in tasks:
            task.cancel()
        for followed in of_home(namespace):
            if followed.scope is not None:
                self._registry.drop(followed.scope)
