"""A load balancer of a cloud in front of the nodes: its address, its name, whom it lets in, and who it says asks."""

import contextlib
import socket
import ssl

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from support.kube.load_balancers import ADDRESS_ANNOTATION, PROXY_ANNOTATION
from support.kube.plan import Network, network_of
from support.kube.plant import CA, SECURE, Plant
from support.waiting import wait_until

PROXIED = 9883
ADDRESS_S_MAX = 60.0
ANSWER_S_MAX = 15.0


def _services(**more: object) -> list[dict[str, object]]:
    annotations = {PROXY_ANNOTATION: "v2"}
    usual = {"name": "public", "type": "LoadBalancer", "listeners": ["proxied"], "annotations": annotations}
    return [{**usual, **more}]


@pytest.fixture(scope="module")
def running(plant: Plant) -> Plant:
    """One node, reached from inside as it is, and through the cloud with a header that says who asks."""
    network = network_of(plant.place)
    trusted = [f"{network.host}/32", network.pods]  # the balancer, and the node that hands its connections on
    listeners = [
        {"name": "mqtts", "port": SECURE, "tls": {"issuerRef": {"name": CA}}},
        {
            "name": "proxied",
            "port": PROXIED,
            "tls": {"issuerRef": {"name": CA}},
            "proxyProtocol": {"trustedCIDRs": trusted},
        },
    ]
    plant.apply(plant.broker(replicas=1, listeners=listeners, services=_services()))
    plant.apply(plant.client("pump-1"), plant.permission("pumps", [{"kind": "MQTTClient", "name": "pump-1"}], ["#"]))
    plant.wait_ready(1)
    plant.wait_settled("mqttclient", "pump-1")
    plant.wait_settled("topicpermission", "pumps")
    return plant


def _network(plant: Plant) -> Network:
    return network_of(plant.place)


def _customer(plant: Plant, number: int) -> str:
    """An address that a client on this machine may ask from."""
    return _network(plant).customers.replace("0/24", str(number))


def _endpoint(plant: Plant) -> str:
    """What the broker's status says of the listener behind the balancer; empty while it says nothing."""
    endpoints = plant.status().get("endpoints", [])
    return next((one["address"] for one in endpoints if one["service"] == "public"), "")


def _trust(plant: Plant) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=plant.secret(CA)["ca.crt"].decode())
    context.check_hostname = False  # the balancer's address stands in no certificate
    return context


def _is_let_in(plant: Plant, host: str, source: str) -> bool:
    """Whether the node shows its certificate to a client from this address."""
    try:
        with socket.create_connection((host, PROXIED), ANSWER_S_MAX, (source, 0)) as plain:
            _trust(plant).wrap_socket(plain).close()
    except OSError:
        return False
    return True


def _connect(plant: Plant, host: str, source: str) -> None:
    """With the generated password, by a client of somebody else, up to its CONNACK and back."""
    log_in = plant.secret("pump-1-mqtt")
    client = paho.Client(CallbackAPIVersion.VERSION2, "pump-1", protocol=paho.MQTTv5)
    client.username_pw_set(log_in["username"].decode(), log_in["password"].decode())
    client.tls_set_context(_trust(plant))
    client.connect(host, PROXIED, bind_address=source, bind_port=0)
    client.loop_start()
    try:
        wait_until(client.is_connected, ANSWER_S_MAX, "CONNACK")
    finally:
        client.disconnect()
        client.loop_stop()


def test_the_status_shows_its_address_and_clients_are_known_by_their_own(running: Plant) -> None:
    running.wait(lambda: _endpoint(running), ADDRESS_S_MAX, "the status shows an address")
    host, _, port = _endpoint(running).rpartition(":")
    assert host == running.get("service", f"{running.name}-public")["status"]["loadBalancer"]["ingress"][0]["ip"]
    assert int(port) == PROXIED
    source = _customer(running, 7)
    _connect(running, host, source)
    log = running.kubectl("logs", f"{running.name}-0")
    assert source in log


def test_who_connects_past_the_balancer_is_not_believed(running: Plant) -> None:
    """Without a header nobody gets in there, and a header from elsewhere is none."""
    with socket.create_connection((running.address(), PROXIED), ANSWER_S_MAX) as connection:
        connection.sendall(b"\x16\x03\x01")
        connection.settimeout(ANSWER_S_MAX)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_only_the_ranges_that_are_named_are_let_in(running: Plant) -> None:
    host = _endpoint(running).rpartition(":")[0]
    near, far = _customer(running, 7), _customer(running, 200)
    assert _is_let_in(running, host, far)
    running.patch({"services": _services(loadBalancerSourceRanges=[f"{near}/32"])})
    service = f"{running.name}-public"
    running.wait(
        lambda: running.get("service", service)["spec"].get("loadBalancerSourceRanges") == [f"{near}/32"],
        ADDRESS_S_MAX,
        "the Service has the range",
    )
    running.wait(lambda: not _is_let_in(running, host, far), ADDRESS_S_MAX, "the cloud has it, too")
    assert _is_let_in(running, host, near)


def test_a_name_that_takes_the_place_of_the_address_is_shown(running: Plant) -> None:
    annotations = {PROXY_ANNOTATION: "v2", ADDRESS_ANNOTATION: "hostname"}
    running.patch({"services": _services(annotations=annotations)})
    running.wait(lambda: _endpoint(running).endswith(f".lb.test:{PROXIED}"), ADDRESS_S_MAX, "the status shows a name")


def test_an_advertised_address_is_shown_instead(running: Plant) -> None:
    running.patch({"services": _services(advertisedAddress="mqtt.example.org")})
    wanted = f"mqtt.example.org:{PROXIED}"
    running.wait(lambda: _endpoint(running) == wanted, ADDRESS_S_MAX, "the status shows it")


def test_a_class_that_nobody_serves_is_waited_for(running: Plant) -> None:
    """A class never changes, so this is another Service."""
    other = {"name": "other", "type": "LoadBalancer", "listeners": ["proxied"], "loadBalancerClass": "example.org/none"}
    running.patch({"services": [other]})
    service = f"{running.name}-other"
    running.wait(lambda: running.get("service", service), ADDRESS_S_MAX, "the Service is there")
    running.wait(lambda: not running.get("service", f"{running.name}-public"), ADDRESS_S_MAX, "the first one is gone")
    assert running.get("service", service)["status"]["loadBalancer"] == {}
