"""Charts and manifests as a real API server takes them: every object, every right, every warning."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.charts import BROKER, OPERATOR, Manifest, identity, rendered, value_files, values_of
from support.kube import kubectl
from support.kube.api import Api
from support.kube.place import Place
from support.kube.problems import ClusterError
from support.processes import ROOT

MANIFESTS = ROOT / "manifests"
MONITORING = "monitoring.coreos.com/v1"
CASES = [
    pytest.param(chart, file, id=f"{chart.name}-{file.stem}")
    for chart in (OPERATOR, BROKER)
    for file in value_files(chart)
]
FILES = ["install.yaml", "crds.yaml", "quickstart.yaml", "quickstart-clients.yaml", "store-sentinel.yaml"]


def tried(cluster: Place, namespace: str, documents: list[Manifest]) -> None:
    """As if applied: schema, admission and quota are asked, nothing is kept. A warning is an error."""
    items = [moved(document, namespace) for document in documents]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    kubectl.call(
        cluster,
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--warnings-as-errors",
        "--filename=-",
        stdin=text,
    )


def moved(document: Manifest, namespace: str) -> Manifest:
    """The object in the namespace of this test; one that is in none stays there."""
    namespaced = document["kind"] not in (
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Namespace",
    )
    more = {"namespace": namespace} if namespaced else {}
    return {**document, "metadata": {**document["metadata"], **more}}


def pod_of(document: Manifest) -> Manifest:
    template = document["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "as-made", "labels": template["metadata"]["labels"]},
        "spec": {**template["spec"], "serviceAccountName": "default", "priorityClassName": ""},
    }


@pytest.mark.parametrize(("chart", "file"), CASES)
def test_every_object_of_a_chart_is_accepted_without_a_warning(
    chart: Path, file: Path, cluster: Place, namespace: str
) -> None:
    tried(cluster, namespace, rendered(chart, values_of(file), api_versions=[MONITORING]).objects)


@pytest.mark.parametrize("name", FILES)
def test_every_object_of_a_manifest_is_accepted_without_a_warning(name: str, cluster: Place, namespace: str) -> None:
    documents = [each for each in yaml.safe_load_all((MANIFESTS / name).read_text(encoding="utf-8")) if each]
    tried(cluster, namespace, documents)


@pytest.mark.parametrize(("chart", "file"), CASES)
def test_pods_are_admitted_where_the_restricted_standard_is_enforced(
    chart: Path, file: Path, api: Api, namespace: str
) -> None:
    made = rendered(chart, values_of(file))
    for pod in [*made.all("Pod"), *map(pod_of, made.all("Deployment"))]:
        answer = api.call("POST", f"/api/v1/namespaces/{namespace}/pods", moved(pod, namespace), dryRun="All")
        assert answer.code == 201, (identity(pod), answer.body)


def test_the_pods_of_the_store_recipe_are_admitted_there_too(api: Api, namespace: str) -> None:
    text = (MANIFESTS / "store-sentinel.yaml").read_text(encoding="utf-8")
    (store,) = [each for each in yaml.safe_load_all(text) if each["kind"] == "StatefulSet"]
    pod = pod_of(store)
    pod["spec"]["volumes"] = [*pod["spec"]["volumes"], {"name": "data", "emptyDir": {}}]
    answer = api.call("POST", f"/api/v1/namespaces/{namespace}/pods", moved(pod, namespace), dryRun="All")
    assert answer.code == 201, answer.body


@pytest.mark.parametrize("chart", [OPERATOR, BROKER], ids=lambda chart: chart.name)
def test_labels_that_select_pods_never_change_between_values(chart: Path) -> None:
    """A selector is immutable: an upgrade with other values must not touch it."""
    selectors = {
        json.dumps(each["spec"]["selector"], sort_keys=True)
        for file in value_files(chart)
        for each in rendered(chart, values_of(file)).all("Deployment")
    }
    assert len(selectors) <= 1


class TestRights:
    """Roles as the API server reads them."""

    @pytest.fixture
    def people(self, cluster: Place, namespace: str) -> Iterator[str]:
        """Users `viewer`, `editor` and `owner` of the namespace, with the chart's roles for each."""
        made = rendered(OPERATOR, namespace=namespace)
        roles = {role["metadata"]["name"]: role for role in made.all("ClusterRole")}
        bindings = [
            binding(namespace, f"stoa-operator-{namespace}-{role}", user)
            for user, role in (("viewer", "view"), ("editor", "edit"), ("editor", "view"), ("owner", "admin"))
        ]
        kubectl.apply(cluster, [*roles.values(), *bindings])
        yield namespace
        kubectl.call(cluster, "delete", "clusterrole", *roles)

    @pytest.mark.parametrize(
        ("user", "verb", "resource", "may"),
        [
            ("viewer", "list", "topicpermissions", True),
            ("viewer", "get", "mqttbrokers/status", True),
            ("viewer", "update", "mqttbrokers/scale", False),
            ("editor", "watch", "mqttclients", True),
            ("editor", "update", "mqttbrokers/scale", True),
            ("editor", "create", "topicpermissions", False),
            ("editor", "patch", "topicpermissions", False),
            ("editor", "create", "mqttclients", False),
            ("editor", "patch", "mqttclients", False),
            ("editor", "patch", "mqttbrokers", False),
            ("owner", "create", "topicpermissions", True),
            ("owner", "delete", "mqttbrokers", True),
            ("owner", "patch", "mqttbrokers/status", False),
        ],
    )
    def test_people_may_do_what_their_role_says(
        self, user: str, verb: str, resource: str, may: bool, cluster: Place, people: str
    ) -> None:
        assert can(cluster, people, user, verb, f"{resource}.mqtt.stoa.dev") is may

    @pytest.fixture
    def operator(self, cluster: Place, namespace: str) -> Iterator[str]:
        """The operator's ServiceAccount with the rights of the default values."""
        made = rendered(OPERATOR, namespace=namespace)
        kinds = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount")
        documents = [each for each in made.objects if each["kind"] in kinds]
        kubectl.apply(cluster, documents)
        yield f"system:serviceaccount:{namespace}:stoa-operator"
        for each in documents:
            if each["kind"].startswith("Cluster"):
                kubectl.call(cluster, "delete", each["kind"], each["metadata"]["name"])

    def test_the_operator_reads_secrets_in_its_own_namespace_and_nowhere_else(
        self, cluster: Place, namespace: str, operator: str
    ) -> None:
        assert can(cluster, namespace, operator, "list", "secrets")
        assert not can(cluster, "default", operator, "get", "secrets")
        assert not can(cluster, "", operator, "list", "secrets")

    @pytest.mark.parametrize(
        ("verb", "resource"),
        [
            ("create", "pods/exec"),
            ("create", "serviceaccounts/token"),
            ("impersonate", "users"),
            ("escalate", "roles"),
            ("bind", "clusterroles"),
            ("create", "roles"),
            ("update", "customresourcedefinitions"),
            ("create", "mqttbrokers.mqtt.stoa.dev"),
            ("patch", "topicpermissions.mqtt.stoa.dev"),
            ("delete", "mqttclients.mqtt.stoa.dev"),
        ],
    )
    def test_the_operator_may_not(
        self, verb: str, resource: str, cluster: Place, namespace: str, operator: str
    ) -> None:
        assert not can(cluster, namespace, operator, verb, resource)


def binding(namespace: str, role: str, user: str) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{user}-{role.rpartition('-')[2]}", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }


def can(cluster: Place, namespace: str, user: str, verb: str, resource: str) -> bool:
    """`kubectl auth can-i`. `namespace` "": in all of them."""
    where = f"--namespace={namespace}" if namespace else "--all-namespaces"
    name, _, subresource = resource.partition("/")
    if subresource.endswith(".mqtt.stoa.dev"):
        name, subresource = f"{name}.mqtt.stoa.dev", subresource.removesuffix(".mqtt.stoa.dev")
    options = [f"--subresource={subresource}"] if subresource else []
    try:
        answer = kubectl.call(cluster, "auth", "can-i", verb, name, *options, where, f"--as={user}", "--quiet")
    except ClusterError:
        return False
    assert answer == ""
    return True


def test_a_field_that_no_broker_has_is_refused_by_name(api: Api, namespace: str) -> None:
    made = rendered(BROKER, {"tls": {"issuerRef": {"name": "ca"}}})
    path = f"/apis/mqtt.stoa.dev/v1alpha1/namespaces/{namespace}/mqttbrokers"
    document = moved(made.one("MQTTBroker"), namespace)
    document["spec"]["mqtt"] = {"maxPaketSize": "1Mi"}
    answer = api.call("POST", path, document, dryRun="All", fieldValidation="Strict")
    assert answer.code == 400
    assert 'unknown field "spec.mqtt.maxPaketSize"' in answer.body["message"]
