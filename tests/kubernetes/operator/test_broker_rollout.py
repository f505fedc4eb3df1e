"""Nodes are added, taken away and replaced: which, when, and what keeps it from happening."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mqtt_operator.desired import kinds
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import ConflictError, RefusedError
from support.broker_documents import EMBEDDED, SHARED, tls_secret
from support.broker_rig import RELEASE, BrokerRig
from support.kube.api import Api
from support.resource_examples import changed

STORAGE_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
NEWER = "registry.example.org/stoa@sha256:" + "9" * 64
MORE_MEMORY = {"spec.podTemplate": {"spec": {"resources": {"requests": {"memory": "300Mi"}}}}}


async def started(rig: BrokerRig, document: Manifest = SHARED) -> None:
    """The broker is ready."""
    await rig.declare(tls_secret())
    await rig.declare(document)
    await rig.settle()
    rig.kube.writes.clear()
    rig.kube.events.clear()
    rig.workloads.made.clear()
    rig.workloads.deleted.clear()


def steps(rig: BrokerRig) -> list[str]:
    """What was done to nodes, in order."""
    return [write for write in rig.kube.writes if write.startswith(("delete Pod", "patch StatefulSet"))]


async def replicas(rig: BrokerRig) -> int:
    found = await rig.get(kinds.STATEFUL_SET, "plant")
    assert found is not None
    return int(found["spec"]["replicas"])


async def images(rig: BrokerRig) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in await rig.workloads.pods(rig.key.name)}


async def test_nodes_are_added_at_once(rig: BrokerRig) -> None:
    await started(rig)
    await rig.scale(5)
    await rig.run()
    assert (steps(rig), await replicas(rig)) == (["patch StatefulSet plant"], 5)
    assert (await rig.condition("Reconciling"))[:2] == ("True", "Scaling")
    await rig.settle()
    assert (await rig.status())["nodes"] == "5/5"


async def test_nodes_are_taken_away_one_at_a_time_from_the_highest_number_down(rig: BrokerRig) -> None:
    await started(rig, changed(SHARED, {"spec.replicas": 5}))
    await rig.scale(2)
    await rig.run()
    assert await replicas(rig) == 4
    await rig.run()  # the last one is still on its way
    assert await replicas(rig) == 4
    await rig.settle()
    assert rig.workloads.deleted == ["plant-4", "plant-3", "plant-2"]
    assert [reason for _, reason, _ in rig.kube.events if reason == "Scaled"] == ["Scaled"] * 3


async def test_no_node_is_taken_away_while_another_one_is_not_ready(rig: BrokerRig) -> None:
    await started(rig)
    await rig.workloads.set_ready("plant-0", ready=False, waiting="CrashLoopBackOff")
    await rig.scale(2)
    await rig.run()
    assert steps(rig) == []
    status, reason, message = await rig.condition("Stalled")
    assert (status, reason) == ("True", "RolloutStuck")
    assert message == "Removing plant-2 waits: plant-0 ends again and again; its log says why (CrashLoopBackOff)."


async def test_an_autoscaler_scales_through_the_broker_and_the_operator_follows(rig: BrokerRig) -> None:
    scaling = {"minReplicas": 2, "maxReplicas": 6, "targetCPUUtilization": 70}
    await started(rig, changed(SHARED, {"spec.autoscaling": scaling}))
    assert await rig.get(kinds.HORIZONTAL_POD_AUTOSCALER, "plant") is not None
    await rig.scale(4)
    await rig.settle()
    assert await replicas(rig) == 4
    assert (await rig.broker())["spec"]["replicas"] == 4


async def test_a_stateful_set_that_somebody_scaled_becomes_what_the_broker_says(rig: BrokerRig) -> None:
    await started(rig)
    body = {"spec": {"replicas": 5}}
    await rig.raw.patch(kinds.STATEFUL_SET, rig.key.namespace, "plant", body, manager="somebody")
    await rig.play()
    await rig.settle()
    assert await replicas(rig) == 3
    assert rig.workloads.deleted == ["plant-4", "plant-3"]


async def test_nodes_are_replaced_one_at_a_time_from_the_highest_number_down(rig: BrokerRig) -> None:
    await started(rig)
    await rig.declare(changed(SHARED, MORE_MEMORY))
    for number in (2, 1, 0):
        while not steps(rig):
            await rig.run()
            await rig.play_nodes()
            if not steps(rig):
                await rig.workloads.act()
                await rig.play_nodes()
        assert steps(rig) == [f"delete Pod plant-{number}"]
        rig.kube.writes.clear()
        await rig.run()
        assert steps(rig) == []  # not before it is back
        await rig.workloads.act(ready=False)
        await rig.play_nodes()
        await rig.run()
        assert steps(rig) == []  # nor before it is ready
        await rig.play()
    await rig.settle()
    assert rig.workloads.made == ["plant-2", "plant-1", "plant-0"]
    reasons = [reason for _, reason, _ in rig.kube.events]
    assert reasons == ["RolloutStarted", "RolloutFinished", "Ready"]


async def test_a_node_that_has_no_lease_yet_is_waited_for_though_the_kubelet_calls_it_ready(rig: BrokerRig) -> None:
    await started(rig)
    await rig.annotate(restartedAt="now")
    await rig.run()
    await rig.workloads.act()
    await rig.run()
    assert steps(rig) == ["delete Pod plant-2"]
    await rig.workloads.act()
    del rig.store.nodes["plant-2"]
    await rig.run()
    assert steps(rig) == ["delete Pod plant-2"]
    assert "plant-2 has no lease in the store yet" in (await rig.condition("Programmed"))[2]


async def test_asking_for_a_restart_replaces_every_node_once(rig: BrokerRig) -> None:
    await started(rig)
    await rig.annotate(restartedAt="2026-11-23T12:00:00Z")
    await rig.settle()
    assert rig.workloads.made == ["plant-2", "plant-1", "plant-0"]
    rig.kube.writes.clear()
    await rig.run()
    assert rig.kube.writes == []


async def test_limits_and_certificates_replace_no_node(rig: BrokerRig) -> None:
    await started(rig)
    await rig.declare(changed(SHARED, {"spec.mqtt": {"maxPacketSize": "2Mi"}}))
    await rig.declare(tls_secret())
    await rig.settle()
    assert (steps(rig), rig.workloads.made) == ([], [])
    assert [write for write in rig.kube.writes if write.startswith("patch Pod")]


async def test_no_node_is_replaced_while_the_store_is_away(rig: BrokerRig) -> None:
    await started(rig)
    rig.store.away()
    await rig.declare(changed(SHARED, MORE_MEMORY))
    for _ in range(3):
        await rig.run()
        await rig.workloads.act()
    assert steps(rig) == []
    assert (await rig.condition("SessionStoreReachable"))[:2] == ("False", "StoreUnreachable")
    assert (await rig.condition("Reconciling"))[:2] == ("True", "StoreUnreachable")
    assert (await rig.condition("Stalled"))[0] == "False"
    rig.store.back()
    await rig.settle()
    assert rig.workloads.made == ["plant-2", "plant-1", "plant-0"]


async def test_a_revision_that_fails_is_given_to_one_node_and_mended_by_the_next(rig: BrokerRig) -> None:
    await started(rig)
    await rig.declare(changed(SHARED, MORE_MEMORY))
    while not steps(rig):
        await rig.run()
        await rig.workloads.act(ready=not steps(rig))
        await rig.play_nodes()
    await rig.workloads.set_ready("plant-2", ready=False, waiting="ImagePullBackOff")
    for _ in range(3):
        await rig.run()
    assert steps(rig) == ["delete Pod plant-2"]
    assert (await rig.condition("Stalled"))[:2] == ("True", "RolloutStuck")
    assert "plant-2 cannot get its image" in (await rig.condition("Stalled"))[2]
    assert (await rig.status())["nodes"] == "2/3"
    await rig.declare(SHARED)
    await rig.run()
    await rig.workloads.act(ready=False)
    await rig.run()
    assert steps(rig) == ["delete Pod plant-2", "delete Pod plant-2"]
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"
    assert rig.workloads.made == ["plant-2", "plant-2"]


async def test_a_rollout_that_does_not_move_is_stalled_after_a_while(rig: BrokerRig) -> None:
    await started(rig)
    await rig.annotate(restartedAt="now")
    for _ in range(3):
        await rig.run()
        await rig.workloads.act(ready=False)
        await rig.play_nodes()
    assert (await rig.condition("Stalled"))[0] == "False"
    rig.later(minutes=4)
    await rig.run()
    assert (await rig.condition("Stalled"))[0] == "False"
    rig.later(minutes=2)
    await rig.run()
    assert (await rig.condition("Stalled"))[:2] == ("True", "RolloutStuck")
    assert "is not ready for 5 minutes" in (await rig.condition("Stalled"))[2]


async def test_a_paused_rollout_stops_where_it_is_and_goes_on_later(rig: BrokerRig) -> None:
    await started(rig)
    await rig.annotate(restartedAt="now")
    while not steps(rig):
        await rig.run()
        await rig.play()
    await rig.annotate(pause_reconciliation="true")
    for _ in range(3):
        await rig.run()
        await rig.play()
    assert steps(rig) == ["delete Pod plant-2"]
    await rig.annotate(pause_reconciliation=None)
    await rig.settle()
    assert rig.workloads.made == ["plant-2", "plant-1", "plant-0"]


async def test_a_pod_that_was_replaced_meanwhile_is_not_deleted(rig: BrokerRig) -> None:
    """What the plan saw is compared by uid: a successor of the same name is somebody else."""
    await started(rig)

    async def somebody_is_quicker() -> None:
        await rig.raw.delete(kinds.POD, rig.key.namespace, "plant-2")
        await rig.workloads.act()

    await rig.annotate(restartedAt="now")
    await rig.run()
    await rig.workloads.act()
    rig.kube.before_deletion = somebody_is_quicker
    with pytest.raises(ConflictError):
        await rig.run()
    assert rig.workloads.made == ["plant-2"]
    rig.kube.before_deletion = None
    assert len(await rig.workloads.pods("plant")) == 3


async def test_the_one_node_with_a_store_of_its_own_is_replaced_too(rig: BrokerRig) -> None:
    await started(rig, EMBEDDED)
    await rig.annotate(restartedAt="now")
    await rig.settle()
    assert rig.workloads.made == ["plant-0"]


@pytest_asyncio.fixture
async def growing(rig: BrokerRig, api: Api) -> AsyncIterator[str]:
    """A StorageClass whose volumes may grow."""
    name = f"grows-{rig.key.namespace}"
    body = {"metadata": {"name": name}, "provisioner": "example.org/none", "allowVolumeExpansion": True}
    api.call("POST", STORAGE_CLASSES, {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", **body})
    yield name
    api.call("DELETE", f"{STORAGE_CLASSES}/{name}")


async def claim(rig: BrokerRig, storage_class: str) -> None:
    """The volume of the one node, bound, as a provisioner would have made it."""
    await rig.raw.delete(kinds.PERSISTENT_VOLUME_CLAIM, rig.key.namespace, "data-plant-0")
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": storage_class,
        "volumeName": "volume-7",
    }
    metadata = {"name": "data-plant-0", "finalizers": None}
    await rig.declare({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    await rig.raw.patch(
        kinds.PERSISTENT_VOLUME_CLAIM, rig.key.namespace, "data-plant-0", {"metadata": {"finalizers": None}}
    )
    await rig.raw.patch_status(
        kinds.PERSISTENT_VOLUME_CLAIM,
        rig.key.namespace,
        "data-plant-0",
        {"phase": "Bound", "capacity": {"storage": "1Gi"}},
        manager="provisioner",
    )


async def test_a_larger_volume_grows_the_claim_and_replaces_the_pod_in_its_turn(rig: BrokerRig, growing: str) -> None:
    await started(rig, changed(EMBEDDED, {"spec.sessionStore": {"embedded": {"storage": "1Gi"}}}))
    await claim(rig, growing)
    await rig.declare(changed(EMBEDDED, {"spec.sessionStore": {"embedded": {"storage": "2Gi"}}}))
    await rig.settle()
    found, grown = (
        await rig.get(kinds.STATEFUL_SET, "plant"),
        await rig.get(kinds.PERSISTENT_VOLUME_CLAIM, "data-plant-0"),
    )
    assert found is not None
    assert grown is not None
    (template,) = found["spec"]["volumeClaimTemplates"]
    assert template["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert grown["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert (rig.workloads.deleted, rig.workloads.made) == ([], ["plant-0"])


async def test_a_volume_that_may_not_grow_is_told_and_nothing_is_deleted(rig: BrokerRig) -> None:
    await started(rig, changed(EMBEDDED, {"spec.sessionStore": {"embedded": {"storage": "1Gi"}}}))
    await claim(rig, "")
    before = await rig.get(kinds.STATEFUL_SET, "plant")
    await rig.declare(changed(EMBEDDED, {"spec.sessionStore": {"embedded": {"storage": "2Gi"}}}))
    with pytest.raises(RefusedError):
        await rig.run()
    after = await rig.get(kinds.STATEFUL_SET, "plant")
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert (await rig.condition("Stalled"))[:2] == ("True", "RefusedByAPIServer")


# Releases ----------------------------------------------------------------------------------------------------


async def test_a_new_release_of_the_operator_rolls_the_nodes(rig: BrokerRig) -> None:
    await started(rig)
    rig.surroundings = {"image": NEWER, "version": "0.2.0"}
    rig.restart()
    await rig.settle()
    assert await images(rig) == {NEWER}


async def test_a_manual_broker_stays_and_shows_what_waits_also_if_the_new_release_builds_pods_otherwise(
    rig: BrokerRig,
) -> None:
    await started(rig, changed(SHARED, {"spec.upgradePolicy": "Manual"}))
    rig.surroundings = {"image": NEWER, "version": "0.2.0", "pull_policy": "Always"}
    rig.restart()
    await rig.settle()
    assert (steps(rig), await images(rig)) == ([], {RELEASE})
    status = await rig.status()
    assert (status["version"], status["availableVersion"]) == ("0.1.0", "0.2.0")
    assert (await rig.condition("Ready"))[0] == "True"
    await rig.declare(SHARED)
    await rig.settle()
    assert await images(rig) == {NEWER}
    assert "availableVersion" not in await rig.status()


async def test_a_manual_broker_whose_spec_changes_runs_the_same_image_with_it(rig: BrokerRig) -> None:
    manual = changed(SHARED, {"spec.upgradePolicy": "Manual"})
    await started(rig, manual)
    rig.surroundings = {"image": NEWER, "version": "0.2.0"}
    rig.restart()
    await rig.declare(changed(manual, MORE_MEMORY))
    await rig.settle()
    assert await images(rig) == {RELEASE}
    assert rig.workloads.made == ["plant-2", "plant-1", "plant-0"]
    await rig.scale(4)
    await rig.settle()
    assert await images(rig) == {RELEASE}


async def test_an_image_that_is_named_is_not_upgraded(rig: BrokerRig) -> None:
    own = {"repository": "registry.example.org/stoa", "tag": "1.2.3"}
    rig.surroundings = {"allowed_repositories": ("registry.example.org/stoa",)}
    rig.restart()
    await started(rig, changed(SHARED, {"spec.image": own}))
    rig.surroundings |= {"image": NEWER, "version": "0.2.0"}
    rig.restart()
    await rig.settle()
    assert (steps(rig), await images(rig)) == ([], {"registry.example.org/stoa:1.2.3"})


async def test_of_two_brokers_one_is_upgraded_after_the_other(rig: BrokerRig) -> None:
    await started(rig)
    other = BrokerRig(rig.raw, rig.key.namespace, rig.folder, "pumps")
    await other.declare(changed(SHARED, {"metadata.name": "pumps"}))
    await other.settle()
    rig.surroundings = {"image": NEWER, "version": "0.2.0"}
    rig.restart()
    other.operator, other.registry, other.exchange = rig.operator, rig.registry, rig.exchange
    rig.store.shared_with(other.store, f"mqtt.{rig.key.namespace}.pumps")
    seen = set()
    for _ in range(60):
        for each in (rig, other):
            await each.run()
            each.play_policy()
            await each.play_nodes()
        seen.add((frozenset(await images(rig)), frozenset(await images(other))))
        await rig.workloads.act()
        for each in (rig, other):
            await each.play_nodes()
        if await images(rig) == await images(other) == {NEWER}:
            break
    assert await images(rig) == await images(other) == {NEWER}
    both = frozenset({RELEASE, NEWER})
    assert (both, both) not in seen
    old, new = frozenset({RELEASE}), frozenset({NEWER})
    assert {(old, both), (both, new)} <= seen or {(both, old), (new, both)} <= seen
