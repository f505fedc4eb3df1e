"""Our definitions and samples as a real API server takes them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kube import kubectl
from support.kube.api import Api
from support.kube.place import Place
from support.processes import ROOT
from support.resource_examples import BROKER, CLIENT, GOOD, PERMISSION, Document, changed

GROUP = "/apis/mqtt.stoa.dev/v1alpha1"
DEFINITIONS = sorted((ROOT / "crds").glob("*.yaml"))
SAMPLES = sorted(path for path in (ROOT / "manifests" / "samples").iterdir() if path.is_dir())


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_a_definition_is_served_without_a_complaint(path: Path, api: Api) -> None:
    """No condition says that its schema is not structural, and applying it again changes nothing."""
    name = yaml.safe_load(path.read_text(encoding="utf-8"))["metadata"]["name"]
    body = api.call("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}").body
    conditions = {condition["type"]: condition["status"] for condition in body["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_a_definition_applied_again_changes_nothing(path: Path, api: Api) -> None:
    definition = yaml.safe_load(path.read_text(encoding="utf-8"))
    address = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
    before = api.call("GET", address).body["metadata"]
    applied = api.call(
        "PATCH", address, definition, kind="application/apply-patch+yaml", fieldManager="kubectl", force="true"
    )
    assert (applied.code, applied.body["metadata"]["resourceVersion"]) == (200, before["resourceVersion"])


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda folder: folder.name)
def test_every_sample_is_accepted_with_no_field_lost(folder: Path, cluster: Place, namespace: str) -> None:
    documents = [document for document in _documents(folder) if document["kind"] != "Namespace"]
    assert documents
    for document in documents:
        document["metadata"]["namespace"] = namespace
    # Strict validation is what kubectl asks for by default: a field that the schema does not know is an error.
    kubectl.apply(cluster, documents)


@pytest.mark.parametrize(
    ("document", "columns", "row"),
    [
        (
            BROKER,
            ["NAME", "READY", "REASON", "NODES", "ENDPOINT", "VERSION", "AGE"],
            ["plant", "Unknown", "Pending"],
        ),
        (
            CLIENT,
            ["NAME", "READY", "REASON", "BROKER", "USERNAME", "SECRET", "AGE"],
            ["pump-7", "Unknown", "Pending", "plant"],
        ),
        (
            PERMISSION,
            ["NAME", "READY", "REASON", "BROKER", "CLIENTS", "PRIORITY", "AGE"],
            ["pumps", "Unknown", "Pending", "plant", "0"],
        ),
    ],
    ids=["MQTTBroker", "MQTTClient", "TopicPermission"],
)
def test_kubectl_shows_a_new_object_as_pending(
    document: Document, columns: list[str], row: list[str], cluster: Place, namespace: str
) -> None:
    kubectl.apply(cluster, [changed(document, {"metadata.namespace": namespace})])
    plural = f"{document['kind'].lower()}s"
    header, shown = kubectl.call(cluster, "get", plural, "--namespace", namespace).splitlines()
    assert [column.strip() for column in header.split("   ") if column.strip()] == columns
    assert shown.split()[: len(row)] == row


def test_kubectl_shows_a_ready_broker_in_one_line(cluster: Place, api: Api, namespace: str) -> None:
    broker = changed(BROKER, {"metadata.namespace": namespace})
    kubectl.apply(cluster, [broker])
    (example,) = [example.document for example in GOOD if example.title == "a broker with a whole status"]
    path = f"{GROUP}/namespaces/{namespace}/mqttbrokers/plant/status"
    answer = api.call("PATCH", path, {"status": example["status"]}, kind="application/merge-patch+json")
    assert answer.code == 200, answer.body
    assert answer.body["status"] == example["status"]
    header, shown = kubectl.call(cluster, "get", "mqb", "--namespace", namespace, "-o", "wide").splitlines()
    assert [column.strip() for column in header.split("   ") if column.strip()] == [
        "NAME", "READY", "REASON", "NODES", "ENDPOINT", "VERSION", "AGE", "STORE", "TLS EXPIRY", "MESSAGE",
    ]  # fmt: skip
    assert shown.split()[:6] == ["plant", "True", "AllReady", "3/3", "203.0.113.7:8883", "0.1.0"]
    assert shown.rstrip().endswith("2026-01-31T12:00:00Z   3 of 3 nodes are ready.")


def test_an_object_that_was_stored_shows_what_holds(cluster: Place, api: Api, namespace: str) -> None:
    """Defaults of whole sections are written out by the API server."""
    kubectl.apply(cluster, [changed(document, {"metadata.namespace": namespace}) for document in (BROKER, CLIENT)])
    spec = api.call("GET", f"{GROUP}/namespaces/{namespace}/mqttbrokers/plant").body["spec"]
    assert spec["podDisruptionBudget"] == {"maxUnavailable": 1}
    assert (spec["upgradePolicy"], spec["deletionPolicy"], spec["replicas"]) == ("Automatic", "Retain", 1)
    assert {name: part["enabled"] for name, part in spec["monitoring"].items()} == {
        "serviceMonitor": False,
        "prometheusRule": False,
        "dashboards": False,
    }
    client = api.call("GET", f"{GROUP}/namespaces/{namespace}/mqttclients/pump-7").body
    assert client["spec"]["deletionPolicy"] == "Retain"


def test_an_affinity_is_stored_as_it_was_written(cluster: Place, api: Api, namespace: str) -> None:
    """Its fields are Kubernetes' own, so none of them is known here and none is cut off."""
    (example,) = [each.document for each in GOOD if each.title == "a broker for Kubernetes with everything"]
    kubectl.apply(cluster, [changed(example, {"metadata.namespace": namespace})])
    spec = api.call("GET", f"{GROUP}/namespaces/{namespace}/mqttbrokers/plant").body["spec"]
    assert spec["podTemplate"]["spec"]["affinity"] == example["spec"]["podTemplate"]["spec"]["affinity"]


def test_kubectl_get_mqtt_shows_all_three_kinds(cluster: Place, namespace: str) -> None:
    kubectl.apply(
        cluster, [changed(document, {"metadata.namespace": namespace}) for document in (BROKER, CLIENT, PERMISSION)]
    )
    names = kubectl.call(cluster, "get", "mqtt", "--namespace", namespace, "-o", "name").split()
    assert names == [
        "mqttbroker.mqtt.stoa.dev/plant",
        "mqttclient.mqtt.stoa.dev/pump-7",
        "topicpermission.mqtt.stoa.dev/pumps",
    ]


def test_clients_and_permissions_are_selected_by_their_broker(cluster: Place, namespace: str) -> None:
    """Selectable fields: a list for one broker is made by the API server."""
    other = {"metadata.namespace": namespace, "metadata.name": "other", "spec.brokerRef.name": "other"}
    kubectl.apply(cluster, [changed(CLIENT, {"metadata.namespace": namespace}), changed(CLIENT, other)])
    found = kubectl.call(
        cluster, "get", "mqttclients", "-n", namespace, "--field-selector=spec.brokerRef.name=other", "-o", "name"
    )
    assert found.split() == ["mqttclient.mqtt.stoa.dev/other"]


def test_the_status_is_written_only_through_its_own_door(api: Api, namespace: str) -> None:
    path = f"{GROUP}/namespaces/{namespace}/mqttbrokers"
    api.call("POST", path, changed(BROKER, {"metadata.namespace": namespace}))
    ready = {"status": {"readyReplicas": 1}}
    merge = "application/merge-patch+json"
    assert "readyReplicas" not in api.call("PATCH", f"{path}/plant", ready, kind=merge).body["status"]
    assert api.call("PATCH", f"{path}/plant/status", ready, kind=merge).body["status"]["readyReplicas"] == 1


def test_a_broker_is_scaled_as_any_workload_is(cluster: Place, api: Api, namespace: str) -> None:
    shared = changed(BROKER, {"metadata.namespace": namespace, "spec.sessionStore": {"managed": {}}})
    kubectl.apply(cluster, [shared])
    kubectl.call(cluster, "scale", "mqttbroker/plant", "--replicas=3", "--namespace", namespace)
    assert api.call("GET", f"{GROUP}/namespaces/{namespace}/mqttbrokers/plant").body["spec"]["replicas"] == 3


def _documents(folder: Path) -> list[dict[str, Any]]:
    texts = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml")))
    return [document for text in texts for document in yaml.safe_load_all(text) if document]
