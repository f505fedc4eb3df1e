"""The story of one broker at a real API server, pass by pass, with a store that is a value.

rig.stores.world = "another"     # what the store says of itself
await rig.run()                  # one pass; what it did is in rig.outcome, what it wrote in rig.kube.writes
"""

import base64
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mqtt_api.node_facts import ListenerCertificate, NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.look import Look
from mqtt_operator.channel.terms import Member, Members, SharedStoreError, StoreAwayError
from mqtt_operator.desired import kinds
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.names import FIELD_MANAGER, STATUS_FIELD_MANAGER
from mqtt_operator.kube.port import Call, EventType, Kube, KubeAwayError, Propagation
from mqtt_operator.reconcile.broker import BrokerReconciler
from mqtt_operator.reconcile.exchange import Exchange, PolicyReport, SharedPlace
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.loop import Outcome
from mqtt_operator.reconcile.managed_store import LiveStores
from mqtt_operator.reconcile.registry import Registry, Scope
from mqtt_operator.reconcile.surroundings import Surroundings
from support.stub_workloads import StubWorkloads

RELEASE = "registry.example.org/stoa@sha256:" + "1" * 64
SAFE_CONFIG = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
DATA = (kinds.SECRET, kinds.CONFIG_MAP)


class OperatorKilled(BaseException):
    """The process is gone."""


class SpiedKube:
    """A Kube that remembers what was written, and is cut off after a number of calls."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.writes: list[str] = []
        self.events: list[tuple[str, str, str]] = []
        self.calls_left: int | None = None
        self.away = False
        self.before_deletion: Callable[[], Awaitable[None]] | None = None

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        self._spend()
        return await self._kube.get(kind, namespace, name)

    async def list(self, kind: Kind, namespace: str, selector: str = "", *, fields: str = "") -> list[Manifest]:
        self._spend()
        return await self._kube.list(kind, namespace, selector, fields=fields)

    async def apply(self, manifest: Manifest, *, manager: str = FIELD_MANAGER, force: bool = True) -> Manifest:
        self._spend(f"apply {manifest['kind']} {manifest['metadata']['name']}")
        return await self._kube.apply(manifest, manager=manager, force=force)

    async def create(self, manifest: Manifest, *, manager: str = FIELD_MANAGER) -> Manifest:
        self._spend(f"create {manifest['kind']} {manifest['metadata']['name']}")
        return await self._kube.create(manifest, manager=manager)

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: Manifest, *, manager: str = FIELD_MANAGER
    ) -> Manifest | None:
        self._spend(f"patch {kind.kind} {name}")
        return await self._kube.patch(kind, namespace, name, body, manager=manager)

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Manifest, *, manager: str = STATUS_FIELD_MANAGER
    ) -> Manifest | None:
        self._spend(f"status {kind.kind} {name}")
        return await self._kube.patch_status(kind, namespace, name, status, manager=manager)

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = Propagation.BACKGROUND,
    ) -> bool:
        self._spend(f"delete {kind.kind} {name}")
        if self.before_deletion is not None:
            await self.before_deletion()
        return await self._kube.delete(
            kind, namespace, name, uid=uid, resource_version=resource_version, propagation=propagation
        )

    async def serves(self, kind: Kind) -> bool:
        return await self._kube.serves(kind)

    async def event(self, about: Manifest, event_type: EventType, reason: str, message: str) -> None:
        self._spend()
        self.events.append((event_type.value, reason, message))

    def calls(self) -> frozenset[Call]:
        return self._kube.calls()

    def _spend(self, write: str | None = None) -> None:
        """A call that is cut off has not happened: the next test asks for one more."""
        if self.calls_left is not None:
            if self.calls_left == 0:
                raise KubeAwayError("The API server does not answer.") if self.away else OperatorKilled
            self.calls_left -= 1
        if write is not None:
            self.writes.append(write)


class Store:
    """A store as a value. `nodes`: what they say of themselves, by name."""

    def __init__(self) -> None:
        self.world = ""
        self.is_rolled_back = False
        self.problem: SharedStoreError | None = None
        self.nodes: dict[str, NodeFacts] = {}
        self.config: Mapping[str, str] | None = SAFE_CONFIG
        self.run = "run-1"
        self.looked_with: list[RedisSettings] = []
        self._others: dict[str, Store] = {}

    def shared_with(self, other: "Store", key_prefix: str) -> None:
        """The same server: under that prefix lies what the other one holds."""
        self._others[key_prefix] = other

    def look(self, settings: RedisSettings) -> Look:
        if settings.key_prefix in self._others:
            return self._others[settings.key_prefix].look(settings)
        self.looked_with.append(settings)
        if self.problem is not None:
            raise self.problem
        nodes = {name: Member(node=name, token=1, renewals=1, facts=facts) for name, facts in self.nodes.items()}
        members = Members(nodes=nodes, feed_end=0, policy_revision=1)
        return Look(
            world=self.world, is_rolled_back=self.is_rolled_back, members=members, run=self.run, config=self.config
        )

    def away(self) -> None:
        self.problem = StoreAwayError("The store does not answer.", to_do="Start it.")

    def back(self) -> None:
        self.problem = None


class LiveServer:
    """A managed Redis as far as it is told something while it runs. `file`: the certificate in its pod, DER."""

    def __init__(self) -> None:
        self.users: list[Mapping[str, tuple[str, ...]]] = []
        self.file = b""
        self.serving = b""

    def mount(self, certificate: bytes) -> None:
        """It starts with the first one, and reads another one when it is told to."""
        self.serving = self.serving or certificate
        self.file = certificate

    def set_users(self, _: RedisSettings, users: Mapping[str, tuple[str, ...]]) -> None:
        self.users.append(users)

    def reload(self, _: RedisSettings, __: str) -> None:
        self.serving = self.file

    def served(self, _: RedisSettings) -> bytes:
        return self.serving


class BrokerRig:
    """One broker in one namespace. `operator` is made anew by `restart`, as after the end of its process."""

    followed: tuple[kinds.Kind, ...] = (kinds.MQTT_BROKER, *DATA)

    def __init__(self, kube: Kube, namespace: str, folder: Path, name: str = "plant") -> None:
        self.raw = kube
        self.key = BrokerKey(namespace, name)
        self.store = Store()
        self.server = LiveServer()
        self.workloads = StubWorkloads(kube, namespace)
        self.now = datetime.now(UTC)
        self.folder = folder
        self.surroundings: dict[str, Any] = {}
        self.revision = 1
        self.outcome = Outcome("")
        self.restart()

    def restart(self) -> None:
        """Everything that was in memory is gone."""
        self.kube = SpiedKube(self.raw)
        self.registry = Registry()
        self.exchange = Exchange()
        facts: dict[str, Any] = {
            "namespace": "stoa-system",
            "image": RELEASE,
            "version": "0.1.0",
            "store_image": "registry.example.org/redis@sha256:" + "2" * 64,
            "private_folder": self.folder,
        }
        self.operator = BrokerReconciler(
            self.kube,
            self.registry,
            self.exchange,
            Surroundings(**{**facts, **self.surroundings}),
            clock=lambda: self.now,
            looker=self.store.look,
            ask=self._ask,
            live=LiveStores(self.server.set_users, self.server.reload, self.server.served),
        )

    async def run(self) -> Outcome:
        """One pass, after the registry has seen everything."""
        await self.see()
        self.outcome = await self.operator.reconcile(self.key)
        return self.outcome

    async def see(self) -> None:
        """What the watches would have told."""
        for kind in self.followed:
            scope = Scope(kind, self.key.namespace)
            self.registry.expect(scope)
            found = await self.raw.list(kind, self.key.namespace)
            for document in found:
                self.registry.see(document)
            self._forget_others(kind, {document["metadata"]["name"] for document in found})
            self.registry.complete(scope)
        self.operator._means.sights.spoil(self.key)

    async def settle(self, *, ready: bool = True) -> None:
        """Passes, nodes and the policy's story take turns until nothing is left to do."""
        for _ in range(60):
            await self.run()
            if (self.outcome.again_s or 0) >= 15:
                return
            await self.play(ready=ready)
        raise AssertionError(f"it did not settle: {self.outcome.sentence}")

    async def play(self, *, ready: bool = True) -> None:
        """What all others do: the policy's story, the StatefulSet's controller, the nodes."""
        self.play_policy()
        await self.workloads.act(ready=ready)
        await self.play_nodes()
        await self._play_store_server()

    def play_policy(self) -> None:
        place = self.exchange.place(self.key)
        if isinstance(place, SharedPlace) and place.may_be_new and not self.store.world:
            self.store.world = place.world
        if place is not None and (not isinstance(place, SharedPlace) or self.store.world == place.world):
            self.exchange.tell_report(self.key, PolicyReport(revision=self.revision, established=True))

    async def play_nodes(self) -> None:
        """Pods that are ready hold a lease, and serve what lies in their Secrets."""
        self.store.nodes = {}
        certificates = await self._certificates()
        for pod in await self.workloads.pods(self.key.name):
            conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", ())}
            if conditions.get("Ready") == "True":
                self.store.nodes[pod["metadata"]["name"]] = NodeFacts(
                    ready=True, version="0.1.0", policy_revision=self.revision, certificates=certificates
                )

    async def _ask(self, pod_ip: str) -> NodeFacts | None:
        """What a node with a store of its own says of itself."""
        return self.store.nodes.get(f"{self.key.name}-{pod_ip.rpartition('.')[2]}")

    async def _play_store_server(self) -> None:
        secret = await self.get(kinds.SECRET, f"{self.key.name}-store-server")
        if secret is not None and "tls.crt" in secret.get("data", {}):
            pem = base64.b64decode(secret["data"]["tls.crt"])
            self.server.mount(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER))

    async def broker(self) -> Manifest:
        found = await self.raw.get(kinds.MQTT_BROKER, *self.key)
        assert found is not None
        return found

    async def status(self) -> Manifest:
        status: Manifest = (await self.broker()).get("status", {})
        return status

    async def condition(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message."""
        for each in (await self.status()).get("conditions", ()):
            if each["type"] == kind:
                return each["status"], each["reason"], each["message"]
        raise AssertionError(f"there is no condition {kind}")

    async def get(self, kind: Kind, name: str) -> Manifest | None:
        return await self.raw.get(kind, self.key.namespace, name)

    async def declare(self, document: Manifest) -> None:
        """As a person who applies a file."""
        metadata = {**document["metadata"], "namespace": self.key.namespace}
        await self.raw.apply({**document, "metadata": metadata}, manager="somebody")

    async def annotate(self, **annotations: str | None) -> None:
        """By the name behind the slash, `_` for `-`."""
        named = {f"mqtt.stoa.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
        await self.raw.patch(kinds.MQTT_BROKER, *self.key, {"metadata": {"annotations": named}}, manager="somebody")

    async def scale(self, replicas: int) -> None:
        await self.raw.patch(kinds.MQTT_BROKER, *self.key, {"spec": {"replicas": replicas}}, manager="somebody")

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)

    async def _certificates(self) -> dict[str, ListenerCertificate]:
        return {
            each["listener"]: ListenerCertificate(serial=each["serial"], not_after=each["notAfter"])
            for each in (await self.status()).get("certificates", ())
        }

    def _forget_others(self, kind: Kind, there: set[str]) -> None:
        for name in self._known.get(kind, set()) - there:
            metadata = {"namespace": self.key.namespace, "name": name}
            self.registry.forget({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata})
        self._known[kind] = there

    @property
    def _known(self) -> dict[Kind, set[str]]:
        known: dict[Kind, set[str]] = self.registry.__dict__.setdefault("_known_by_the_rig", {})
        return known
