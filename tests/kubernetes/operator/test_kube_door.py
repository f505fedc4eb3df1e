"""The door at a real API server: what server-side apply, patches, deletions, events and watches really do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kubernetes.aio.client import Configuration

from mqtt_operator.desired import kinds
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.api import PAGE_OBJECTS_MAX, ApiKube
from mqtt_operator.kube.election import Election, LeaseLostError, Terms
from mqtt_operator.kube.events import EventSource
from mqtt_operator.kube.follow import Following
from mqtt_operator.kube.place import Place
from mqtt_operator.kube.port import ConflictError, EventType, ForbiddenError, KubeAwayError, RefusedError
from mqtt_operator.kube.session import Session
from support import rights
from support.kube.place import Place as Cluster
from support.processes import free_port
from support.resource_examples import BROKER, CLIENT, changed
from support.waiting import eventually


def config_map(namespace: str, name: str = "a", **data: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


async def test_what_is_applied_twice_changes_nothing_the_second_time(kube: ApiKube, namespace: str) -> None:
    first = await kube.apply(config_map(namespace, x="1"))
    second = await kube.apply(config_map(namespace, x="1"))
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_fields_of_others_stay_and_those_that_we_leave_out_go(kube: ApiKube, namespace: str) -> None:
    await kube.apply(config_map(namespace, ours="1", old="1"))
    await kube.apply(config_map(namespace, theirs="1"), manager="somebody")
    applied = await kube.apply(config_map(namespace, ours="2"))
    assert applied["data"] == {"ours": "2", "theirs": "1"}


async def test_drift_is_put_right_and_without_force_it_is_told(kube: ApiKube, namespace: str) -> None:
    await kube.apply(config_map(namespace, x="1"))
    await kube.patch(kinds.CONFIG_MAP, namespace, "a", {"data": {"x": "drifted"}}, manager="somebody")
    with pytest.raises(ConflictError):
        await kube.apply(config_map(namespace, x="1"), force=False)
    assert (await kube.apply(config_map(namespace, x="1")))["data"] == {"x": "1"}


async def test_an_object_that_was_replaced_is_not_applied_to_nor_patched_nor_deleted(
    kube: ApiKube, namespace: str
) -> None:
    before = await kube.apply(config_map(namespace, x="1"))
    await kube.delete(kinds.CONFIG_MAP, namespace, "a")
    now = await kube.apply(config_map(namespace, x="2"))
    uid, version = before["metadata"]["uid"], before["metadata"]["resourceVersion"]
    body = {"metadata": {"uid": uid}, "data": {"x": "3"}}
    with pytest.raises(ConflictError):
        await kube.apply(changed(config_map(namespace, x="3"), {"metadata.uid": uid}))
    with pytest.raises(ConflictError):
        await kube.patch(kinds.CONFIG_MAP, namespace, "a", body)
    with pytest.raises(ConflictError):
        await kube.patch(kinds.CONFIG_MAP, namespace, "a", {"metadata": {"resourceVersion": version}})
    with pytest.raises(ConflictError):
        await kube.delete(kinds.CONFIG_MAP, namespace, "a", uid=uid)
    with pytest.raises(ConflictError):
        await kube.delete(kinds.CONFIG_MAP, namespace, "a", resource_version=version)
    assert await kube.get(kinds.CONFIG_MAP, namespace, "a") == now


async def test_what_must_not_exist_yet_is_made_once(kube: ApiKube, namespace: str) -> None:
    await kube.create(config_map(namespace))
    with pytest.raises(ConflictError):
        await kube.create(config_map(namespace))


async def test_what_is_not_there_is_none_and_deleting_it_is_no_error(kube: ApiKube, namespace: str) -> None:
    assert await kube.get(kinds.CONFIG_MAP, namespace, "none") is None
    assert await kube.patch(kinds.CONFIG_MAP, namespace, "none", {"data": {}}) is None
    assert await kube.patch_status(kinds.MQTT_CLIENT, namespace, "none", {"conditions": []}) is None
    assert not await kube.delete(kinds.CONFIG_MAP, namespace, "none")
    unknown = Kind("nobody.example.org/v1", "Nothing", "nothings")
    assert await kube.get(unknown, namespace, "none") is None
    assert await kube.list(unknown, namespace) == []


async def test_what_the_schema_refuses_is_refused_with_its_sentence(kube: ApiKube, namespace: str) -> None:
    document = changed(BROKER, {"metadata.namespace": namespace, "spec.listeners[0].port": 0})
    with pytest.raises(RefusedError, match="refused to patch mqttbrokers") as refusal:
        await kube.apply(document)
    assert "spec.listeners[0].port" in refusal.value.reason


async def test_a_namespace_that_is_missing_is_a_refusal(kube: ApiKube) -> None:
    with pytest.raises(RefusedError, match="refused to patch configmaps nowhere/a"):
        await kube.apply(config_map("nowhere"))


async def test_a_status_is_all_that_we_say_and_leaves_what_others_say(kube: ApiKube, namespace: str) -> None:
    await kube.apply(changed(CLIENT, {"metadata.namespace": namespace}), manager="somebody")
    ready = condition("Ready")
    await kube.patch_status(
        kinds.MQTT_CLIENT, namespace, "pump-7", {"username": "pump-7", "conditions": [ready, condition("Accepted")]}
    )
    await kube.patch_status(
        kinds.MQTT_CLIENT, namespace, "pump-7", {"conditions": [condition("Theirs")]}, manager="somebody"
    )
    after = await kube.patch_status(kinds.MQTT_CLIENT, namespace, "pump-7", {"conditions": [ready]})
    assert after is not None
    assert [each["type"] for each in after["status"]["conditions"]] == ["Ready", "Theirs"]
    assert "username" not in after["status"]
    assert after["metadata"]["generation"] == 1


def condition(kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True",
        "reason": "Tested",
        "message": "",
        "lastTransitionTime": "2026-01-31T12:00:00Z",
    }


async def test_an_event_is_seen_beside_its_object_and_counted_when_it_comes_again(
    kube: ApiKube, namespace: str
) -> None:
    about = await kube.apply(changed(BROKER, {"metadata.namespace": namespace}), manager="somebody")
    for _ in range(3):
        await kube.event(about, EventType.WARNING, "StoreUnreachable", "The store is away.")
    (event,) = await kube.list(kinds.EVENT, namespace)
    assert (event["regarding"]["kind"], event["regarding"]["uid"]) == ("MQTTBroker", about["metadata"]["uid"])
    assert (event["reason"], event["note"], event["series"]["count"]) == ("StoreUnreachable", "The store is away.", 3)


async def test_a_list_longer_than_a_page_is_whole(kube: ApiKube, namespace: str) -> None:
    count = PAGE_OBJECTS_MAX + 3
    labelled = {"metadata.labels": {"page": "yes"}}
    maps = [changed(config_map(namespace, f"a-{number}"), labelled) for number in range(count)]
    await asyncio.gather(*(kube.create(each) for each in maps))
    assert len(await kube.list(kinds.CONFIG_MAP, namespace, "page=yes")) == count
    assert len(await kube.list(kinds.CONFIG_MAP, namespace, "page=no")) == 0
    assert len(await kube.list(kinds.CONFIG_MAP, namespace, fields="metadata.name=a-7")) == 1


async def test_it_knows_which_kinds_are_served(kube: ApiKube) -> None:
    assert await kube.serves(kinds.CERTIFICATE)
    assert await kube.serves(kinds.POD)
    assert not await kube.serves(Kind("nobody.example.org/v1", "Nothing", "nothings"))
    assert not await kube.serves(Kind("apps/v1", "Nothing", "nothings"))


class Notes:
    def __init__(self) -> None:
        self.there: set[str] = set()
        self.lists = 0

    def see(self, document: Manifest) -> None:
        self.there.add(document["metadata"]["name"])

    def forget(self, document: Manifest) -> None:
        self.there.remove(document["metadata"]["name"])

    def complete(self) -> None:
        self.lists += 1

    async def fail(self, problem: Exception) -> bool:
        raise problem


async def test_what_is_followed_is_always_what_there_is(kube: ApiKube, namespace: str) -> None:
    await kube.create(config_map(namespace, "before"))
    notes = Notes()
    place = Place(kinds.CONFIG_MAP, namespace, fields="metadata.name!=kube-root-ca.crt")
    async with running(Following(kube, place, notes).run()):
        await eventually(lambda: notes.there == {"before"})
        await kube.create(config_map(namespace, "after"))
        await eventually(lambda: notes.there == {"before", "after"})
        await kube.delete(kinds.CONFIG_MAP, namespace, "before")
        await eventually(lambda: notes.there == {"after"})


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_two_candidates_and_a_real_lease(kube: ApiKube, namespace: str) -> None:
    """In 37.0.2 the election of the client library cannot even make the Lease."""
    terms = Terms(lease_s=2, renew_s_max=1.0, retry_s=0.2)
    first = Election(kube, namespace, "stoa-operator", "a", terms=terms)
    second = Election(kube, namespace, "stoa-operator", "b", terms=terms)
    await first.acquire()
    lease = await kube.get(kinds.LEASE, namespace, "stoa-operator")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "a"
    async with running(first.hold()):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):
                await second.acquire()
    await second.acquire()  # nobody renews any more
    with pytest.raises(LeaseLostError):
        await first.hold()
    await second.release()
    await first.release()


async def test_a_log_in_that_is_no_longer_accepted_is_read_anew(cluster: Cluster, namespace: str) -> None:
    """A token that expired while its successor lies in the file."""
    rights.grant(cluster, namespace)
    good = rights.token(cluster, namespace)
    tokens = ["expired", good]

    async def configure() -> Configuration:
        made = rights.configuration(cluster, namespace)
        made.api_key["BearerToken"] = f"Bearer {tokens.pop(0)}"
        return made

    session = Session(configure)
    await session.open()
    session._loaded_at -= 60  # not a moment ago
    try:
        kube = ApiKube(session, EventSource("stoa-operator", "test"))
        assert await kube.list(kinds.MQTT_CLIENT, namespace) == []
        assert tokens == []
        with pytest.raises(ForbiddenError, match="may not list mqttclients"):
            await kube.list(kinds.MQTT_CLIENT, "kube-system")
        assert (await session.login()).token == good
    finally:
        await session.close()


async def test_an_api_server_that_is_not_there_is_away_within_the_deadline() -> None:
    async def configure() -> Configuration:
        return Configuration(host=f"https://127.0.0.1:{free_port()}")

    session = Session(configure)
    await session.open()
    try:
        kube = ApiKube(session, EventSource("stoa-operator", "test"), call_s_max=1.0)
        with pytest.raises(KubeAwayError, match="cannot be reached"):
            async with asyncio.timeout(5):
                await kube.list(kinds.MQTT_CLIENT, "")
    finally:
        await session.close()
