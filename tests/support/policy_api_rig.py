"""The policy's story at a real API server, pass by pass, with a store that is a value and a clock that stands.

rig.restart(Cut("store write_parts", 2))   # another operator, which is killed before it writes a policy twice
await rig.settle()                         # passes until nothing is under way, with nodes that follow
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from mqtt_operator.desired.kinds import MQTT_BROKER, MQTT_CLIENT, SECRET, TOPIC_PERMISSION, Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.api import ApiKube
from mqtt_operator.kube.port import EventType
from mqtt_operator.reconcile.exchange import EmbeddedPlace, Exchange, SharedPlace
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.policy import PolicyReconciler
from mqtt_operator.reconcile.registry import Registry, Scope
from mqtt_operator.reconcile.statuses import StatusWriter
from mqtt_operator.reconcile.surroundings import Surroundings
from support.broker_rig import OperatorKilled, SpiedKube
from support.policy_rig import SETTINGS, START, WORLD, CountingHasher, ValueStore
from support.resource_examples import changed

SEEN = (MQTT_BROKER, MQTT_CLIENT, TOPIC_PERMISSION, SECRET)


class Cut(NamedTuple):
    """Before the call of this sort, for this time: the first one is 1."""

    step: str
    time: int


class CutKube(SpiedKube):
    """`steps`: the sorts of calls that one operator made, in their order. `was_cut`: it was killed."""

    def __init__(self, kube: ApiKube, cut: Cut | None) -> None:
        super().__init__(kube)
        self.steps: list[str] = []
        self.was_cut = False
        self._cut = cut

    async def event(self, about: Manifest, event_type: EventType, reason: str, message: str) -> None:
        """Recorded, and written."""
        await super().event(about, event_type, reason, message)
        await self._kube.event(about, event_type, reason, message)

    def spend(self, step: str, write: str | None = None) -> None:
        """One more call. Raises OperatorKilled if it comes too late."""
        is_last = self._cut is not None and (step, self.steps.count(step) + 1) == self._cut
        if is_last or self.was_cut:
            self.was_cut = True
            raise OperatorKilled
        self.steps.append(step)
        super()._spend(write)

    def _spend(self, write: str | None = None) -> None:
        self.spend("question" if write is None else " ".join(write.split()[:2]), write)


class CutStore:
    """The store as one operator reaches it: its calls count as those to the API server do."""

    def __init__(self, store: ValueStore, kube: CutKube) -> None:
        self._store = store
        self._kube = kube

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._kube.spend(f"store {name}")
            return method(*arguments, **options)

        return call


class PolicyApiRig:
    """A story, with a store that is a value and a clock that stands. `operator` is made anew by `restart`."""

    def __init__(self, kube: ApiKube, namespace: str) -> None:
        self.raw = kube
        self.key = BrokerKey(namespace, "plant")
        self.store = ValueStore()
        self.hasher = CountingHasher()
        self.now = START
        self.place: SharedPlace | EmbeddedPlace = SharedPlace(
            world=WORLD, may_be_new=True, accepts=True, settings=SETTINGS
        )
        self.restart()

    def restart(self, cut: Cut | None = None) -> None:
        """Another operator that knows nothing."""
        self.kube = CutKube(self.raw, cut)
        store = CutStore(self.store, self.kube)
        self.registry, self.exchange = Registry(), Exchange()
        self.statuses = StatusWriter(self.kube, rest_s=0.0)
        around = Surroundings(
            namespace="stoa-system", image="image", version="1", store_image="store", private_folder=Path("/nowhere")
        )
        self.operator = PolicyReconciler(
            self.registry,
            self.kube,
            self.exchange,
            self.statuses,
            around,
            hasher=self.hasher,
            open_store=lambda _: store,  # type: ignore[arg-type, return-value]
            clock=lambda: self.now,
            seconds=lambda: (self.now - START).total_seconds(),
        )
        self.exchange.tell_place(self.key, self.place)

    async def look(self) -> None:
        """What the watches would have told."""
        for kind in SEEN:
            scope = Scope(kind, self.key.namespace)
            self.registry.expect(scope)
            found = await self.raw.list(kind, self.key.namespace)
            there = {each["metadata"]["name"] for each in found}
            for document in [each for each in self._known(kind) if each["metadata"]["name"] not in there]:
                self.registry.forget(document)
            for document in found:
                self.registry.see(document)
            self.__dict__[kind.kind] = found
            self.registry.complete(scope)

    def _known(self, kind: Kind) -> list[Manifest]:
        known: list[Manifest] = self.__dict__.get(kind.kind, [])
        return known

    async def run(self) -> None:
        """One pass, and everything it set going."""
        await self.look()
        await self.operator.reconcile(self.key)
        while self._is_under_way() and not self.kube.was_cut:
            await self.writing()

    def _is_under_way(self) -> bool:
        return bool(self.operator.under_way(self.key) or self.statuses.waiting or self.statuses.events.waiting)

    async def writing(self) -> None:
        """Statuses and events, for a moment."""
        task = asyncio.create_task(self.statuses.run())
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def settle(self, passes: int = 5) -> None:
        """Passes until nothing is under way, with nodes that follow."""
        for _ in range(passes):
            await self.run()
            self.store.follow()
            self.exchange.tell_nodes(self.key, {"plant-0": self.store.revision})
            self.later(seconds=1)

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)

    async def declare(self, base: Manifest, name: str, **changes: Any) -> None:
        """As a person who applies a file."""
        document = changed(base, {path.replace("__", "."): value for path, value in changes.items()})
        document["metadata"] = {**document["metadata"], "name": name, "namespace": self.key.namespace}
        await self.raw.apply(document, manager="somebody")

    async def get(self, kind: Kind, name: str) -> Manifest:
        found = await self.raw.get(kind, self.key.namespace, name)
        assert found is not None
        return found

    async def condition(self, kind: Kind, name: str, about: str) -> tuple[str, str]:
        """Status and reason."""
        status = (await self.get(kind, name))["status"]
        return next((each["status"], each["reason"]) for each in status["conditions"] if each["type"] == about)
