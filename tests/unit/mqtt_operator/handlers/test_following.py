"""Keeping the registry true: what is followed, when, and what the registry is told."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from mqtt_api.kinds.common import DataKind
from mqtt_operator.desired import kinds
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.handlers.access import Accesses
from mqtt_operator.handlers.following import RegistryFollower, Watching
from mqtt_operator.kube.place import Change, ExpiredError, Page, Place
from mqtt_operator.kube.port import Call, ForbiddenError
from mqtt_operator.reconcile.keys import BrokerKey, DataKey
from mqtt_operator.reconcile.registry import Registry, Scope, UnseenError
from unit.mqtt_operator.reconcile.documents import broker, client, secret

HERE = Scope(kinds.MQTT_BROKER, "mqtt")
EXPIRED = Change("ERROR", {})


class Cluster:
    """Lists what it holds, and tells changes as they are put in. `forbidden`: namespaces that we may not look into."""

    def __init__(self, *documents: Manifest) -> None:
        self.documents = list(documents)
        self.forbidden: set[str] = set()
        self.listed: list[Place] = []
        self.followed: set[Place] = set()
        self.changes_of: dict[Place, asyncio.Queue[Change]] = {}

    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0)

    async def pages(self, place: Place) -> AsyncGenerator[Page]:
        self.listed.append(place)
        if place.namespace in self.forbidden:
            raise ForbiddenError(Call("list", "", place.kind.plural), place.namespace)
        mine = [
            document
            for document in self.documents
            if document["kind"] == place.kind.kind and place.namespace in ("", document["metadata"].get("namespace"))
        ]
        yield Page("1", mine)

    async def changes(self, place: Place, version: str, *, seconds_max: int) -> AsyncGenerator[Change]:
        self.followed.add(place)
        queue = self.changes_of.setdefault(place, asyncio.Queue())
        try:
            while (change := await queue.get()) is not EXPIRED:
                yield change
            raise ExpiredError
        finally:
            self.followed.discard(place)

    def tell(self, kind: str, document: Manifest) -> None:
        for place, queue in self.changes_of.items():
            if document["kind"] == place.kind.kind:
                queue.put_nowait(Change(kind, document))

    def expire(self, namespace: str) -> None:
        """All that is followed there is listed anew."""
        for place, queue in self.changes_of.items():
            if place.namespace == namespace:
                queue.put_nowait(EXPIRED)

    def homes(self) -> set[str]:
        return {place.namespace for place in self.followed if place.kind is kinds.SECRET}


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def registry() -> Registry:
    return Registry()


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster(broker(), client(), secret())


@pytest.fixture
async def watching(cluster: Cluster, registry: Registry) -> AsyncIterator[None]:
    accesses = Accesses(cluster, ("mqtt", "team"), sleep=cluster.sleep)
    tasks = [asyncio.create_task(work) for work in (accesses.run(), Watching(cluster, registry, accesses).run())]
    await turns()
    yield
    for task in tasks:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.usefixtures("watching")
async def test_what_is_there_is_in_the_registry_and_nothing_is_unknown(registry: Registry) -> None:
    assert registry.unknown() == ""
    assert [*registry.clients_of(BrokerKey("mqtt", "plant"))] == [("mqtt", "pump-7")]
    assert registry.data(DataKey(DataKind.SECRET, "mqtt", "pump-7")) is not None


@pytest.mark.usefixtures("watching")
async def test_secrets_are_followed_where_a_broker_or_client_is_and_only_as_long_as_one_is(
    cluster: Cluster, registry: Registry
) -> None:
    assert cluster.homes() == {"mqtt"}
    foreign = client(metadata__namespace="team", spec__brokerRef={"name": "plant", "namespace": "mqtt"})
    cluster.tell("ADDED", foreign)
    await turns()
    assert cluster.homes() == {"mqtt", "team"}
    cluster.tell("DELETED", foreign)
    await turns()
    assert cluster.homes() == {"mqtt"}
    with pytest.raises(UnseenError):
        registry.data(DataKey(DataKind.SECRET, "team", "pump-7"))


@pytest.mark.usefixtures("watching")
async def test_a_change_reaches_the_registry(cluster: Cluster, registry: Registry) -> None:
    cluster.tell("DELETED", client())
    await turns()
    assert {**registry.clients_of(BrokerKey("mqtt", "plant"))} == {}


@pytest.mark.usefixtures("watching")
async def test_where_we_are_refused_everything_stays_as_it_was_seen_and_nothing_is_asked_for_but_the_right(
    cluster: Cluster, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.forbidden.add("mqtt")
    cluster.expire("mqtt")
    await turns()
    cluster.listed.clear()
    await turns()
    assert {(place.kind, place.namespace) for place in cluster.listed} == {(kinds.MQTT_BROKER, "mqtt")}
    assert len(caplog.records) == 1
    assert [*registry.clients_of(BrokerKey("mqtt", "plant"))] == [("mqtt", "pump-7")]
    assert registry.data(DataKey(DataKind.SECRET, "mqtt", "pump-7")) is not None


@pytest.mark.usefixtures("watching")
async def test_what_went_while_we_were_refused_is_gone_when_we_may_look_again(
    cluster: Cluster, registry: Registry
) -> None:
    cluster.forbidden.add("mqtt")
    cluster.expire("mqtt")
    await turns()
    cluster.documents = [broker()]
    cluster.forbidden.clear()
    await turns()
    assert {**registry.clients_of(BrokerKey("mqtt", "plant"))} == {}
    cluster.tell("ADDED", client())
    await turns()
    assert len(registry.clients_of(BrokerKey("mqtt", "plant"))) == 1


async def test_a_follower_of_a_scope_says_what_is_known_of_it() -> None:
    registry = Registry()
    follower = RegistryFollower(registry, HERE, None)
    follower.see(broker())
    assert not await follower.fail(ExpectedError("forbidden"))
    with pytest.raises(UnseenError, match="forbidden"):
        registry.broker(BrokerKey("mqtt", "plant"))
    follower.complete()
    assert registry.broker(BrokerKey("mqtt", "plant")) is not None
    follower.forget(broker())
    assert registry.broker(BrokerKey("mqtt", "plant")) is None


async def test_a_follower_of_what_is_made_only_passes_on_that_something_changed() -> None:
    registry = Registry()
    follower = RegistryFollower(registry, None, None)
    follower.complete()
    assert not await follower.fail(ExpectedError("forbidden"))
    follower.see({"kind": "Pod", "metadata": {"name": "a", "namespace": "mqtt", "uid": "1"}})
    assert registry.unknown() != ""
