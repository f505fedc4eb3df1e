"""The kubelet's counts, turned into the load of pods."""

from support.kube.metrics_api import Usages


def _said(cpu_s: float, at_ms: int, memory: int = 4096, pod: str = "plant-0") -> str:
    labels = f'container="mqtt-broker",namespace="mqtt",pod="{pod}"'
    return (
        "# HELP container_cpu_usage_seconds_total\n"
        f"container_cpu_usage_seconds_total{{{labels}}} {cpu_s} {at_ms}\n"
        f"container_memory_working_set_bytes{{{labels}}} {memory} {at_ms}\n"
        "node_cpu_usage_seconds_total 1 1\n"
    )


def test_a_container_that_was_seen_once_has_no_rate() -> None:
    usages = Usages()
    usages.take(_said(1.0, 10_000))
    assert usages.of_pod("mqtt", "plant-0") == {}


def test_a_rate_is_what_was_used_between_two_different_samples() -> None:
    usages = Usages()
    for said in (_said(1.0, 10_000), _said(1.0, 10_000), _said(2.0, 14_000, 8192), _said(2.0, 14_000, 8192)):
        usages.take(said)
    usage = usages.of_pod("mqtt", "plant-0")["mqtt-broker"]
    assert (usage.cores, usage.window_s, usage.memory_bytes) == (0.25, 4.0, 8192)


def test_a_container_that_started_again_keeps_its_last_rate_until_it_has_a_new_one() -> None:
    usages = Usages()
    for said in (_said(1.0, 10_000), _said(2.0, 14_000), _said(0.5, 18_000)):
        usages.take(said)
    assert usages.of_pod("mqtt", "plant-0")["mqtt-broker"].cores == 0.25
    usages.take(_said(2.5, 20_000))
    assert usages.of_pod("mqtt", "plant-0")["mqtt-broker"].cores == 1.0


def test_a_container_that_is_gone_is_forgotten() -> None:
    usages = Usages()
    usages.take(_said(1.0, 10_000) + _said(1.0, 10_000, pod="plant-1"))
    usages.take(_said(2.0, 14_000, pod="plant-1"))
    assert list(usages.by_container) == [("mqtt", "plant-1", "mqtt-broker")]
