"""Tells Prometheus what to scrape for the ServiceMonitors and PodMonitors of a cluster, as it is at the moment.

A process beside the API server: not every Prometheus is built with the discovery of Kubernetes in it, but all can ask
a URL. Knows Prometheus' words for what it discovers; the rest of its configuration is prometheus.py's.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from support.kube.daemons import Daemon
from support.kube.mirror import Cluster, Manifest, Mirror, follow_all
from support.kube.plan import Plan

NAME = "monitors"
SERVICES, SLICES = Mirror("/api/v1/services"), Mirror("/apis/discovery.k8s.io/v1/endpointslices")
PODS = Mirror("/api/v1/pods")

Target = dict[str, Any]


def start(plan: Plan) -> None:
    """Return at once. Its URL stands in the cluster's folder."""
    login = plan.kubeconfig(NAME, "system:masters", file=NAME)
    plan.place.file(f"{NAME}.url", f"http://{plan.network.host}:{plan.monitors_port}")
    where = [f"--address={plan.network.host}", f"--port={plan.monitors_port}"]
    program = [sys.executable, "-m", "support.kube.monitors", str(login)]
    Daemon(plan.place, NAME, [*program, *where], plan.python_environment)


def targets_of_service(service: Manifest, slices: Iterable[Manifest], pods: Mapping[str, Manifest]) -> Iterator[Target]:
    """Each port of each pod behind a Service. `pods`: of its namespace, by name."""
    metadata = service["metadata"]
    for one in slices:
        for endpoint in one.get("endpoints") or ():
            pod = (endpoint.get("targetRef") or {}).get("name", "")
            for port in one.get("ports") or ():
                labels = {
                    "namespace": metadata["namespace"],
                    "service_name": metadata["name"],
                    "endpoint_port_name": port.get("name", ""),
                    "pod_name": pod,
                    **_labels("service_label", metadata),
                    **_labels("pod_label", pods[pod]["metadata"] if pod in pods else {}),
                }
                for address in endpoint["addresses"]:
                    yield _target(address, port["port"], labels)


def targets_of_pod(pod: Manifest) -> Iterator[Target]:
    """Each port of a pod that has a name."""
    metadata = pod["metadata"]
    for container in pod["spec"]["containers"] if pod["status"].get("podIP") else ():
        for port in container.get("ports") or ():
            labels = {
                "namespace": metadata["namespace"],
                "pod_name": metadata["name"],
                "pod_container_port_name": port.get("name", ""),
                **_labels("pod_label", metadata),
            }
            yield _target(pod["status"]["podIP"], port["containerPort"], labels)


def _target(address: str, port: int, labels: Mapping[str, str]) -> Target:
    return {
        "targets": [f"{address}:{port}"],
        "labels": {f"__meta_kubernetes_{name}": value for name, value in labels.items()},
    }


def _labels(prefix: str, metadata: Manifest) -> dict[str, str]:
    found = metadata.get("labels") or {}
    return {f"{prefix}_{as_word(name)}": value for name, value in found.items()}


def as_word(label: str) -> str:
    """The name of a label as Prometheus writes it."""
    return "".join(letter if letter.isalnum() else "_" for letter in label)


async def _targets(request: web.Request) -> web.Response:
    """All targets in a namespace; the job that asks keeps what it wants."""
    namespace, kind = request.match_info["namespace"], request.match_info["kind"]
    pods = {name: pod for (where, name), pod in PODS.objects.items() if where == namespace}
    found: list[Target] = []
    if kind == "podmonitors":
        found = [target for pod in pods.values() for target in targets_of_pod(pod)]
    else:
        for (where, name), service in SERVICES.objects.items():
            if where == namespace:
                found += targets_of_service(service, _slices(namespace, name), pods)
    return web.json_response(found)


def _slices(namespace: str, service: str) -> list[Manifest]:
    return [
        one
        for (where, _), one in SLICES.objects.items()
        if where == namespace and (one["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service
    ]


async def run(kubeconfig: Path, address: str, port: int) -> None:
    app = web.Application()
    app.add_routes([web.get("/{kind}/{namespace}", _targets)])
    async with Cluster(kubeconfig) as cluster:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, address, port).start()
        await follow_all(cluster, (SERVICES, SLICES, PODS), asyncio.Event())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(run(options.kubeconfig, options.address, options.port))


if __name__ == "__main__":
    main()
