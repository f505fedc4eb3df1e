"""docs/alerts.md lists the metrics of the operator: those that a scrape answers, and nothing else."""

import re

from prometheus_client import generate_latest

from mqtt_operator.kube.port import Call
from mqtt_operator.observability.conditions import BrokerConditions
from mqtt_operator.reconcile.metrics import OperatorMetrics
from support.processes import ROOT

PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(stoa_operator_\w+)` \| (\w+) \| ((?:`\w+`(?:, )?)*) ?\| (.+) \|$", re.MULTILINE)
OF_HISTOGRAMS = {"le"}


def scraped() -> str:
    metrics = OperatorMetrics()
    metrics.count_resources(lambda: {"MQTTBroker": 1})
    metrics.count_namespaces(lambda: {"served": 1, "forbidden": 0})
    metrics.count_calls(lambda: {Call("get", "apps", "statefulsets"): 1})
    metrics.registry.register(BrokerConditions(list))
    metrics.passed("broker", "bug", 0.1)
    metrics.policy_propagated(0.1)
    return generate_latest(metrics.registry).decode()


def test_the_page_lists_what_is_answered_and_nothing_else() -> None:
    text = scraped()
    helps = dict(re.findall(r"^# HELP (stoa_\w+) (.+)$", text, re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (stoa_\w+) (\w+)$", text, re.MULTILINE))
    made = {name for name in kinds if name.endswith("_created")}  # when a counter was made, which nobody asked for
    listed = {name: (kind, set(re.findall(r"\w+", labels)), words) for name, kind, labels, words in ROW.findall(PAGE)}
    assert listed.keys() == kinds.keys() - made
    for name, (kind, labels, words) in listed.items():
        series = re.findall(rf"^{name}(?:_bucket)?(?:\{{(.*)\}})? ", text, re.MULTILINE)
        assert (kind, words) == (kinds[name], helps[name]), name
        assert labels == {label for one in series for label in re.findall(r"(\w+)=", one)} - OF_HISTOGRAMS, name


def test_no_label_names_an_object() -> None:
    labels = set(re.findall(r"(\w+)=\"", scraped()))
    assert labels <= {"story", "result", "kind", "condition", "state", "verb", "resource", "le"}
