"""Whether a namespace is being deleted in which a finalizer holds a broker: it must not hold the namespace as well.

Knows when to ask; does not know what follows from the answer. Kubernetes waits five seconds before it empties such a
namespace, and then takes our rights there, or ourselves, in any order with the rest: what there is to do comes before.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from mqtt_operator.desired.kinds import NAMESPACE
from mqtt_operator.kube.port import Kube, KubeError
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.rollout.reading import read_time

log = logging.getLogger(__name__)

LOOK_S = 1.0  # of the five
LONG_AGO = datetime.min.replace(tzinfo=UTC)

Sleep = Callable[[float], Awaitable[None]]


class EndingNamespaces:
    """Tells the registry. `run` it until it is cancelled. Without a broker that is held it asks for nothing."""

    def __init__(self, kube: Kube, registry: Registry, *, sleep: Sleep = asyncio.sleep) -> None:
        self._kube = kube
        self._registry = registry
        self._sleep = sleep
        self._complaint = ""

    async def run(self) -> None:
        """Look, and look again."""
        while True:
            since = {namespace: await self._ending_since(namespace) for namespace in self._concerned()}
            self._registry.see_ending({namespace: moment for namespace, moment in since.items() if moment is not None})
            await self._sleep(LOOK_S)

    def _concerned(self) -> set[str]:
        """One that is ending stays so, though no broker in it is held any more: none may be held again."""
        registry = self._registry
        return {
            key.namespace
            for key, seen in registry.brokers.items()
            if seen.has_finalizer or registry.ending_since(key.namespace) is not None
        }

    async def _ending_since(self, namespace: str) -> datetime | None:
        known = self._registry.ending_since(namespace)
        try:
            found = await self._kube.get(NAMESPACE, "", namespace)
        except KubeError as problem:
            self._complain(problem)
            return known
        self._complaint = ""
        if found is None:
            return known or LONG_AGO
        moment = found["metadata"].get("deletionTimestamp")
        return None if moment is None else read_time(moment)

    def _complain(self, problem: KubeError) -> None:
        """Once for each thing that is wrong."""
        if problem.what != self._complaint:
            self._complaint = problem.what
            log.warning("Nobody knows whether a namespace ends: %s", problem, extra={"event": "namespace.unknown"})
