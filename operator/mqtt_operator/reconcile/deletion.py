"""The end of a broker: its nodes leave while what they need is still there, and its keys go if that was asked for.

Knows the order and how long it may take; does not know how keys are removed. What Kubernetes removes by itself, because
the broker owns it, is not touched. Whatever happens, the broker is let go in time: a namespace that is being deleted
takes the store, its Secret or the nodes away in any order.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from mqtt_api.kinds.common import DeletionPolicy
from mqtt_api.node_settings import RedisSettings
from mqtt_api.resources import MQTTBroker
from mqtt_operator.channel.removal import Removed, remove_keys
from mqtt_operator.channel.terms import SharedStoreError
from mqtt_operator.desired import kinds, names
from mqtt_operator.desired.labels import pods_selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.store_access import redis_access
from mqtt_operator.kube.port import EventType, Kube
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.loop import Outcome
from mqtt_operator.reconcile.problems import problem_of
from mqtt_operator.reconcile.registry import Registry, UnseenError
from mqtt_operator.reconcile.resolving import resolve
from mqtt_operator.reconcile.store_files import StoreFiles
from mqtt_operator.rollout.reading import read_time

# Counted from the request: a namespace has to be gone in a minute, and Kubernetes looks seldom at what is left of it.
NODES_LEAVE_WITHIN = timedelta(seconds=30)
MENDED_WITHIN = timedelta(seconds=20)  # a store that is away, or a Secret: most often the whole namespace goes
KEYS_GO_WITHIN = timedelta(seconds=45)
REMOVE_S_MAX = 10.0  # in one pass: others of the same operator wait for nobody
AGAIN_S = 1.0

Remover = Callable[[RedisSettings, str, float], Removed]


class Ending:
    """Passes over brokers that are being deleted."""

    def __init__(self, kube: Kube, registry: Registry, files: StoreFiles, remover: Remover = remove_keys) -> None:
        self._kube = kube
        self._registry = registry
        self._files = files
        self._remover = remover

    async def step(self, key: BrokerKey, broker: MQTTBroker, document: Manifest, now: datetime) -> Outcome:
        """The next step. Over when nothing is left to be done, or when it has taken too long. Raises KubeError."""
        if broker.metadata.annotations.get(names.PAUSE_ANNOTATION) == "true":
            return _over("Paused: the broker goes, and nothing else is done.")
        age = now - read_time(document["metadata"]["deletionTimestamp"])
        leaving = await self._stop_nodes(broker)
        if leaving and age < NODES_LEAVE_WITHIN:
            return Outcome(f"The broker is being deleted: {leaving} nodes are leaving.", AGAIN_S)
        left = await self._remove_keys(key, broker, document.get("status", {}).get("storeID", ""))
        if left is None:
            return _over("The broker is gone.")
        if age < left.patience:
            return Outcome(f"The broker is being deleted: {left.sentence}", AGAIN_S)
        sentence = f"The broker is gone, and its keys in the store may not be: {left.sentence}"
        await self._kube.event(document, EventType.WARNING, "KeysRemain", sentence)
        return _over(sentence)

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

    async def _remove_keys(self, key: BrokerKey, broker: MQTTBroker, world: str) -> "_Left | None":
        """None: no key is left, or none should go.

        A managed store goes as a whole, with its volume; so does that of a node.
        """
        is_kept = broker.spec.deletion_policy is not DeletionPolicy.DELETE
        if is_kept or broker.spec.session_store.redis is None or not world:
            return None
        try:
            resolved = resolve(broker, self._registry)
        except UnseenError as error:
            return _Left(str(error), MENDED_WITHIN)
        if resolved.secrets is None:
            return _Left(resolved.problems[-1].sentence, MENDED_WITHIN)
        settings = self._files.settings(key, "operator", redis_access(broker, resolved.secrets))
        try:
            removed = await asyncio.to_thread(self._remover, settings, world, REMOVE_S_MAX)
        except SharedStoreError as error:
            return _Left(problem_of(error).sentence, MENDED_WITHIN)
        return None if removed.is_all else _Left(f"{removed.keys} keys were removed so far.", KEYS_GO_WITHIN)


class _Left(NamedTuple):
    """Why keys are left, and how long after the request that is waited for."""

    sentence: str
    patience: timedelta


def _over(sentence: str) -> Outcome:
    return Outcome(sentence, is_over=True)
