"""The policy's story of one broker, pass by pass: an API server and a store that are values, and a clock that stands.

rig.see(client("pump-7"))        # what the API server tells
await rig.run()                  # one pass, and everything that it set going
rig.store.policy()               # what a node would read
"""

import asyncio
import copy
import itertools
import threading
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import msgspec
from argon2 import PasswordHasher

from mqtt_api.node_facts import NOTHING_PURGED, NodeFacts, Purged
from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import Policy, decode_policy
from mqtt_api.policy_lines import Part
from mqtt_operator.channel.terms import (
    Found,
    Identity,
    Member,
    Members,
    RevisionTakenError,
    SharedStoreError,
    Writer,
    Written,
)
from mqtt_operator.desired import kinds
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.paths import kind_of
from mqtt_operator.kube.port import Call, ConflictError, EventType, KubeError, Propagation
from mqtt_operator.reconcile.exchange import EmbeddedPlace, Exchange, Place, PolicyReport, SharedPlace
from mqtt_operator.reconcile.keys import BrokerKey, ObjectKey
from mqtt_operator.reconcile.loop import Outcome
from mqtt_operator.reconcile.policy import PolicyReconciler
from mqtt_operator.reconcile.registry import Registry, Scope
from mqtt_operator.reconcile.statuses import StatusWriter
from mqtt_operator.reconcile.surroundings import Surroundings

WORLD = "the-world"
KEY = BrokerKey("mqtt", "plant")
SETTINGS = RedisSettings(addresses=("redis:6379",), key_prefix="mqtt.plant")
WATCHED = (
    kinds.MQTT_BROKER,
    kinds.MQTT_CLIENT,
    kinds.TOPIC_PERMISSION,
    kinds.SECRET,
    kinds.CONFIG_MAP,
    kinds.NAMESPACE,
)
START = datetime(2026, 1, 1, tzinfo=UTC)
SETTLED_S_MAX = 10.0


class ValueKube:
    """A Kube whose API server is a dictionary. What is written comes back through the registry, if it is told."""

    def __init__(self, registry: Registry) -> None:
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.writes: list[str] = []
        self.statuses: list[ObjectKey] = []
        self.events: list[tuple[str, str, str, str]] = []
        self.problem: KubeError | None = None
        self.has_cert_manager = True
        self._registry = registry
        self._versions = itertools.count(100)

    def put(self, document: Manifest) -> None:
        """This object is there, and the registry hears of it."""
        document = copy.deepcopy(document)
        document["metadata"].setdefault("uid", f"uid-{document['metadata']['name']}")
        document["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[_name(document)] = document
        self._registry.see(copy.deepcopy(document))

    def take(self, kind: Kind, name: str, namespace: str = "mqtt") -> None:
        """It is gone, and the registry hears of it."""
        self._registry.forget(self.objects.pop((kind.kind, namespace, name)))

    def secret(self, name: str) -> dict[str, bytes]:
        data = self.objects["Secret", "mqtt", name]["data"]
        return {key: msgspec.convert(value, bytes) for key, value in data.items()}

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        self._fail()
        return copy.deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def list(self, kind: Kind, namespace: str, selector: str = "", *, fields: str = "") -> list[Manifest]:
        self._fail()
        return [each for (one, where, _), each in self.objects.items() if (one, where) == (kind.kind, namespace)]

    async def apply(self, manifest: Manifest, *, manager: str = "", force: bool = True) -> Manifest:
        self._fail()
        self.writes.append(f"apply {manifest['kind']} {manifest['metadata']['name']}")
        now = self.objects.get(_name(manifest))
        wanted = manifest["metadata"].get("resourceVersion")
        if wanted is not None and (now is None or now["metadata"]["resourceVersion"] != wanted):
            raise ConflictError("another version")
        uid = {} if now is None else {"uid": now["metadata"]["uid"]}
        self.put({**manifest, "metadata": {**manifest["metadata"], **uid}})
        return self.objects[_name(manifest)]

    async def create(self, manifest: Manifest, *, manager: str = "") -> Manifest:
        self._fail()
        self.writes.append(f"create {manifest['kind']} {manifest['metadata']['name']}")
        if _name(manifest) in self.objects:
            raise ConflictError("it exists")
        self.put(manifest)
        return self.objects[_name(manifest)]

    async def patch(self, kind: Kind, namespace: str, name: str, body: Manifest, *, manager: str = "") -> Manifest:
        self._fail()
        self.writes.append(f"patch {kind.kind} {name}")
        document = self.objects[kind.kind, namespace, name]
        annotations = document["metadata"].setdefault("annotations", {})
        annotations.update(body["metadata"]["annotations"])
        return document

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Manifest, *, manager: str = ""
    ) -> Manifest | None:
        self._fail()
        document = self.objects.get((kind.kind, namespace, name))
        if document is None:
            return None
        self.statuses.append(ObjectKey(namespace, name))
        self.put({**document, "status": status})
        return self.objects[kind.kind, namespace, name]

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
        raise AssertionError("the policy's story deletes nothing")

    async def serves(self, kind: Kind) -> bool:
        return self.has_cert_manager or kind is not kinds.CERTIFICATE

    async def event(self, about: Manifest, event_type: EventType, reason: str, message: str) -> None:
        self.events.append((about["metadata"]["name"], event_type.value, reason, message))

    def calls(self) -> frozenset[Call]:
        return frozenset()

    def _fail(self) -> None:
        if self.problem is not None:
            raise self.problem


class ValueStore:
    """A store as a value, with the rules of the real one as far as an operator meets them."""

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.world = ""
        self.fence = 0
        self.revision = -1
        self.parts: list[bytes] | None = None
        self.digests: list[str] = []
        self.writes = 0
        self.sent_parts = 0
        self.verifiers: dict[str, bytes] = {}
        self.nodes: dict[str, int] = {}
        self.purged = NOTHING_PURGED
        self.problem: SharedStoreError | None = None
        self.generation_to_accept = 0

    def policy(self) -> Policy:
        assert self.parts is not None
        return decode_policy(self.parts)

    def follow(self) -> None:
        """All nodes decide by the policy in force."""
        self.nodes = dict.fromkeys(self.nodes or ("plant-0", "plant-1"), self.revision)

    def purge(self, until: datetime) -> None:
        """A node ended all sessions that were due then by the policy in force."""
        self.purged = Purged(revision=self.revision, until=int(until.timestamp()))

    def found(self, world: str, *, may_be_new: bool) -> Found:
        self._fail()
        if not self.world and may_be_new:
            self.world = world
        if self.world != world:
            identity = Identity.OTHER if self.world else Identity.EMPTY
            return Found(identity=identity, id=self.world, fence=0, revision=-1)
        self.fence += 1
        return Found(identity=Identity.OURS, id=world, fence=self.fence, revision=self.revision)

    def write_parts(
        self, writer: Writer, revision: int, parts: Sequence[Part], there: Container[str] = frozenset()
    ) -> Written:
        self._fail()
        if writer.fence != self.fence:
            raise SharedStoreError("Another operator has begun to write to this store after us.")
        digests = [part.digest for part in parts]
        accepted, self.generation_to_accept = self.generation_to_accept, 0
        if (revision, digests) == (self.revision, self.digests):
            return Written(is_new=False, accepted=accepted)
        if revision <= self.revision:
            raise RevisionTakenError(revision, self.revision, "")
        self.writes += 1
        self.sent_parts += sum(part.digest not in there for part in parts)
        self.revision, self.digests, self.parts = revision, digests, [part.line for part in parts]
        return Written(is_new=True, accepted=accepted)

    def read_parts(self) -> list[bytes] | None:
        self._fail()
        return self.parts

    def read_verifiers(self) -> dict[str, bytes]:
        self._fail()
        return dict(self.verifiers)

    def change_verifiers(self, added: Mapping[str, bytes], gone: Collection[str]) -> None:
        self._fail()
        self.verifiers.update(added)
        for name in gone:
            self.verifiers.pop(name, None)

    def members(self) -> Members:
        self._fail()
        nodes = {
            name: Member(node=name, token=1, renewals=1, facts=NodeFacts(policy_revision=revision, purged=self.purged))
            for name, revision in self.nodes.items()
        }
        return Members(nodes=nodes, feed_end=0, policy_revision=self.revision)

    def _fail(self) -> None:
        if self.problem is not None:
            raise self.problem


class CountingHasher(PasswordHasher):
    """Costs nothing, and counts."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.hashed = 0
        self._may_go = threading.Event()
        self._may_go.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is hashed meanwhile."""
        self._may_go.clear()
        yield
        self._may_go.set()

    def hash(self, password: bytes | str, *, salt: bytes | None = None) -> str:
        self._may_go.wait(SETTLED_S_MAX)
        self.hashed += 1
        return super().hash(password, salt=salt)


class PolicyRig:
    """Use as `async with`. `restart` makes another operator with the same API server and store."""

    def __init__(self) -> None:
        self.key = KEY
        self.registry = Registry()
        for kind in WATCHED:
            self.registry.expect(Scope(kind, ""))
            self.registry.complete(Scope(kind, ""))
        self.kube = ValueKube(self.registry)
        self.store = ValueStore()
        self.exchange = Exchange()
        self.hasher = CountingHasher()
        self.now = START
        self.outcome = Outcome("")
        self._begin()

    def _begin(self) -> None:
        self.statuses = StatusWriter(self.kube, rest_s=0.0)
        self.reconciler = PolicyReconciler(
            self.registry,
            self.kube,
            self.exchange,
            self.statuses,
            Surroundings(
                namespace="stoa-system",
                image="image",
                version="1",
                store_image="store",
                private_folder=Path("/nowhere"),
            ),
            hasher=self.hasher,
            open_store=self._open,
            clock=lambda: self.now,
            seconds=lambda: (self.now - START).total_seconds(),
        )

    async def __aenter__(self) -> Self:
        self._writing = asyncio.create_task(self.statuses.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)
        await self.reconciler.close()

    async def restart(self) -> None:
        """Another operator: it knows what the API server and the store know, and nothing else."""
        await self.__aexit__()
        self.hasher.hashed = 0
        self.store.writes = self.store.sent_parts = 0
        self.kube.writes.clear()
        self.kube.statuses.clear()
        exchange, self.exchange = self.exchange, Exchange()
        self.exchange.tell_place(KEY, exchange.place(KEY))
        self._begin()
        await self.__aenter__()

    def _open(self, _: RedisSettings) -> Any:
        return self.store

    def see(self, *documents: Manifest) -> None:
        """These objects are like this now."""
        for document in documents:
            self.kube.put(document)

    def tell_place(self, place: Place | None = None) -> None:
        """Where the store is; a shared one unless told otherwise."""
        shared = SharedPlace(world=WORLD, may_be_new=True, accepts=True, settings=SETTINGS)
        self.exchange.tell_place(KEY, place or shared)

    def tell_embedded(self) -> None:
        self.exchange.tell_place(KEY, EmbeddedPlace(world=WORLD))

    def wait(self, seconds: float) -> None:
        """So much time goes by."""
        self.now += timedelta(seconds=seconds)

    async def run(self) -> Outcome:
        """One pass, and whatever it set going until nothing is left of that."""
        self.outcome = await self.reconciler.reconcile(KEY)
        await self.settle()
        return self.outcome

    async def settle(self) -> None:
        """Until hashing, Secrets, statuses and events that were begun are done."""
        async with asyncio.timeout(SETTLED_S_MAX):
            while self._is_under_way():  # noqa: ASYNC110 - work of threads, too
                await asyncio.sleep(0)

    def _is_under_way(self) -> bool:
        return bool(self.reconciler.under_way(KEY) or self.statuses.waiting or self.statuses.events.waiting)

    async def in_force(self) -> Policy:
        """Passes until nothing is under way, with nodes that follow; then the policy that they decide by."""
        for _ in range(6):
            await self.run()
            self.store.follow()
            self.wait(1.0)
        return self.store.policy()

    @property
    def report(self) -> PolicyReport:
        return self.exchange.report(KEY)

    def status(self, kind: Kind, name: str, namespace: str = "mqtt") -> dict[str, Any]:
        """The status of an object, its conditions by type as (status, reason, message)."""
        found: dict[str, Any] = copy.deepcopy(self.kube.objects[kind.kind, namespace, name].get("status", {}))
        found["conditions"] = {
            each["type"]: (each["status"], each["reason"], each["message"]) for each in found.get("conditions", ())
        }
        return found


def _name(document: Manifest) -> tuple[str, str, str]:
    metadata = document["metadata"]
    return kind_of(document).kind, metadata["namespace"], metadata["name"]
