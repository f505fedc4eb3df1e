"""The end of a broker: nothing is left behind elsewhere if that was asked for, and nothing ever waits for it in vain.

Knows when a broker needs an end of its own, its order, and how long it may take; does not know how keys are removed.
What Kubernetes removes by itself, because the broker owns it, is not touched: nodes are drained by SIGTERM, volumes
follow their StatefulSet. Only keys in a Redis of the people's own, with deletionPolicy Delete, outlive all that; for
those alone a finalizer keeps the broker until they are gone. Whatever happens, it is let go in time: a namespace that
is being deleted takes the store, its Secret, the nodes or the operator's own rights away in any order.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from mqtt_api.kinds.common import DeletionPolicy
from mqtt_api.node_settings import RedisSettings
from mqtt_api.resources import MQTTBroker
from mqtt_operator.channel.removal import Removed, remove_keys
from mqtt_operator.channel.terms import SharedStoreError
from mqtt_operator.desired import kinds, names
from mqtt_operator.desired.labels import pods_selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.store_access import redis_access
from mqtt_operator.kube.port import EventType, Kube, KubeError
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.loop import Outcome
from mqtt_operator.reconcile.problems import problem_of
from mqtt_operator.reconcile.registry import Registry, UnseenError
from mqtt_operator.reconcile.resolving import Resolved, resolve
from mqtt_operator.reconcile.store_files import StoreFiles
from mqtt_operator.rollout.reading import read_time

OPERATOR = "operator"  # whose log-in it is
# Counted from the request: a namespace has to be gone in a minute, and Kubernetes looks seldom at what is left of it.
NODES_LEAVE_WITHIN = timedelta(seconds=30)
MENDED_WITHIN = timedelta(seconds=20)  # a store that is away, or a Secret: most often the whole namespace goes
KEYS_GO_WITHIN = timedelta(seconds=45)
REMOVE_S_MAX = 10.0  # in one pass: others of the same operator wait for nobody
LAST_NODES_LEAVE_WITHIN = timedelta(seconds=3)  # Kubernetes empties a namespace after five
LAST_AGAIN_S = 0.3
LAST_REMOVE_S_MAX = 40.0  # where there may be no other pass; it goes on beside everything else
AGAIN_S = 1.0

Remover = Callable[[RedisSettings, str, float], Removed]


def needs_end(spec: Mapping[str, Any]) -> bool:
    """Whether the broker of this spec keeps something elsewhere that is to go with it. The spec as it was written."""
    store = spec.get("sessionStore")
    is_elsewhere = isinstance(store, Mapping) and store.get("redis") is not None
    return is_elsewhere and spec.get("deletionPolicy") == DeletionPolicy.DELETE


class Ending:
    """Passes over brokers that are being deleted, alone or with their namespace."""

    def __init__(self, kube: Kube, registry: Registry, files: StoreFiles, remover: Remover = remove_keys) -> None:
        self._kube = kube
        self._registry = registry
        self._files = files
        self._remover = remover

    async def step(self, key: BrokerKey, broker: MQTTBroker, document: Manifest, now: datetime) -> Outcome:
        """The next step. Over when nothing is left to be done, or when it has taken too long. Raises KubeError."""
        if not needs_end(document["spec"]) or names.FINALIZER not in document["metadata"].get("finalizers", ()):
            return _over("The broker goes, and Kubernetes removes what it owns.")
        if _is_paused(broker):
            return _over("Paused: the broker goes, and nothing else is done.")
        age = now - read_time(document["metadata"]["deletionTimestamp"])
        leaving = await self._stop_nodes(broker)
        if leaving and age < NODES_LEAVE_WITHIN:
            return Outcome(f"The broker is being deleted: {leaving} nodes are leaving.", AGAIN_S)
        left = await self._remove_keys(key, broker, document, REMOVE_S_MAX)
        if left is None:
            return _over("The broker is gone.")
        if age < left.patience:
            return Outcome(f"The broker is being deleted: {left.sentence}", AGAIN_S)
        sentence = f"The broker is gone, and its keys in the store may not be: {left.sentence}"
        await self._kube.event(document, EventType.WARNING, "KeysRemain", sentence)
        return _over(sentence)

    async def leave(self, key: BrokerKey, broker: MQTTBroker | None, document: Manifest, age: timedelta) -> Outcome:
        """The whole namespace is being deleted, since `age`, and in some seconds our rights and log-ins there are gone.

        So the finalizer goes first of all, and then the keys: nodes are asked to leave before, but a node that stays is
        fenced when they go. Over when nothing is left to be done. Raises KubeError.
        """
        await self._take_finalizer(document)
        if broker is None or _is_paused(broker) or not needs_end(document["spec"]):
            return _over("The namespace is being deleted, and the broker with it.")
        leaving = await self._stop_nodes_if_allowed(broker)
        if leaving and age < LAST_NODES_LEAVE_WITHIN:
            return Outcome(f"The namespace is being deleted: {leaving} nodes are leaving.", LAST_AGAIN_S)
        left = await self._remove_keys(key, broker, document, LAST_REMOVE_S_MAX)
        if left is None:
            return _over("The namespace is being deleted, and the broker with it; its keys in the store are gone.")
        return Outcome(f"The namespace is being deleted, and keys in the store may stay: {left.sentence}", AGAIN_S)

    async def _take_finalizer(self, document: Manifest) -> None:
        metadata = document["metadata"]
        others = [each for each in metadata.get("finalizers", ()) if each != names.FINALIZER]
        if len(others) == len(metadata.get("finalizers", ())):
            return
        body = {"metadata": {"finalizers": others, "resourceVersion": metadata["resourceVersion"]}}
        await self._kube.patch(kinds.MQTT_BROKER, metadata["namespace"], metadata["name"], body)

    async def _stop_nodes_if_allowed(self, broker: MQTTBroker) -> int:
        """A node that is on its way out is not started anew when it loses its keys; that would take longer to end."""
        try:
            return await self._stop_nodes(broker)
        except KubeError:  # our rights are gone already
            return 0

    async def _stop_nodes(self, broker: MQTTBroker) -> int:
        """How many nodes are still there."""
        namespace, name = broker.metadata.namespace, names.stateful_set(broker.metadata.name)
        stateful_set = await self._kube.get(kinds.STATEFUL_SET, namespace, name)
        if stateful_set is not None and "deletionTimestamp" not in stateful_set["metadata"]:
            owners = {owner["uid"] for owner in stateful_set["metadata"].get("ownerReferences", ())}
            if broker.metadata.uid in owners:
                uid = stateful_set["metadata"]["uid"]
                await self._kube.delete(kinds.STATEFUL_SET, namespace, name, uid=uid)
        return len(await self._kube.list(kinds.POD, namespace, pods_selector(broker.metadata.name)))

    async def _remove_keys(
        self, key: BrokerKey, broker: MQTTBroker, document: Manifest, seconds_max: float
    ) -> "_Left | None":
        """None: no key is left, or there never was one."""
        world: str = document.get("status", {}).get("storeID", "")
        if not world:
            return None
        settings = self._settings(key, broker)
        if isinstance(settings, _Left):
            return settings
        try:
            removed = await asyncio.to_thread(self._remover, settings, world, seconds_max)
        except SharedStoreError as error:
            return _Left(problem_of(error).sentence, MENDED_WITHIN)
        return None if removed.is_all else _Left(f"{removed.keys} keys were removed so far.", KEYS_GO_WITHIN)

    def _settings(self, key: BrokerKey, broker: MQTTBroker) -> "RedisSettings | _Left":
        """How to log in; where the Secrets are gone already, as it was done last."""
        try:
            resolved = resolve(broker, self._registry)
            sentence = "" if resolved.secrets is not None else resolved.problems[-1].sentence
        except UnseenError as error:
            resolved, sentence = Resolved(), str(error)
        if resolved.secrets is not None:
            return self._files.settings(key, OPERATOR, redis_access(broker, resolved.secrets))
        return self._files.known(key, OPERATOR) or _Left(sentence, MENDED_WITHIN)


class _Left(NamedTuple):
    """Why keys are left, and how long after the request that is waited for."""

    sentence: str
    patience: timedelta


def _is_paused(broker: MQTTBroker) -> bool:
    return broker.metadata.annotations.get(names.PAUSE_ANNOTATION) == "true"


def _over(sentence: str) -> Outcome:
    return Outcome(sentence, is_over=True)
