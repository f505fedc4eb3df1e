"""Who reaches the pods, and whom they reach; what is not said is not allowed."""

from typing import Any

import msgspec
import pytest

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.network_policies import network_policies
from support.desired_examples import INPUTS, example

OPERATOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "stoa-system"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
}


def policy(name: str, **changes: Any) -> Manifest:
    found: Manifest = network_policies(example(name, **changes), INPUTS)[0]["spec"]
    return found


def ports(rule: Manifest) -> list[int]:
    return [port["port"] for port in rule["ports"]]


@pytest.mark.parametrize("name", ["trial", "alone", "plant", "guarded"])
def test_both_directions_are_closed_but_for_what_is_said(name: str) -> None:
    for each in network_policies(example(name), INPUTS):
        assert each["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_a_listener_is_open_to_its_peers_and_without_any_to_everybody() -> None:
    plain, tls, _ = policy("alone")["ingress"]
    assert ports(plain) == [1883]
    assert plain["from"] == [
        {"namespaceSelector": {"matchLabels": {"team": "a"}}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ]
    assert ports(tls) == [8883]
    assert "from" not in tls


def test_metrics_are_for_the_operator_and_for_prometheus() -> None:
    *_, metrics = policy("trial")["ingress"]
    assert ports(metrics) == [8081]
    assert metrics["from"] == [OPERATOR, *INPUTS.metrics_peers]


def test_who_reads_metrics_is_the_operators_setting() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "watching"}}}
    inputs = msgspec.structs.replace(INPUTS, metrics_peers=(peer,))
    *_, metrics = network_policies(example("trial"), inputs)[0]["spec"]["ingress"]
    assert metrics["from"] == [OPERATOR, peer]


def test_nodes_reach_the_managed_store_and_nothing_else_but_names() -> None:
    names, store = policy("trial")["egress"]
    assert set(ports(names)) == {53, 5353}
    assert ports(store) == [6379]
    (peer,) = store["to"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "store"


def test_a_redis_by_name_is_reached_at_its_port_wherever_it_is() -> None:
    _, store = policy("plant")["egress"]
    assert ports(store) == [6379, 6380]
    assert "to" not in store


@pytest.mark.parametrize(
    ("address", "block"), [("192.0.2.1:6380", "192.0.2.1/32"), ("[2001:db8::1]:6380", "2001:db8::1/128")]
)
def test_a_redis_by_address_is_reached_there_only(address: str, block: str) -> None:
    _, store = policy("plant", sessionStore={"redis": {"addresses": [address]}})["egress"]
    assert ports(store) == [6380]
    assert store["to"] == [{"ipBlock": {"cidr": block}}]


def test_sentinels_may_send_nodes_to_any_port_that_a_redis_has() -> None:
    _, store = policy("guarded")["egress"]
    assert store == {"ports": [{"protocol": "TCP", "port": 1024, "endPort": 65_535}]}


def test_a_node_with_a_store_of_its_own_reaches_nobody() -> None:
    assert "egress" not in policy("alone")


def test_the_managed_store_is_reached_by_its_nodes_and_the_operator_only() -> None:
    _, store = network_policies(example("trial"), INPUTS)
    (rule,) = store["spec"]["ingress"]
    nodes, operator = rule["from"]
    assert ports(rule) == [6379]
    assert nodes["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "trial"
    assert nodes["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "broker"
    assert operator == OPERATOR
    assert "egress" not in store["spec"]
