"""The end of a broker: nodes first, then what it keeps elsewhere if that was asked for; and always in time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.removal import Removed
from mqtt_operator.channel.terms import Identity, StoreAwayError
from mqtt_operator.desired import kinds
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.api import ApiKube
from mqtt_operator.reconcile.deletion import Ending
from mqtt_operator.reconcile.store_files import StoreFiles
from support.broker_documents import EMBEDDED, MANAGED, SHARED, secret, tls_secret
from support.broker_rig import BrokerRig
from support.redis_server import RedisServer
from support.resource_examples import changed
from support.stub_workloads import StubWorkloads

REMOVED = changed(SHARED, {"spec.deletionPolicy": "Delete"})
HOLD = "mqtt.stoa.dev/finalizer"  # the framework's, which goes when a pass says that it is over


async def started(rig: BrokerRig, document: Manifest = SHARED) -> None:
    """Its nodes take their time to end."""
    rig.workloads = StubWorkloads(rig.raw, rig.key.namespace, finalizers=(HOLD,))
    await rig.declare(tls_secret())
    await rig.declare(document)
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": [HOLD]}})
    await rig.settle()
    rig.kube.writes.clear()
    rig.kube.events.clear()


async def deleted(rig: BrokerRig) -> None:
    await rig.raw.delete(kinds.MQTT_BROKER, *rig.key)


async def end_nodes(rig: BrokerRig) -> None:
    """They have left."""
    for pod in await rig.workloads.pods("plant"):
        name = pod["metadata"]["name"]
        await rig.raw.delete(kinds.POD, rig.key.namespace, name)
        await rig.raw.patch(kinds.POD, rig.key.namespace, name, {"metadata": {"finalizers": None}})


class Remover:
    """What removes keys, and how it went."""

    def __init__(self, rig: BrokerRig) -> None:
        self.worlds: list[str] = []
        self.answer = Removed(identity=Identity.OURS, keys=7)
        self.problem: StoreAwayError | None = None
        means = rig.operator._means
        rig.operator._ending = Ending(rig.kube, rig.registry, means.files, self._remove)

    def _remove(self, settings: object, world: str, within_s: float) -> Removed:
        self.worlds.append(world)
        if self.problem is not None:
            raise self.problem
        return self.answer


@pytest_asyncio.fixture(autouse=True)
async def let_go(rig: BrokerRig) -> AsyncIterator[None]:
    """Nothing is left for the namespace to wait for."""
    yield
    await end_nodes(rig)
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": None}})


async def test_nodes_leave_first_and_while_their_store_is_there(rig: BrokerRig) -> None:
    await started(rig, MANAGED)
    await deleted(rig)
    outcome = await rig.run()
    assert not outcome.is_over
    assert [write for write in rig.kube.writes if write.startswith("delete")] == ["delete StatefulSet plant"]
    assert outcome.sentence == "The broker is being deleted: 3 nodes are leaving."
    assert await rig.get(kinds.STATEFUL_SET, "plant-store") is not None
    await end_nodes(rig)
    outcome = await rig.run()
    assert outcome.is_over


async def test_keys_stay_unless_their_end_was_asked_for(rig: BrokerRig) -> None:
    remover = Remover(rig)
    await started(rig)
    await deleted(rig)
    rig.later(minutes=3)
    assert (await rig.run()).is_over
    assert remover.worlds == []


async def test_keys_go_when_their_end_was_asked_for_and_no_node_is_left(rig: BrokerRig) -> None:
    remover = Remover(rig)
    await started(rig, REMOVED)
    world = rig.store.world
    await deleted(rig)
    assert not (await rig.run()).is_over
    assert remover.worlds == []
    await end_nodes(rig)
    assert (await rig.run()).is_over
    assert remover.worlds == [world]


async def test_keys_that_are_many_go_in_several_passes(rig: BrokerRig) -> None:
    remover = Remover(rig)
    await rig.declare(tls_secret())
    await rig.declare(REMOVED)
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": [HOLD]}})
    await rig.run()
    await deleted(rig)
    remover.answer = Removed(identity=Identity.OURS, keys=1_000, is_all=False)
    assert not (await rig.run()).is_over
    remover.answer = Removed(identity=Identity.OURS, keys=10)
    assert (await rig.run()).is_over


@pytest.mark.parametrize("gone", ["the store", "its Secret", "the nodes do not end"])
async def test_it_is_let_go_in_time_whatever_is_gone(gone: str, rig: BrokerRig) -> None:
    remover = Remover(rig)
    redis = {"addresses": ["redis:6379"], "credentialsRef": {"name": "r"}}
    await rig.declare(secret("r", {"password": b"p"}))
    await started(rig, changed(REMOVED, {"spec.sessionStore": {"redis": redis}}))
    await deleted(rig)
    if gone != "the nodes do not end":
        await end_nodes(rig)
    if gone == "its Secret":
        await rig.raw.delete(kinds.SECRET, rig.key.namespace, "r")
    if gone == "the store":
        remover.problem = StoreAwayError("The store does not answer.")
    assert not (await rig.run()).is_over
    rig.later(minutes=3)
    assert (await rig.run()).is_over
    said = [event[:2] for event in rig.kube.events]
    assert said == ([] if gone == "the nodes do not end" else [("Warning", "KeysRemain")])


async def test_a_paused_broker_goes_at_once_and_nothing_else_is_done(rig: BrokerRig) -> None:
    remover = Remover(rig)
    await started(rig, REMOVED)
    await rig.annotate(pause_reconciliation="true")
    await deleted(rig)
    assert (await rig.run()).is_over
    assert remover.worlds == []
    assert [write for write in rig.kube.writes if not write.startswith("status")] == []


async def test_a_broker_that_never_made_sense_goes_at_once(rig: BrokerRig) -> None:
    await rig.declare(changed(SHARED, {"spec.listeners[0].proxyProtocol": {"trustedCIDRs": ["10.0.0.1/8"]}}))
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": [HOLD]}})
    await rig.run()
    await deleted(rig)
    assert (await rig.run()).is_over


async def test_one_that_is_gone_is_forgotten(rig: BrokerRig) -> None:
    await started(rig)
    files = rig.folder / f"{rig.key.namespace}.plant"
    assert files.exists()
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": None}})
    await deleted(rig)
    assert (await rig.run()).is_over
    assert not files.exists()
    assert rig.exchange.place(rig.key) is None


async def test_a_broker_of_the_same_name_waits_until_the_objects_of_the_former_one_are_gone(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    uid = "00000000-0000-4000-8000-000000000000"
    owner = {"apiVersion": "mqtt.stoa.dev/v1alpha1", "kind": "MQTTBroker", "name": "plant", "uid": uid}
    left = {"name": "plant", "ownerReferences": [{**owner, "controller": True}], "finalizers": ["example.org/hold"]}
    await rig.declare({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": left})
    await rig.declare(SHARED)
    with pytest.raises(Exception, match="of a former broker of this name is being removed"):
        await rig.run()
    assert (await rig.condition("Stalled"))[0] == "False"
    await rig.raw.patch(kinds.SERVICE_ACCOUNT, rig.key.namespace, "plant", {"metadata": {"finalizers": None}})
    await rig.raw.delete(kinds.SERVICE_ACCOUNT, rig.key.namespace, "plant")
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"


async def test_the_one_node_with_a_store_of_its_own_has_no_keys_elsewhere(rig: BrokerRig) -> None:
    remover = Remover(rig)
    await started(rig, changed(EMBEDDED, {"spec.deletionPolicy": "Delete"}))
    await deleted(rig)
    rig.later(minutes=3)
    assert (await rig.run()).is_over
    assert remover.worlds == []


async def test_keys_are_removed_from_a_real_redis_and_those_of_others_stay(
    kube: ApiKube, namespace: str, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as server:
        rig = BrokerRig(kube, namespace, tmp_path)
        address = {"spec.sessionStore": {"redis": {"addresses": [server.address], "keyPrefix": "mqtt.plant"}}}
        await rig.declare(tls_secret())
        await rig.declare(changed(REMOVED, address))
        await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": [HOLD]}})
        await rig.run()
        keys = StoreKeys("mqtt.plant")
        server.execute("HSET", keys.world, "id", (await rig.status())["storeID"])
        with server.client() as client:
            client.mset({f"{keys.data}session:{number}": "x" for number in range(2_500)})
        for theirs in ("{mqtt.plants}:d:session", "mqtt.plant", "{mqtt.other}:world"):
            server.execute("SET", theirs, "x")
        rig.operator._ending = Ending(rig.kube, rig.registry, StoreFiles(tmp_path))
        await deleted(rig)
        assert (await rig.run()).is_over
        assert sorted(server.execute("KEYS", "*")) == [b"mqtt.plant", b"{mqtt.other}:world", b"{mqtt.plants}:d:session"]
        await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": None}})
