"""Labels, selectors, annotations and owner references of what is made for a broker.

Knows how an object is marked as a part of a broker, and found again; does not know any kind of object.
"""

from enum import StrEnum

from mqtt_api import keys
from mqtt_api.kinds.common import Resource
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired.manifest import Manifest

NAME = "mqtt-broker"
CLIENT_NAME = "mqtt-client"
PART_OF = "stoa"
MANAGED_BY = "stoa-operator"

NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
VERSION_LABEL = "app.kubernetes.io/version"
PART_OF_LABEL = "app.kubernetes.io/part-of"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
BROKER_LABEL = f"{keys.GROUP}/broker"


class Component(StrEnum):
    """Which part of the broker an object is, or belongs to."""

    BROKER = "broker"
    STORE = "store"


def selector(broker: str, component: Component) -> dict[str, str]:
    """What selects the pods of that component. Never more than this: selectors cannot change later."""
    return {NAME_LABEL: NAME, INSTANCE_LABEL: broker, COMPONENT_LABEL: component.value}


def labels(broker: str, component: Component, version: str | None = None) -> dict[str, str]:
    """All labels of an object; `version` of what runs there, None = it has none."""
    marks = {
        **selector(broker, component),
        PART_OF_LABEL: PART_OF,
        MANAGED_BY_LABEL: MANAGED_BY,
        BROKER_LABEL: broker,
    }
    return marks if version is None else {**marks, VERSION_LABEL: version}


def client_labels() -> dict[str, str]:
    """Labels of what is made for an MQTTClient, in its namespace. The owner says whose it is: names may be too long."""
    return {NAME_LABEL: CLIENT_NAME, PART_OF_LABEL: PART_OF, MANAGED_BY_LABEL: MANAGED_BY}


def client_children_selector() -> str:
    """The label selector, as a query, of everything that is made for MQTTClients."""
    return f"{MANAGED_BY_LABEL}={MANAGED_BY},{NAME_LABEL}={CLIENT_NAME}"


def children_selector(broker: str) -> str:
    """The label selector, as a query, of everything that is made for this broker and for nobody else."""
    return f"{MANAGED_BY_LABEL}={MANAGED_BY},{BROKER_LABEL}={broker}"


def pods_selector(broker: str) -> str:
    """The label selector, as a query, of the nodes' pods; it stands in the status for autoscalers."""
    return ",".join(f"{key}={value}" for key, value in selector(broker, Component.BROKER).items())


def owner_reference(owner: Resource) -> Manifest:
    """The one that makes Kubernetes delete the object with its owner. The owner must have been read from a server."""
    return {**part_owner_reference(owner), "controller": True, "blockOwnerDeletion": True}


def part_owner_reference(owner: Resource) -> Manifest:
    """The same for an object that somebody else controls: it is deleted when all of its owners are."""
    assert owner.metadata.uid is not None
    kind = keys.BROKER_KIND if isinstance(owner, MQTTBroker) else keys.CLIENT_KIND
    return {"apiVersion": keys.API_VERSION, "kind": kind, "name": owner.metadata.name, "uid": owner.metadata.uid}
