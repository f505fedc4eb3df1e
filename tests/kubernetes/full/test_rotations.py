"""CAs and passwords that are replaced while hundreds of sessions have traffic: old and new are good in between.

Nothing is lost, no node restarts, and no connection is dropped.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.chaos.link import Door
from mqtt_broker.wire.reasons import ReasonCode
from mqtt_operator.reconcile.managed_store import ROTATE_ANNOTATION
from mqtt_operator.reconcile.material import OVERLAP, Material, Stage, decode_material, encode_material
from support.certificates import Authority, trusting
from support.fleet import Fleet
from support.kube.knock import knock
from support.kube.plant import CA, PLAIN, SECURE, Manifest, Plant
from support.kube.traffic import do, traffic

DEVICES = 8884
STEP_S_MAX = 240.0
CALM_S = 12.0  # nodes look this often whether one of them has too many connections, and send some away
OVERLAP_S = 45
HASHED = 50  # sessions that come with a password: each costs a node as much as a password that is guessed
PYTHON = "/opt/stoa/bin/python"
LOG_IN = """
import json, redis, sys
told = json.load(sys.stdin)
log_in = {"username": "broker", "password": told["password"]}
client = redis.Redis(host=told["host"], port=6379, **log_in, ssl=True, ssl_ca_data=told["ca"])
try:
    print(client.ping())
except (redis.AuthenticationError, redis.ConnectionError) as problem:
    print(type(problem).__name__)
"""

NODES = 3
ANYBODY = [{"name": "anyone", "type": "Anonymous"}]
CERTIFICATES = [{"name": "devices", "type": "X509", "principals": "Open", "clientIDs": ["${username}-*"]}]


@pytest.fixture(scope="module")
def old_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("old"), "old")


@pytest.fixture(scope="module")
def new_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("new"), "new")


@pytest.fixture(scope="module")
def running(plant: Plant, old_ca: Authority) -> Plant:
    """Three nodes: for certificates of the old CA, for passwords, and for anybody."""
    plant.apply(_bundle(plant, "old-devices", old_ca))
    plant.apply(plant.broker(listeners=_listeners("old-devices")))
    plant.open_to_anybody()
    plant.apply(plant.permission("known", [{"kind": "Authenticated"}], ["#"]))
    plant.wait_ready(NODES)
    for name in ("anybody", "known"):
        plant.wait_settled("topicpermission", name)
    return plant


@pytest.fixture(autouse=True)
def _as_in_the_beginning(running: Plant, old_ca: Authority, tmp_path: Path) -> None:
    """Each test begins with the first CAs, whatever the one before has left."""
    running.apply(_bundle(running, "old-devices", old_ca))
    running.patch({"listeners": _listeners("old-devices")})
    _wait_answers(running, DEVICES, trusting(_trust(running, tmp_path), old_ca.client("pump")), {ReasonCode.SUCCESS})
    running.wait_ready(NODES)


@contextmanager
def _undisturbed(plant: Plant, fleet: Fleet, dropped: int) -> Iterator[None]:
    """No connection ends meanwhile, and nodes and store go on in the same containers."""
    containers = _containers(plant)
    yield
    assert fleet.dropped == dropped
    assert _containers(plant) == containers


# CAs of clients ------------------------------------------------------------------------------------------------------


async def test_a_ca_of_clients_is_replaced_with_both_trusted_in_between(
    running: Plant, old_ca: Authority, new_ca: Authority, tmp_path: Path
) -> None:
    """Those with old certificates stay when the old CA goes; who comes after that with one is refused."""
    trust = _trust(running, tmp_path)
    old, new = (trusting(trust, ca.client("pump")) for ca in (old_ca, new_ca))
    assert _answers(running, DEVICES, old) == {ReasonCode.SUCCESS}
    assert _answers(running, DEVICES, new) == {None}
    async with traffic(running, "pump", _door(running, DEVICES, old)) as fleet:
        moved = await fleet.calm(CALM_S)
        with _undisturbed(running, fleet, moved):
            await do(running.apply, _bundle(running, "new-devices", new_ca))
            await do(running.patch, {"listeners": _listeners("old-devices", "new-devices")})
            await do(_wait_answers, running, DEVICES, new, {ReasonCode.SUCCESS})
            assert _answers(running, DEVICES, old) == {ReasonCode.SUCCESS}
            fleet.scene.doors["service"] = _door(running, DEVICES, new)  # devices get their new certificates
            await do(running.wait_ready, NODES)

            await do(running.patch, {"listeners": _listeners("new-devices")})
            await do(_wait_answers, running, DEVICES, old, {None})
            assert _answers(running, DEVICES, new) == {ReasonCode.SUCCESS}
            await do(running.wait_ready, NODES)
            await fleet.acknowledged(1)


def test_the_status_says_when_nodes_verify_by_the_cas_that_are_named(
    running: Plant, old_ca: Authority, new_ca: Authority
) -> None:
    """A bundle of two CAs in one entry is as good as two entries."""
    containers = _containers(running)
    running.apply(_bundle(running, "old-devices", old_ca, new_ca))
    running.wait(lambda: _trusted(running) == 2, STEP_S_MAX, "the nodes are given both CAs")
    running.wait(lambda: _are_certificates_ready(running), STEP_S_MAX, "the status says that they have taken them")
    assert _containers(running) == containers
    running.apply(_bundle(running, "old-devices", new_ca))
    running.wait(lambda: _trusted(running) == 1, STEP_S_MAX, "the nodes are given one CA")
    running.wait(lambda: _are_certificates_ready(running), STEP_S_MAX, "the status says that they have taken it")


# The CA of the server ------------------------------------------------------------------------------------------------


async def test_the_ca_of_a_server_is_replaced_while_clients_trust_both(
    running: Plant, old_ca: Authority, tmp_path: Path
) -> None:
    running.apply(*_authority(running, "next-ca"))
    running.wait(lambda: running.secret("next-ca"), STEP_S_MAX, "there is another CA")
    first, second = (_trust(running, tmp_path, name) for name in (CA, "next-ca"))
    both = tmp_path / "both.crt"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    before, after, either = (trusting(trust, old_ca.client("pump")) for trust in (first, second, both))
    assert _answers(running, DEVICES, before) == {ReasonCode.SUCCESS}
    async with traffic(running, "pump-ca", _door(running, DEVICES, either)) as fleet:
        moved = await fleet.calm(CALM_S)
        with _undisturbed(running, fleet, moved):
            await do(running.patch, {"listeners": _listeners("old-devices", issuer="next-ca")})
            await do(_wait_answers, running, DEVICES, after, {ReasonCode.SUCCESS})
            assert _answers(running, DEVICES, before) == {None}
            await do(running.wait, lambda: _are_certificates_ready(running), STEP_S_MAX, "the status says so")
            serving = [(one["nodesServing"], one["nodesTotal"]) for one in running.status()["certificates"]]
            assert serving == [(NODES, NODES)] * 2
            await fleet.acknowledged(1)


# Passwords of clients ------------------------------------------------------------------------------------------------


async def test_a_password_of_a_client_is_replaced_with_both_good_in_between(running: Plant, tmp_path: Path) -> None:
    log_in = _client(running, "meter")
    trust = ssl.create_default_context(cafile=str(_trust(running, tmp_path)))
    async with traffic(running, "meter", _door(running, SECURE, trust), sessions=HASHED, log_in=log_in) as fleet:
        moved = await fleet.calm(CALM_S)
        with _undisturbed(running, fleet, moved):
            await do(_rotate, running, "meter", "1m")
            await do(running.wait, lambda: _log_in(running, "meter") != log_in, STEP_S_MAX, "there is a new password")
            await do(_rotate, running, "meter", "87600h")
            renewed = _log_in(running, "meter")
            for each in (renewed, log_in):
                assert _answers(running, SECURE, trust, each) == {ReasonCode.SUCCESS}
            await do(_wait_answers, running, SECURE, trust, {ReasonCode.BAD_USER_NAME_OR_PASSWORD}, log_in)
            assert _answers(running, SECURE, trust, renewed) == {ReasonCode.SUCCESS}
            assert _log_in(running, "meter") == renewed
            assert set(running.secret("meter-mqtt")).isdisjoint({"next-password", "previous-password"})
            await fleet.acknowledged(1)


# The managed store ---------------------------------------------------------------------------------------------------


async def test_passwords_and_certificates_of_the_managed_store_are_replaced(running: Plant) -> None:
    """Nodes log in anew with the new ones only when they connect anew: what is connected stays.

    Asking takes seconds, in which clients of this loop would give up: so it is done in threads.
    """
    first = _material(running)
    async with traffic(running, "store") as fleet:
        moved = await fleet.calm(CALM_S)
        with _undisturbed(running, fleet, moved):
            await do(partial(running.annotate, "mqttbroker", running.name, **{ROTATE_ANNOTATION: "now"}))
            await do(_wait_stage, running, Stage.TRUSTING)
            second = _material(running).other
            assert second is not None
            assert await asyncio.to_thread(_logs_in, running, first.current.node, first.current.ca_certificate)
            assert await asyncio.to_thread(_logs_in, running, second.node, first.current.ca_certificate)
            await do(_wait_read, running, "store-ca/0/ca.crt", (first.current.ca_certificate, second.ca_certificate))

            await do(_pass_time, running)
            await do(_wait_stage, running, Stage.RETIRING)
            await do(_wait_log_in, running, second.node, second.ca_certificate)
            assert await asyncio.to_thread(_logs_in, running, first.current.node, second.ca_certificate)
            await do(_wait_read, running, "store/password", (second.node,))

            await do(_pass_time, running)
            await do(_wait_stage, running, Stage.STEADY)
            await do(_wait_log_in_refused, running, first.current.node, second.ca_certificate)
            assert await asyncio.to_thread(_logs_in, running, second.node, second.ca_certificate)
            assert not await asyncio.to_thread(_logs_in, running, second.node, first.current.ca_certificate)
            await do(running.wait_ready, NODES)
            await fleet.acknowledged(1)
    before = _containers(running)
    running.kubectl("delete", "pod", f"{running.name}-0")  # one that begins with the new ones
    running.wait(
        lambda: len(_containers(running)) == NODES + 1 and _containers(running) != before, STEP_S_MAX, "a node is new"
    )
    running.wait_ready(NODES)


# Doing ---------------------------------------------------------------------------------------------------------------


def _listeners(*bundles: str, issuer: str = CA) -> list[Manifest]:
    refs = [{"kind": "ConfigMap", "name": name, "key": "ca.crt"} for name in bundles]
    devices = {"issuerRef": {"name": issuer}, "clientAuth": "Required", "clientCARefs": refs}
    return [
        {"name": "mqtts", "port": SECURE, "tls": {"issuerRef": {"name": CA}}},
        {"name": "devices", "port": DEVICES, "tls": devices, "authentication": CERTIFICATES},
        {"name": "mqtt", "port": PLAIN, "allowPlaintext": True, "authentication": ANYBODY},
    ]


def _bundle(plant: Plant, name: str, *authorities: Authority) -> Manifest:
    content = "".join(each.ca_file.read_text() for each in authorities)
    metadata = {"name": name, "namespace": plant.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": content}}


def _authority(plant: Plant, name: str) -> list[Manifest]:
    """Another issuer, that signs with a CA of its own."""
    metadata, version = {"name": name, "namespace": plant.namespace}, "cert-manager.io/v1"
    spec = {"isCA": True, "commonName": name, "secretName": name, "issuerRef": {"name": "self"}}
    return [
        {"apiVersion": version, "kind": "Certificate", "metadata": metadata, "spec": spec},
        {"apiVersion": version, "kind": "Issuer", "metadata": metadata, "spec": {"ca": {"secretName": name}}},
    ]


def _client(plant: Plant, name: str) -> tuple[str, bytes]:
    """A client with a generated password, that may be a whole fleet. Its log-in."""
    plant.apply(plant.client(name, clientIDs=[f"{name}-*"]))
    plant.wait_settled("mqttclient", name)
    return _log_in(plant, name)


def _rotate(plant: Plant, name: str, every: str) -> None:
    generate = {"secretName": f"{name}-mqtt", "every": every, "overlap": f"{OVERLAP_S}s"}
    plant.patch({"credentials": {"passwords": [{"generate": generate}]}}, "mqttclient", name)


def _pass_time(plant: Plant) -> None:
    """As if the stage that a replacement is in had begun earlier by the time that it takes."""
    material = json.loads(encode_material(_material(plant)))
    begun = _material(plant).since - OVERLAP - timedelta(seconds=1)
    material["since"] = begun.isoformat()
    data = {"material.json": base64.b64encode(json.dumps(material).encode()).decode()}
    plant.kubectl("patch", "secret", f"{plant.name}-store-material", "--type=merge", "-p", json.dumps({"data": data}))


def _wait_stage(plant: Plant, stage: Stage) -> None:
    plant.wait(lambda: _material(plant).stage is stage, STEP_S_MAX, f"the replacement is {stage}")


def _wait_log_in(plant: Plant, password: str, ca: str) -> None:
    plant.wait(lambda: _logs_in(plant, password, ca), STEP_S_MAX, "the store lets nodes in")


def _wait_log_in_refused(plant: Plant, password: str, ca: str) -> None:
    plant.wait(lambda: not _logs_in(plant, password, ca), STEP_S_MAX, "the store does not take that password any more")


def _wait_read(plant: Plant, file: str, parts: Sequence[str]) -> None:
    """Until every node would find all of this when it connects anew."""

    def is_there() -> bool:
        found = (_reads(plant, node, file) for node in plant.pods())
        return all(part.strip() in content for content in found for part in parts)

    plant.wait(is_there, STEP_S_MAX, f"every node has the new {file}")


def _wait_answers(
    plant: Plant,
    port: int,
    tls: ssl.SSLContext,
    wanted: set[ReasonCode | None],
    log_in: tuple[str, bytes] | None = None,
) -> None:
    plant.wait(lambda: _answers(plant, port, tls, log_in) == wanted, STEP_S_MAX, f"every node answers {wanted}")


# Seeing --------------------------------------------------------------------------------------------------------------


def _answers(
    plant: Plant, port: int, tls: ssl.SSLContext, log_in: tuple[str, bytes] | None = None
) -> set[ReasonCode | None]:
    """What the nodes say to one more client, one after the other. Without `log_in` it is called as its certificate."""
    client = f"{'pump' if log_in is None else log_in[0]}-knocks"
    doors = [Door(port, pod["status"]["podIP"], tls, _server(plant)) for pod in plant.pods().values()]
    return {knock(door, client, log_in) for door in doors}


def _door(plant: Plant, port: int, tls: ssl.SSLContext) -> Door:
    return Door(port, plant.address(), tls, _server(plant))


def _server(plant: Plant) -> str:
    return f"{plant.name}.{plant.namespace}.svc"


def _trust(plant: Plant, folder: Path, name: str = CA) -> Path:
    """The CA of this Secret, as a file."""
    path = folder / f"{name}.crt"
    path.write_bytes(plant.secret(name)["ca.crt"])
    return path


def _log_in(plant: Plant, name: str) -> tuple[str, bytes]:
    """As the Secret has it now."""
    entries = plant.secret(f"{name}-mqtt")
    return entries["username"].decode(), entries["password"]


def _containers(plant: Plant) -> set[str]:
    """Of nodes and store: another one after each start."""
    pods = [pod for each in ("broker", "store") for pod in plant.pods(each).values()]
    return {one.get("containerID", "") for pod in pods for one in pod["status"].get("containerStatuses", [])}


def _trusted(plant: Plant) -> int:
    """How many CAs nodes are given for certificates of devices."""
    data: dict[str, Any] = plant.get("configmap", f"{plant.name}-client-cas")["data"]
    return str(data["devices.crt"]).count("BEGIN CERTIFICATE")


def _are_certificates_ready(plant: Plant) -> bool:
    return bool(plant.condition("CertificatesReady").get("status") == "True")


def _material(plant: Plant) -> Material:
    return decode_material(plant.secret(f"{plant.name}-store-material")["material.json"])


def _logs_in(plant: Plant, password: str, ca: str) -> bool:
    """Whether the store lets nodes in with this password, and shows a certificate of this CA. Asked from a node."""
    told = {"host": f"{plant.name}-store.{plant.namespace}.svc", "password": password, "ca": ca}
    said = plant.kubectl("exec", "-i", f"{plant.name}-0", "--", PYTHON, "-c", LOG_IN, stdin=json.dumps(told)).strip()
    assert said in ("True", "AuthenticationError", "ConnectionError"), said  # TLS that fails is one of the latter
    return said == "True"


def _reads(plant: Plant, node: str, file: str) -> str:
    """What a node finds in a file of its pod."""
    return plant.kubectl("exec", node, "--", PYTHON, "-c", f"print(open('/etc/stoa/{file}').read())")
