"""Who reaches whom: for each rule of the policies, a connection that it lets through and one that it does not."""

from collections.abc import Callable, Iterator

import pytest

from support.kube import kubectl
from support.kube.client_pods import ClientPod
from support.kube.plan import network_of
from support.kube.plant import CA, PLAIN, RESTRICTED, SECURE, Plant

PEERS_ONLY = 1884
HTTP, REDIS, DNS = 8081, 6379, 53
ANYBODY = [{"name": "anyone", "type": "Anonymous"}]
FRIENDS = {"team": "friends"}


@pytest.fixture(scope="module")
def running(plant: Plant) -> Plant:
    peers = [{"namespaceSelector": {"matchLabels": FRIENDS}}]
    listeners = [
        {"name": "mqtts", "port": SECURE, "tls": {"issuerRef": {"name": CA}}},
        {"name": "mqtt", "port": PLAIN, "allowPlaintext": True, "authentication": ANYBODY},
        {
            "name": "friends",
            "port": PEERS_ONLY,
            "allowPlaintext": True,
            "authentication": ANYBODY,
            "networkPolicyPeers": peers,
        },
    ]
    plant.apply(plant.broker(replicas=1, listeners=listeners))
    plant.wait_ready(1)
    return plant


@pytest.fixture(scope="module")
def asks_from(running: Plant) -> Iterator[Callable[[str], ClientPod]]:
    """A pod in a namespace: of friends, of strangers, or the broker's own."""
    names = {"friends": f"{running.namespace}-f", "strangers": f"{running.namespace}-s", "own": running.namespace}
    for who, labels in (("friends", FRIENDS), ("strangers", {})):
        metadata = {"name": names[who], "labels": {**RESTRICTED, **labels}}
        running.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    pods = {who: ClientPod(running.place, name, "asks") for who, name in names.items()}
    for pod in pods.values():
        pod.start()
    yield pods.__getitem__
    for who in ("friends", "strangers"):
        kubectl.call(running.place, "delete", "namespace", names[who], "--wait=false")


def _node(plant: Plant) -> str:
    address: str = plant.pods()[f"{plant.name}-0"]["status"]["podIP"]
    return address


def _store(plant: Plant) -> str:
    (pod,) = plant.pods("store").values()
    address: str = pod["status"]["podIP"]
    return address


@pytest.mark.parametrize("who", ["own", "friends", "strangers"])
def test_a_listener_without_peers_is_open_to_everybody(
    who: str, running: Plant, asks_from: Callable[[str], ClientPod]
) -> None:
    assert asks_from(who).connects(_node(running), SECURE)
    assert asks_from(who).connects(_node(running), PLAIN)


def test_a_listener_with_peers_is_open_to_them_alone(running: Plant, asks_from: Callable[[str], ClientPod]) -> None:
    assert asks_from("friends").connects(_node(running), PEERS_ONLY)
    assert not asks_from("strangers").connects(_node(running), PEERS_ONLY)
    assert not asks_from("own").connects(_node(running), PEERS_ONLY)


def test_metrics_and_probes_are_for_the_operator(running: Plant, asks_from: Callable[[str], ClientPod]) -> None:
    """The operator asks nodes what they serve, or the broker would not be Ready. The kubelet asks past all policies."""
    assert not asks_from("strangers").connects(_node(running), HTTP)
    assert not asks_from("own").connects(_node(running), HTTP)
    operator = ClientPod(running.place, running.namespace, "as-operator")
    operator.start({"app.kubernetes.io/component": "operator"})
    assert operator.connects(_node(running), HTTP)
    assert operator.connects(_store(running), REDIS)


def test_the_store_is_for_the_nodes_and_the_operator(running: Plant, asks_from: Callable[[str], ClientPod]) -> None:
    for who in ("own", "friends", "strangers"):
        assert not asks_from(who).connects(_store(running), REDIS)
    as_node = ClientPod(running.place, running.namespace, "as-node")
    as_node.start(_labels(running, "broker"))
    assert as_node.connects(_store(running), REDIS)


def test_a_node_reaches_the_store_and_names_and_nothing_else(
    running: Plant, asks_from: Callable[[str], ClientPod]
) -> None:
    as_node = ClientPod(running.place, running.namespace, "as-node")
    as_node.start(_labels(running, "broker"))
    network = network_of(running.place)
    dns, api = network.dns_service, network.kubernetes_service
    assert as_node.connects(_store(running), REDIS)
    assert as_node.connects(dns, DNS)
    assert not as_node.connects(api, 443)
    assert not as_node.connects(_node(running), SECURE)
    assert asks_from("own").connects(api, 443)


def test_the_store_reaches_nobody(running: Plant) -> None:
    as_store = ClientPod(running.place, running.namespace, "as-store")
    as_store.start(_labels(running, "store"))
    assert not as_store.connects(_node(running), SECURE)
    assert not as_store.connects(network_of(running.place).dns_service, DNS)


def _labels(plant: Plant, component: str) -> dict[str, str]:
    """What a policy knows these pods by."""
    (pod, *_) = plant.pods(component).values()
    keys = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component")
    return {key: pod["metadata"]["labels"][key] for key in keys}
