"""Prometheus in a cluster: a pod that scrapes what ServiceMonitors and PodMonitors ask for.

Does for them what the Prometheus operator does, in one go: they are read once, when it starts; what they select may
come and go (monitors.py). Knows the two kinds and Prometheus' own configuration.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import yaml

from support.kube import kubectl, loaded, monitors, tool_images
from support.kube.monitors import as_word
from support.kube.place import Place
from support.kube.tool_images import PROMETHEUS_TAG

Manifest = dict[str, Any]

NAMESPACE = "monitoring"
NAME = "prometheus"
PORT = 9090
READY_S_MAX = 60
SCRAPE_INTERVAL = "2s"
KINDS = {"servicemonitors": ("service", "endpoint"), "podmonitors": ("pod", "pod_container")}
"""Whose labels a monitor of the kind selects by, and whose ports it names."""
LABELS = {"app.kubernetes.io/name": NAME}


def start(place: Place) -> None:
    """Start it, anew if there is one, with all monitors that there are now. Return when it is ready."""
    loaded.load(place, [tool_images.prometheus])
    config = yaml.safe_dump(configuration(place))
    kubectl.apply(place, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    _call(place, "delete", "pod", NAME, "--ignore-not-found", "--force")
    kubectl.apply(place, [_config_map(config), _pod(), _service()])
    _call(place, "wait", "--for=condition=Ready", f"pod/{NAME}", f"--timeout={READY_S_MAX}s")


def query(place: Place, expression: str) -> list[Manifest]:
    """The samples that it answers with."""
    found: list[Manifest] = _ask(place, f"query?query={quote(expression)}")["result"]
    return found


def targets(place: Place) -> list[Manifest]:
    """What it scrapes, with the health of each."""
    found: list[Manifest] = _ask(place, "targets?state=active")["activeTargets"]
    return found


def configuration(place: Place) -> Manifest:
    """Its whole configuration."""
    url = (place.root / f"{monitors.NAME}.url").read_text(encoding="utf-8")
    jobs = [job for kind in KINDS for monitor in _listed(place, kind) for job in scrape_jobs(monitor, kind, url)]
    return {"global": {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL}, "scrape_configs": jobs}


def scrape_jobs(monitor: Mapping[str, Any], kind: str, url: str) -> Iterator[Manifest]:
    """One for each endpoint of a monitor. `url`: of monitors.py."""
    metadata, spec = monitor["metadata"], monitor["spec"]
    namespaces = spec.get("namespaceSelector", {}).get("matchNames") or [metadata["namespace"]]
    endpoints = spec.get("endpoints") or spec.get("podMetricsEndpoints") or []
    for number, endpoint in enumerate(endpoints):
        yield {
            "job_name": f"{metadata['namespace']}/{metadata['name']}/{number}",
            "metrics_path": endpoint.get("path", "/metrics"),
            "scheme": endpoint.get("scheme", "http").lower(),
            "honor_labels": endpoint.get("honorLabels", False),
            "http_sd_configs": [
                {"url": f"{url}/{kind}/{namespace}", "refresh_interval": SCRAPE_INTERVAL} for namespace in namespaces
            ],
            "relabel_configs": list(_relabelings(spec, endpoint, kind)),
            "metric_relabel_configs": [_snake(one) for one in endpoint.get("metricRelabelings", [])],
        }


def _relabelings(spec: Mapping[str, Any], endpoint: Mapping[str, Any], kind: str) -> Iterator[Manifest]:
    label_of, port_of = KINDS[kind]
    for label, value in spec.get("selector", {}).get("matchLabels", {}).items():
        yield _keep(f"__meta_kubernetes_{label_of}_label_{as_word(label)}", value)
    yield _keep(f"__meta_kubernetes_{port_of}_port_name", endpoint["port"])
    for source, target in (("namespace", "namespace"), ("pod_name", "pod"), ("service_name", "service")):
        yield {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}
    yield from (_snake(one) for one in endpoint.get("relabelings", []))


def _keep(label: str, value: str) -> Manifest:
    return {"action": "keep", "source_labels": [label], "regex": value}


def _snake(relabeling: Mapping[str, Any]) -> Manifest:
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return {names.get(key, key): value.lower() if key == "action" else value for key, value in relabeling.items()}


def _listed(place: Place, kind: str) -> list[Manifest]:
    items: list[Manifest] = json.loads(kubectl.call(place, "get", kind, "--all-namespaces", "-o", "json"))["items"]
    return items


def _ask(place: Place, what: str) -> Any:
    path = f"/api/v1/namespaces/{NAMESPACE}/services/http:{NAME}:{PORT}/proxy/api/v1/{what}"
    return json.loads(kubectl.call(place, "get", "--raw", path))["data"]


def _call(place: Place, *arguments: str) -> str:
    return kubectl.call(place, f"--namespace={NAMESPACE}", *arguments)


def _config_map(config: str) -> Manifest:
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"prometheus.yml": config}}


def _pod() -> Manifest:
    container = {
        "name": NAME,
        "image": PROMETHEUS_TAG,
        "imagePullPolicy": "Never",
        "args": ["--config.file=/config/prometheus.yml", "--storage.tsdb.path=/data"],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/config"}, {"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": LABELS},
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "config", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}],
            "securityContext": {"fsGroup": 65_532},
        },
    }


def _service() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"selector": LABELS, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
    }
