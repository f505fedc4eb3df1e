"""What an object asks of Kubernetes, and `stoa up` cannot do: one note for each, so that nobody waits for it.

Knows which fields those are; does not know how anything else of an object is carried out.
"""

from collections.abc import Iterator
from typing import Any

from mqtt_api.kinds.common import DeletionPolicy
from mqtt_api.kinds.shape import Shape
from mqtt_api.resources import MQTTBroker, MQTTClient
from mqtt_operator.local.objects import Entry, Objects

Note = tuple[str, str]
"""A field as in `spec.listeners[0].port`, and a sentence about it."""

_IGNORED = "means nothing here; ignored."
_BROKER_FIELDS = {
    "image": "image",
    "imagePullSecrets": "image_pull_secrets",
    "upgradePolicy": "upgrade_policy",
    "services": "services",
    "autoscaling": "autoscaling",
    "podDisruptionBudget": "pod_disruption_budget",
    "podTemplate": "pod_template",
    "monitoring": "monitoring",
}
_STORE_FIELDS = {"storageClassName": "storage_class_name", "image": "image", "resources": "resources"}


def note_what_needs_kubernetes(objects: Objects) -> None:
    """Add a note for each such field that is written down."""
    for broker in objects.brokers:
        objects.notes += _told(broker, _of_broker(broker.resource))
    for client in objects.clients:
        objects.notes += _told(client, _of_client(client.resource))


def _told(entry: Entry[Any], notes: Iterator[Note]) -> Iterator[str]:
    return (str(entry.document.mistake(field, message)) for field, message in notes)


def _of_broker(broker: MQTTBroker) -> Iterator[Note]:
    spec = broker.spec
    yield from _ignored("spec", spec, _BROKER_FIELDS)
    if spec.deletion_policy is not DeletionPolicy.RETAIN:
        yield "spec.deletionPolicy", "means nothing here: the data folder stays."
    for name, store in (("embedded", spec.session_store.embedded), ("managed", spec.session_store.managed)):
        if store is not None:
            yield from _ignored(f"spec.sessionStore.{name}", store, _STORE_FIELDS)
    for index, listener in enumerate(spec.listeners):
        field = f"spec.listeners[{index}]"
        yield from _ignored(field, listener, {"networkPolicyPeers": "network_policy_peers"})
        if listener.tls is not None and listener.tls.issuer_ref is not None:
            yield f"{field}.tls.issuerRef", "means nothing here: the local CA issues the certificate."


def _of_client(client: MQTTClient) -> Iterator[Note]:
    credentials = client.spec.credentials
    for index, source in enumerate(credentials.passwords):
        if source.generate is not None and source.generate.every is not None:
            field = f"spec.credentials.passwords[{index}].generate.every"
            yield field, "means nothing here: the password stays as it is."
    for index, credential in enumerate(credentials.certificates):
        if credential.issuer_ref is not None:
            message = f"means nothing here: bring a certificate of a CA in clientCARefs, for CN={client.username}."
            yield f"spec.credentials.certificates[{index}].issuerRef", message
    if client.spec.deletion_policy is not DeletionPolicy.RETAIN:
        yield "spec.deletionPolicy", "means nothing here: its sessions stay until they expire."


def _ignored(field: str, shape: Shape, fields: dict[str, str]) -> Iterator[Note]:
    """`fields`: names in YAML and in Python."""
    return ((f"{field}.{name}", _IGNORED) for name, python_name in fields.items() if shape.given(python_name))
