"""Monitors as Prometheus' own configuration."""

from typing import Any

from support.kube.monitors import targets_of_pod, targets_of_service
from support.kube.prometheus import scrape_jobs

ENDPOINT = {
    "port": "http-metrics",
    "relabelings": [{"sourceLabels": ["a"], "targetLabel": "broker", "action": "Replace"}],
    "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "go_.*"}],
}


def _monitor(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "mqtt", "name": "plant"},
        "spec": {"selector": {"matchLabels": {"app.kubernetes.io/name": "mqtt-broker"}}, **spec},
    }


def test_an_endpoint_is_a_job_that_keeps_what_is_selected() -> None:
    (job,) = scrape_jobs(_monitor(endpoints=[ENDPOINT]), "servicemonitors", "http://here")
    assert [one["url"] for one in job["http_sd_configs"]] == ["http://here/servicemonitors/mqtt"]
    kept = {tuple(one["source_labels"]): one["regex"] for one in job["relabel_configs"] if one.get("action") == "keep"}
    assert kept == {
        ("__meta_kubernetes_service_label_app_kubernetes_io_name",): "mqtt-broker",
        ("__meta_kubernetes_endpoint_port_name",): "http-metrics",
    }
    assert job["relabel_configs"][-1] == {"source_labels": ["a"], "target_label": "broker", "action": "replace"}
    assert job["metric_relabel_configs"] == [{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}]
    assert (job["metrics_path"], job["scheme"]) == ("/metrics", "http")


def test_pods_are_selected_by_their_own_labels_in_the_namespaces_that_are_named() -> None:
    monitor = _monitor(podMetricsEndpoints=[{"port": "http"}], namespaceSelector={"matchNames": ["a", "b"]})
    (job,) = scrape_jobs(monitor, "podmonitors", "http://here")
    urls = [one["url"] for one in job["http_sd_configs"]]
    assert urls == ["http://here/podmonitors/a", "http://here/podmonitors/b"]
    sources = [one["source_labels"][0] for one in job["relabel_configs"] if one.get("action") == "keep"]
    assert sources == [
        "__meta_kubernetes_pod_label_app_kubernetes_io_name",
        "__meta_kubernetes_pod_container_port_name",
    ]


def test_each_port_of_each_pod_behind_a_service_is_a_target() -> None:
    service = {"metadata": {"namespace": "mqtt", "name": "plant-nodes", "labels": {"a.b/c": "d"}}}
    slices = [
        {
            "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"name": "plant-0"}}],
            "ports": [{"name": "http-metrics", "port": 8081}],
        }
    ]
    pods = {"plant-0": {"metadata": {"labels": {"app": "x"}}}}
    (target,) = targets_of_service(service, slices, pods)
    assert target == {
        "targets": ["10.0.0.1:8081"],
        "labels": {
            "__meta_kubernetes_namespace": "mqtt",
            "__meta_kubernetes_service_name": "plant-nodes",
            "__meta_kubernetes_endpoint_port_name": "http-metrics",
            "__meta_kubernetes_pod_name": "plant-0",
            "__meta_kubernetes_service_label_a_b_c": "d",
            "__meta_kubernetes_pod_label_app": "x",
        },
    }


def test_a_pod_without_an_address_is_no_target() -> None:
    pod = {
        "metadata": {"namespace": "mqtt", "name": "operator"},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8081}]}]},
        "status": {},
    }
    assert list(targets_of_pod(pod)) == []
    (target,) = targets_of_pod({**pod, "status": {"podIP": "10.0.0.2"}})
    assert target["labels"]["__meta_kubernetes_pod_container_port_name"] == "http"
