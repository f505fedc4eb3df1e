"""Services of a broker: what clients outside connect to.

Knows the shape and which combinations contradict each other; does not know Kubernetes objects or load balancers.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mqtt_api import keys
from mqtt_api.kinds.common import LABEL_KEY_PATTERN, LabelValue
from mqtt_api.kinds.markers import Entries, Items, Text
from mqtt_api.kinds.network import CIDR, HostName
from mqtt_api.kinds.selectors import LABEL_KEYS_MESSAGE, LabelKey
from mqtt_api.kinds.shape import Rule, Shape

SERVICE_NAME_CHARACTERS_MAX = 20  # with the broker's name and '-' before it, within 63
SERVICES_MAX = 16
SOURCE_RANGES_MAX = 64
LABELS_MAX = 32
ANNOTATIONS_MAX = 32
ANNOTATION_CHARACTERS_MAX = 4_096
LISTENERS_PER_SERVICE_MAX = 16

TAKEN_SERVICE_NAMES = ("nodes", "policy", "settings", "store", "store-operator", "store-server")
"""What comes behind a broker's name in the names of other objects of it."""

OWN_PREFIXES = ("app.kubernetes.io/", f"{keys.GROUP}/")

ServiceName = Annotated[
    str,
    Text(
        "must be at most 20 lower-case letters, digits and single '-', starting with a letter",
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        characters_max=SERVICE_NAME_CHARACTERS_MAX,
    ),
]
ListenerName = Annotated[
    str,
    Text("must be the name of a listener", pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", characters_max=15),
]
AnnotationValue = Annotated[str, Text("must be text", characters_min=0, characters_max=ANNOTATION_CHARACTERS_MAX)]
ChildLabels = Annotated[
    Mapping[str, LabelValue], Entries(LABELS_MAX, LABEL_KEYS_MESSAGE, LABEL_KEY_PATTERN, reserved=OWN_PREFIXES)
]
"""Labels that are put on objects that the operator makes, besides its own."""

ChildAnnotations = Annotated[
    Mapping[str, AnnotationValue],
    Entries(
        ANNOTATIONS_MAX,
        "must have keys in the form of Kubernetes annotations",
        LABEL_KEY_PATTERN,
        reserved=(f"{keys.GROUP}/",),
    ),
]
"""Annotations that are put on objects that the operator makes, besides its own."""


class ServiceType(StrEnum):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class ExternalTrafficPolicy(StrEnum):
    CLUSTER = "Cluster"
    LOCAL = "Local"


class Service(Shape):
    """One Service, for one or several listeners."""

    name: ServiceName = Field(description="Name of the entry; the Service is called BROKER-NAME.")
    type: ServiceType = Field(
        default=ServiceType.LOAD_BALANCER,
        description="LoadBalancer: reached from outside by an address of its own. NodePort: by a port of every machine "
        "of the cluster. ClusterIP: from inside only.",
    )
    listeners: Annotated[tuple[ListenerName, ...], Items(LISTENERS_PER_SERVICE_MAX, count_min=1, unique=True)] = Field(
        description="The listeners it leads to, each under its own port."
    )
    external_traffic_policy: ExternalTrafficPolicy | None = Field(
        default=None,
        description="Not for ClusterIP. Local: clients keep their source address, and reach only nodes on the machine "
        "they came to. Cluster: any node, and the address is lost unless a PROXY header tells it. Absent: Cluster.",
    )
    load_balancer_source_ranges: (
        Annotated[tuple[CIDR, ...], Items(SOURCE_RANGES_MAX, count_min=1, unique=True)] | None
    ) = Field(
        default=None, description="Only for LoadBalancer: the networks that it lets in, where it can. Absent: all."
    )
    load_balancer_class: LabelKey | None = Field(
        default=None,
        description="Only for LoadBalancer: who provides it. Absent: the cluster's default. Never changes.",
    )
    labels: ChildLabels = Field(default={}, description="Labels of the Service.")
    annotations: ChildAnnotations = Field(
        default={}, description="Annotations of the Service, by which load balancers take their settings."
    )
    advertised_address: HostName | None = Field(
        default=None,
        description="The name or address by which clients reach it, where that is not what the load balancer says of "
        "itself. It is shown in the status and written to generated Secrets.",
    )

    invariants = (
        Rule(
            cel=f"!(self.name in [{', '.join(repr(name) for name in TAKEN_SERVICE_NAMES)}])",
            message=f"must not be one of {', '.join(TAKEN_SERVICE_NAMES)}: other objects of a broker are called so",
            holds=lambda self: self.name not in TAKEN_SERVICE_NAMES,
            field="name",
        ),
        Rule(
            cel="!has(self.externalTrafficPolicy) || !has(self.type) || self.type != 'ClusterIP'",
            message="is not for type: ClusterIP: leave it out",
            holds=lambda self: self.external_traffic_policy is None or self.type != ServiceType.CLUSTER_IP,
            field="externalTrafficPolicy",
        ),
        Rule(
            cel="!has(self.loadBalancerSourceRanges) || !has(self.type) || self.type == 'LoadBalancer'",
            message="is only for type: LoadBalancer: leave it out",
            holds=lambda self: self.load_balancer_source_ranges is None or self.type == ServiceType.LOAD_BALANCER,
            field="loadBalancerSourceRanges",
        ),
        Rule(
            cel="!has(self.loadBalancerClass) || !has(self.type) || self.type == 'LoadBalancer'",
            message="is only for type: LoadBalancer: leave it out",
            holds=lambda self: self.load_balancer_class is None or self.type == ServiceType.LOAD_BALANCER,
            field="loadBalancerClass",
        ),
        Rule(
            cel="has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) "
            "&& (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass)",
            message="cannot change, as Kubernetes fixes it when a Service is made: add another entry to services",
            field="loadBalancerClass",
        ),
    )
