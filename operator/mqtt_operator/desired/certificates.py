"""The certificates that cert-manager is asked for: one for each listener that names an issuer, and those of clients.

Knows the objects, and which names must stand in them; does not know whether they were issued.
"""

import ipaddress
from collections.abc import Iterable

from mqtt_api.kinds.certificates import Issued, PrivateKey
from mqtt_api.kinds.mqttbroker import Listener, ListenerTLS
from mqtt_api.kinds.mqttclient import CertificateCredential
from mqtt_api.resources import MQTTBroker, MQTTClient
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import CERTIFICATE
from mqtt_operator.desired.labels import Component, client_labels, labels, owner_reference
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned

_KEY_SIZES = {"ECDSA": 256, "RSA": 2_048}


def listener_certificates(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """In the order of the listeners; none without cert-manager."""
    if not inputs.has_cert_manager:
        return []
    return [
        _of_listener(broker, inputs, listener, listener.tls)
        for listener in broker.spec.listeners
        if listener.tls is not None and listener.tls.issuer_ref is not None
    ]


def client_certificate(client: MQTTClient, credential: CertificateCredential) -> Manifest:
    """In the client's namespace, with its user name as common name. Only for a credential that names an issuer."""
    assert credential.secret_name is not None
    spec = {
        **_issued(credential, credential.secret_name, client_labels()),
        "commonName": client.username,
        "usages": ["digital signature", "client auth"],
    }
    metadata = {
        "name": credential.secret_name,
        "namespace": client.metadata.namespace,
        "labels": client_labels(),
        "ownerReferences": [owner_reference(client)],
    }
    return {"apiVersion": CERTIFICATE.api_version, "kind": CERTIFICATE.kind, "metadata": metadata, "spec": spec}


def reachable_names(broker: MQTTBroker, inputs: Inputs, listener: Listener) -> tuple[str, ...]:
    """Names and addresses by which this listener is reached: those of its Services, of each node, and the advertised.

    Nodes are named by a wildcard, so that one more of them needs no other certificate.
    """
    name, namespace = broker.metadata.name, broker.metadata.namespace
    leading = [each for each in broker.spec.services if listener.name in each.listeners]
    own = [names.service(name), *(names.extra_service(name, each.name) for each in leading)]
    inside = [*(form for each in own for form in _forms(each, namespace, inputs))]
    nodes = _forms(names.headless_service(name), namespace, inputs)[2:]
    advertised = [each.advertised_address for each in leading if each.advertised_address is not None]
    return tuple(dict.fromkeys([*inside, *(f"*.{form}" for form in nodes), *advertised]))


def _forms(service: str, namespace: str, inputs: Inputs) -> list[str]:
    """How a Service is called from its own namespace, from another one, and in full."""
    in_full = names.service_dns_name(service, namespace)
    return [service, f"{service}.{namespace}", in_full, f"{in_full}.{inputs.cluster_domain}"]


def _of_listener(broker: MQTTBroker, inputs: Inputs, listener: Listener, tls: ListenerTLS) -> Manifest:
    name = names.tls(broker.metadata.name, listener.name)
    marks = labels(broker.metadata.name, Component.BROKER)
    spec = {
        **_issued(tls, name, marks),
        **_subject(dict.fromkeys([*reachable_names(broker, inputs, listener), *(tls.dns_names or ())])),
        "usages": ["digital signature", "key encipherment", "server auth"],
    }
    return owned(broker, inputs, CERTIFICATE, name, spec=spec)


def _issued(issued: Issued, secret: str, marks: dict[str, str]) -> Manifest:
    assert issued.issuer_ref is not None
    ref = issued.issuer_ref
    spec: Manifest = {
        "secretName": secret,
        "secretTemplate": {"labels": marks},
        "issuerRef": {"name": ref.name, "kind": ref.kind, "group": ref.group},
        "privateKey": _private_key(issued.private_key or PrivateKey()),
        "revisionHistoryLimit": 1,
    }
    if issued.duration is not None:
        spec["duration"] = str(issued.duration)
    if issued.renew_before is not None:
        spec["renewBefore"] = str(issued.renew_before)
    return spec


def _private_key(key: PrivateKey) -> Manifest:
    size = key.size or _KEY_SIZES.get(key.algorithm.value)
    written = {"algorithm": key.algorithm.value, "encoding": "PKCS8", "rotationPolicy": key.rotation_policy.value}
    return written if size is None else {**written, "size": size}


def _subject(hosts: Iterable[str]) -> Manifest:
    """Addresses are no names: what checks a certificate tells them apart."""
    hosts = tuple(hosts)
    addresses = [host for host in hosts if _is_address(host)]
    subject: Manifest = {"dnsNames": [host for host in hosts if host not in addresses]}
    return {**subject, "ipAddresses": addresses} if addresses else subject


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
