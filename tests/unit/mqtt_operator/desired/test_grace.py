"""A pod is given the time that its clients need to leave at the declared pace."""

import pytest

from mqtt_operator.desired.grace import drain_grace_s, pod_grace_s
from support.desired_examples import example

PLAIN = {"name": "mqtt", "port": 1883, "allowPlaintext": True}


@pytest.mark.parametrize(
    ("connections", "per_s", "expected_s"),
    [(1, 200, 60), (20_000, 200, 120), (50_000, 200, 300), (1_000_000, 1, 600)],
    ids=["never less", "usual", "more clients", "never more"],
)
def test_the_pod_may_take_as_long_as_its_clients_need(connections: int, per_s: int, expected_s: int) -> None:
    listeners = [{**PLAIN, "maxConnectionsPerNode": connections}]
    broker = example("alone", listeners=listeners, drain={"connectionsPerSecond": per_s})
    assert pod_grace_s(broker) == expected_s


def test_a_slightly_other_pace_replaces_no_pod() -> None:
    graces_s = {pod_grace_s(example("trial", drain={"connectionsPerSecond": pace})) for pace in (200, 250, 300)}
    assert graces_s == {120}


def test_every_listener_counts() -> None:
    listeners = [{**PLAIN, "name": f"l{port}", "port": port} for port in (1883, 1884)]
    assert pod_grace_s(example("alone", listeners=listeners)) == 300


def test_the_pod_outlives_the_process() -> None:
    broker = example("plant")
    assert drain_grace_s(broker) == pod_grace_s(broker) - 10
