"""Clients as people have them, in pods and on machines, through the Service: what the three objects say holds."""

import subprocess
from collections.abc import Iterator

import pytest

from support.kube.client_pods import ClientPod
from support.kube.plant import SECURE, Plant
from support.processes import Program
from support.waiting import wait_until

SECOND_S = 1.0
SUBSCRIBED_S_MAX = 30.0


@pytest.fixture(scope="module")
def running(plant: Plant) -> Plant:
    """A pump that may publish its own values, and a viewer that may see all."""
    plant.apply(plant.broker(replicas=2))
    plant.apply(
        plant.client("pump-1"),
        plant.client("viewer", clientIDs=["viewer", "viewer-*"]),
        plant.permission("own", [{"kind": "MQTTClient", "name": "pump-1"}], ["plant/${clientid}/#"], "Publish"),
        plant.permission("all", [{"kind": "MQTTClient", "name": "viewer"}], ["plant/#"], "Subscribe"),
    )
    plant.wait_ready(2)
    for kind, name in (("mqttclient", "pump-1"), ("mqttclient", "viewer"), ("topicpermission", "own")):
        plant.wait_settled(kind, name)
    plant.wait_settled("topicpermission", "all")
    return plant


@pytest.fixture(scope="module")
def pod(running: Plant) -> Iterator[ClientPod]:
    """A pod with the log-ins of both."""
    pod = ClientPod(running.place, running.namespace, "people")
    pod.start({}, "pump-1-mqtt", "viewer-mqtt")
    yield pod
    running.kubectl("delete", "pod", pod.name, "--wait=false")


def _mosquitto(plant: Plant, pod: ClientPod, verb: str, who: str, *more: str) -> list[str]:
    """The command line, with what stands in the generated Secret."""
    log_in = {key: value.decode() for key, value in plant.secret(f"{who}-mqtt").items()}
    assert log_in["port"] == str(SECURE)
    trust = ["--cafile", f"/secrets/{who}-mqtt/ca.crt"]
    where = ["-h", log_in["host"], "-p", log_in["port"], "-u", log_in["username"], "-P", log_in["password"]]
    return pod.command(f"mosquitto_{verb}", *where, *trust, "-V", "5", "-i", who, "-q", "1", *more)


def _publish(plant: Plant, pod: ClientPod, topic: str, message: str) -> subprocess.CompletedProcess[str]:
    command = _mosquitto(plant, pod, "pub", "pump-1", "-t", topic, "-m", message)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_what_is_allowed_arrives_and_what_is_not_is_refused_by_name(running: Plant, pod: ClientPod) -> None:
    with Program(_mosquitto(running, pod, "sub", "viewer", "-t", "plant/#", "-v", "-W", "60")) as viewer:
        running.wait(lambda: not _silent(running, pod, viewer), SUBSCRIBED_S_MAX, "the viewer hears")
        allowed, denied = (
            _publish(running, pod, "plant/pump-1/t", "21.5"),
            _publish(running, pod, "plant/pump-8/t", "9"),
        )
        assert allowed.returncode == 0, allowed.stderr
        viewer.wait_for_line("plant/pump-1/t 21.5")
        assert "Not authorized" in denied.stderr + denied.stdout
        assert not any("pump-8" in line for line in viewer.out)


def test_who_is_nobody_is_refused(running: Plant, pod: ClientPod) -> None:
    command = _mosquitto(running, pod, "pub", "pump-1", "-t", "plant/pump-1/t", "-m", "1", "-P", "wrong")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode != 0
    assert "Bad User Name or Password" in done.stderr


def test_a_permission_that_is_deleted_acts_at_once_on_a_subscription_that_lives(running: Plant, pod: ClientPod) -> None:
    with Program(_mosquitto(running, pod, "sub", "viewer", "-t", "plant/#", "-v", "-W", "60")) as viewer:
        running.wait(lambda: not _silent(running, pod, viewer), SUBSCRIBED_S_MAX, "the viewer hears")
        running.kubectl("delete", "topicpermission", "all")
        running.wait(lambda: _silent(running, pod, viewer), SUBSCRIBED_S_MAX, "the viewer hears nothing more")
        running.apply(running.permission("all", [{"kind": "MQTTClient", "name": "viewer"}], ["plant/#"], "Subscribe"))
        running.wait(lambda: not _silent(running, pod, viewer), SUBSCRIBED_S_MAX, "the viewer hears again")


def _silent(plant: Plant, pod: ClientPod, viewer: Program) -> bool:
    heard = len(viewer.out)
    assert _publish(plant, pod, "plant/pump-1/t", "now").returncode == 0
    try:
        wait_until(lambda: len(viewer.out) > heard, SECOND_S)
    except AssertionError:
        return True
    return False


def test_kubectl_shows_it_as_people_want_it(running: Plant) -> None:
    running.wait_ready(2)
    lines = running.kubectl("get", "mqtt").splitlines()
    shown = {line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith("NAME")}
    assert shown[f"mqttbroker.mqtt.stoa.dev/{running.name}"][0] == "True"
    assert shown["mqttclient.mqtt.stoa.dev/pump-1"][0] == "True"
    assert shown["topicpermission.mqtt.stoa.dev/own"][0] == "True"
