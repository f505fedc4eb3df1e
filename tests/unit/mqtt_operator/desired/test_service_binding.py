"""A client finds everything it needs to connect in one Secret."""

import base64
from typing import Any

from mqtt_api.resources import MQTTClient, parse_document
from mqtt_operator.desired.service_binding import Endpoint, client_endpoint, service_binding
from support.desired_examples import example

WEB = {"name": "wss", "port": 8084, "protocol": "WebSocket", "tls": {"issuerRef": {"name": "ca"}}}


def test_a_binding_holds_address_and_log_in(client: Any) -> None:
    device = parse_document(client(metadata={"uid": "u-1", "namespace": "team-a"}))
    assert isinstance(device, MQTTClient)
    endpoint = Endpoint(scheme="mqtts", host="mqtt.example.org", port=8883, ca=b"CA")
    secret = service_binding(device, "pump-7-mqtt", "word", endpoint)
    content = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert content == {
        "type": "mqtt",
        "provider": "stoa",
        "host": "mqtt.example.org",
        "port": "8883",
        "uri": "mqtts://mqtt.example.org:8883",
        "username": "pump-7",
        "password": "word",
        "ca.crt": "CA",
    }
    assert secret["type"] == "servicebinding.io/mqtt"
    assert secret["metadata"]["namespace"] == "team-a"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "u-1"


def test_without_a_ca_there_is_no_entry_for_it(client: Any) -> None:
    device = parse_document(client(metadata={"uid": "u-1"}))
    assert isinstance(device, MQTTClient)
    secret = service_binding(device, "s", "word", Endpoint(scheme="mqtt", host="h", port=1883))
    assert "ca.crt" not in secret["data"]


def test_clients_are_told_the_advertised_address_first() -> None:
    endpoint = client_endpoint(example("plant"), {"public": "203.0.113.7", "ports": "203.0.113.8"}, b"CA")
    assert (endpoint.host, endpoint.port) == ("mqtt.example.org", 8084)  # the other one is behind a proxy


def test_what_the_load_balancer_got_comes_next_and_then_the_service_within() -> None:
    listeners = [{"name": "mqtts", "port": 8883, "tls": {}}]
    broker = example("plant", listeners=listeners, services=[{"name": "public", "listeners": ["mqtts"]}])
    assert client_endpoint(broker, {"public": "203.0.113.7"}, None).host == "203.0.113.7"
    assert client_endpoint(broker, {}, None).host == "plant.mqtt.svc"


def test_a_service_that_does_not_lead_to_the_listener_is_no_help() -> None:
    broker = example("plant", services=[{"name": "public", "listeners": ["mqtts"], "advertisedAddress": "a.example"}])
    assert client_endpoint(broker, {}, None).host == "plant.mqtt.svc"


def test_the_uri_says_what_is_spoken_and_where() -> None:
    web = client_endpoint(example("plant", listeners=[WEB], services=[]), {}, b"CA")
    assert web.uri == "wss://plant.mqtt.svc:8084/"
    plain = client_endpoint(example("alone"), {}, b"CA")
    assert plain.uri == "mqtts://alone.mqtt.svc:8883"
    assert Endpoint(scheme="mqtt", host="2001:db8::1", port=1883).uri == "mqtt://[2001:db8::1]:1883"


def test_plain_text_has_no_ca() -> None:
    assert client_endpoint(example("small"), {}, b"CA").ca is None
