"""A broker that is deleted and made anew under its name goes on with what its own store kept.

Both stories of the operator at a real API server. For a managed store a real Redis stands for the volume that is kept,
for an embedded one the folder of a real node.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio

from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import Policy, decode_policy
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.wire.packets import ConnAck, Properties
from mqtt_operator.channel.look import Look, look
from mqtt_operator.channel.policy import read_parts
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import Member, Members
from mqtt_operator.desired import kinds
from mqtt_operator.desired.labels import children_selector
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.api import ApiKube
from mqtt_operator.reconcile.policy import PolicyReconciler
from mqtt_operator.reconcile.statuses import StatusWriter
from mqtt_operator.reconcile.surroundings import Surroundings
from support.broker_documents import EMBEDDED, MANAGED, secret, tls_secret
from support.broker_rig import BrokerRig, Store
from support.client import Client, dial
from support.redis_server import RedisServer, ServerOptions
from support.resource_examples import CLIENT, PERMISSION, changed
from support.stub_kubelet import StubKubelet
from support.tools import require
from support.waiting import eventually

GONE_S_MAX = 60.0
SERVING_S_MAX = 150.0  # on whatever machine this is
PASSWORD = b"pump-7's word"
OTHER = "0" * 32  # an identity of nobody here


class ServedStore(Store):
    """A real server in the place of the one that the operator would make. `nodes` are added to what it says."""

    def __init__(self, server: RedisServer | None) -> None:
        super().__init__()
        self._server = server

    def reached(self, settings: RedisSettings) -> RedisSettings:
        assert self._server is not None
        return RedisSettings(addresses=(self._server.address,), key_prefix=settings.key_prefix)

    def look(self, settings: RedisSettings) -> Look:
        seen = look(self.reached(settings))
        nodes = {name: Member(node=name, token=1, renewals=1, facts=facts) for name, facts in self.nodes.items()}
        return msgspec.structs.replace(seen, members=Members(nodes=nodes, feed_end=0, policy_revision=0))


class WholeRig(BrokerRig):
    """Both stories; `kubelet`, if there is one, runs nodes."""

    followed = (*BrokerRig.followed, kinds.MQTT_CLIENT, kinds.TOPIC_PERMISSION)

    def __init__(
        self, kube: ApiKube, namespace: str, folder: Path, server: RedisServer | None, kubelet: StubKubelet | None
    ) -> None:
        self._server = server
        self.kubelet = kubelet
        super().__init__(kube, namespace, folder)

    def restart(self) -> None:
        self.store = store = ServedStore(self._server)
        super().restart()
        around = Surroundings(
            namespace="stoa-system", image="image", version="1", store_image="store", private_folder=self.folder
        )
        self.statuses = StatusWriter(self.kube, rest_s=0.0)
        self.policy = PolicyReconciler(
            self.registry,
            self.kube,
            self.exchange,
            self.statuses,
            around,
            open_store=lambda settings: SharedStore(store.reached(settings)),
        )

    async def play(self, *, ready: bool = True) -> None:
        with contextlib.suppress(ExpectedError):  # told in the report
            await self.policy.reconcile(self.key)
        if self.kubelet is None:
            await self.workloads.act(ready=ready)
        else:
            await self.kubelet.act()
        self.revision = self.exchange.report(self.key).revision
        await self.play_nodes()
        await self._play_store_server()

    async def delete(self) -> None:
        """The broker, and what Kubernetes takes along; as the program does, nothing of it is remembered then."""
        await self.raw.delete(kinds.MQTT_BROKER, *self.key)
        await eventually(self._is_gone, GONE_S_MAX)
        await self.policy.forget(self.key)
        self.operator.forget(self.key)

    async def _is_gone(self) -> bool:
        if self.kubelet is not None:
            await self.kubelet.act()
        selector = children_selector(self.key.name)
        looked_at = (kinds.STATEFUL_SET, kinds.SECRET, kinds.CONFIG_MAP, kinds.SERVICE)
        left = [each for kind in looked_at for each in await self.raw.list(kind, self.key.namespace, selector)]
        return not left and not await self.raw.list(kinds.POD, self.key.namespace)


@pytest_asyncio.fixture
async def managed(kube: ApiKube, namespace: str, tmp_path: Path) -> AsyncIterator[tuple[WholeRig, RedisServer]]:
    require("redis-server")
    with RedisServer(tmp_path / "redis", ServerOptions(appendfsync="always")) as server:
        rig = WholeRig(kube, namespace, tmp_path, server, None)
        yield rig, server
        await rig.policy.close()


def in_force(server: RedisServer, keys: StoreKeys) -> Policy:
    lines = read_parts(RedisSettings(addresses=(server.address,), key_prefix=keys.prefix))
    assert lines is not None
    return decode_policy(lines)


async def certified(rig: WholeRig, count: int) -> None:
    for name in (f"pump-{number}" for number in range(count)):
        credentials = {"certificates": [{"match": {"commonName": name}}]}
        await rig.declare(changed(CLIENT, {"metadata.name": name, "spec.credentials": credentials}))


async def test_a_managed_store_that_was_kept_serves_the_new_broker_under_its_own_policy_alone(
    managed: tuple[WholeRig, RedisServer],
) -> None:
    rig, server = managed
    keys = StoreKeys(f"mqtt.{rig.key.namespace}.plant")
    await rig.declare(tls_secret())
    await certified(rig, 12)
    await rig.declare(MANAGED)
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"
    before, policy = await rig.status(), in_force(server, keys)
    assert len(policy.principals) == 12
    server.execute("SET", f"{keys.data}session", "kept")

    await rig.delete()
    for name in (f"pump-{number}" for number in range(1, 12)):  # so many that a person would have to confirm it
        await rig.raw.delete(kinds.MQTT_CLIENT, rig.key.namespace, name)
    await rig.declare(MANAGED)
    await rig.run()
    assert (await rig.condition("SessionStoreReachable"))[0] == "True"
    assert await rig.get(kinds.STATEFUL_SET, "plant") is None  # no node reads what the broker before it allowed
    await rig.settle()
    after, policy_now = await rig.status(), in_force(server, keys)
    assert (await rig.condition("Ready"))[0] == "True"
    assert after["storeID"] == before["storeID"]
    assert set(policy_now.principals) == {"pump-0"}
    assert policy_now.revision == after["policy"]["revision"] > policy.revision
    assert server.execute("GET", f"{keys.data}session") == b"kept"

    # and it is as wary as any broker of a store that is emptied below it
    server.execute("FLUSHALL")
    await rig.run()
    assert (await rig.condition("SessionStoreReachable"))[:2] == ("False", "StoreReplaced")
    assert server.execute("KEYS", "*") == []


async def test_a_managed_store_with_the_volume_of_another_broker_is_refused_until_a_person_accepts_it(
    managed: tuple[WholeRig, RedisServer],
) -> None:
    rig, server = managed
    server.execute("HSET", StoreKeys(f"mqtt.{rig.key.namespace}.plant").world, "id", OTHER, "generation", "0")
    await rig.declare(tls_secret())
    await rig.declare(MANAGED)
    for _ in range(3):
        await rig.run()
        await rig.play()
    reason, message = (await rig.condition("Stalled"))[1:]
    assert reason == "StoreReplaced"
    assert "PersistentVolumeClaim data-plant-store-0 holds the data of another broker" in message
    assert f"mqtt.stoa.dev/accept-store={OTHER}" in message
    await rig.annotate(accept_store=OTHER)
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"
    assert (await rig.status())["storeID"] == OTHER


async def test_a_person_accepts_the_volume_that_the_one_node_refuses_and_the_node_is_made_again(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(EMBEDDED)
    for _ in range(3):
        await rig.run()
        await rig.play(ready=False)
    await rig.workloads.set_ready("plant-0", ready=False, waiting="CrashLoopBackOff")
    await rig.annotate(accept_store=OTHER)
    await rig.settle()
    assert (await rig.status())["storeID"] == OTHER
    settings = await rig.get(kinds.CONFIG_MAP, "plant-settings")
    assert settings is not None
    assert any(OTHER in text for text in settings["data"].values())
    assert rig.workloads.made == ["plant-0", "plant-0"]
    assert (await rig.condition("Ready"))[0] == "True"
    await rig.annotate(accept_store="1" * 32)  # it serves: nobody accepts anything by mistake
    await rig.settle()
    assert (await rig.status())["storeID"] == OTHER


def embedded_documents() -> list[dict[str, Any]]:
    broker = changed(EMBEDDED, {"spec.listeners[1]": {"name": "mqtt", "port": 1883, "allowPlaintext": True}})
    credentials = {"passwords": [{"secretRef": {"name": "pump-7", "key": "password"}}]}
    client = changed(CLIENT, {"spec.credentials": credentials, "spec.clientIDs": ["pump-7", "pump-7-*"]})
    rules = [{"name": "all", "effect": "Allow", "activity": "All", "topics": ["plant/#"]}]
    permission = changed(PERMISSION, {"spec.rules": rules, "spec.subjects": [{"kind": "MQTTClient", "name": "pump-7"}]})
    return [tls_secret(), secret("pump-7", {"password": PASSWORD}), broker, client, permission]


async def test_a_node_with_a_store_of_its_own_goes_on_with_the_folder_that_was_kept(
    kube: ApiKube, namespace: str, tmp_path: Path
) -> None:
    kubelet = StubKubelet(kube, namespace, "plant", tmp_path / "pods")
    rig = WholeRig(kube, namespace, tmp_path, None, kubelet)

    async def serves() -> bool:
        await rig.run()
        await rig.play()
        return kubelet.nodes["plant-0"].is_ready if "plant-0" in kubelet.nodes else False

    async def connect(client_id: str, **options: Any) -> tuple[Client, ConnAck]:
        client = await dial(kubelet.nodes["plant-0"].ports["mqtt"])
        ends.push_async_callback(client.close)
        return client, await client.connect(client_id, username="pump-7", password=PASSWORD, **options)

    async with contextlib.AsyncExitStack() as ends:
        ends.callback(kubelet.close)
        ends.push_async_callback(rig.policy.close)
        for document in embedded_documents():
            await rig.declare(document)
        await eventually(serves, SERVING_S_MAX)
        world = (await rig.status())["storeID"]
        sleeper, _ = await connect("pump-7-a", properties=Properties(session_expiry_interval=3_600))
        await sleeper.subscribe("plant/a", qos=1)
        await sleeper.disconnect()
        talker, _ = await connect("pump-7-b")
        await talker.publish("plant/a", b"before", qos=1)
        await talker.disconnect()

        await rig.delete()
        for document in embedded_documents():
            await rig.declare(document)
        await eventually(serves, SERVING_S_MAX)
        assert (await rig.status())["storeID"] == world
        awake, answer = await connect("pump-7-a", clean_start=False)
        assert answer.session_present
        assert await awake.receive_payloads(1) == [b"before"]
