"""Prometheus and Grafana get what is asked for, about this broker alone."""

from typing import Any

import msgspec

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.monitoring import monitoring
from support.desired_examples import INPUTS, example


def made(inputs: Any = INPUTS, **monitored: Any) -> dict[str, Manifest]:
    broker = example("trial", monitoring=monitored)
    return {each["kind"]: each for each in monitoring(broker, inputs)}


def test_nothing_is_made_that_nobody_asked_for() -> None:
    assert monitoring(example("trial"), INPUTS) == []


def test_a_series_says_which_broker_it_is_about() -> None:
    (endpoint,) = made(serviceMonitor={"enabled": True})["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["relabelings"] == [{"action": "replace", "targetLabel": "broker", "replacement": "trial"}]
    assert "interval" not in endpoint


def test_alerts_stand_in_one_rule() -> None:
    rule = made(prometheusRule={"enabled": True, "labels": {"role": "alerts"}})["PrometheusRule"]
    assert rule["spec"]["groups"] == list(INPUTS.alert_groups)
    assert rule["metadata"]["labels"]["role"] == "alerts"


def test_alerts_are_looked_at_as_often_as_declared() -> None:
    (group,) = made(prometheusRule={"enabled": True, "interval": "1m"})["PrometheusRule"]["spec"]["groups"]
    assert group == {**INPUTS.alert_groups[0], "interval": "1m"}


def test_no_rule_is_made_of_no_alerts() -> None:
    assert made(msgspec.structs.replace(INPUTS, alert_groups=()), prometheusRule={"enabled": True}) == {}


def test_each_board_has_a_config_map() -> None:
    inputs = msgspec.structs.replace(INPUTS, dashboards={"security": "2", "broker": "1"})
    boards = monitoring(example("trial", monitoring={"dashboards": {"enabled": True}}), inputs)
    assert [(each["metadata"]["name"], each["data"]) for each in boards] == [
        ("trial-dashboard-broker", {"broker.json": "1"}),
        ("trial-dashboard-security", {"security.json": "2"}),
    ]


def test_grafana_finds_boards_by_the_usual_label_or_the_declared_ones() -> None:
    assert made(dashboards={"enabled": True})["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    labels = made(dashboards={"enabled": True, "labels": {"board": "yes"}})["ConfigMap"]["metadata"]["labels"]
    assert labels["board"] == "yes"
    assert "grafana_dashboard" not in labels
