"""What stands around a cluster's node: volumes, load balancers, policies between pods, and the load of pods."""

import itertools
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from support.kube import kubectl
from support.kube.client_pods import ClientPod
from support.kube.loaded import SHELL_TAG
from support.kube.place import Place
from support.kube.plan import network_of
from support.kube.problems import ClusterError
from support.waiting import wait_until

PORT = 8080
SEEN_S_MAX = 60.0
MEASURED_S_MAX = 90.0
_NUMBERS = itertools.count(1)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def namespace(node_cluster: Place) -> Iterator[str]:
    name = f"around-{next(_NUMBERS)}"
    kubectl.apply(node_cluster, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    yield name
    kubectl.call(node_cluster, "delete", "namespace", name, "--wait=false")


def _serve(place: Place, namespace: str, **spec: Any) -> dict[str, Any]:
    """A pod that says hello to whoever connects; returns when it does, with what the API server has."""
    container = {
        "name": "serves",
        "image": SHELL_TAG,
        "imagePullPolicy": "Never",
        "args": ["-c", f"exec nc -ll -p {PORT} -e echo hello"],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        **spec.pop("container", {}),
    }
    metadata = {"name": "serves", "namespace": namespace, "labels": {"app": "serves"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}
    kubectl.apply(place, [pod])
    kubectl.call(place, f"--namespace={namespace}", "wait", "--for=condition=Ready", "pod/serves", "--timeout=60s")
    return _get(place, namespace, "pod", "serves")


def _get(place: Place, namespace: str, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl.call(place, f"--namespace={namespace}", "get", kind, name, "-o", "json"))
    return found


def test_a_claim_is_bound_and_what_is_written_there_outlives_the_pod(node_cluster: Place, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    kubectl.apply(node_cluster, [claim])
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}], "securityContext": {"runAsUser": 65_532}}
    own = f"--namespace={namespace}"
    _serve(node_cluster, namespace, volumes=volumes, container=container)
    kubectl.call(node_cluster, own, "exec", "serves", "--", "sh", "-c", "echo kept > /data/file")
    kubectl.call(node_cluster, own, "delete", "pod", "serves", "--grace-period=0", "--force")
    _serve(node_cluster, namespace, volumes=volumes, container=container)
    assert kubectl.call(node_cluster, own, "exec", "serves", "--", "cat", "/data/file") == "kept\n"
    volume = _get(node_cluster, namespace, "pvc", "data")["spec"]["volumeName"]
    kubectl.call(node_cluster, own, "delete", "pod", "serves", "--grace-period=0", "--force")
    kubectl.call(node_cluster, own, "delete", "pvc", "data")
    wait_until(lambda: not (node_cluster.volumes / volume).exists(), SEEN_S_MAX, "its folder is gone")


def test_a_load_balancer_gets_an_address_and_leads_to_the_pod(node_cluster: Place, namespace: str) -> None:
    _serve(node_cluster, namespace)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "public", "namespace": namespace},
        "spec": {"type": "LoadBalancer", "selector": {"app": "serves"}, "ports": [{"port": 80, "targetPort": PORT}]},
    }
    kubectl.apply(node_cluster, [service])

    def ingress() -> list[dict[str, str]]:
        found: list[dict[str, str]] = _get(node_cluster, namespace, "service", "public")["status"]["loadBalancer"].get(
            "ingress", []
        )
        return found

    (shown,) = wait_until(ingress, SEEN_S_MAX, "it has an address")
    source = network_of(node_cluster).customers.replace("0/24", "9")

    def says_hello() -> bool:
        try:
            with socket.create_connection((shown["ip"], 80), 2.0, (source, 0)) as connection:
                return connection.recv(100) == b"hello\n"
        except OSError:
            return False

    wait_until(says_hello, SEEN_S_MAX, "it leads to the pod")


def test_a_policy_holds_back_whom_it_does_not_name_until_it_is_gone(node_cluster: Place, namespace: str) -> None:
    address = _serve(node_cluster, namespace)["status"]["podIP"]
    friend, stranger = ClientPod(node_cluster, namespace, "friend"), ClientPod(node_cluster, namespace, "stranger")
    friend.start({"team": "friends"})
    stranger.start()
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "serves", "namespace": namespace},
        "spec": {
            "podSelector": {"matchLabels": {"app": "serves"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"team": "friends"}}}]}],
        },
    }
    assert stranger.connects(address, PORT)
    kubectl.apply(node_cluster, [policy])
    wait_until(lambda: not stranger.connects(address, PORT), SEEN_S_MAX, "the policy acts")
    assert friend.connects(address, PORT)
    kubectl.call(node_cluster, f"--namespace={namespace}", "delete", "networkpolicy", "serves")
    wait_until(lambda: stranger.connects(address, PORT), SEEN_S_MAX, "the policy is gone")


def test_the_load_of_pods_is_measured(node_cluster: Place, namespace: str) -> None:
    busy = {"args": ["-c", f"(while true; do :; done) & exec nc -ll -p {PORT} -e echo hello"]}
    limits = {"resources": {"limits": {"cpu": "200m"}}}
    _serve(node_cluster, namespace, container={**busy, **limits})

    def millicores() -> int:
        shown = kubectl.call(node_cluster, f"--namespace={namespace}", "top", "pods", "--no-headers").split()
        return int(shown[1].removesuffix("m")) if len(shown) > 1 else 0

    def is_seen() -> bool:
        try:
            return millicores() > 100
        except ClusterError:  # nothing is measured yet
            return False

    wait_until(is_seen, MEASURED_S_MAX, "the load shows", interval_s=1.0)
