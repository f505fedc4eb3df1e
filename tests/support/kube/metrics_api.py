"""The APIs that autoscalers ask: the load of pods as the kubelet measures it, and what Prometheus scraped from them.

A server behind the API server (an aggregated API). Answers with JSON; knows the two groups and no more of them than
`kubectl top pods` and the autoscaler need.
"""

import argparse
import asyncio
import base64
import re
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

from support.kube.daemons import Daemon
from support.kube.mirror import Cluster
from support.kube.plan import NODE_NAME, Plan

NAME = "metrics-api"
NAMESPACE = "kube-system"
SAMPLE_INTERVAL_S = 2.0
PROMETHEUS = "/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy"
RESOURCES, CUSTOM = "metrics.k8s.io/v1beta1", "custom.metrics.k8s.io/v1beta2"

_SAMPLE = re.compile(r"^(container_cpu_usage_seconds_total|container_memory_working_set_bytes)\{(.*)\} (\S+) (\d+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Container = tuple[str, str, str]
"""Namespace, pod and name."""


def start(plan: Plan) -> None:
    """Return at once: it shows in API services that are available."""
    login = plan.kubeconfig(NAME, "system:masters", file=NAME)
    pair = plan.authority.server("metrics-api-server", [f"{NAME}.{NAMESPACE}.svc", plan.network.host])
    port = plan.metrics_port
    options = [f"--address={plan.network.host}", f"--port={port}"]
    trust = [f"--authority={plan.authority.pair.certificate}", f"--certificate={pair.certificate}", f"--key={pair.key}"]
    program = [sys.executable, "-m", "support.kube.metrics_api", str(login)]
    Daemon(plan.place, NAME, [*program, *options, *trust], plan.python_environment)


def registration(plan: Plan) -> list[dict[str, Any]]:
    """What tells the API server to ask it."""
    metadata = {"name": NAME, "namespace": NAMESPACE}
    ports = [{"name": "https", "port": plan.metrics_port, "protocol": "TCP"}]
    authority = base64.b64encode(plan.authority.pair.certificate.read_bytes()).decode()
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [plan.network.host], "conditions": {"ready": True}}],
            "ports": ports,
        },
        *(_api_service(group, plan.metrics_port, authority) for group in (RESOURCES, CUSTOM)),
    ]


def _api_service(group_version: str, port: int, authority: str) -> dict[str, Any]:
    group, version = group_version.split("/")
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}"},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": authority,
            "service": {"name": NAME, "namespace": NAMESPACE, "port": port},
        },
    }


@dataclass
class Usage:
    """Of one container. The first two are the kubelet's: seconds of its clock, and seconds of processor time."""

    at: float = 0.0
    cpu_s: float = 0.0
    cores: float | None = None
    window_s: float = 0.0
    memory_bytes: float = 0.0


@dataclass
class Usages:
    """What the kubelet said, turned into rates. A container has one when it was seen twice."""

    by_container: dict[Container, Usage] = field(default_factory=dict)

    def take(self, text: str) -> None:
        seen = set()
        for line in text.splitlines():
            if found := _SAMPLE.match(line):
                name, labels, value, at_ms = found.groups()
                container = _container(dict(_LABEL.findall(labels)))
                seen.add(container)
                usage = self.by_container.setdefault(container, Usage())
                if name.startswith("container_memory"):
                    usage.memory_bytes = float(value)
                else:
                    _advance(usage, int(at_ms) / 1000, float(value))
        for gone in self.by_container.keys() - seen:
            del self.by_container[gone]

    def of_pod(self, namespace: str, pod: str) -> dict[str, Usage]:
        """By container; only those with a rate."""
        return {
            name: usage
            for (where, whose, name), usage in self.by_container.items()
            if (where, whose) == (namespace, pod) and usage.cores is not None
        }


class Server:
    """Answers for both groups."""

    def __init__(self, cluster: Cluster) -> None:
        self.usages = Usages()
        self._cluster = cluster

    async def sample(self) -> None:
        """Ask the kubelet again and again, until cancelled."""
        while True:
            try:
                text = await self._cluster.text(f"/api/v1/nodes/{NODE_NAME}/proxy/metrics/resource")
                self.usages.take(text)
            except (aiohttp.ClientError, OSError) as problem:
                print(repr(problem), file=sys.stderr, flush=True)
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get(f"/apis/{RESOURCES}", self._resources),
                web.get(f"/apis/{CUSTOM}", self._metrics),
                web.get(f"/apis/{RESOURCES}/namespaces/{{namespace}}/pods", self._pods),
                web.get(f"/apis/{RESOURCES}/pods", self._pods),
                web.get(f"/apis/{CUSTOM}/namespaces/{{namespace}}/pods/*/{{metric}}", self._metric_of_pods),
            ]
        )
        return app

    async def _resources(self, request: web.Request) -> web.Response:
        one = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
        return _listed(RESOURCES, [one])

    async def _metrics(self, request: web.Request) -> web.Response:
        one = {"name": "pods/metrics", "singularName": "", "namespaced": True, "kind": "MetricValueList"}
        return _listed(CUSTOM, [{**one, "verbs": ["get"]}])

    async def _pods(self, request: web.Request) -> web.Response:
        items = []
        for pod in await self._selected(request):
            metadata = pod["metadata"]
            if usages := self.usages.of_pod(metadata["namespace"], metadata["name"]):
                items.append(_pod_metrics(metadata, usages))
        return web.json_response({"kind": "PodMetricsList", "apiVersion": RESOURCES, "metadata": {}, "items": items})

    async def _metric_of_pods(self, request: web.Request) -> web.Response:
        namespace, metric = request.match_info["namespace"], request.match_info["metric"]
        query = f'sum by (pod) ({metric}{{namespace="{namespace}"}})'
        said = await self._cluster.call("GET", f"{PROMETHEUS}/api/v1/query?query={quote(query)}")
        values = {one["metric"].get("pod", ""): one["value"][1] for one in said["data"]["result"]} if said else {}
        names = [pod["metadata"]["name"] for pod in await self._selected(request)]
        items = [_metric_value(namespace, name, metric, values[name]) for name in names if name in values]
        return web.json_response({"kind": "MetricValueList", "apiVersion": CUSTOM, "metadata": {}, "items": items})

    async def _selected(self, request: web.Request) -> list[Mapping[str, Any]]:
        namespace, selector = request.match_info.get("namespace"), request.query.get("labelSelector", "")
        where = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
        found = await self._cluster.call("GET", f"{where}?labelSelector={quote(selector)}")
        items: list[Mapping[str, Any]] = found["items"]
        return items


async def run(kubeconfig: Path, address: str, port: int, context: ssl.SSLContext) -> None:
    async with Cluster(kubeconfig) as cluster:
        server = Server(cluster)
        runner = web.AppRunner(server.application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, address, port, ssl_context=context).start()
        await server.sample()


def _container(labels: Mapping[str, str]) -> Container:
    return labels["namespace"], labels["pod"], labels["container"]


def _advance(usage: Usage, at: float, cpu_s: float) -> None:
    """The kubelet repeats a sample until it has a new one. A smaller count: the container started again."""
    if at <= usage.at:
        return
    if usage.at and cpu_s >= usage.cpu_s:
        usage.window_s = at - usage.at
        usage.cores = (cpu_s - usage.cpu_s) / usage.window_s
    usage.at, usage.cpu_s = at, cpu_s


def _pod_metrics(metadata: Mapping[str, Any], usages: Mapping[str, Usage]) -> dict[str, Any]:
    latest = max(usages.values(), key=lambda usage: usage.at)
    return {
        "metadata": {key: metadata.get(key) for key in ("name", "namespace", "labels", "creationTimestamp")},
        "timestamp": _time(latest.at),
        "window": f"{latest.window_s:.3f}s",
        "containers": [
            {
                "name": name,
                "usage": {
                    "cpu": f"{(usage.cores or 0.0) * 1e9:.0f}n",
                    "memory": f"{usage.memory_bytes / 1024:.0f}Ki",
                },
            }
            for name, usage in usages.items()
        ],
    }


def _metric_value(namespace: str, pod: str, metric: str, value: str) -> dict[str, Any]:
    return {
        "describedObject": {"kind": "Pod", "apiVersion": "/v1", "namespace": namespace, "name": pod},
        "metric": {"name": metric},
        "timestamp": _time(datetime.now(UTC).timestamp()),
        "value": f"{float(value) * 1000:.0f}m",
    }


def _listed(group: str, resources: list[dict[str, Any]]) -> web.Response:
    return web.json_response(
        {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}
    )


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    for name in ("authority", "certificate", "key"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=options.authority)
    context.verify_mode = ssl.CERT_REQUIRED  # the API server, or nobody
    context.load_cert_chain(options.certificate, options.key)
    asyncio.run(run(options.kubeconfig, options.address, options.port, context))


if __name__ == "__main__":
    main()
