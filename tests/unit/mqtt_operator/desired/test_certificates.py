"""What cert-manager is asked for: the names by which clients reach a listener, and the user name of a client."""

from typing import Any

import msgspec

from mqtt_api.resources import MQTTClient, parse_document
from mqtt_operator.desired.certificates import client_certificate, listener_certificates
from mqtt_operator.desired.manifest import Manifest
from support.desired_examples import INPUTS, example

PUBLIC = {"name": "public", "listeners": ["wss"], "advertisedAddress": "mqtt.example.org"}


def specs(name: str, **changes: Any) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each["spec"] for each in listener_certificates(example(name, **changes), INPUTS)}


def test_a_certificate_names_services_nodes_and_advertised_addresses() -> None:
    spec = specs("plant")["plant-wss-tls"]
    for host in ("plant", "plant.mqtt.svc", "plant-public.mqtt.svc.cluster.local", "mqtt.example.org"):
        assert host in spec["dnsNames"]
    assert spec["ipAddresses"] == ["192.0.2.7"]


def test_one_more_node_needs_no_other_certificate() -> None:
    assert "*.plant-nodes.mqtt.svc" in specs("plant")["plant-wss-tls"]["dnsNames"]
    assert specs("trial", replicas=9) == specs("trial")


def test_services_that_do_not_lead_to_the_listener_are_not_named() -> None:
    spec = specs("plant", services=[{"name": "other", "listeners": ["mqtts"], "advertisedAddress": "a.example"}])
    assert not [host for host in spec["plant-wss-tls"]["dnsNames"] if "other" in host or host == "a.example"]


def test_declared_names_come_on_top_and_none_stands_there_twice() -> None:
    tls = {"issuerRef": {"name": "ca"}, "dnsNames": ["mqtt.example.org", "other.example.org", "plant.mqtt.svc"]}
    spec = specs("plant", listeners=[{"name": "wss", "port": 8084, "tls": tls}], services=[PUBLIC])["plant-wss-tls"]
    for host in ("plant.mqtt.svc", "mqtt.example.org", "other.example.org"):
        assert spec["dnsNames"].count(host) == 1


def test_lifetime_and_key_are_the_declared_ones() -> None:
    spec = specs("plant")["plant-mqtts-tls"]
    assert (spec["duration"], spec["renewBefore"]) == ("720h", "240h")
    assert spec["privateKey"] == {"algorithm": "RSA", "encoding": "PKCS8", "rotationPolicy": "Never", "size": 3072}
    assert spec["issuerRef"] == {"name": "public", "kind": "ClusterIssuer", "group": "cert-manager.io"}


def test_without_a_word_about_it_each_certificate_has_a_new_key() -> None:
    spec = specs("plant")["plant-wss-tls"]
    assert spec["privateKey"] == {"algorithm": "ECDSA", "encoding": "PKCS8", "rotationPolicy": "Always", "size": 256}
    assert not {"duration", "renewBefore"} & spec.keys()


def test_an_ed25519_key_has_no_size() -> None:
    tls = {"issuerRef": {"name": "ca"}, "privateKey": {"algorithm": "Ed25519"}}
    spec = specs("trial", listeners=[{"name": "mqtts", "port": 8883, "tls": tls}])["trial-mqtts-tls"]
    assert "size" not in spec["privateKey"]


def test_nobody_is_asked_for_what_people_bring_themselves() -> None:
    assert specs("alone") == {}


def test_nobody_is_asked_without_cert_manager() -> None:
    assert listener_certificates(example("plant"), msgspec.structs.replace(INPUTS, has_cert_manager=False)) == []


def test_the_secret_is_found_as_a_part_of_the_broker() -> None:
    template = specs("trial")["trial-mqtts-tls"]["secretTemplate"]
    assert template["labels"]["mqtt.stoa.dev/broker"] == "trial"


def test_a_clients_certificate_says_its_user_name(client: Any) -> None:
    credential = {"issuerRef": {"name": "devices"}, "secretName": "pump-7-tls", "duration": "2160h"}
    document = client(metadata={"uid": "u-1", "namespace": "team-a"}, credentials={"certificates": [credential]})
    device = parse_document(document)
    assert isinstance(device, MQTTClient)
    certificate = client_certificate(device, device.spec.credentials.certificates[0])
    assert certificate["metadata"]["namespace"] == "team-a"
    assert certificate["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    spec = certificate["spec"]
    assert (spec["commonName"], spec["secretName"], spec["duration"]) == ("pump-7", "pump-7-tls", "2160h")
    assert spec["usages"] == ["digital signature", "client auth"]
    assert "mqtt.stoa.dev/broker" not in spec["secretTemplate"]["labels"]
