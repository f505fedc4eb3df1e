"""Everything that is made for a broker, as a real API server takes it: strictly, without a warning, and twice."""

import json
from typing import NamedTuple

import pytest

from mqtt_operator.desired import names
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.objects import build
from support.desired_examples import DOCUMENTS, inputs_for, read_broker
from support.kube import kubectl
from support.kube.api import Api
from support.kube.place import Place

BROKERS = "/apis/mqtt.stoa.dev/v1alpha1/namespaces/{}/mqttbrokers"


class Built(NamedTuple):
    """A broker that is really there, and what it becomes."""

    name: str
    namespace: str
    manifests: list[Manifest]


@pytest.fixture(params=list(DOCUMENTS))
def built(request: pytest.FixtureRequest, api: Api, namespace: str) -> Built:
    warn = {"metadata": {"labels": {"pod-security.kubernetes.io/warn": "restricted"}}}
    path = f"/api/v1/namespaces/{namespace}"
    assert api.call("PATCH", path, warn, kind="application/merge-patch+json").code == 200
    document = DOCUMENTS[request.param]
    body = {**document, "metadata": {**document["metadata"], "namespace": namespace}}
    answer = api.call("POST", BROKERS.format(namespace), body, fieldValidation="Strict")
    assert answer.code == 201, answer.body["message"]
    broker = read_broker(answer.body, uid=answer.body["metadata"]["uid"], namespace=namespace)
    return Built(request.param, namespace, build(broker, inputs_for(broker)))


def apply(cluster: Place, manifests: list[Manifest], *options: str) -> list[Manifest]:
    """As the operator does, and with every warning an error. Returns what the server has then."""
    items = {"apiVersion": "v1", "kind": "List", "items": manifests}
    said = kubectl.call(
        cluster,
        "apply",
        "--server-side",
        f"--field-manager={names.FIELD_MANAGER}",
        "--validate=strict",
        "--warnings-as-errors",
        "--output=json",
        *options,
        "--filename=-",
        stdin=json.dumps(items),
    )
    answer = json.loads(said)
    found: list[Manifest] = answer["items"] if answer["kind"] == "List" else [answer]
    return found


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """The first pod of each StatefulSet, as its controller would make it."""
    return [
        pod(each["metadata"], each["spec"]["template"], each["spec"].get("volumeClaimTemplates", []))
        for each in manifests
        if each["kind"] == "StatefulSet"
    ]


def pod(owner: Manifest, template: Manifest, claims: list[Manifest]) -> Manifest:
    name = f"{owner['name']}-0"
    volumes = [
        {"name": each["metadata"]["name"], "persistentVolumeClaim": {"claimName": f"{each['metadata']['name']}-{name}"}}
        for each in claims
    ]
    metadata = {**template["metadata"], "name": name, "namespace": owner["namespace"]}
    spec = {**template["spec"], "volumes": [*template["spec"]["volumes"], *volumes]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_every_object_is_accepted_without_a_warning(built: Built, cluster: Place) -> None:
    """Also none of the pod security standard, which the namespace has for StatefulSets only as a warning."""
    apply(cluster, built.manifests, "--dry-run=server")


def test_pods_are_admitted_where_the_restricted_standard_is_enforced(built: Built, cluster: Place, api: Api) -> None:
    accounts = [each for each in built.manifests if each["kind"] == "ServiceAccount"]
    apply(cluster, accounts)  # a pod is admitted only if its account is there
    made = pods(built.manifests)
    apply(cluster, made, "--dry-run=server")
    for each in made:
        weaker = json.loads(json.dumps(each).replace('"allowPrivilegeEscalation": false', '"privileged": true'))
        answer = api.call("POST", f"/api/v1/namespaces/{built.namespace}/pods", weaker, dryRun="All")
        assert (answer.code, "restricted" in answer.body["message"]) == (403, True)


def test_what_is_applied_again_changes_nothing(built: Built, cluster: Place) -> None:
    """Else every pass over a broker would write, and every write would be a reason for another pass."""
    first, second = apply(cluster, built.manifests), apply(cluster, built.manifests)
    assert [change(before, after) for before, after in zip(first, second, strict=True)] == [""] * len(first)


def change(before: Manifest, after: Manifest) -> str:
    """The object, if it is not what it was. Controllers write into the status meanwhile, which has no generation."""
    mark = "generation" if "generation" in before["metadata"] else "resourceVersion"
    name = f"{before['kind']}/{before['metadata']['name']}"
    return name if after["metadata"][mark] != before["metadata"][mark] else ""
