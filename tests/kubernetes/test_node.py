"""The full tier: pods run, names resolve, Services lead to pods, certificates are issued, and nothing is left."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.kube import cgroups, clusters, daemons, kubectl, sandbox
from support.kube.loaded import SHELL_TAG
from support.kube.place import Place, Tier
from support.kube.plan import network_of
from support.kube.shared import command, require
from support.waiting import wait_until

POD_S_MAX = 60
LINES_S_MAX = 20.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def namespace(node_cluster: Place, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace that enforces the strictest standard for pods."""
    name = f"test-{os.getpid()}-{abs(hash(request.node.name)) % 100_000}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply(
        node_cluster, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}]
    )
    kubectl.call(node_cluster, "wait", "--for=create", f"--namespace={name}", "serviceaccount/default", "--timeout=30s")
    yield name
    kubectl.call(node_cluster, "delete", "namespace", name, "--wait=false")


def _pod(name: str, namespace: str, script: str, **spec: object) -> dict[str, Any]:
    container = {
        "name": "shell",
        "image": SHELL_TAG,
        "imagePullPolicy": "Never",
        "args": ["-c", script],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": [container], "securityContext": security, "terminationGracePeriodSeconds": 0, **spec},
    }


def test_a_pod_runs_to_its_end_and_resolves_names(node_cluster: Place, namespace: str) -> None:
    script = (
        "set -e; id -u; nslookup kubernetes.default.svc.cluster.local; nslookup kube-dns.kube-system.svc.cluster.local"
    )
    kubectl.apply(node_cluster, [_pod("asks", namespace, script, restartPolicy="Never")])
    wait = ["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/asks", f"--namespace={namespace}"]
    kubectl.call(node_cluster, *wait, f"--timeout={POD_S_MAX}s")
    said = kubectl.call(node_cluster, "logs", "asks", f"--namespace={namespace}")
    address = kubectl.call(node_cluster, "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    assert said.startswith("65532\n")
    assert address in said


def test_a_service_leads_to_its_pods_from_pods_and_from_this_machine(node_cluster: Place, namespace: str) -> None:
    ready = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    server = _pod("serves", namespace, "exec nc -ll -p 8080 -e echo hello")
    server["spec"]["containers"][0]["readinessProbe"] = ready
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hello", "namespace": namespace},
        "spec": {"selector": {"app": "serves"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    kubectl.apply(node_cluster, [server, service])
    own = f"--namespace={namespace}"
    kubectl.call(node_cluster, "wait", "--for=condition=Ready", "pod/serves", own, f"--timeout={POD_S_MAX}s")
    address = kubectl.call(node_cluster, "get", "service", "hello", own, "-o", "jsonpath={.spec.clusterIP}")

    def says_hello() -> bool:
        try:
            with socket.create_connection((address, 80), 2.0) as connection:
                return connection.recv(100) == b"hello\n"
        except OSError:
            return False

    wait_until(says_hello, LINES_S_MAX, "the Service answers on this machine")
    # To itself through the Service as well: the reply has to find the way back.
    inside = kubectl.call(node_cluster, "exec", own, "serves", "--", "nc", "-w", "5", "hello", "80")
    assert inside == "hello\n"


def test_a_certificate_is_issued(node_cluster: Place, namespace: str) -> None:
    issuer = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": {"name": "self", "namespace": namespace},
        "spec": {"selfSigned": {}},
    }
    certificate = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": "plant", "namespace": namespace},
        "spec": {"secretName": "plant-tls", "dnsNames": ["plant.example"], "issuerRef": {"name": "self"}},
    }
    kubectl.apply(node_cluster, [issuer, certificate])
    own = f"--namespace={namespace}"
    kubectl.call(node_cluster, "wait", "--for=condition=Ready", "certificate/plant", own, f"--timeout={POD_S_MAX}s")
    assert kubectl.call(node_cluster, "get", "secret", "plant-tls", own, "-o", "jsonpath={.data.tls\\.crt}")


def test_a_cluster_with_a_node_leaves_nothing_behind(tmp_path: Path) -> None:
    """No process, namespace, mount, link or control group; the machine's packet filter is never touched."""
    if not os.environ.get("STOA_LONG_TESTS"):
        pytest.skip("minutes of building: STOA_LONG_TESTS=1")
    require(Tier.FULL)
    place = Place(tmp_path / "clusters" / "second")
    try:
        command(place, "up", "--full", "--backend", "local")
        kubectl.apply(place, [_pod("stays", "default", "sleep infinity", terminationGracePeriodSeconds=30)])
        running = daemons.running(place)
        node = sandbox.find(place)
        assert node is not None
        own = _namespaces(node.pid)
        link = _link(place)
        assert place.machine_name in cgroups.present()
        assert own.isdisjoint(_namespaces(os.getpid()))
        assert link in _links()
        assert _mounts(place) == []
        command(place, "down")
    finally:
        clusters.down(place)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running), LINES_S_MAX, "its processes are gone")
    wait_until(lambda: own.isdisjoint(_all_namespaces()), LINES_S_MAX, "the kernel lets go of the namespaces")
    assert link not in _links()
    assert place.machine_name not in cgroups.present()
    assert _mounts(place) == []
    assert not place.root.exists()


def _namespaces(pid: int) -> set[str]:
    return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid")}


def _all_namespaces() -> set[str]:
    """Of every process, and those that a mount keeps alive."""
    found: set[str] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found |= _namespaces(int(folder.name))
        except OSError:
            continue
    return found | {line.split()[3] for line in _mount_lines() if "nsfs" in line}


def _link(place: Place) -> str:
    """The machine's end of its wire: the one with the address of its API server."""
    return network_of(place).link


def _links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def _mount_lines() -> list[str]:
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()


def _mounts(place: Place) -> list[str]:
    return [line for line in _mount_lines() if str(place.root) in line]
