"""The policy's story at a real API server: what it makes there, what it tells, and what it leaves alone."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mqtt_api.policy import decode_policy
from mqtt_operator.desired.kinds import MQTT_BROKER, MQTT_CLIENT, SECRET, TOPIC_PERMISSION, Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.api import ApiKube
from mqtt_operator.reconcile.exchange import EmbeddedPlace, Exchange, SharedPlace
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.policy import PolicyReconciler
from mqtt_operator.reconcile.registry import Registry, Scope
from mqtt_operator.reconcile.statuses import StatusWriter
from mqtt_operator.reconcile.surroundings import Surroundings
from support.broker_rig import OperatorKilled, SpiedKube
from support.policy_rig import SETTINGS, START, WORLD, CountingHasher, ValueStore
from support.resource_examples import BROKER, CLIENT, PERMISSION, changed

GENERATE = {"passwords": [{"generate": {"secretName": "pump-7-mqtt", "every": "1h", "overlap": "10m"}}]}
CERTIFICATE = {"certificates": [{"match": {"commonName": "pump-7"}}]}
SEEN = (MQTT_BROKER, MQTT_CLIENT, TOPIC_PERMISSION, SECRET)


class Rig:
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

    def restart(self, calls: int | None = None) -> None:
        """Another operator that knows nothing; killed at its call number `calls`."""
        self.kube = SpiedKube(self.raw)
        self.kube.calls_left = calls
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
            open_store=lambda _: self.store,  # type: ignore[arg-type, return-value]
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
        while (self.operator.under_way(self.key) or self.statuses.waiting) and self.kube.calls_left != 0:
            await self.writing()

    async def writing(self) -> None:
        """Statuses, for a moment."""
        task = asyncio.create_task(self.statuses.run())
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def settle(self) -> None:
        """Passes until nothing is under way, with nodes that follow."""
        for _ in range(5):
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


@pytest_asyncio.fixture
async def rig(kube: ApiKube, namespace: str) -> AsyncIterator[Rig]:
    rig = Rig(kube, namespace)
    await rig.declare(BROKER, "plant", spec__listeners=[{"name": "mqtt", "port": 1883, "allowPlaintext": True}])
    yield rig
    await rig.operator.close()


async def test_statuses_fit_the_schema_and_are_written_once(rig: Rig) -> None:
    await rig.declare(CLIENT, "pump-7", spec__credentials=CERTIFICATE, spec__groups=["pumps"])
    await rig.declare(PERMISSION, "pumps")
    await rig.settle()
    client, permission = await rig.get(MQTT_CLIENT, "pump-7"), await rig.get(TOPIC_PERMISSION, "pumps")
    assert (client["status"]["username"], client["status"]["appliedRevision"]) == ("pump-7", 0)
    assert (permission["status"]["matchedClients"], permission["status"]["appliedRevision"]) == (1, 0)
    for kind, name in ((MQTT_CLIENT, "pump-7"), (TOPIC_PERMISSION, "pumps")):
        assert await rig.condition(kind, name, "Ready") == ("True", "Synced")
    rig.restart()
    await rig.settle()
    assert rig.kube.writes == []
    after = await rig.get(MQTT_CLIENT, "pump-7")
    assert after["metadata"]["resourceVersion"] == client["metadata"]["resourceVersion"]


async def test_a_status_leaves_conditions_of_others_alone(rig: Rig) -> None:
    await rig.declare(CLIENT, "pump-7", spec__credentials=CERTIFICATE)
    foreign = {
        "type": "example.org/Checked",
        "status": "True",
        "reason": "Fine",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    await rig.raw.patch_status(MQTT_CLIENT, rig.key.namespace, "pump-7", {"conditions": [foreign]}, manager="else")
    await rig.settle()
    assert await rig.condition(MQTT_CLIENT, "pump-7", "example.org/Checked") == ("True", "Fine")
    assert await rig.condition(MQTT_CLIENT, "pump-7", "Ready") == ("True", "Synced")
    assert rig.kube.writes.count("status MQTTClient pump-7") <= 2


async def test_a_generated_password_is_replaced_and_nothing_of_the_old_one_stays(rig: Rig) -> None:
    await rig.declare(CLIENT, "pump-7", spec__credentials=GENERATE)
    await rig.settle()
    first = (await rig.get(SECRET, "pump-7-mqtt"))["data"]["password"]
    assert await rig.condition(MQTT_CLIENT, "pump-7", "Ready") == ("True", "Synced")
    await rig.raw.patch(
        SECRET, rig.key.namespace, "pump-7-mqtt", {"metadata": {"labels": {"team": "a"}}}, manager="somebody"
    )
    rig.later(hours=1)
    await rig.settle()
    both = (await rig.get(SECRET, "pump-7-mqtt"))["data"]
    assert both["previous-password"] == first
    assert both["password"] != first
    assert "next-password" not in both
    assert len(rig.store.policy().principals["pump-7"].passwords) == 2
    rig.later(minutes=10)
    await rig.settle()
    alone = await rig.get(SECRET, "pump-7-mqtt")
    assert "previous-password" not in alone["data"]
    assert "mqtt.stoa.dev/previous-password-until" not in alone["metadata"]["annotations"]
    assert alone["metadata"]["labels"]["team"] == "a"
    assert len(rig.store.policy().principals["pump-7"].passwords) == 1


async def test_a_secret_that_we_did_not_make_is_left_as_it_is(rig: Rig) -> None:
    theirs = {"apiVersion": "v1", "kind": "Secret", "stringData": {"password": "theirs"}}
    theirs["metadata"] = {"name": "pump-7-mqtt", "namespace": rig.key.namespace}
    await rig.raw.create(theirs, manager="somebody")
    before = await rig.get(SECRET, "pump-7-mqtt")
    await rig.declare(CLIENT, "pump-7", spec__credentials=GENERATE)
    await rig.settle()
    assert await rig.get(SECRET, "pump-7-mqtt") == before
    assert await rig.condition(MQTT_CLIENT, "pump-7", "ResolvedRefs") == ("False", "SecretNotOurs")


async def test_an_embedded_store_reads_a_secret_that_goes_with_the_broker(rig: Rig) -> None:
    rig.place = EmbeddedPlace(world=WORLD)
    rig.restart()
    await rig.declare(CLIENT, "pump-7", spec__credentials=GENERATE)
    for _ in range(4):
        await rig.run()
    written = await rig.get(SECRET, "plant-policy")
    broker = await rig.get(MQTT_BROKER, "plant")
    assert [owner["uid"] for owner in written["metadata"]["ownerReferences"]] == [broker["metadata"]["uid"]]
    policy = decode_policy(base64.b64decode(written["data"]["policy.json"]))
    assert len(policy.principals["pump-7"].passwords) == 1
    rig.restart()
    rig.hasher.hashed = 0
    for _ in range(2):
        await rig.run()
    assert await rig.get(SECRET, "plant-policy") == written
    assert rig.hasher.hashed == 0


@pytest.mark.parametrize("calls", range(1, 8))
async def test_an_operator_that_is_killed_anywhere_is_followed_by_one_that_goes_on(rig: Rig, calls: int) -> None:
    await rig.declare(CLIENT, "pump-7", spec__credentials=GENERATE, spec__groups=["pumps"])
    await rig.declare(PERMISSION, "pumps")
    rig.restart(calls)
    try:
        await rig.settle()
    except* OperatorKilled:
        pass
    await rig.operator.close()
    rig.restart()
    await rig.settle()
    for kind, name in ((MQTT_CLIENT, "pump-7"), (TOPIC_PERMISSION, "pumps")):
        assert await rig.condition(kind, name, "Ready") == ("True", "Synced")
    assert len(rig.store.policy().principals["pump-7"].passwords) == 1
    writes = rig.store.writes
    rig.restart()
    await rig.settle()
    assert (rig.store.writes, rig.kube.writes) == (writes, [])
