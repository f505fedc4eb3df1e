"""What is done to a running broker while hundreds of sessions have traffic: nothing is lost, no will is published."""

import asyncio
import socket
import ssl
import time

import pytest
from cryptography import x509

from cluster.chaos.link import Door
from support.kube import loaded
from support.kube.loaded import NEXT_TAG
from support.kube.plant import CA, PLAIN, SECURE, Plant
from support.kube.traffic import FewestReady, do, images, is_ready, traffic

OPEN_TLS = 8884
STEP_S_MAX = 300.0
CALM_S = 12.0  # nodes look this often whether one of them has too many connections, and send some away
WILL_DELAY_S = 60  # where nodes die without a word: their clients come back long before

ANYBODY = [{"name": "anyone", "type": "Anonymous"}]
LISTENERS = [
    {"name": "mqtts", "port": SECURE, "tls": {"issuerRef": {"name": CA}}},
    {"name": "mqtt", "port": PLAIN, "allowPlaintext": True, "authentication": ANYBODY},
    {"name": "open", "port": OPEN_TLS, "tls": {"issuerRef": {"name": CA}}, "authentication": ANYBODY},
]


@pytest.fixture(scope="module")
def running(plant: Plant) -> Plant:
    """Three nodes that let anybody in."""
    loaded.load(plant.place, [loaded.next_product])
    plant.apply(plant.broker(listeners=LISTENERS))
    plant.open_to_anybody()
    plant.wait_ready(3)
    plant.wait_settled("topicpermission", "anybody")
    return plant


@pytest.fixture(autouse=True)
def _three_nodes_again(running: Plant) -> None:
    """Each test begins with three nodes that are ready, whatever the one before has left."""
    running.patch({"replicas": 3})
    running.wait_ready(3)


async def test_a_rotated_certificate_is_served_by_every_node_and_no_connection_is_dropped(running: Plant) -> None:
    before, restarts = _serials(running), running.restarts()
    door = Door(OPEN_TLS, running.address(), _trust(running), f"{running.name}.{running.namespace}.svc")
    async with traffic(running, "rotation", door) as fleet:
        moved = await fleet.calm(CALM_S)
        await do(_renew, running, f"{running.name}-open-tls")
        await do(running.wait, lambda: _serials(running).isdisjoint(before), STEP_S_MAX, "all nodes serve another one")
        await do(running.wait, lambda: _served(running, "open"), STEP_S_MAX, "the status says so")
        await asyncio.sleep(CALM_S)
        assert fleet.dropped == moved
    assert running.restarts() == restarts
    assert len(_serials(running)) == 1


async def test_a_new_image_is_rolled_out_node_by_node_and_back(running: Plant) -> None:
    first = running.get("statefulset", running.name)["spec"]["template"]["spec"]["containers"][0]["image"]
    repository, tag = NEXT_TAG.rsplit(":", 1)
    fewest = FewestReady(running)
    async with traffic(running, "rollout"):
        with fewest:
            await do(running.patch, {"image": {"repository": repository, "tag": tag}})
            await do(running.wait, lambda: images(running) == [NEXT_TAG] * 3, STEP_S_MAX, "all nodes have the image")
            await do(running.wait_ready, 3)
    assert fewest.ready >= 2
    async with traffic(running, "rollback"):
        await do(running.patch, {"image": None})
        await do(running.wait, lambda: images(running) == [first] * 3, STEP_S_MAX, "all nodes have the first image")
        await do(running.wait_ready, 3)


async def test_nodes_are_added_and_taken_away(running: Plant) -> None:
    async with traffic(running, "scale"):
        for replicas in (5, 2):
            await do(running.patch, {"replicas": replicas})
            await do(running.wait_ready, replicas, STEP_S_MAX)


async def test_a_node_is_killed(running: Plant) -> None:
    async with traffic(running, "kill", will_delay_s=WILL_DELAY_S):
        await do(_kill, running, "broker", f"{running.name}-1")
        await do(running.wait_ready, 3)


async def test_the_store_is_killed(running: Plant) -> None:
    (name,) = running.pods("store")
    async with traffic(running, "store", will_delay_s=WILL_DELAY_S):
        await do(_kill, running, "store", name)
        await do(running.wait_ready, 3)


def _kill(plant: Plant, component: str, name: str) -> None:
    """Without a moment to say goodbye. Returns when another one is there and ready."""
    uid = plant.pods(component)[name]["metadata"]["uid"]
    plant.kubectl("delete", "pod", name, "--grace-period=0", "--force")

    def is_back() -> bool:
        pod = plant.pods(component).get(name)
        return pod is not None and pod["metadata"]["uid"] != uid and is_ready(pod)

    plant.wait(is_back, STEP_S_MAX, f"{name} is back")


def _renew(plant: Plant, certificate: str) -> None:
    """As `cmctl renew` does."""
    condition = {
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "Renewed by hand.",
        "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    plant.patch_status("certificate", certificate, {"conditions": [condition]})


def _serials(plant: Plant) -> set[int]:
    """What the nodes show, one after the other."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found = set()
    for pod in plant.pods().values():
        address = (pod["status"]["podIP"], OPEN_TLS)
        with socket.create_connection(address, 5.0) as connection, context.wrap_socket(connection) as secure:
            shown = secure.getpeercert(binary_form=True)
            assert shown is not None
            found.add(x509.load_der_x509_certificate(shown).serial_number)
    return found


def _served(plant: Plant, listener: str) -> bool:
    """Whether the broker's status says that all nodes serve what they show."""
    (serial,) = _serials(plant)
    one = next(one for one in plant.status()["certificates"] if one["listener"] == listener)
    return int(one["serial"].replace(":", ""), 16) == serial and one["nodesServing"] == one["nodesTotal"] == 3


def _trust(plant: Plant) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=plant.secret(CA)["ca.crt"].decode())
