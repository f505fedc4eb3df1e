"""What becomes of an MQTTBroker: objects of its own, repaired drift, a status that tells, nothing done twice."""

from typing import Any

import pytest

from mqtt_api.conditions import ConditionType
from mqtt_operator.desired import kinds
from mqtt_operator.desired.labels import children_selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import Propagation, RefusedError
from mqtt_operator.reconcile.apply import content_digest
from mqtt_operator.reconcile.problems import MendError
from mqtt_operator.status.ready import BEHIND_S_MAX
from support.broker_documents import EMBEDDED, SHARED, tls_secret
from support.broker_rig import BrokerRig
from support.resource_examples import changed

LOAD_BALANCED = changed(
    SHARED,
    {
        "spec.services": [
            {"name": "public", "listeners": ["mqtts"]},
            {"name": "named", "listeners": ["mqtts"], "advertisedAddress": "mqtt.example.org"},
            {"name": "ports", "listeners": ["mqtts"], "type": "NodePort", "advertisedAddress": "10.0.0.9"},
        ]
    },
)


async def children(rig: BrokerRig) -> list[Manifest]:
    """Everything that carries the labels of this broker, but for Secrets."""
    looked_through = (kinds.SERVICE_ACCOUNT, kinds.NETWORK_POLICY, kinds.CONFIG_MAP, kinds.SERVICE, kinds.STATEFUL_SET)
    selector = children_selector(rig.key.name)
    return [each for kind in looked_through for each in await rig.raw.list(kind, rig.key.namespace, selector)]


async def settled(rig: BrokerRig, document: Manifest = SHARED) -> None:
    """The broker is there, with its certificate, and all that follows has happened."""
    await rig.declare(tls_secret())
    await rig.declare(document)
    await rig.settle()
    rig.kube.writes.clear()
    rig.kube.events.clear()


async def test_a_broker_becomes_ready_and_says_so_once(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    await rig.settle()
    assert (await rig.condition("Ready"))[:2] == ("True", "AllReady")
    assert [reason for _, reason, _ in rig.kube.events] == ["Created", "StoreReachable", "Ready"]


@pytest.mark.parametrize("document", [SHARED, EMBEDDED, LOAD_BALANCED], ids=["shared", "embedded", "services"])
async def test_a_second_pass_writes_nothing(document: Manifest, rig: BrokerRig) -> None:
    await settled(rig, document)
    await rig.run()
    assert rig.kube.writes == []


async def test_an_operator_that_starts_anew_changes_nothing(rig: BrokerRig) -> None:
    await settled(rig)
    before = [content_digest(each) for each in await children(rig)]
    status = await rig.status()
    rig.restart()
    rig.play_policy()
    await rig.run()
    await rig.play()
    await rig.run()
    assert [content_digest(each) for each in await children(rig)] == before
    assert await rig.status() == status


async def test_the_first_status_says_that_the_operator_is_at_work_and_names_the_store(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    rig.store.away()
    await rig.run()
    conditions = {each["type"]: each["status"] for each in (await rig.status())["conditions"]}
    assert conditions.keys() == {kind.value for kind in ConditionType if kind is not ConditionType.NO_CONFLICTS}
    assert (conditions["Reconciling"], conditions["Ready"], conditions["Stalled"]) == ("True", "False", "False")
    assert (await rig.status())["storeID"]


async def test_everything_belongs_to_the_broker_and_is_written_by_one_manager(rig: BrokerRig) -> None:
    await settled(rig)
    uid = (await rig.broker())["metadata"]["uid"]
    found = await children(rig)
    assert {each["kind"] for each in found} == {
        "ServiceAccount",
        "NetworkPolicy",
        "ConfigMap",
        "Service",
        "StatefulSet",
    }
    for each in found:
        (owner,) = each["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (uid, True, True)
        managers = {entry["manager"] for entry in each["metadata"]["managedFields"] if not entry.get("subresource")}
        assert managers == {"stoa-operator"}


async def test_the_spec_is_never_written_and_the_status_has_a_manager_of_its_own(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(SHARED)
    before = (await rig.broker())["spec"]
    await rig.settle()
    await rig.scale(5)
    await rig.settle()
    broker = await rig.broker()
    assert broker["spec"] == {**before, "replicas": 5}
    managers = {(entry["manager"], entry.get("subresource", "")) for entry in broker["metadata"]["managedFields"]}
    assert managers == {("somebody", ""), ("stoa-operator-status", "status")}


@pytest.mark.parametrize(
    ("kind", "name", "drift"),
    [
        pytest.param(kinds.SERVICE, "plant", {"spec": {"selector": {"app": "mine"}}}, id="a selector"),
        pytest.param(kinds.SERVICE, "plant", {"metadata": {"labels": {"mqtt.stoa.dev/broker": "x"}}}, id="a label"),
        pytest.param(kinds.CONFIG_MAP, "plant-settings", {"data": None}, id="settings"),
        pytest.param(kinds.POD_DISRUPTION_BUDGET, "plant", {"spec": {"maxUnavailable": 3}}, id="a budget"),
        pytest.param(kinds.NETWORK_POLICY, "plant-nodes", {"spec": {"ingress": [{}]}}, id="a network policy"),
        pytest.param(kinds.SERVICE_ACCOUNT, "plant", {"automountServiceAccountToken": True}, id="a token"),
    ],
)
async def test_drift_is_repaired(kind: Any, name: str, drift: Manifest, rig: BrokerRig) -> None:
    await settled(rig)
    before = await rig.get(kind, name)
    assert before is not None
    await rig.raw.patch(kind, rig.key.namespace, name, drift, manager="somebody")
    await rig.settle()
    after = await rig.get(kind, name)
    assert after is not None
    ours = {"metadata", "status"}
    assert {field: after[field] for field in after.keys() - ours} == {
        field: before[field] for field in before.keys() - ours
    }
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    await rig.run()
    rig.kube.writes.clear()
    await rig.run()
    assert rig.kube.writes == []


async def test_what_was_deleted_is_made_again(rig: BrokerRig) -> None:
    await settled(rig)
    for each in await children(rig):
        kind = next(kind for kind in vars(kinds).values() if isinstance(kind, kinds.Kind) and kind.kind == each["kind"])
        propagation = Propagation.ORPHAN if kind is kinds.STATEFUL_SET else Propagation.BACKGROUND
        await rig.raw.delete(kind, rig.key.namespace, each["metadata"]["name"], propagation=propagation)
    await rig.settle()
    assert len(await children(rig)) == 6


async def test_what_others_added_stays(rig: BrokerRig) -> None:
    await settled(rig)
    added = {"metadata": {"labels": {"team": "a"}, "annotations": {"cost-centre": "7"}}}
    await rig.raw.patch(kinds.SERVICE, rig.key.namespace, "plant", added, manager="somebody")
    await rig.settle()
    found = await rig.get(kinds.SERVICE, "plant")
    assert found is not None
    assert (found["metadata"]["labels"]["team"], found["metadata"]["annotations"]["cost-centre"]) == ("a", "7")
    rig.kube.writes.clear()
    await rig.run()
    assert rig.kube.writes == []


async def test_what_is_no_longer_asked_for_is_removed_and_nothing_else(rig: BrokerRig) -> None:
    await settled(rig, LOAD_BALANCED)
    labels = {"app.kubernetes.io/managed-by": "stoa-operator", "mqtt.stoa.dev/broker": "plant"}
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "labels": labels}}
    await rig.declare(mine)  # labels make nothing ours
    await rig.declare(changed(LOAD_BALANCED, {"spec.services": LOAD_BALANCED["spec"]["services"][:1]}))
    await rig.settle()
    services = await rig.raw.list(kinds.SERVICE, rig.key.namespace)
    assert {each["metadata"]["name"] for each in services} == {"plant", "plant-nodes", "plant-public"}
    assert await rig.get(kinds.CONFIG_MAP, "mine") is not None


async def test_an_object_of_somebody_else_with_a_name_we_need_is_left_alone_and_named(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plant-settings"}, "data": {"mine": "yes"}}
    await rig.declare(mine)
    await rig.declare(SHARED)
    with pytest.raises(MendError):
        await rig.run()
    found = await rig.get(kinds.CONFIG_MAP, "plant-settings")
    assert found is not None
    assert found["data"] == {"mine": "yes"}
    assert (await rig.condition("Stalled"))[:2] == ("True", "NameTaken")
    assert "ConfigMap plant-settings" in (await rig.condition("Stalled"))[2]
    await rig.raw.delete(kinds.CONFIG_MAP, rig.key.namespace, "plant-settings")
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"


async def test_an_object_that_the_api_server_refuses_is_quoted_and_the_status_goes_on(rig: BrokerRig) -> None:
    await settled(rig)
    odd: Manifest = {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    }
    await rig.declare(changed(SHARED, {"spec.podTemplate": {"spec": odd}}))
    with pytest.raises(RefusedError):
        await rig.run()
    assert (await rig.condition("Stalled"))[:2] == ("True", "RefusedByAPIServer")
    assert "nodeSelectorTerms" in (await rig.condition("Programmed"))[2]
    assert (await rig.status())["readyReplicas"] == 3
    await rig.declare(SHARED)
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"


async def test_endpoints_are_those_of_load_balancers_then_those_within(rig: BrokerRig) -> None:
    await settled(rig, LOAD_BALANCED)
    before = (await rig.status())["endpoints"]
    ingress = {
        "loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"hostname": "lb.example.org"}, {"ip": "2001:db8::7"}]}
    }
    await rig.raw.patch_status(kinds.SERVICE, rig.key.namespace, "plant-public", ingress, manager="cloud")
    await rig.run()
    ports = await rig.get(kinds.SERVICE, "plant-ports")
    assert ports is not None
    node_port = ports["spec"]["ports"][0]["nodePort"]
    known = [
        {"service": "named", "listener": "mqtts", "address": "mqtt.example.org:8883"},
        {"service": "ports", "listener": "mqtts", "address": f"10.0.0.9:{node_port}"},
        {"listener": "mqtts", "address": f"plant.{rig.key.namespace}.svc:8883"},
    ]
    assert before == known
    assert (await rig.status())["endpoints"] == [
        {"service": "public", "listener": "mqtts", "address": "203.0.113.7:8883"},
        {"service": "public", "listener": "mqtts", "address": "lb.example.org:8883"},
        {"service": "public", "listener": "mqtts", "address": "[2001:db8::7]:8883"},
        *known,
    ]


async def test_the_status_counts_nodes_and_the_policy_they_decide_by(rig: BrokerRig) -> None:
    await settled(rig)
    rig.revision = 2
    rig.play_policy()
    await rig.run()
    assert (await rig.status())["policy"] == {"revision": 2, "nodesCurrent": 0, "nodesTotal": 3}
    assert (await rig.condition("Programmed"))[:2] == ("False", "NodesBehind")
    assert (await rig.condition("Ready"))[0] == "True"
    await rig.play_nodes()
    await rig.run()
    status = await rig.status()
    assert status["policy"] == {"revision": 2, "nodesCurrent": 3, "nodesTotal": 3}
    assert (status["replicas"], status["readyReplicas"], status["nodes"]) == (3, 3, "3/3")
    assert (status["version"], status["store"], status["observedGeneration"]) == ("0.1.0", "Redis (Disk)", 1)


async def test_a_condition_keeps_its_time_while_its_status_stays(rig: BrokerRig) -> None:
    await settled(rig)
    before = {each["type"]: each["lastTransitionTime"] for each in (await rig.status())["conditions"]}
    rig.later(hours=1)
    rig.revision = 2
    rig.play_policy()
    await rig.run()
    after = {each["type"]: each["lastTransitionTime"] for each in (await rig.status())["conditions"]}
    changed_since = {kind for kind in after if after[kind] != before[kind]}
    assert changed_since == {"Programmed"}


async def test_nodes_that_stay_behind_are_told_whoever_looks(rig: BrokerRig) -> None:
    await settled(rig)
    rig.revision = 2
    rig.play_policy()
    await rig.run()
    rig.later(seconds=BEHIND_S_MAX - 1)
    rig.restart()
    await rig.run()  # the policy's story has said nothing yet
    assert (await rig.condition("Ready"))[:2] == ("True", "AllReady")
    rig.later(seconds=2)
    await rig.run()
    assert (await rig.condition("Ready"))[:2] == ("False", "NodesBehind")
    await rig.play_nodes()
    await rig.run()
    assert (await rig.condition("Ready"))[:2] == ("True", "AllReady")


async def test_an_operator_that_starts_anew_tells_nothing_new_before_it_knows_the_policy(rig: BrokerRig) -> None:
    await settled(rig)
    rig.restart()
    await rig.run()
    assert "status MQTTBroker plant" not in rig.kube.writes


async def test_a_condition_of_somebody_else_stays_and_is_no_reason_to_write(rig: BrokerRig) -> None:
    await settled(rig)
    theirs = {
        "type": "Backup",
        "status": "True",
        "reason": "Done",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    await rig.raw.patch_status(kinds.MQTT_BROKER, *rig.key, {"conditions": [theirs]}, manager="backup")
    await rig.run()
    assert rig.kube.writes == []
    assert (await rig.condition("Backup"))[0] == "True"


async def test_a_spec_with_mistakes_that_no_schema_refuses_is_told_and_nodes_go_on(rig: BrokerRig) -> None:
    await settled(rig)
    await rig.declare(changed(SHARED, {"spec.listeners[0].proxyProtocol": {"trustedCIDRs": ["10.0.0.1/8"]}}))
    await rig.run()
    assert (await rig.condition("Accepted"))[:2] == ("False", "InvalidSpec")
    assert (await rig.condition("Stalled"))[0] == "True"
    assert (await rig.condition("Ready"))[2].startswith("spec.listeners[0].proxyProtocol.trustedCIDRs[0]: ")
    assert (await rig.status())["storeID"] == rig.store.world
    assert rig.kube.writes == ["status MQTTBroker plant"]
    await rig.run()
    assert rig.kube.writes == ["status MQTTBroker plant"]
    await rig.declare(SHARED)
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"


async def test_a_paused_broker_is_looked_at_and_not_touched(rig: BrokerRig) -> None:
    await settled(rig)
    await rig.annotate(pause_reconciliation="true")
    await rig.scale(5)
    await rig.raw.delete(kinds.SERVICE, rig.key.namespace, "plant")
    await rig.run()
    assert rig.kube.writes == ["status MQTTBroker plant"]
    assert (await rig.condition("Paused"))[:2] == ("True", "Paused")
    assert (await rig.condition("Reconciling"))[:2] == ("False", "Paused")
    assert (await rig.status())["readyReplicas"] == 3
    await rig.annotate(pause_reconciliation=None)
    await rig.settle()
    assert await rig.get(kinds.SERVICE, "plant") is not None
    assert (await rig.status())["replicas"] == 5
    assert [reason for _, reason, _ in rig.kube.events] == ["Paused", "Scaled", "Resumed", "Ready"]
