"""The status of an MQTTBroker: what was seen of its nodes, its store, its certificates and its policy.

Knows the shape; does not know how anything is observed.
"""

from typing import Annotated

from pydantic import Field

from mqtt_api.conditions import PENDING, Conditions
from mqtt_api.kinds.common import LABEL_CHARACTERS_MAX
from mqtt_api.kinds.markers import Items, Text
from mqtt_api.kinds.shape import Observed

ENDPOINTS_MAX = 272  # every listener of every Service
CERTIFICATES_SEEN_MAX = 16  # one for each listener
VERSION_CHARACTERS_MAX = 64
SELECTOR_CHARACTERS_MAX = 1_024
ADDRESS_CHARACTERS_MAX = 320  # a DNS name and a port

Count = Annotated[int, Field(strict=True, ge=0)]
ChildName = Annotated[str, Text("must be a name", characters_max=LABEL_CHARACTERS_MAX)]
Version = Annotated[str, Text("must be text", characters_max=VERSION_CHARACTERS_MAX)]
Summary = Annotated[str, Text("must be text", characters_max=VERSION_CHARACTERS_MAX)]


class Endpoint(Observed):
    """An address that clients connect to."""

    service: ChildName | None = Field(
        default=None, description="The entry of spec.services. Absent: the Service within the cluster."
    )
    listener: ChildName = Field(description="The listener that is reached.")
    address: Annotated[str, Text("must be host:port", characters_max=ADDRESS_CHARACTERS_MAX)] = Field(
        description="Host and port, such as 203.0.113.7:8883."
    )


class ServedCertificate(Observed):
    """The certificate of one listener, and how many nodes serve it."""

    listener: ChildName = Field(description="The listener.")
    serial: Annotated[str, Text("must be hexadecimal", characters_max=64)] = Field(
        description="Its serial number in hexadecimal, such as 0a1f."
    )
    not_after: Annotated[str, Text("must be a time", characters_max=64, format="date-time")] = Field(
        description="When it expires, in RFC 3339 form."
    )
    nodes_serving: Count = Field(description="How many nodes serve it.")
    nodes_total: Count = Field(description="How many nodes there are.")


class AppliedPolicy(Observed):
    """The policy that was written last, and how many nodes decide by it."""

    revision: Count = Field(description="Its revision.")
    nodes_current: Count = Field(description="How many nodes decide by it.")
    nodes_total: Count = Field(description="How many nodes there are.")


class MQTTBrokerStatus(Observed):
    """What was seen of the broker."""

    observed_generation: Count | None = Field(
        default=None, description="The metadata.generation this status was made for."
    )
    replicas: Count | None = Field(default=None, description="How many nodes there are.")
    ready_replicas: Count | None = Field(default=None, description="How many nodes accept clients.")
    nodes: Annotated[str, Text("must be text", characters_max=16)] | None = Field(
        default=None,
        description="How many nodes accept clients, of how many that are wanted, as kubectl shows it: 3/3. Programs "
        "read readyReplicas and spec.replicas instead.",
    )
    selector: Annotated[str, Text("must be text", characters_max=SELECTOR_CHARACTERS_MAX)] | None = Field(
        default=None, description="Label selector of the nodes' pods, for autoscalers."
    )
    version: Version | None = Field(default=None, description="The version that all nodes run.")
    available_version: Version | None = Field(
        default=None, description="The operator's own version, where upgradePolicy: Manual keeps the nodes from it."
    )
    store: Summary | None = Field(
        default=None, description="The kind of store and what an acknowledged message survives, such as Redis (Disk)."
    )
    store_id: Annotated[str, Text("must be text", characters_max=128)] | None = Field(
        default=None,
        description="The identity of the store; nodes refuse to serve with a store of another one, or an empty one.",
    )
    endpoints: Annotated[tuple[Endpoint, ...], Items(ENDPOINTS_MAX)] = Field(
        default=(), description="Where clients connect; those reached from outside come first."
    )
    certificates: Annotated[tuple[ServedCertificate, ...], Items(CERTIFICATES_SEEN_MAX, key="listener")] = Field(
        default=(), description="The certificates of the listeners; the one that expires first comes first."
    )
    policy: AppliedPolicy | None = Field(
        default=None, description="The policy that was written last, and how many nodes decide by it."
    )
    conditions: Conditions = Field(
        default=(PENDING,), description="What holds of the object; Ready is the one to wait for."
    )
