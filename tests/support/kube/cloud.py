"""The cloud around a cluster: gives Services of type LoadBalancer an address, and claims for volumes a folder.

A process beside the API server. Knows the API; how a balancer works, load_balancers.py knows.
"""

import argparse
import asyncio
import ipaddress
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from support.kube.daemons import Daemon
from support.kube.load_balancers import Balancer, order_of
from support.kube.mirror import Cluster, Manifest, Mirror, follow_all
from support.kube.plan import Plan

NAME = "cloud"
STORAGE_CLASS = "standard"
PROVISIONER = "stoa.dev/folders"
SETTLE_S = 0.05
RETRY_S = 0.5

_MERGE = "application/merge-patch+json"
_SERVICES, _CLAIMS, _VOLUMES = "/api/v1/services", "/api/v1/persistentvolumeclaims", "/api/v1/persistentvolumes"


def start(plan: Plan) -> None:
    """Return at once: it shows in Services with an address, and in claims that are bound."""
    login = plan.kubeconfig("cloud", "system:masters", file=NAME)
    network = plan.network
    where = [f"--addresses={network.load_balancers}", f"--node={network.node}", f"--volumes={plan.place.volumes}"]
    Daemon(plan.place, NAME, [sys.executable, "-m", "support.kube.cloud", login, *where], plan.python_environment)


def storage_class() -> dict[str, Any]:
    """The default of the cluster."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "volumeBindingMode": "Immediate",
        "reclaimPolicy": "Delete",
    }


class LoadBalancers:
    """One balancer for each Service that asks for one."""

    def __init__(self, cluster: Cluster, addresses: str, node: str) -> None:
        self._cluster = cluster
        self._free = [str(address) for address in ipaddress.IPv4Network(addresses).hosts()]
        self._node = node
        self._balancers: dict[tuple[str, str], Balancer] = {}

    async def provide(self, services: Mapping[tuple[str, str], Manifest]) -> None:
        services = dict(services)  # others note what they hear while this waits
        orders = {key: order for key, service in services.items() if (order := order_of(service))}
        for key in self._balancers.keys() - orders.keys():
            balancer = self._balancers.pop(key)
            balancer.close()
            self._free.insert(0, balancer.address)
        for key, order in orders.items():
            balancer = self._balancers.setdefault(key, Balancer("", self._node, order))
            if not balancer.address:
                balancer.address = self._free.pop(0)
            balancer.order = order
            await balancer.open()
            await self._tell(key, services[key], order.ingress(balancer.address))

    async def _tell(self, key: tuple[str, str], service: Manifest, ingress: dict[str, str]) -> None:
        if service.get("status", {}).get("loadBalancer", {}).get("ingress") != [ingress]:
            body = {"status": {"loadBalancer": {"ingress": [ingress]}}}
            path = f"/api/v1/namespaces/{key[0]}/services/{key[1]}/status"
            await self._cluster.call("PATCH", path, body, _MERGE)


class Volumes:
    """A folder for each claim, gone when its volume is released."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder

    async def provide(self, claims: Mapping[tuple[str, str], Manifest], volumes: Mapping[Any, Manifest]) -> None:
        for claim in list(claims.values()):
            is_ours = claim["spec"].get("storageClassName") == STORAGE_CLASS
            if is_ours and not claim["spec"].get("volumeName") and ("", _volume_name(claim)) not in volumes:
                await self._make(claim)
        for volume in list(volumes.values()):
            is_ours = volume["spec"].get("storageClassName") == STORAGE_CLASS
            if is_ours and volume.get("status", {}).get("phase") == "Released":
                await self._cluster.call("DELETE", f"{_VOLUMES}/{volume['metadata']['name']}")
                shutil.rmtree(self._folder / volume["metadata"]["name"], ignore_errors=True)

    async def _make(self, claim: Manifest) -> None:
        name, metadata = _volume_name(claim), claim["metadata"]
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # a volume of this sort is not handed to the group of its pod
        await self._cluster.call(
            "POST",
            _VOLUMES,
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
                "spec": {
                    "capacity": claim["spec"]["resources"]["requests"],
                    "accessModes": claim["spec"]["accessModes"],
                    "persistentVolumeReclaimPolicy": "Delete",
                    "storageClassName": STORAGE_CLASS,
                    "hostPath": {"path": str(folder), "type": "Directory"},
                    "claimRef": {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "namespace": metadata["namespace"],
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                    },
                },
            },
        )


async def run(kubeconfig: Path, addresses: str, node: str, folder: Path) -> None:
    services, claims, volumes = Mirror(_SERVICES), Mirror(_CLAIMS), Mirror(_VOLUMES)
    mirrors, changed = (services, claims, volumes), asyncio.Event()
    async with Cluster(kubeconfig) as cluster, asyncio.TaskGroup() as tasks:
        tasks.create_task(follow_all(cluster, mirrors, changed))
        balancers, folders = LoadBalancers(cluster, addresses, node), Volumes(cluster, folder)
        while True:
            await changed.wait()
            await asyncio.sleep(SETTLE_S)
            changed.clear()
            if not all(mirror.is_complete for mirror in mirrors):
                continue
            try:
                # As they are now: whoever provides waits for answers, and meanwhile others come and go.
                await balancers.provide(dict(services.objects))
                await folders.provide(dict(claims.objects), dict(volumes.objects))
            except (aiohttp.ClientError, OSError) as problem:
                print(repr(problem), file=sys.stderr, flush=True)
                await asyncio.sleep(RETRY_S)
                changed.set()


def _volume_name(claim: Manifest) -> str:
    return f"folder-{claim['metadata']['uid']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("--addresses", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--volumes", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(run(options.kubeconfig, options.addresses, options.node, options.volumes))


if __name__ == "__main__":
    main()
