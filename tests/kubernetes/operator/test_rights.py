"""The operator's rights: it can do everything with exactly those of hack/rbac.py, and each one of them is needed."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from kubernetes.aio.client import Configuration

from mqtt_operator.channel.terms import LogInRefusedError
from mqtt_operator.desired import kinds
from mqtt_operator.desired.labels import Component, labels
from mqtt_operator.desired.names import FINALIZER, PAUSE_ANNOTATION, POLICY_REVISION_ANNOTATION
from mqtt_operator.handlers.access import Accesses
from mqtt_operator.handlers.following import Watching
from mqtt_operator.kube.api import ApiKube
from mqtt_operator.kube.events import EventSource
from mqtt_operator.kube.port import Call, EventType, ForbiddenError
from mqtt_operator.kube.session import Session
from mqtt_operator.reconcile.registry import Registry, UnseenError
from support import rights
from support.broker_documents import EMBEDDED, MANAGED, SHARED, tls_secret
from support.broker_rig import BrokerRig
from support.kube.place import Place
from support.operator_program import Operator, operator
from support.resource_examples import CLIENT, PERMISSION, Document, changed
from support.stub_workloads import StubWorkloads
from support.waiting import eventually

PROGRAM = "mqtt_operator"
SEEN_S_MAX = 150.0

pytestmark = pytest.mark.timeout(600)  # a whole life of a broker, on whatever machine this is

FROM_CA, FROM_CLUSTER_CA = {"issuerRef": {"name": "ca"}}, {"issuerRef": {"name": "ca", "kind": "ClusterIssuer"}}
EVERYTHING = changed(
    SHARED,
    {
        "spec.listeners[1]": {"name": "wss", "port": 8084, "protocol": "WebSocket", "tls": FROM_CA},
        "spec.listeners[2]": {"name": "more", "port": 8885, "tls": FROM_CLUSTER_CA},
        "spec.services": [{"name": "public", "listeners": ["mqtts"]}],
        "spec.autoscaling": {"minReplicas": 3, "maxReplicas": 5, "targetCPUUtilization": 70},
        "spec.monitoring": {each: {"enabled": True} for each in ("serviceMonitor", "prometheusRule", "dashboards")},
    },
)
ALONE = changed(EMBEDDED, {"metadata.name": "alone"})
TRIAL = changed(MANAGED, {"metadata.name": "trial"})
EDGE = changed(EMBEDDED, {"metadata.name": "edge"})
HELD = changed(SHARED, {"metadata.name": "held", "spec.deletionPolicy": "Delete"})  # whose end is waited for
WITH_CREDENTIALS = changed(
    CLIENT,
    {
        "spec.brokerRef.name": "edge",
        "spec.credentials": {
            "passwords": [{"generate": {"secretName": "pump-7-mqtt"}}],
            "certificates": [{"issuerRef": {"name": "device-ca"}, "secretName": "pump-7-tls"}],
        },
    },
)
KINDS = ("mqttbrokers", "mqttclients", "topicpermissions")
GRANT = changed(PERMISSION, {"spec.brokerRef.name": "edge"})
STATUSES = {Call("patch", "mqtt.stoa.dev", kind, "status") for kind in KINDS}
EVENTS = {Call("create", "events.k8s.io", "events")}
CLUSTER_ISSUER = Call("get", "cert-manager.io", "clusterissuers")
# The framework asks for the first by itself, and an API server that enforces owner references for the others.
FOLLOWED_EVERYWHERE = {"mqttbrokers", "mqttclients", "topicpermissions", "pods", "statefulsets", "namespaces"}
AGAIN = {Call("patch", "events.k8s.io", "events")}  # only an event that is told twice is patched
COURTESY = {Call("get", "cert-manager.io", "issuers")}  # without it, what is wrong with an issuer is not told
UNSEEN = {
    Call("patch", "mqtt.stoa.dev", "mqttbrokers"),
    Call("update", "mqtt.stoa.dev", "mqttbrokers", "finalizers"),
    Call("update", "mqtt.stoa.dev", "mqttclients", "finalizers"),
}


async def live(rig: BrokerRig) -> None:
    """From a broker with everything to one with little, by way of a rollout; then its end."""
    await rig.declare(tls_secret("server"))
    await rig.declare(EVERYTHING)
    await rig.run()  # it asks what is wrong with the issuers that issue nothing
    for name in ("plant-wss-tls", "plant-more-tls"):
        await rig.declare(issued(name))
    await rig.settle()
    await rig.annotate(restartedAt="2026-01-31T12:00:00Z")
    await rig.settle()
    await rig.declare(SHARED)
    await plant_left_overs(rig)
    await rig.settle()
    await delete(rig)


async def live_with_volumes(rig: BrokerRig) -> None:
    """A volume that grows."""
    await rig.declare(tls_secret("server"))
    await rig.declare(changed(ALONE, {"spec.sessionStore": {"embedded": {"storage": "1Gi"}}}))
    await rig.settle()
    await rig.declare(changed(ALONE, {"spec.sessionStore": {"embedded": {"storage": "2Gi"}}}))
    await rig.run()
    await delete(rig)


async def live_with_managed_store(rig: BrokerRig) -> None:
    """A server whose passwords somebody else has changed."""
    await rig.declare(tls_secret("server"))
    await rig.declare(TRIAL)
    await rig.settle()
    rig.store.problem = LogInRefusedError("WRONGPASS")
    rig.later(hours=1)
    await rig.run()
    await delete(rig)


async def delete(rig: BrokerRig) -> None:
    """The framework keeps it until its story is over; here the test does."""
    held = {"metadata": {"finalizers": [FINALIZER]}}
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, held)
    await rig.raw.delete(kinds.MQTT_BROKER, *rig.key)
    await rig.run()
    await rig.raw.patch(kinds.MQTT_BROKER, *rig.key, {"metadata": {"finalizers": None}})

    async def no_workloads() -> bool:
        found = await rig.raw.list(kinds.STATEFUL_SET, rig.key.namespace)
        for each in found:
            await rig.raw.delete(kinds.STATEFUL_SET, rig.key.namespace, each["metadata"]["name"])
        return not found

    await eventually(no_workloads, SEEN_S_MAX, "nothing is left that pods would be made for")


def issued(name: str) -> Document:
    """The Secret of a listener, as cert-manager leaves it."""
    document = tls_secret(name)
    annotations = {"cert-manager.io/certificate-name": name}
    return changed(
        document, {"metadata.annotations": annotations, "metadata.labels": labels("plant", Component.BROKER)}
    )


async def plant_left_overs(rig: BrokerRig) -> None:
    """Objects that an older release may have made for the broker."""
    uid = (await rig.broker())["metadata"]["uid"]
    owner = {"apiVersion": "mqtt.stoa.dev/v1alpha1", "kind": "MQTTBroker", "name": rig.key.name, "uid": uid}
    metadata = {
        "name": "left-over",
        "labels": labels(rig.key.name, Component.BROKER),
        "ownerReferences": [{**owner, "controller": True}],
    }
    pods = {"matchLabels": {"a": "b"}}
    specs: dict[kinds.Kind, Document] = {
        kinds.NETWORK_POLICY: {"spec": {"podSelector": pods}},
        kinds.POD_DISRUPTION_BUDGET: {"spec": {"maxUnavailable": 1, "selector": pods}},
    }
    for kind, rest in specs.items():
        await rig.declare({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **rest})


@asynccontextmanager
async def limited(cluster: Place, namespace: str) -> AsyncIterator[ApiKube]:
    """The door as the operator's account opens it."""

    async def configure() -> Configuration:
        return rights.configuration(cluster, namespace)

    session = Session(configure)
    await session.open()
    try:
        yield ApiKube(session, EventSource("stoa-operator", "operator-0"), call_s_max=5.0)
    finally:
        await session.close()


async def told(rig: BrokerRig, account: ApiKube, story: Callable[[BrokerRig], Awaitable[None]]) -> None:
    """The story, with the operator's calls made by the account and everybody else's by an administrator."""
    rig.restart()
    rig.kube._kube = account
    await story(rig)


async def run_program(cluster: Place, kube: ApiKube, namespace: str, folder: Path) -> set[Call]:
    """The whole program, with a broker that needs no store of others: what it asked for."""
    for document in (tls_secret("server"), EDGE, HELD, WITH_CREDENTIALS, GRANT):
        await kube.apply(changed(document, {"metadata.namespace": namespace}), manager="somebody")
    kubeconfig = rights.kubeconfig(cluster, namespace, folder / "kubeconfig")
    workloads = StubWorkloads(kube, namespace)
    with operator(kubeconfig, namespace, module=PROGRAM) as running:

        async def is_served() -> bool:
            await workloads.act()
            broker = await kube.get(kinds.MQTT_BROKER, namespace, "held")
            secret = await kube.get(kinds.SECRET, namespace, "pump-7-mqtt")
            is_held = bool(broker and broker["metadata"].get("finalizers"))
            return is_held and secret is not None and bool(await workloads.pods("edge"))

        async def is_told() -> bool:
            (pod,) = await workloads.pods("edge")
            return POLICY_REVISION_ANNOTATION in pod["metadata"]["annotations"]

        await eventually(is_served, SEEN_S_MAX, f"a node, a finalizer, a password; it wrote:\n{running.program.dump()}")
        await kube.apply(
            changed(WITH_CREDENTIALS, {"metadata.namespace": namespace, "spec.suspended": True}), manager="somebody"
        )
        await eventually(is_told, SEEN_S_MAX, "the node is told of another policy")
        await eventually(lambda: calls_of(running) >= {*STATUSES, *EVENTS}, SEEN_S_MAX)
        paused = {"metadata": {"annotations": {PAUSE_ANNOTATION: "true"}}}
        await kube.patch(kinds.MQTT_BROKER, namespace, "held", paused)
        for name in ("edge", "held"):
            await kube.delete(kinds.MQTT_BROKER, namespace, name)
        await eventually(lambda: is_gone(kube, namespace, workloads), SEEN_S_MAX, "the broker is let go")
        assert "may not" not in "\n".join(running.program.err)
        return calls_of(running)


async def is_gone(kube: ApiKube, namespace: str, workloads: StubWorkloads) -> bool:
    if await kube.get(kinds.STATEFUL_SET, namespace, "edge") is None:
        for pod in await workloads.pods("edge"):
            await kube.delete(kinds.POD, namespace, pod["metadata"]["name"])
    return not await kube.list(kinds.MQTT_BROKER, namespace)


def calls_of(running: Operator) -> set[Call]:
    """What the program says that it has asked for."""
    sample = r'stoa_operator_api_calls_total{resource="([^".]+)\.?([^"]*)",verb="(\w+)"}'
    found = re.findall(sample, running.get("/metrics")[1])
    return {Call(verb, group, *resource.split("/")) for resource, group, verb in found}


def is_asked_for_by_program(call: Call) -> bool:
    """Whatever is followed, led or reported: no story asks for it."""
    is_followed = call.verb == "watch" or (call.verb == "list" and call.group == "mqtt.stoa.dev")
    is_of_members = call.resource in ("mqttclients", "topicpermissions")
    return (
        is_followed
        or is_of_members
        or call.resource == "namespaces"
        or call.group in ("coordination.k8s.io", "events.k8s.io")
    )


async def tell_everything(rig: BrokerRig, account: ApiKube, kube: ApiKube, folder: Path) -> None:
    """Every story of a broker that there is; a right that is missing ends it with ForbiddenError."""
    namespace = rig.key.namespace
    await told(rig, account, live)
    await told(BrokerRig(kube, namespace, folder, "alone"), account, live_with_volumes)
    await told(BrokerRig(kube, namespace, folder, "trial"), account, live_with_managed_store)


async def test_everything_is_done_with_exactly_these_rights_and_each_of_them_is_used(
    rig: BrokerRig, kube: ApiKube, cluster: Place, namespace: str, tmp_path: Path
) -> None:
    rights.grant(cluster, namespace)
    async with limited(cluster, namespace) as account:
        await tell_everything(rig, account, kube, tmp_path)
        about = changed(CLIENT, {"metadata.namespace": namespace})
        for _ in range(2):  # the second one is counted on the first
            await account.event(about, EventType.NORMAL, "Tried", "It was tried.")
        used = set(account.calls())
    used |= await run_program(cluster, kube, namespace, tmp_path)
    granted = rights.every_right(rights.NAMESPACED)
    assert used - granted == {CLUSTER_ISSUER}
    assert granted - used == UNSEEN


async def test_the_rights_in_the_whole_cluster_are_enough_to_follow_it_and_hold_no_secrets(
    cluster: Place, kube: ApiKube, namespace: str
) -> None:
    rights.grant(cluster, namespace)
    rights.grant_everywhere(cluster, namespace)
    await kube.apply(changed(EDGE, {"metadata.namespace": namespace}), manager="somebody")
    registry = Registry()
    async with limited(cluster, namespace) as account:
        watching = asyncio.create_task(Watching(account, registry, Accesses(account, ())).run())
        try:
            await eventually(lambda: not registry.unknown(), SEEN_S_MAX)
            await eventually(lambda: knows_namespace(registry, namespace), SEEN_S_MAX)
            await eventually(lambda: followed(account) >= FOLLOWED_EVERYWHERE, SEEN_S_MAX)
            with pytest.raises(ForbiddenError):
                await account.list(kinds.SECRET, "")
            assert await account.get(kinds.CLUSTER_ISSUER, "", "ca") is None
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        assert rights.every_right([rights.Part.CLUSTER]) <= account.calls()


def knows_namespace(registry: Registry, namespace: str) -> bool:
    try:
        return registry.namespace_labels(namespace) is not None
    except UnseenError:
        return False


def followed(account: ApiKube) -> set[str]:
    return {call.resource for call in account.calls() if call.verb == "watch"}


async def test_without_the_framework_s_only_right_of_its_own_no_broker_is_held(
    cluster: Place, kube: ApiKube, namespace: str, tmp_path: Path
) -> None:
    """So it is needed too, though the door never asks for it."""
    rights.grant(cluster, namespace, without=Call("patch", "mqtt.stoa.dev", "mqttbrokers"))
    await kube.apply(changed(HELD, {"metadata.namespace": namespace}), manager="somebody")
    kubeconfig = rights.kubeconfig(cluster, namespace, tmp_path / "kubeconfig")
    with operator(kubeconfig, namespace) as running:
        await eventually(lambda: "forbidden" in running.program.dump(), SEEN_S_MAX)
        broker = await kube.get(kinds.MQTT_BROKER, namespace, "held")
        assert broker is not None
        assert "finalizers" not in broker["metadata"]


async def test_a_right_that_is_missing_is_named(
    rig: BrokerRig, kube: ApiKube, cluster: Place, namespace: str, tmp_path: Path
) -> None:
    """One for all of them: what is asked for without a right is refused, and the refusal says which one it was."""
    missing = Call("patch", "apps", "statefulsets")
    rights.grant(cluster, namespace, without=missing)
    async with limited(cluster, namespace) as account:
        with pytest.raises(ForbiddenError, match=r"may not patch statefulsets\.apps in namespace") as forbidden:
            await tell_everything(rig, account, kube, tmp_path)
    assert forbidden.value.call == missing


async def test_secrets_that_may_not_be_listed_are_named_and_nothing_is_compiled_without_them(
    cluster: Place, kube: ApiKube, namespace: str, tmp_path: Path
) -> None:
    """Absence is not an order: without its Secrets a broker keeps the policy that it has."""
    rights.grant(cluster, namespace, without=Call("list", "", "secrets"))
    for document in (tls_secret("server"), EDGE, WITH_CREDENTIALS):
        await kube.apply(changed(document, {"metadata.namespace": namespace}), manager="somebody")
    kubeconfig = rights.kubeconfig(cluster, namespace, tmp_path / "kubeconfig")
    with operator(kubeconfig, namespace, module=PROGRAM) as running:
        await eventually(lambda: "may not list secrets in namespace" in running.program.dump(), SEEN_S_MAX)
        await eventually(
            lambda: running.metric('stoa_operator_reconcile_total{result="expected",story="broker"}'), SEEN_S_MAX
        )
        assert await kube.get(kinds.SECRET, namespace, "edge-policy") is None


@pytest.mark.parametrize(
    "missing",
    sorted(rights.every_right(rights.NAMESPACED) - UNSEEN - AGAIN - COURTESY),
    ids=lambda call: f"{call.verb} {call.resource_name}",
)
async def test_any_right_that_is_missing_is_missed(
    missing: Call, rig: BrokerRig, kube: ApiKube, cluster: Place, namespace: str, tmp_path: Path
) -> None:
    if not os.environ.get("STOA_LONG_TESTS"):
        pytest.skip("ten seconds for each of eighty rights: STOA_LONG_TESTS=1")
    rights.grant(cluster, namespace, without=missing)
    if not is_asked_for_by_program(missing):
        async with limited(cluster, namespace) as account:
            with pytest.raises(ForbiddenError) as forbidden:
                await tell_everything(rig, account, kube, tmp_path)
        assert forbidden.value.call.resource_name == missing.resource_name
        return
    for document in (tls_secret("server"), EDGE, HELD, WITH_CREDENTIALS, GRANT):
        await kube.apply(changed(document, {"metadata.namespace": namespace}), manager="somebody")
    kubeconfig = rights.kubeconfig(cluster, namespace, tmp_path / "kubeconfig")
    with operator(kubeconfig, namespace, module=PROGRAM) as running:
        await eventually(
            lambda: f"may not {missing.verb} {missing.resource_name}" in running.program.dump(), SEEN_S_MAX
        )
