"""The cluster made of plain processes: what is started in which order, and what is gone when it is down.

One story each way. Linux only; the full tier needs root. Every process is started by a file of its own name.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.kube import (
    apiserver,
    building,
    cert_manager,
    cgroups,
    cloud,
    components,
    containerd,
    controllers,
    daemons,
    definitions,
    dns,
    etcd,
    kube_proxy,
    kubeconfig,
    kubectl,
    kubelet,
    metrics_api,
    monitors,
    network_policies,
    sandbox,
    scheduler,
)
from support.kube.place import Backend, Place, Record, Tier
from support.kube.plan import NODE_NAME, Network, Plan
from support.kube.problems import ClusterError
from support.processes import free_port
from support.waiting import NotInTimeError, wait_until

CONTROLLERS_S_MAX = 60.0
NODE_S_MAX = 120.0


def up(place: Place, tier: Tier) -> None:
    """Start it, and return when it can be used. After a failure nothing of it is left. Raises ClusterError."""
    if reason := missing(tier):
        raise ClusterError(reason)
    build(tier)
    place.write_record(Record(Backend.LOCAL, tier))
    try:
        if tier is Tier.FULL:
            _start_full(place)
        else:
            _start_control_plane(_plan(place, Network(0), "127.0.0.1"), tier)
    except BaseException:
        down(place)
        raise


def down(place: Place) -> None:
    """End what runs and take away what is there, also when `up` was killed half way. Nothing there is no error."""
    daemons.end_all(place)
    cgroups.remove(place.machine_name)
    place.remove()


def build(tier: Tier) -> None:
    """Make and fetch what it consists of, once. Raises ClusterError."""
    building.build(_programs(tier))
    definitions.fetch()


def is_built(tier: Tier) -> bool:
    """Whether it starts without building or fetching anything."""
    return not building.missing(_programs(tier)) and definitions.are_fetched()


def missing(tier: Tier) -> str | None:
    """Why it cannot be put up here; None if it can."""
    if sys.platform != "linux":
        return "a cluster of plain processes needs Linux; with Docker, kind runs elsewhere"
    if not is_built(tier) and (reason := building.missing_go()):
        return reason
    return _missing_for_node() if tier is Tier.FULL else None


def load_image(place: Place, archive: Path) -> None:
    node = sandbox.find(place)
    if node is None:
        raise ClusterError(f"cluster '{place.name}' has no node: put it up with --full")
    containerd.load_image(building.program_path(components.CONTAINERD, "ctr"), node, archive)


def is_ready(place: Place) -> bool:
    """Whether the API server answers."""
    try:
        return kubectl.call(place, "get", "--raw=/readyz", "--request-timeout=5s") == "ok"
    except (ClusterError, OSError):
        return False


def _programs(tier: Tier) -> Mapping[components.Module, Sequence[str]]:
    return components.FULL if tier is Tier.FULL else components.FAST


def _start_full(place: Place) -> None:
    cgroups.create(place.machine_name)
    node = sandbox.start(place)
    network = sandbox.connect(node)
    plan = _plan(place, network, network.host)
    _start_control_plane(plan, Tier.FULL)
    scheduler.start(plan)
    containerd.start(plan, node)
    agent = kubelet.start(plan, node)
    kube_proxy.start(plan, node)
    network_policies.start(plan, node)
    cloud.start(plan)
    metrics_api.start(plan)
    monitors.start(plan)
    dns.start(plan, node)
    kubectl.apply(place, [_namespace(cert_manager.NAMESPACE), cloud.storage_class(), *metrics_api.registration(plan)])
    cert_manager.start(place)
    agent.wait_until(lambda: _node_is_ready(place), NODE_S_MAX)
    dns.wait(plan)


def _start_control_plane(plan: Plan, tier: Tier) -> None:
    place = plan.place
    etcd.start(plan)
    apiserver.start(plan, tier)
    administrator = plan.authority.client("administrator", [apiserver.ADMINISTRATORS])
    kubeconfig.write(place, "kubeconfig", plan.server, plan.authority.pair.certificate, administrator)
    kubectl.write_front(place, plan.program("kubectl"))
    controllers.start(plan, tier)
    definitions.apply(place)
    _wait_for_controllers(place)


def _plan(place: Place, network: Network, address: str) -> Plan:
    names = ("port", "etcd_port", "etcd_peer_port", "metrics_port", "monitors_port")
    return Plan(place, network, address, **{name: free_port() for name in names})


def _wait_for_controllers(place: Place) -> None:
    """The default service account is made by one of them, after its caches are full."""

    def made() -> bool:
        return "default" in kubectl.call(place, "get", "serviceaccount", "--ignore-not-found", "default", "-o", "name")

    try:
        wait_until(made, CONTROLLERS_S_MAX)
    except NotInTimeError:
        raise ClusterError(f"the controllers do not work, see {place.logs}/kube-controller-manager.log") from None


def _node_is_ready(place: Place) -> bool:
    try:
        kubectl.call(place, "wait", "--for=condition=Ready", f"node/{NODE_NAME}", "--timeout=2s")
    except ClusterError:
        return False
    return True


def _missing_for_node() -> str | None:
    if os.geteuid() != 0:
        return "the full tier needs root: it makes namespaces, mounts and packet filter rules of its own"
    paths = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    packages = {package for name, package in components.SYSTEM_PROGRAMS.items() if not shutil.which(name, path=paths)}
    if not (components.NETWORK_PLUGINS / "ptp").exists():
        packages.add("containernetworking-plugins")
    return f"not installed: apt-get install {' '.join(sorted(packages))}" if packages else None


def _namespace(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
