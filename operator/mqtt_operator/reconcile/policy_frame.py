"""What all clients of a broker have in common when their credentials are looked at.

Knows where each part is read; does not know clients. Another value means that every client is looked at again.
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from mqtt_api.kinds.common import DataKind
from mqtt_api.policy import ScramMechanism
from mqtt_api.resources import MQTTBroker
from mqtt_operator.credentials.scram import mechanisms_of
from mqtt_operator.credentials.verifiers import Keys
from mqtt_operator.desired import names
from mqtt_operator.desired.entrance import best_listener
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.service_binding import Endpoint, client_endpoint
from mqtt_operator.policy.attachment import NamespaceLabels
from mqtt_operator.reconcile.keys import DataKey
from mqtt_operator.reconcile.registry import Registry, UnseenError

Namespaces = Callable[[], Iterable[str]]


class Frame(Struct, frozen=True, kw_only=True):
    """`keys` of verifiers, `mechanisms` that some chain offers, `endpoint` for generated Secrets, labels of namespaces
    that are attached by selector.
    """

    broker: MQTTBroker
    keys: Keys
    mechanisms: tuple[ScramMechanism, ...]
    endpoint: Endpoint
    namespaces: NamespaceLabels

    def __repr__(self) -> str:
        return f"Frame({self.broker.reference})"

    def is_like(self, other: "Frame | None") -> bool:
        """True if no client has to be looked at again because of the other one. Brokers are compared by identity."""
        return (
            other is not None
            and self.broker is other.broker
            and (self.keys, self.endpoint, self.namespaces) == (other.keys, other.endpoint, other.namespaces)
        )


def frame_of(broker: MQTTBroker, status: Manifest, keys: Keys, namespaces: Namespaces, registry: Registry) -> Frame:
    """`status` of the broker; `namespaces`: where its clients and permissions are. Never raises for what is missing."""
    return Frame(
        broker=broker,
        keys=keys,
        mechanisms=mechanisms_of(broker),
        endpoint=client_endpoint(broker, _addresses(status), _ca(broker, registry)),
        namespaces=_labels(broker, namespaces, registry),
    )


def _addresses(status: Manifest) -> dict[str, str]:
    """What load balancers got, by the entry of spec.services."""
    outside = (each for each in status.get("endpoints", ()) if "service" in each)
    found = {each["service"]: str(each["address"]).rpartition(":")[0].strip("[]") for each in outside}
    return {service: host for service, host in found.items() if host}


def _ca(broker: MQTTBroker, registry: Registry) -> bytes | None:
    """The entry ca.crt of the Secret of the listener that clients are told of; None if it has none, or nobody knows."""
    listener = best_listener(broker.spec.listeners)
    if listener.tls is None:
        return None
    ref = listener.tls.secret_ref
    name = names.tls(broker.metadata.name, listener.name) if ref is None else ref.name
    try:
        found = registry.data(DataKey(DataKind.SECRET, broker.metadata.namespace, name))
    except UnseenError:
        return None
    return None if found is None else found.data.get(names.CA_KEY)


def _labels(broker: MQTTBroker, namespaces: Namespaces, registry: Registry) -> NamespaceLabels:
    """Only where a selector asks for them: an operator of one namespace cannot see any."""
    if all(attachment.namespaces.selector is None for attachment in broker.spec.attachments):
        return {}
    found: dict[str, Mapping[str, str]] = {}
    for namespace in set(namespaces()) - {broker.metadata.namespace}:
        try:
            labels = registry.namespace_labels(namespace)
        except UnseenError:
            continue
        if labels is not None:
            found[namespace] = dict(labels)
    return found
