"""What the operator counts, under the names that boards and alerts use."""

from prometheus_client import generate_latest

from mqtt_operator.kube.port import Call
from mqtt_operator.reconcile.metrics import OperatorMetrics


def samples(metrics: OperatorMetrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[0] != "#"}


def test_passes_are_counted_by_story_and_result_and_failures_as_errors_too() -> None:
    metrics = OperatorMetrics()
    metrics.passed("broker", "done", 0.01)
    metrics.passed("broker", "expected", 0.01)
    metrics.passed("policy", "bug", 40.0)
    found = samples(metrics)
    assert found['stoa_operator_reconcile_total{result="done",story="broker"}'] == 1
    assert found['stoa_operator_reconcile_errors_total{result="expected",story="broker"}'] == 1
    assert found['stoa_operator_reconcile_errors_total{result="bug",story="policy"}'] == 1
    assert 'stoa_operator_reconcile_errors_total{result="done",story="broker"}' not in found
    assert found['stoa_operator_reconcile_duration_seconds_bucket{le="0.02",story="broker"}'] == 2
    assert found['stoa_operator_reconcile_duration_seconds_count{story="policy"}'] == 1


def test_resources_are_asked_for_at_each_scrape() -> None:
    metrics, counts = OperatorMetrics(), {"MQTTClient": 1}
    metrics.count_resources(lambda: counts)
    assert samples(metrics)['stoa_operator_resources{kind="MQTTClient"}'] == 1
    counts["MQTTClient"] = 10_000
    assert samples(metrics)['stoa_operator_resources{kind="MQTTClient"}'] == 10_000


def test_watched_namespaces_are_counted_by_whether_they_are_served() -> None:
    metrics = OperatorMetrics()
    metrics.count_namespaces(lambda: {"served": 2, "forbidden": 1})
    found = samples(metrics)
    assert found['stoa_operator_namespaces{state="served"}'] == 2
    assert found['stoa_operator_namespaces{state="forbidden"}'] == 1


def test_requests_are_told_in_the_words_of_roles() -> None:
    metrics = OperatorMetrics()
    metrics.count_calls(lambda: {Call("patch", "mqtt.stoa.dev", "mqttbrokers", "status"): 2})
    metrics.count_calls(lambda: {Call("patch", "mqtt.stoa.dev", "mqttbrokers", "status"): 1})
    name = 'stoa_operator_api_calls_total{resource="mqttbrokers/status.mqtt.stoa.dev",verb="patch"}'
    assert samples(metrics)[name] == 3


def test_leadership_and_the_propagation_of_policies_are_shown() -> None:
    metrics = OperatorMetrics()
    assert samples(metrics)["stoa_operator_leader"] == 0
    metrics.leader.set(1)
    metrics.policy_propagated(0.4)
    found = samples(metrics)
    assert found["stoa_operator_leader"] == 1
    assert found['stoa_operator_policy_propagation_seconds_bucket{le="0.5"}'] == 1
    assert found['stoa_operator_policy_propagation_seconds_bucket{le="0.3"}'] == 0
