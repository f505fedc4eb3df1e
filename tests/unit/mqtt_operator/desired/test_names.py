"""Names of objects and marks on them: what other parts, other people and other programs rely on."""

from typing import Any

import pytest

from mqtt_api.resources import MQTTClient, parse_document
from mqtt_operator.desired import kinds, labels, names
from mqtt_operator.desired.labels import Component
from support.desired_examples import UID, example


def test_a_selector_has_name_instance_and_component_only() -> None:
    """It can never be changed."""
    assert labels.selector("plant", Component.STORE) == {
        "app.kubernetes.io/name": "mqtt-broker",
        "app.kubernetes.io/instance": "plant",
        "app.kubernetes.io/component": "store",
    }


def test_labels_say_what_runs_and_whose_it_is() -> None:
    marks = labels.labels("plant", Component.BROKER, "1.2.3")
    assert labels.selector("plant", Component.BROKER).items() <= marks.items()
    assert marks["app.kubernetes.io/version"] == "1.2.3"
    assert marks["mqtt.stoa.dev/broker"] == "plant"
    assert labels.VERSION_LABEL not in labels.labels("plant", Component.BROKER)


def test_queries_are_made_of_the_labels() -> None:
    marks = labels.labels("plant", Component.BROKER)
    for query in (labels.children_selector("plant"), labels.pods_selector("plant")):
        assert dict(part.split("=") for part in query.split(",")).items() <= marks.items()


def test_what_is_made_for_a_client_is_not_taken_for_a_part_of_a_broker() -> None:
    marks = labels.client_labels()
    query = labels.client_children_selector()
    assert dict(part.split("=") for part in query.split(",")).items() <= marks.items()
    assert labels.BROKER_LABEL not in marks


def test_an_owner_is_named_by_its_uid(client: Any) -> None:
    device = parse_document(client(metadata={"uid": "u-1"}))
    assert isinstance(device, MQTTClient)
    assert labels.owner_reference(device)["kind"] == "MQTTClient"
    assert labels.owner_reference(device)["uid"] == "u-1"
    assert labels.owner_reference(example("plant")) == {
        "apiVersion": "mqtt.stoa.dev/v1alpha1",
        "kind": "MQTTBroker",
        "name": "plant",
        "uid": UID,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def test_a_broker_that_was_never_read_from_a_server_owns_nothing() -> None:
    broker = example("plant")
    unread = broker.model_copy(update={"metadata": broker.metadata.model_copy(update={"uid": None})})
    with pytest.raises(AssertionError):
        labels.owner_reference(unread)


@pytest.mark.parametrize(
    ("kind", "group", "version"),
    [(kinds.POD, "", "v1"), (kinds.STATEFUL_SET, "apps", "v1"), (kinds.MQTT_BROKER, "mqtt.stoa.dev", "v1alpha1")],
)
def test_a_kind_knows_its_group_and_version(kind: kinds.Kind, group: str, version: str) -> None:
    assert (kind.group, kind.version) == (group, version)


def test_names_of_the_objects() -> None:
    assert names.pod("plant", 2) == "plant-2"
    assert names.pod_dns_name("plant", "mqtt", "plant-2") == "plant-2.plant-nodes.mqtt.svc"
    assert names.store_pod("plant") == "plant-store-0"
    assert names.service_dns_name(names.store("plant"), "mqtt") == "plant-store.mqtt.svc"
    assert names.tls("plant", "mqtts") == "plant-mqtts-tls"
