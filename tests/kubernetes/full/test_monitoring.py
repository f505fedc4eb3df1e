"""A Prometheus that scrapes by the monitors which the operator makes: every target is up, labelled as boards ask."""

import pytest

from support.kube import prometheus
from support.kube.plant import Plant

SCRAPED_S_MAX = 60.0


@pytest.fixture(scope="module")
def running(plant: Plant) -> Plant:
    monitoring = {name: {"enabled": True} for name in ("serviceMonitor", "prometheusRule", "dashboards")}
    plant.apply(plant.broker(replicas=2, monitoring=monitoring))
    plant.wait_ready(2)
    prometheus.start(plant.place)
    return plant


def test_every_node_is_scraped_under_its_own_name(running: Plant) -> None:
    selector = f'namespace="{running.namespace}",broker="{running.name}"'
    running.wait(
        lambda: len(prometheus.query(running.place, f"up{{{selector}}} == 1")) == 2, SCRAPED_S_MAX, "both are scraped"
    )
    found = prometheus.query(running.place, f"stoa_build_info{{{selector}}}")
    assert {one["metric"]["pod"] for one in found} == set(running.pods())


def test_rules_are_what_prometheus_understands(running: Plant) -> None:
    rule = running.get("prometheusrule", running.name)
    for group in rule["spec"]["groups"]:
        for one in group["rules"]:
            prometheus.query(running.place, one["expr"])  # raises what Prometheus says of a mistake
