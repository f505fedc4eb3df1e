"""Where objects are in the API."""

import pytest

from mqtt_operator.desired import kinds
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.kube import paths
from mqtt_operator.kube.port import Call


@pytest.mark.parametrize(
    ("kind", "namespace", "path"),
    [
        (kinds.POD, "mqtt", "/api/v1/namespaces/mqtt/pods"),
        (kinds.POD, "", "/api/v1/pods"),
        (kinds.MQTT_BROKER, "mqtt", "/apis/mqtt.stoa.dev/v1alpha1/namespaces/mqtt/mqttbrokers"),
        (kinds.NAMESPACE, "", "/api/v1/namespaces"),
        (kinds.CLUSTER_ISSUER, "mqtt", "/apis/cert-manager.io/v1/clusterissuers"),
    ],
)
def test_a_collection_is_below_its_group_and_namespace(kind: Kind, namespace: str, path: str) -> None:
    assert paths.collection(kind, namespace) == path


def test_an_item_is_below_its_collection_and_a_part_of_it_below_the_item() -> None:
    assert paths.item(kinds.POD, "mqtt", "plant-0") == "/api/v1/namespaces/mqtt/pods/plant-0"
    assert paths.item(kinds.MQTT_BROKER, "mqtt", "plant", "status").endswith("/mqttbrokers/plant/status")


def test_no_name_reaches_outside_of_its_place() -> None:
    assert paths.item(kinds.SECRET, "../kube-system", "a/../b?c") == (
        "/api/v1/namespaces/..%2Fkube-system/secrets/a%2F..%2Fb%3Fc"
    )


def test_an_item_needs_a_name_and_a_namespace_if_its_kind_is_in_one() -> None:
    """An empty one would make the path that of all objects: a deletion of them all."""
    with pytest.raises(AssertionError):
        paths.item(kinds.SECRET, "mqtt", "")
    with pytest.raises(AssertionError):
        paths.item(kinds.SECRET, "", "a")


def test_the_kind_of_an_object_is_found_by_what_it_says() -> None:
    assert paths.kind_of({"apiVersion": "apps/v1", "kind": "StatefulSet"}) is kinds.STATEFUL_SET
    with pytest.raises(KeyError):
        paths.kind_of({"apiVersion": "apps/v1", "kind": "Deployment"})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Call("get", "", "secrets"), "secrets"),
        (Call("patch", "apps", "statefulsets"), "statefulsets.apps"),
        (paths.call("patch", kinds.MQTT_BROKER, "status"), "mqttbrokers/status.mqtt.stoa.dev"),
    ],
)
def test_a_call_is_named_as_roles_name_it(call: Call, name: str) -> None:
    assert call.resource_name == name
