"""The operator's program, a real API server, a real Redis and real nodes: from objects to clients that talk.

Only the kubelet is a stand-in: it runs the nodes as processes of this machine, from the pods and volumes as they are.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mqtt_api.store_keys import StoreKeys
from mqtt_broker.wire.packets import ConnAck, Properties
from mqtt_operator.desired import kinds
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.names import FINALIZER
from mqtt_operator.kube.api import ApiKube
from mqtt_operator.kube.place import Place as Followed
from support import rights
from support.broker_documents import SHARED, secret, tls_secret
from support.client import Client, dial
from support.kube.place import Place
from support.operator_program import Operator, operator
from support.redis_server import RedisServer, ServerOptions
from support.resource_examples import CLIENT, PERMISSION, changed
from support.stub_kubelet import StubKubelet
from support.tools import require
from support.waiting import eventually

READY_S_MAX = 150.0
ROLLED_S_MAX = 200.0
NAMESPACE_GONE_S_MAX = 60.0
CHANGES_MIN = 60
PASSWORD = b"pump-7's word"


class Rig:
    """One namespace with an operator, a store, and a kubelet that goes on by itself."""

    def __init__(
        self, kube: ApiKube, namespace: str, kubelet: StubKubelet, store: RedisServer, operator: Operator
    ) -> None:
        self.kube = kube
        self.namespace = namespace
        self.kubelet = kubelet
        self.store = store
        self.operator = operator
        self.clients: list[Client] = []

    async def declare(self, document: Manifest) -> None:
        metadata = {**document["metadata"], "namespace": self.namespace}
        await self.kube.apply({**document, "metadata": metadata}, manager="somebody")

    async def get(self, kind: Kind, name: str) -> Manifest:
        found = await self.kube.get(kind, self.namespace, name)
        assert found is not None
        return found

    async def status(self) -> Manifest:
        status: Manifest = (await self.get(kinds.MQTT_BROKER, "plant")).get("status", {})
        return status

    async def condition(self, kind: str) -> tuple[str, str]:
        conditions = (await self.status()).get("conditions", ())
        return next(((each["status"], each["reason"]) for each in conditions if each["type"] == kind), ("", ""))

    async def until(self, kind: str, status: str, deadline_s: float) -> None:
        async def so() -> bool:
            return (await self.condition(kind))[0] == status

        try:
            await eventually(so, deadline_s)
        except AssertionError:
            dumps = "\n".join(f"{name}:\n{node.program.dump()}" for name, node in self.kubelet.nodes.items())
            raise AssertionError(f"{kind} is not {status}: {await self.status()}\n{dumps}") from None

    async def connect(self, node: str, client_id: str = "pump-7", **options: Any) -> tuple[Client, ConnAck]:
        client = await dial(self.kubelet.nodes[node].ports["mqtt"])
        self.clients.append(client)
        answer = await client.connect(client_id, username="pump-7", password=PASSWORD, **options)
        return client, answer

    async def note_conditions(self, told: list[dict[str, str]]) -> None:
        """Until cancelled: the reason of each condition of the broker each time that it is written, false ones as -."""
        version = (await self.get(kinds.MQTT_BROKER, "plant"))["metadata"]["resourceVersion"]
        place = Followed(kinds.MQTT_BROKER, self.namespace)
        async with contextlib.aclosing(self.kube.changes(place, version, seconds_max=600)) as changes:
            async for change in changes:
                if change.type == "MODIFIED":
                    conditions = change.document["status"]["conditions"]
                    told.append({each["type"]: _sign(each) + each["reason"] for each in conditions})

    async def is_let_go(self) -> bool:
        """No finalizer of ours holds the broker, or it is gone."""
        broker = await self.kube.get(kinds.MQTT_BROKER, self.namespace, "plant")
        return broker is None or FINALIZER not in broker["metadata"].get("finalizers", ())

    def has_no_keys(self) -> bool:
        """Nothing of the broker is left in the store."""
        return not self.store.execute("KEYS", f"{StoreKeys(f'mqtt.{self.namespace}.plant').tag}*")

    @property
    def pids(self) -> dict[str, int]:
        return {name: node.program.pid for name, node in self.kubelet.nodes.items()}


def _sign(condition: Manifest) -> str:
    return "" if condition["status"] == "True" else "-"


def documents(store: RedisServer) -> list[Manifest]:
    """A broker of three nodes on this store, with TLS and plain text, one client, and what it may do."""
    broker = changed(
        SHARED,
        {
            "spec.sessionStore": {
                "redis": {
                    "addresses": [store.address],
                    "credentialsRef": {"name": "redis", "usernameKey": "username"},
                    "operatorCredentialsRef": {"name": "redis-operator", "usernameKey": "username"},
                }
            },
            "spec.listeners[1]": {"name": "mqtt", "port": 1883, "allowPlaintext": True},
            "spec.drain": {"connectionsPerSecond": 1_000},
            "spec.deletionPolicy": "Delete",
        },
    )
    credentials = {"passwords": [{"secretRef": {"name": "pump-7", "key": "password"}}]}
    client = changed(CLIENT, {"spec.credentials": credentials, "spec.clientIDs": ["pump-7", "pump-7-*"]})
    rules = [{"name": "all", "effect": "Allow", "activity": "All", "topics": ["plant/#"]}]
    subjects = [{"kind": "MQTTClient", "name": "pump-7"}]
    permission = changed(PERMISSION, {"spec.rules": rules, "spec.subjects": subjects})
    log_ins = [
        secret("redis", {"username": b"nodes", "password": b"nodes-word"}),
        secret("redis-operator", {"username": b"operator", "password": b"operators-word"}),
    ]
    return [tls_secret(), secret("pump-7", {"password": PASSWORD}), *log_ins, broker, client, permission]


def users(namespace: str) -> tuple[str, ...]:
    """Nodes cannot write a policy; the operator can."""
    keys = StoreKeys(f"mqtt.{namespace}.plant")
    return (
        f"nodes on >nodes-word {' '.join(keys.broker_rules)}",
        f"operator on >operators-word {' '.join(keys.operator_rules)}",
    )


@pytest_asyncio.fixture
async def rig(kube: ApiKube, namespace: str, cluster: Place, tmp_path: Path) -> AsyncIterator[Rig]:
    require("redis-server")
    kubelet = StubKubelet(kube, namespace, "plant", tmp_path / "pods")
    with (
        RedisServer(tmp_path / "redis", ServerOptions(appendfsync="always", users=users(namespace))) as store,
        running_operator(cluster, namespace, tmp_path) as running,
    ):
        rig = Rig(kube, namespace, kubelet, store, running)
        going_on = asyncio.create_task(keep(kubelet))
        try:
            for document in documents(store):
                await rig.declare(document)
            yield rig
        finally:
            for client in rig.clients:
                await client.close()
            going_on.cancel()
            await asyncio.gather(going_on, return_exceptions=True)
            kubelet.close()


@contextlib.contextmanager
def running_operator(cluster: Place, namespace: str, folder: Path) -> Iterator[Operator]:
    """With the rights that its chart gives it in the namespace, and no others."""
    rights.grant(cluster, namespace)
    kubeconfig = rights.kubeconfig(cluster, namespace, folder / "kubeconfig")
    arguments = ("--no-leader-election", "--node-host", "127.0.0.1")
    with operator(kubeconfig, namespace, *arguments, module="mqtt_operator") as running:
        running.wait_ready()
        yield running
        assert not bugs(running)


def bugs(running: Operator) -> str:
    """What the operator itself calls one."""
    events = [event for event in running.events() if str(event.get("event", "")).endswith(".bug")]
    return "\n".join(str(event.get("traceback")) for event in events)


async def keep(kubelet: StubKubelet) -> None:
    while True:
        await kubelet.act()
        await asyncio.sleep(0.1)


async def test_three_objects_become_a_cluster_that_rolls_shrinks_and_ends_without_losing_a_session(rig: Rig) -> None:
    await rig.until("Ready", "True", READY_S_MAX)
    status = await rig.status()
    assert (status["nodes"], status["policy"]["nodesCurrent"]) == ("3/3", 3)

    # a session that sleeps, and a message for it
    sleeper, _ = await rig.connect("plant-2", "pump-7-a", properties=Properties(session_expiry_interval=3_600))
    await sleeper.subscribe("plant/a", qos=1)
    await sleeper.disconnect()
    talker, _ = await rig.connect("plant-0", "pump-7-b")
    await talker.publish("plant/a", b"before", qos=1)

    # a new certificate reaches every node, and nobody is disconnected
    before, pids = (await rig.status())["certificates"][0]["serial"], rig.pids
    started_at = time.monotonic()
    await rig.declare(tls_secret())

    async def all_serve() -> bool:
        (shown,) = (await rig.status())["certificates"]
        return bool(shown["serial"] != before and shown["nodesServing"] == 3)

    await eventually(all_serve, READY_S_MAX)
    print(f"a certificate was served by all nodes after {time.monotonic() - started_at:.1f} s")
    await talker.ping()
    assert rig.pids == pids

    # all nodes are replaced, one at a time
    started_at = time.monotonic()
    annotations = {"metadata": {"annotations": {"mqtt.stoa.dev/restartedAt": "now"}}}
    await rig.kube.patch(kinds.MQTT_BROKER, rig.namespace, "plant", annotations, manager="somebody")
    await rig.until("Ready", "False", READY_S_MAX)
    away_at_most = 0

    async def rolled() -> bool:
        nonlocal away_at_most
        away_at_most = max(away_at_most, 3 - sum(node.is_ready for node in rig.kubelet.nodes.values()))
        return (await rig.condition("Ready"))[0] == "True"

    await eventually(rolled, ROLLED_S_MAX)
    print(f"three nodes were replaced in {time.monotonic() - started_at:.1f} s")
    assert away_at_most == 1
    assert rig.kubelet.ended == ["plant-2", "plant-1", "plant-0"]
    assert set(rig.pids.values()).isdisjoint(pids.values())

    # one node less; the session wakes up on another one, with its message
    body = {"spec": {"replicas": 2}}
    await rig.kube.patch(kinds.MQTT_BROKER, rig.namespace, "plant", body, manager="somebody")

    async def smaller() -> bool:
        return (await rig.status())["nodes"] == "2/2" and len(rig.kubelet.nodes) == 2

    await eventually(smaller, ROLLED_S_MAX)
    awake, answer = await rig.connect("plant-0", "pump-7-a", clean_start=False)
    assert answer.session_present
    assert await awake.receive_payloads(1) == [b"before"]
    await awake.close()
    await talker.close()

    # the end: nodes leave, and what they kept goes with them
    started_at = time.monotonic()
    await rig.kube.delete(kinds.MQTT_BROKER, rig.namespace, "plant")

    async def gone() -> bool:
        return await rig.kube.get(kinds.MQTT_BROKER, rig.namespace, "plant") is None

    await eventually(gone, READY_S_MAX)
    print(f"the broker was gone after {time.monotonic() - started_at:.1f} s")
    assert rig.kubelet.nodes == {}
    assert rig.has_no_keys()


async def test_many_quick_changes_leave_the_broker_ready_at_every_moment(rig: Rig) -> None:
    await rig.until("Ready", "True", READY_S_MAX)
    told: list[dict[str, str]] = []
    watching = asyncio.create_task(rig.note_conditions(told))
    ends_at, number, name = time.monotonic() + READY_S_MAX, 0, PERMISSION["metadata"]["name"]
    while number < CHANGES_MIN or not any(each["Programmed"] == "-NodesBehind" for each in told):
        assert time.monotonic() < ends_at, "no status was written while nodes were behind"
        rules = [{"name": "all", "effect": "Allow", "activity": "All", "topics": [f"plant/{number}/#"]}]
        body = {"spec": {"rules": rules}}
        await rig.kube.patch(kinds.TOPIC_PERMISSION, rig.namespace, name, body, manager="somebody")
        number += 1

    async def is_quiet() -> bool:
        return bool(told) and told[-1]["Programmed"] == "Programmed"

    await eventually(is_quiet, READY_S_MAX)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    behind = sum(each["Programmed"] == "-NodesBehind" for each in told)
    print(f"{number} changes: {len(told)} statuses, {behind} of them while nodes were behind")
    assert {each["Ready"] for each in told} == {"AllReady"}


@pytest.mark.parametrize("gone", ["the store", "its Secret", "its rights", "its rights, and then itself"])
async def test_a_namespace_is_gone_within_a_minute_whatever_goes_first_and_the_keys_too(gone: str, rig: Rig) -> None:
    """Its account and all of its rights are in this namespace, as where an operator is installed beside its brokers."""
    await rig.until("Ready", "True", READY_S_MAX)
    assert (await rig.get(kinds.MQTT_BROKER, "plant"))["metadata"]["finalizers"] == [FINALIZER]
    if gone == "the store":
        rig.store.kill()
    elif gone == "its Secret":
        await rig.kube.delete(kinds.SECRET, rig.namespace, "redis-operator")
    started_at = time.monotonic()
    await rig.kube.delete(kinds.NAMESPACE, "", rig.namespace)
    if gone == "its rights, and then itself":
        await eventually(rig.is_let_go, NAMESPACE_GONE_S_MAX)
        await eventually(rig.has_no_keys, NAMESPACE_GONE_S_MAX)
        rig.operator.program.kill()

    async def is_gone() -> bool:
        return await rig.kube.get(kinds.NAMESPACE, "", rig.namespace) is None

    await eventually(is_gone, NAMESPACE_GONE_S_MAX)
    print(f"{gone} first: the namespace was gone after {time.monotonic() - started_at:.1f} s")
    if gone != "the store":
        await eventually(rig.has_no_keys, NAMESPACE_GONE_S_MAX, "the keys are gone")
