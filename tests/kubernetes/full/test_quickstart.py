"""The first minutes, on a cluster of their own: what people type one after the other, from nothing to leaving again."""

import json
import os
import time
from collections.abc import Iterator

import pytest

from support.kube import clusters, helm, kubectl, loaded, product_image
from support.kube.client_pods import ClientPod
from support.kube.place import Place, Tier
from support.kube.plant import GONE_S_MAX, OPERATOR_CHART, RESTRICTED, Plant, operator_values
from support.kube.shared import command, require
from support.processes import ROOT

READY_S_MAX = 180
NAMESPACE = "mqtt"
QUICKSTART = ROOT / "manifests" / "quickstart.yaml"
CHART = helm.CHARTS / "stoa"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A cluster that has never heard of us, but has the images."""
    if not os.environ.get("STOA_LONG_TESTS"):
        pytest.skip("minutes of building: STOA_LONG_TESTS=1")
    require(Tier.FULL)
    place = Place(tmp_path_factory.mktemp("clusters") / "first")
    try:
        command(place, "up", "--full", "--backend", "local")
        loaded.load(place, [*loaded.PRODUCT, *loaded.TOOLS])
        metadata = {"name": NAMESPACE, "labels": RESTRICTED}
        kubectl.apply(place, [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        yield place
    finally:
        clusters.down(place)


@pytest.fixture(scope="module")
def plant(place: Place) -> Plant:
    """`helm install` with the definitions, the three objects, and the wait. Fails when it takes too long."""
    plant = Plant(place, NAMESPACE)
    started = time.monotonic()
    helm.install(place, OPERATOR_CHART, "stoa-operator", NAMESPACE, operator_values(crds={"enabled": True}))
    installed_s = time.monotonic() - started
    plant.kubectl("apply", "--server-side", "-f", QUICKSTART)
    plant.kubectl("wait", "--for=condition=Ready", f"mqttbroker/{plant.name}", f"--timeout={READY_S_MAX}s")
    print(f"operator {installed_s:.1f} s, Ready after {time.monotonic() - started:.1f} s")
    print(plant.kubectl("get", "mqtt"))
    return plant


def test_the_broker_is_ready_with_all_its_nodes(plant: Plant) -> None:
    assert plant.status()["readyReplicas"] == 3
    assert plant.restarts() == 0
    for client in ("pump-1", "viewer"):
        plant.wait_settled("mqttclient", client)


def test_a_client_of_somebody_else_publishes_through_the_service(plant: Plant) -> None:
    pod = ClientPod(plant.place, NAMESPACE, "people")
    pod.start({}, "pump-1-mqtt")
    log_in = {key: value.decode() for key, value in plant.secret("pump-1-mqtt").items()}
    who = ["-u", log_in["username"], "-P", log_in["password"], "--cafile", "/secrets/pump-1-mqtt/ca.crt"]
    where = ["-h", log_in["host"], "-p", log_in["port"], "-V", "5", "-q", "1", "-i", "pump-1"]
    allowed = pod.run("mosquitto_pub", *where, *who, "-t", "plant/pump-1/t", "-m", "21.5")
    denied = pod.run("mosquitto_pub", *where, *who, "-t", "plant/pump-8/stop", "-m", "1")
    assert allowed.returncode == 0, allowed.stderr
    assert "Not authorized" in denied.stdout + denied.stderr


def test_the_tests_of_both_charts_pass(plant: Plant) -> None:
    repository, tag = product_image.TAG.rsplit(":", 1)
    image = {"image": {"repository": repository, "tag": tag, "pullPolicy": "Never"}}
    helm.test(plant.place, "stoa-operator", NAMESPACE)
    values = {"tls": {"issuerRef": {"name": "plant-ca"}}, "tests": image}
    helm.install(plant.place, CHART, "second", NAMESPACE, values)
    helm.test(plant.place, "second", NAMESPACE)
    helm.uninstall(plant.place, "second", NAMESPACE)


def test_the_broker_goes_on_without_the_operator_and_the_namespace_ends(plant: Plant) -> None:
    """`helm uninstall` keeps the definitions, and so the brokers; their pods need nobody."""
    pods = {name: pod["metadata"]["uid"] for name, pod in plant.pods().items()}
    helm.uninstall(plant.place, "stoa-operator", NAMESPACE)
    assert {name: pod["metadata"]["uid"] for name, pod in plant.pods().items()} == pods
    assert kubectl.call(plant.place, "get", "crd", "mqttbrokers.mqtt.stoa.dev", "-o", "name")
    plant.delete_namespace()
    plant.wait(lambda: NAMESPACE not in _namespaces(plant.place), GONE_S_MAX, "the namespace is gone")


def _namespaces(place: Place) -> set[str]:
    listed = json.loads(kubectl.call(place, "get", "namespaces", "-o", "json"))
    return {item["metadata"]["name"] for item in listed["items"]}
