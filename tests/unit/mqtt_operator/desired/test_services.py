"""Clients within the cluster and outside find the listeners, under names that proxies understand."""

from typing import Any

import pytest

from mqtt_operator.desired.autoscaler import autoscaler
from mqtt_operator.desired.disruption_budget import disruption_budget
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.services import services
from support.desired_examples import INPUTS, example

LISTENERS = [
    {"name": "mqtt", "port": 1883, "allowPlaintext": True},
    {"name": "mqtts", "port": 8883, "tls": {}},
    {"name": "ws", "port": 8083, "protocol": "WebSocket", "allowPlaintext": True},
    {"name": "wss", "port": 8084, "protocol": "WebSocket", "tls": {}},
]


def specs(**changes: Any) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each["spec"] for each in services(example("plant", **changes), INPUTS)}


def test_within_the_cluster_one_service_leads_to_every_listener() -> None:
    ports = specs(listeners=LISTENERS, services=[])["plant"]["ports"]
    assert [(port["name"], port["port"], port["targetPort"], port["appProtocol"]) for port in ports] == [
        ("mqtt", 1883, "mqtt", "mqtt"),
        ("mqtts", 8883, "mqtts", "secure-mqtt"),
        ("ws", 8083, "ws", "kubernetes.io/ws"),
        ("wss", 8084, "wss", "kubernetes.io/wss"),
    ]


def test_one_load_balancer_serves_several_listeners() -> None:
    spec = specs()["plant-public"]
    assert [port["name"] for port in spec["ports"]] == ["mqtts", "wss"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert spec["loadBalancerClass"] == "example.org/balancer"
    assert spec["loadBalancerSourceRanges"] == ["203.0.113.0/24"]


def test_what_is_left_out_is_left_to_the_cluster() -> None:
    spec = specs(services=[{"name": "public", "listeners": ["mqtts"]}])["plant-public"]
    assert not {"externalTrafficPolicy", "loadBalancerClass", "loadBalancerSourceRanges"} & spec.keys()


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_other_types_of_services(kind: str) -> None:
    spec = specs(services=[{"name": "more", "type": kind, "listeners": ["wss"]}])["plant-more"]
    assert spec["type"] == kind
    assert [port["name"] for port in spec["ports"]] == ["wss"]


def test_labels_and_annotations_arrive() -> None:
    (public,) = [each for each in services(example("plant"), INPUTS) if each["metadata"]["name"] == "plant-public"]
    assert public["metadata"]["annotations"] == {"example.org/proxy-protocol": "v2"}
    assert public["metadata"]["labels"]["zone"] == "outside"


def test_an_autoscaler_sets_the_brokers_own_replicas() -> None:
    (scaler,) = autoscaler(example("plant"), INPUTS)
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": "mqtt.stoa.dev/v1alpha1",
        "kind": "MQTTBroker",
        "name": "plant",
    }
    assert [metric["type"] for metric in scaler["spec"]["metrics"]] == ["Resource", "Pods"]


@pytest.mark.parametrize(
    ("target", "metric"), [("targetCPUUtilization", "Resource"), ("targetConnectionsPerNode", "Pods")]
)
def test_an_autoscaler_may_have_one_target(target: str, metric: str) -> None:
    (scaler,) = autoscaler(example("plant", autoscaling={"minReplicas": 1, "maxReplicas": 2, target: 50}), INPUTS)
    assert [each["type"] for each in scaler["spec"]["metrics"]] == [metric]


def test_nobody_scales_what_nobody_asked_to() -> None:
    assert autoscaler(example("trial"), INPUTS) == []


def test_the_declared_number_of_nodes_may_be_away() -> None:
    assert disruption_budget(example("plant"), INPUTS)["spec"]["maxUnavailable"] == 2
    assert disruption_budget(example("trial"), INPUTS)["spec"]["maxUnavailable"] == 1
