"""The operator program at a real API server: it starts, leads, follows, survives and stops. Its stories only tell."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mqtt_operator.desired.names import FINALIZER
from mqtt_operator.kube.election import LEASE_S, RENEW_S_MAX
from support.kube import kubectl
from support.kube.api import Api
from support.kube.place import Place
from support.operator_program import Operator, Told, operator
from support.operator_stand_in import BEHAVIOUR
from support.processes import ROOT
from support.resource_examples import BAD_COMBINATIONS, BAD_VALUES, BROKER, CLIENT, PERMISSION, Document, changed
from support.through_proxy import through_proxy
from support.waiting import wait_until

GROUP = "/apis/mqtt.stoa.dev/v1alpha1"
START_S_MAX = 150.0
STOP_S_MAX = 8.0
NAMESPACE_GONE_S_MAX = 60.0
MERGE = "application/merge-patch+json"
HELD = changed(
    BROKER,
    {
        "metadata.name": "held",
        "spec.sessionStore": {"redis": {"addresses": ["redis:6379"]}},
        "spec.deletionPolicy": "Delete",
    },
)
"""It keeps something where nothing of it goes by itself."""

pytestmark = pytest.mark.timeout(600)  # several programs that start one after the other, on whatever machine this is


def test_each_broker_has_both_its_stories_told_with_what_belongs_to_it(cluster: Place, namespace: str) -> None:
    declare(cluster, namespace, BROKER, CLIENT, PERMISSION)
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: {"broker", "policy"} <= {told.story for told in running.told()}, START_S_MAX)
        for told in running.told():
            assert told.broker == f"{namespace}/plant"
            assert (told.clients, told.permissions) == ([f"{namespace}/pump-7"], [f"{namespace}/pumps"])
        assert running.metric('stoa_operator_resources{kind="MQTTClient"}') == 1


def test_only_a_broker_that_needs_an_end_carries_our_finalizer_and_nobody_any_note_of_the_framework(
    cluster: Place, api: Api, namespace: str
) -> None:
    declare(cluster, namespace, HELD, BROKER, CLIENT, PERMISSION)
    path = f"{GROUP}/namespaces/{namespace}"
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: len({told.broker for told in told_of(running, "broker")}) == 2, START_S_MAX)
        wait_until(lambda: "finalizers" in metadata(api, f"{path}/mqttbrokers/held"), START_S_MAX)
        settle(running)
    assert metadata(api, f"{path}/mqttbrokers/held")["finalizers"] == [FINALIZER]
    assert "annotations" not in metadata(api, f"{path}/mqttbrokers/held")
    for item in ("mqttbrokers/plant", "mqttclients/pump-7", "topicpermissions/pumps"):
        assert not {"finalizers", "annotations"} & metadata(api, f"{path}/{item}").keys()


def test_the_finalizer_comes_and_goes_with_the_need_for_it_also_one_of_an_earlier_release(
    cluster: Place, api: Api, namespace: str
) -> None:
    declare(cluster, namespace, changed(BROKER, {"metadata.finalizers": [FINALIZER]}), HELD)
    path = f"{GROUP}/namespaces/{namespace}/mqttbrokers"
    with operator(cluster.kubeconfig, namespace):
        wait_until(lambda: "finalizers" in metadata(api, f"{path}/held"), START_S_MAX)
        wait_until(lambda: "finalizers" not in metadata(api, f"{path}/plant"), START_S_MAX)
        api.call("PATCH", f"{path}/held", {"spec": {"deletionPolicy": "Retain"}}, kind=MERGE)
        wait_until(lambda: "finalizers" not in metadata(api, f"{path}/held"))


def test_a_broker_that_needs_no_end_goes_at_once_and_its_stories_with_it(
    cluster: Place, api: Api, namespace: str
) -> None:
    declare(cluster, namespace, BROKER)
    path = f"{GROUP}/namespaces/{namespace}/mqttbrokers/plant"
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: told_of(running, "policy"), START_S_MAX)
        wait_until(lambda: running.metric('stoa_operator_resources{kind="MQTTBroker"}') == 1)
        api.call("DELETE", path)
        assert api.call("GET", path).code == 404
        wait_until(lambda: running.metric('stoa_operator_resources{kind="MQTTBroker"}') == 0)
        settle(running)
        before = len(running.told())
        declare(cluster, namespace, PERMISSION)  # of which nobody tells but a policy's story for strays
        wait_until(lambda: len(running.told()) > before)
        assert {told.story for told in running.told()[before:]} == {"policy"}
        declare(cluster, namespace, BROKER)
        wait_until(lambda: told_of(running, "broker")[-1].there)


def test_a_deleted_broker_stays_until_its_story_is_over_and_those_who_name_it_are_told_then(
    cluster: Place, api: Api, namespace: str
) -> None:
    declare(cluster, namespace, changed(HELD, {"metadata.name": "plant"}), CLIENT)
    path = f"{GROUP}/namespaces/{namespace}/mqttbrokers/plant"
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: "finalizers" in metadata(api, path), START_S_MAX)
        api.call("DELETE", path)
        wait_until(lambda: api.call("GET", path).code == 404, START_S_MAX)
        assert any(told.deleting and told.story == "broker" for told in running.told())
        wait_until(lambda: any(not told.there and told.story == "policy" for told in running.told()))


def test_a_broker_deleted_while_no_operator_ran_is_let_go_by_the_next_one(
    cluster: Place, api: Api, namespace: str
) -> None:
    declare(cluster, namespace, HELD)
    path = f"{GROUP}/namespaces/{namespace}/mqttbrokers/held"
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: "finalizers" in metadata(api, path), START_S_MAX)
        running.program.kill()
    api.call("DELETE", path)
    assert api.call("GET", path).code == 200
    with operator(cluster.kubeconfig, namespace):
        wait_until(lambda: api.call("GET", path).code == 404, START_S_MAX)


def test_a_namespace_whose_operator_is_gone_first_waits_for_brokers_that_need_an_end_until_somebody_lets_them_go(
    cluster: Place, api: Api, namespace: str
) -> None:
    """With the command that docs/kubernetes.md tells."""
    declare(cluster, namespace, BROKER, HELD)
    path = f"{GROUP}/namespaces/{namespace}/mqttbrokers"
    with operator(cluster.kubeconfig, namespace):
        wait_until(lambda: "finalizers" in metadata(api, f"{path}/held"), START_S_MAX)
    api.call("DELETE", f"/api/v1/namespaces/{namespace}")
    wait_until(lambda: api.call("GET", f"{path}/plant").code == 404, NAMESPACE_GONE_S_MAX)
    assert "deletionTimestamp" in metadata(api, f"{path}/held")
    arguments = ("--type=merge", "--patch", '{"metadata":{"finalizers":null}}')
    kubectl.call(cluster, "patch", "mqttbroker", "held", "--namespace", namespace, *arguments)
    wait_until(lambda: api.call("GET", f"/api/v1/namespaces/{namespace}").code == 404, NAMESPACE_GONE_S_MAX)


def test_a_change_is_told_once_it_is_there_and_a_status_is_not(cluster: Place, api: Api, namespace: str) -> None:
    declare(cluster, namespace, BROKER)
    path = f"{GROUP}/namespaces/{namespace}"
    merge = "application/merge-patch+json"
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: told_of(running, "policy"), START_S_MAX)
        declare(cluster, namespace, CLIENT)
        wait_until(lambda: told_of(running, "policy")[-1].clients == [f"{namespace}/pump-7"])
        before = len(running.told())
        api.call("PATCH", f"{path}/mqttclients/pump-7/status", {"status": {"appliedRevision": 3}}, kind=merge)
        api.call("PATCH", f"{path}/mqttbrokers/plant/status", {"status": {"readyReplicas": 1}}, kind=merge)
        assert len(running.told()) == before
        api.call("DELETE", f"{path}/mqttclients/pump-7")
        wait_until(lambda: told_of(running, "policy")[-1].clients == [])
        assert len(running.told()) == before + 1  # the two changes of status woke nobody


def test_a_secret_that_a_client_names_wakes_its_broker_and_another_secret_does_not(
    cluster: Place, namespace: str
) -> None:
    named = {"spec.credentials": {"passwords": [{"secretRef": {"name": "pump-7", "key": "password"}}]}}
    declare(cluster, namespace, BROKER, changed(CLIENT, named))
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: told_of(running, "policy"), START_S_MAX)
        settle(running)
        before = len(told_of(running, "policy"))
        declare(cluster, namespace, secret("other"), secret("pump-7"))
        wait_until(lambda: len(told_of(running, "policy")) > before)
        settle(running)
        assert len(told_of(running, "policy")) == before + 1


def test_an_object_that_no_schema_could_refuse_is_told_with_its_mistakes(cluster: Place, namespace: str) -> None:
    (odd, *_) = [
        each for each in BAD_VALUES + BAD_COMBINATIONS if each.models_only and each.document["kind"] == "MQTTBroker"
    ]
    declare(cluster, namespace, odd.document)
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: told_of(running, "broker"), START_S_MAX)
        assert told_of(running, "broker")[0].mistakes


def test_a_bug_in_one_story_is_logged_and_counted_and_the_others_go_on(cluster: Place, namespace: str) -> None:
    buggy = changed(BROKER, {"metadata.annotations": {BEHAVIOUR: "bug"}})
    declare(cluster, namespace, buggy, changed(BROKER, {"metadata.name": "sound"}))
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: running.metric('stoa_operator_reconcile_total{result="bug",story="broker"}'), START_S_MAX)
        wait_until(lambda: running.metric('stoa_operator_reconcile_total{result="done",story="broker"}'))
        (line, *_) = [event for event in running.events() if event["event"] == "broker.bug"]
        assert "RuntimeError: a bug" in line["traceback"]
        assert (line["namespace"], line["broker"]) == (namespace, "plant")
        assert running.get("/livez")[0] == 200


def test_of_two_instances_one_leads_and_the_other_follows_it_when_it_stops(cluster: Place, namespace: str) -> None:
    declare(cluster, namespace, BROKER)
    with (
        operator(cluster.kubeconfig, namespace, name="operator-a") as first,
        operator(cluster.kubeconfig, namespace, name="operator-b") as second,
    ):
        wait_until(lambda: leaders(first, second), START_S_MAX)
        second.wait_ready()
        first.wait_ready()
        (leader,) = leaders(first, second)
        (other,) = {first, second} - {leader}
        assert not other.told()
        leader.program.signal(signal.SIGTERM)
        wait_until(other.told, START_S_MAX, "the other one leads")
        assert leader.program.wait() == 0


def test_a_killed_leader_is_followed_when_its_lease_has_run_out_and_not_before(cluster: Place, namespace: str) -> None:
    declare(cluster, namespace, BROKER)
    with operator(cluster.kubeconfig, namespace, name="operator-a") as first:
        first.wait_leading()
        with operator(cluster.kubeconfig, namespace, name="operator-b") as second:
            second.wait_ready()
            first.program.kill()
            killed_at = time.monotonic()
            second.wait_leading(LEASE_S + 15)
            # its last renewal was up to 2 s before it was killed
            assert time.monotonic() - killed_at > LEASE_S - 4


def test_a_leader_that_was_paused_for_longer_than_its_lease_leaves_when_it_wakes(
    cluster: Place, namespace: str
) -> None:
    with operator(cluster.kubeconfig, namespace, name="operator-a") as first:
        first.wait_leading()
        with operator(cluster.kubeconfig, namespace, name="operator-b") as second:
            second.wait_ready()
            first.program.signal(signal.SIGSTOP)
            second.wait_leading(LEASE_S + START_S_MAX)
            first.program.signal(signal.SIGCONT)
            assert first.program.wait(RENEW_S_MAX) == 1
            assert second.program.returncode() is None


def test_of_two_instances_with_one_name_the_older_one_leaves_at_once(cluster: Place, namespace: str) -> None:
    with operator(cluster.kubeconfig, namespace, name="operator-0") as older:
        older.wait_leading()
        with operator(cluster.kubeconfig, namespace, name="operator-0") as newer:
            newer.wait_leading()
            assert older.program.wait(RENEW_S_MAX) == 1
            assert "another one holds the lease" in older.program.dump()
            assert newer.program.returncode() is None


def test_a_leader_that_is_cut_off_from_the_api_server_leaves_before_its_lease_runs_out(
    cluster: Place, namespace: str, tmp_path: Path
) -> None:
    with through_proxy(cluster.kubeconfig, tmp_path) as (proxy, kubeconfig), operator(kubeconfig, namespace) as running:
        running.wait_leading()
        proxy.stall()
        cut_at = time.monotonic()
        assert running.program.wait(LEASE_S) == 1
        assert time.monotonic() - cut_at < LEASE_S
        assert "could not be renewed" in running.program.dump()


def test_what_happened_while_the_api_server_was_away_is_told_when_it_is_back(
    cluster: Place, api: Api, namespace: str, tmp_path: Path
) -> None:
    declare(cluster, namespace, BROKER, CLIENT, PERMISSION)
    with (
        through_proxy(cluster.kubeconfig, tmp_path) as (proxy, kubeconfig),
        operator(kubeconfig, namespace, "--no-leader-election") as running,
    ):
        wait_until(lambda: told_of(running, "policy"), START_S_MAX)
        proxy.refuse()
        proxy.cut()
        api.call("DELETE", f"{GROUP}/namespaces/{namespace}/mqttclients/pump-7")
        proxy.heal()
        wait_until(lambda: told_of(running, "policy")[-1].clients == [], START_S_MAX)
        assert told_of(running, "policy")[-1].permissions == [f"{namespace}/pumps"]
        assert running.program.returncode() is None


def test_it_waits_for_definitions_and_says_so_and_begins_when_they_come(cluster: Place, namespace: str) -> None:
    group = f"{namespace}.stoa.dev"  # nobody else's, so that it can be missing first
    with operator(cluster.kubeconfig, namespace, STAND_IN_GROUP=group) as running:
        wait_until(lambda: running.get("/readyz")[0] == 503, START_S_MAX)
        assert "does not know the kind MQTTBroker" in running.get("/readyz")[1]
        assert running.get("/livez")[0] == 200
        definitions = [yaml.safe_load(path.read_text("utf-8")) for path in sorted((ROOT / "crds").glob("*.yaml"))]
        definitions = json.loads(json.dumps(definitions).replace("mqtt.stoa.dev", group))
        older = json.loads(json.dumps(definitions))
        del older[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["drain"]
        kubectl.apply(cluster, older)
        wait_until(lambda: "older than this operator: it lacks spec.drain" in running.get("/readyz")[1], START_S_MAX)
        kubectl.apply(cluster, definitions)
        running.wait_ready()
    kubectl.call(cluster, "delete", "crd", "--wait=false", *(each["metadata"]["name"] for each in definitions))


def test_it_stops_in_time_at_any_moment_and_lets_the_next_one_begin_at_once(
    cluster: Place, api: Api, namespace: str
) -> None:
    declare(cluster, namespace, BROKER)
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: told_of(running, "broker"), START_S_MAX)
        started_at = time.monotonic()
        assert running.program.stop() == 0
        assert time.monotonic() - started_at < STOP_S_MAX
    lease = api.call("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/stoa-operator").body
    assert lease["spec"].get("holderIdentity", "") == ""


def test_it_stops_in_time_also_while_the_end_of_a_broker_is_not_over(cluster: Place, api: Api, namespace: str) -> None:
    declare(cluster, namespace, changed(HELD, {"metadata.annotations": {BEHAVIOUR: "waits"}}))
    path = f"{GROUP}/namespaces/{namespace}/mqttbrokers/held"
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: "finalizers" in metadata(api, path), START_S_MAX)
        api.call("DELETE", path)
        wait_until(lambda: any(told.deleting for told in running.told()), START_S_MAX)
        started_at = time.monotonic()
        assert running.program.stop() == 0
        assert time.monotonic() - started_at < STOP_S_MAX
        assert api.call("GET", path).code == 200
        assert "never awaited" not in running.program.dump()
        assert "destroyed" not in running.program.dump()
    api.call("PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE)


def test_one_that_stands_by_stops_in_time(cluster: Place, namespace: str) -> None:
    with operator(cluster.kubeconfig, namespace, name="operator-a") as first:
        first.wait_leading()
        with operator(cluster.kubeconfig, namespace, name="operator-b") as second:
            second.wait_ready()
            assert second.program.stop(STOP_S_MAX) == 0
        assert first.program.returncode() is None


def test_a_port_that_is_taken_is_said_in_one_line(cluster: Place, namespace: str) -> None:
    with operator(cluster.kubeconfig, namespace) as first:
        wait_until(lambda: first.get("/livez")[0] == 200, START_S_MAX)
        with operator(cluster.kubeconfig, namespace, "--metrics-port", str(first.port)) as second:
            assert second.program.wait(START_S_MAX) == 1
            assert f"Port {first.port} cannot be listened on" in second.program.dump()


def test_no_api_server_to_be_found_is_said_in_one_line(tmp_path: Path) -> None:
    with operator(tmp_path / "no-such-file", "default") as running:
        assert running.program.wait(START_S_MAX) == 1
        assert "The operator finds no API server." in running.program.dump()


def test_nothing_of_a_secret_is_ever_written_down(cluster: Place, namespace: str) -> None:
    named = {"spec.credentials": {"passwords": [{"secretRef": {"name": "pump-7", "key": "password"}}]}}
    declare(cluster, namespace, BROKER, changed(CLIENT, named), secret("pump-7"))
    with operator(cluster.kubeconfig, namespace) as running:
        wait_until(lambda: told_of(running, "policy"), START_S_MAX)
        settle(running)
        text = "\n".join(running.program.lines)
        assert "opensesame" not in text
        assert "b3BlbnNlc2FtZQ" not in text


def declare(cluster: Place, namespace: str, *documents: Document) -> None:
    kubectl.apply(cluster, [changed(document, {"metadata.namespace": namespace}) for document in documents])


def secret(name: str) -> Document:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": "opensesame"}}


def told_of(running: Operator, story: str) -> list[Told]:
    return [told for told in running.told() if told.story == story]


def settle(running: Operator) -> None:
    """Until what it follows has been listed and told: no pass for a second."""
    last = (0, 0.0)

    def is_quiet() -> bool:
        nonlocal last
        count = len(running.told())
        if count != last[0]:
            last = (count, time.monotonic())
        return time.monotonic() - last[1] > 1.0

    wait_until(is_quiet, START_S_MAX)


def leaders(*running: Operator) -> list[Operator]:
    return [each for each in running if each.metric("stoa_operator_leader") == 1]


def metadata(api: Api, path: str) -> dict[str, Any]:
    found: dict[str, Any] = api.call("GET", path).body["metadata"]
    return found
