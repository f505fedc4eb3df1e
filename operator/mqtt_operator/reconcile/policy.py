"""PolicyReconciler: who may what, for every broker: which story there is to go on with, or why there is none.

Knows when a policy may be touched at all; does not know how it is made (policy_story.py).
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from argon2 import PasswordHasher

from mqtt_api.conditions import Reason
from mqtt_api.node_settings import RedisSettings
from mqtt_api.resources import MQTTBroker
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import StoreAwayError
from mqtt_operator.credentials.argon2id import standard_hasher
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.names import PAUSE_ANNOTATION
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.port import Kube
from mqtt_operator.reconcile.exchange import Exchange, Place, PolicyReport
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.loop import Outcome
from mqtt_operator.reconcile.policy_hashing import Hashing
from mqtt_operator.reconcile.policy_means import Means
from mqtt_operator.reconcile.policy_story import PolicyStory, open_story
from mqtt_operator.reconcile.policy_strays import tell_members
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.reconcile.seen import Seen
from mqtt_operator.reconcile.statuses import StatusWriter
from mqtt_operator.reconcile.surroundings import Surroundings
from mqtt_operator.status.verdict import Problem

STORE_AGAIN_S = 2.0


class _Going(NamedTuple):
    """A story, and the very broker and store that it is of."""

    uid: str
    world: str
    story: PolicyStory


class PolicyReconciler:
    """A Reconciler for all brokers of the process; see loop.py. `close` it in the end.

    `statuses` runs beside it. `hasher`, `open_store`, `clock` and `seconds` come in for tests.
    """

    def __init__(
        self,
        registry: Registry,
        kube: Kube,
        exchange: Exchange,
        statuses: StatusWriter,
        surroundings: Surroundings,
        *,
        hasher: PasswordHasher | None = None,
        open_store: Callable[[RedisSettings], SharedStore] = SharedStore,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._exchange = exchange
        self._means = Means(
            registry=registry,
            kube=kube,
            exchange=exchange,
            statuses=statuses,
            hashing=Hashing(hasher or standard_hasher()),
            inputs=Inputs(
                image=surroundings.image,
                version=surroundings.version,
                world="",
                operator_namespace=surroundings.namespace,
            ),
            open_store=open_store,
            clock=clock,
            seconds=seconds,
        )
        self._going: dict[BrokerKey, _Going] = {}
        self._ending: set[asyncio.Task[None]] = set()
        exchange.on_forget(self._forget_soon)

    async def reconcile(self, key: BrokerKey) -> Outcome:
        seen = self._registry.broker(key)
        if seen is None:
            await self.forget(key)
            sentence = f"spec.brokerRef names MQTTBroker {key}, which does not exist: it is waited for."
            return self._without_broker(key, Problem(Reason.BROKER_NOT_FOUND, sentence))
        if seen.deleting:
            await self.forget(key)
            return Outcome("The broker is being deleted: its policy stays as it is.")
        broker = seen.resource
        if broker is None:
            return self._with_mistakes(key)
        if broker.metadata.annotations.get(PAUSE_ANNOTATION) == "true":
            return Outcome("An annotation pauses the broker: its policy stays as it is.")
        place = self._exchange.place(key)
        if place is None:
            return self._without_place(key, seen)
        try:
            return await self._go_on(key, seen, broker, place)
        except StoreAwayError:  # asked again soon: back-off would make everybody wait for it longer than it takes
            asyncio.get_running_loop().call_later(STORE_AGAIN_S, self._exchange.nudge, key)
            raise

    async def forget(self, key: BrokerKey) -> None:
        """Nothing goes on for this broker from now on. Idempotent."""
        going = self._going.pop(key, None)
        if going is not None:
            await going.story.stop()

    def under_way(self, key: BrokerKey) -> int:
        """How much goes on beside the passes of this broker: hashing, and objects that are made for clients."""
        going = self._going.get(key)
        return 0 if going is None else going.story.under_way

    async def close(self) -> None:
        """End everything that goes on."""
        for key in list(self._going):
            await self.forget(key)
        await asyncio.gather(*self._ending)
        self._means.hashing.stop()

    def _forget_soon(self, key: BrokerKey) -> None:
        task = asyncio.create_task(self.forget(key))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _go_on(self, key: BrokerKey, seen: Seen[MQTTBroker], broker: MQTTBroker, place: Place) -> Outcome:
        going = self._going.get(key)
        if going is not None and (going.uid, going.world) != (seen.uid, place.world):
            await self.forget(key)
            going = None
        if going is None:
            going = self._going[key] = _Going(seen.uid, place.world, await self._opened(key, broker, place))
        return await going.story.step(seen, broker, place)

    async def _opened(self, key: BrokerKey, broker: MQTTBroker, place: Place) -> PolicyStory:
        try:
            return await open_story(self._means, key, broker, place, lambda: self._exchange.nudge(key))
        except ExpectedError as problem:
            self._exchange.tell_report(key, PolicyReport(problem=problem))
            raise

    def _with_mistakes(self, key: BrokerKey) -> Outcome:
        if key in self._going:
            return Outcome("The broker has mistakes: the policy in force stays as it is.")
        sentence = f"MQTTBroker {key} has mistakes of its own; its condition Accepted names them."
        return self._without_broker(key, Problem(Reason.BROKER_NOT_ACCEPTED, sentence))

    def _without_place(self, key: BrokerKey, seen: Seen[MQTTBroker]) -> Outcome:
        """Who is in force stays so, and is told nothing else."""
        obstacle = self._exchange.obstacle(key)
        if obstacle is None or key in self._going or "policy" in seen.status:
            return Outcome("It waits until the broker's store can be reached.")
        sentence = f"MQTTBroker {key} has no store to keep it in yet: {obstacle.sentence}"
        return self._without_broker(key, Problem(obstacle.reason, sentence))

    def _without_broker(self, key: BrokerKey, problem: Problem) -> Outcome:
        count = tell_members(self._means, key, problem)
        return Outcome(f"Told {count} clients and permissions: {problem.sentence}")
