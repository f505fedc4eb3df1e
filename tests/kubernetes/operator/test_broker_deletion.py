"""The end of a broker: Kubernetes removes what it owns; what it keeps elsewhere goes before it, and in time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.removal import Removed, remove_keys
from mqtt_operator.channel.terms import Identity, StoreAwayError
from mqtt_operator.desired import kinds
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.api import ApiKube
from mqtt_operator.reconcile.deletion import Ending, Remover
from support.broker_documents import EMBEDDED, MANAGED, SHARED, secret, tls_secret
from support.broker_rig import BrokerRig
from support.redis_server import RedisServer, ServerOptions
from support.resource_examples import changed
from support.stub_workloads import StubWorkloads
from support.waiting import eventually

REMOVED = changed(SHARED, {"spec.deletionPolicy": "Delete"})
HOLD = "mqtt.stoa.dev/finalizer"  # the framework's, which goes when a pass says that it is over
OTHERS = "example.org/hold"
DELETE = {"spec.deletionPolicy": "Delete"}
GONE_S_MAX = 30.0


async def is_gone(rig: BrokerRig, kind: Kind, name: str) -> bool:
    return await rig.get(kind, name) is None


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


def end_with(rig: BrokerRig, remover: Remover) -> None:
    rig.operator._ending = Ending(rig.kube, rig.registry, rig.operator._means.files, remover)


class StubRemover:
    """What removes keys, and how it went."""

    def __init__(self, rig: BrokerRig) -> None:
        self.worlds: list[str] = []
        self.answer = Removed(identity=Identity.OURS, keys=7)
        self.problem: StoreAwayError | None = None
        self._rig = rig
        self.restart()

    def restart(self) -> None:
        end_with(self._rig, self._remove)

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


@pytest.mark.parametrize(
    "document", [SHARED, MANAGED, changed(MANAGED, DELETE), EMBEDDED, changed(EMBEDDED, DELETE)], ids=str
)
async def test_a_broker_that_keeps_nothing_elsewhere_goes_at_once_and_kubernetes_removes_what_it_owns(
    document: Manifest, rig: BrokerRig
) -> None:
    """Also one that an earlier release still holds."""
    remover = StubRemover(rig)
    await started(rig, document)
    await deleted(rig)
    assert (await rig.run()).is_over
    assert remover.worlds == []
    assert rig.kube.writes == []
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": None}})
    await eventually(lambda: is_gone(rig, kinds.STATEFUL_SET, "plant"), GONE_S_MAX, "the nodes' StatefulSet is gone")
    await eventually(lambda: is_gone(rig, kinds.SECRET, "plant-store"), GONE_S_MAX, "the log-in of nodes is gone")


async def test_one_that_waits_only_for_others_is_left_to_them(rig: BrokerRig) -> None:
    """As after kubectl delete --cascade=foreground: whoever went on would make again what is being removed."""
    await started(rig, REMOVED)
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": [OTHERS]}})
    await deleted(rig)
    await rig.raw.delete(kinds.STATEFUL_SET, rig.key.namespace, "plant")
    assert (await rig.run()).is_over
    assert await is_gone(rig, kinds.STATEFUL_SET, "plant")


async def test_a_broker_whose_keys_are_to_stay_after_all_is_let_go(rig: BrokerRig) -> None:
    remover = StubRemover(rig)
    await started(rig, REMOVED)
    await deleted(rig)
    assert not (await rig.run()).is_over
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"spec": {"deletionPolicy": "Retain"}})
    assert (await rig.run()).is_over
    assert remover.worlds == []


async def test_nodes_leave_first(rig: BrokerRig) -> None:
    StubRemover(rig)
    await started(rig, REMOVED)
    await deleted(rig)
    outcome = await rig.run()
    assert not outcome.is_over
    assert [write for write in rig.kube.writes if write.startswith("delete")] == ["delete StatefulSet plant"]
    assert outcome.sentence == "The broker is being deleted: 3 nodes are leaving."
    await end_nodes(rig)
    outcome = await rig.run()
    assert outcome.is_over


async def test_keys_go_when_their_end_was_asked_for_and_no_node_is_left(rig: BrokerRig) -> None:
    remover = StubRemover(rig)
    await started(rig, REMOVED)
    world = rig.store.world
    await deleted(rig)
    assert not (await rig.run()).is_over
    assert remover.worlds == []
    await end_nodes(rig)
    assert (await rig.run()).is_over
    assert remover.worlds == [world]


async def test_keys_that_are_many_go_in_several_passes(rig: BrokerRig) -> None:
    remover = StubRemover(rig)
    await rig.declare(tls_secret())
    await rig.declare(REMOVED)
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": [HOLD]}})
    await rig.run()
    await deleted(rig)
    remover.answer = Removed(identity=Identity.OURS, keys=1_000, is_all=False)
    assert not (await rig.run()).is_over
    remover.answer = Removed(identity=Identity.OURS, keys=10)
    assert (await rig.run()).is_over


WITH_LOG_IN = changed(
    REMOVED, {"spec.sessionStore": {"redis": {"addresses": ["redis:6379"], "credentialsRef": {"name": "r"}}}}
)


async def test_keys_go_with_the_log_in_that_was_used_last_when_its_secret_is_gone_first(rig: BrokerRig) -> None:
    remover = StubRemover(rig)
    await rig.declare(secret("r", {"password": b"p"}))
    await started(rig, WITH_LOG_IN)
    world = rig.store.world
    await deleted(rig)
    await end_nodes(rig)
    await rig.raw.delete(kinds.SECRET, rig.key.namespace, "r")
    assert (await rig.run()).is_over
    assert remover.worlds == [world]


@pytest.mark.parametrize("gone", ["the store", "its Secret, before a restart", "the nodes do not end"])
async def test_it_is_let_go_in_time_whatever_is_gone(gone: str, rig: BrokerRig) -> None:
    remover = StubRemover(rig)
    await rig.declare(secret("r", {"password": b"p"}))
    await started(rig, WITH_LOG_IN)
    await deleted(rig)
    if gone != "the nodes do not end":
        await end_nodes(rig)
    if gone == "its Secret, before a restart":
        await rig.raw.delete(kinds.SECRET, rig.key.namespace, "r")
        rig.restart()
        remover.restart()
    if gone == "the store":
        remover.problem = StoreAwayError("The store does not answer.")
    assert not (await rig.run()).is_over
    rig.later(minutes=3)
    assert (await rig.run()).is_over
    said = [event[:2] for event in rig.kube.events]
    assert said == ([] if gone == "the nodes do not end" else [("Warning", "KeysRemain")])


async def test_a_paused_broker_goes_at_once_and_nothing_else_is_done(rig: BrokerRig) -> None:
    remover = StubRemover(rig)
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


async def test_with_its_namespace_a_broker_is_let_go_first_and_then_its_keys_go_nodes_or_not(rig: BrokerRig) -> None:
    remover = StubRemover(rig)
    await started(rig, REMOVED)
    world = rig.store.world
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": [OTHERS, HOLD]}})
    rig.registry.see_ending({rig.key.namespace: rig.now})
    outcome = await rig.run()
    assert (await rig.broker())["metadata"]["finalizers"] == [OTHERS]
    assert rig.kube.writes == ["patch MQTTBroker plant", "delete StatefulSet plant"]
    assert outcome.sentence == "The namespace is being deleted: 3 nodes are leaving."
    assert remover.worlds == []
    rig.later(seconds=3)
    assert (await rig.run()).is_over
    assert remover.worlds == [world]
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": None}})


async def test_with_its_namespace_keys_go_at_once_when_we_may_not_look_after_nodes_any_more(rig: BrokerRig) -> None:
    remover = StubRemover(rig)
    await started(rig, REMOVED)
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": None}})
    rig.registry.see_ending({rig.key.namespace: rig.now})
    await rig.see()
    rig.kube.calls_left, rig.kube.away = 1, True  # the broker itself is read
    assert (await rig.operator.reconcile(rig.key)).is_over
    assert len(remover.worlds) == 1


async def test_with_its_namespace_a_broker_is_let_go_also_when_its_store_is_away(rig: BrokerRig) -> None:
    remover = StubRemover(rig)
    remover.problem = StoreAwayError("The store does not answer.")
    await started(rig, REMOVED)
    await end_nodes(rig)
    rig.registry.see_ending({rig.key.namespace: rig.now})
    outcome = await rig.run()
    assert "finalizers" not in (await rig.broker())["metadata"]
    assert "keys in the store may stay: The store does not answer." in outcome.sentence
    assert (outcome.is_over, outcome.again_s, rig.kube.events) == (False, 1.0, [])
    remover.problem = None
    assert (await rig.run()).is_over


@pytest.mark.parametrize("paused", [True, False])
async def test_with_its_namespace_a_broker_that_is_paused_or_keeps_its_keys_is_let_go_and_no_more(
    rig: BrokerRig, *, paused: bool
) -> None:
    remover = StubRemover(rig)
    await started(rig, REMOVED if paused else SHARED)
    if paused:
        await rig.annotate(pause_reconciliation="true")
    rig.registry.see_ending({rig.key.namespace: rig.now})
    assert (await rig.run()).is_over
    assert "finalizers" not in (await rig.broker())["metadata"]
    assert remover.worlds == []


async def test_what_a_namespace_refuses_that_is_being_deleted_is_nobodys_fault(rig: BrokerRig, kube: ApiKube) -> None:
    """Nothing is told in a status or an event: nobody has anything to mend."""
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": [OTHERS]}})
    await rig.see()
    await kube.delete(kinds.NAMESPACE, "", rig.key.namespace)
    outcome = await rig.operator.reconcile(rig.key)
    assert outcome.sentence == f"Namespace {rig.key.namespace} is being deleted: nothing can be made in it any more."
    assert outcome.again_s == 60.0
    assert rig.kube.events == []
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": None}})


async def test_keys_are_removed_from_a_real_redis_with_the_operators_rules_and_those_of_others_stay(
    kube: ApiKube, namespace: str, tmp_path: Path
) -> None:
    keys = StoreKeys("mqtt.plant")
    users = (f"operator on >word {' '.join(keys.operator_rules)}",)
    with RedisServer(tmp_path / "redis", ServerOptions(users=users)) as server:
        rig = BrokerRig(kube, namespace, tmp_path)
        log_in = {"name": "operator", "usernameKey": "username"}
        redis = {"addresses": [server.address], "keyPrefix": "mqtt.plant", "credentialsRef": log_in}
        await rig.declare(tls_secret())
        await rig.declare(secret("operator", {"username": b"operator", "password": b"word"}))
        await rig.declare(changed(REMOVED, {"spec.sessionStore": {"redis": redis}}))
        await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": [HOLD]}})
        await rig.run()
        server.execute("HSET", keys.world, "id", (await rig.status())["storeID"])
        with server.client() as client:
            client.mset({f"{keys.data}session:{number}": "x" for number in range(2_500)})
            client.zadd(f"{keys.data}due", {"a": 1})
            client.hset(keys.policy, "revision", 1)
        for theirs in ("{mqtt.plants}:d:session", "mqtt.plant", "{mqtt.other}:world"):
            server.execute("SET", theirs, "x")
        end_with(rig, remove_keys)
        await deleted(rig)
        assert (await rig.run()).is_over
        assert sorted(server.execute("KEYS", "*")) == [b"mqtt.plant", b"{mqtt.other}:world", b"{mqtt.plants}:d:session"]
        await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": None}})
