"""Networks and peers: who may reach a port.

Knows how they are written; does not know which port, or who enforces it.
"""

import ipaddress
from typing import Annotated

from pydantic import Field

from mqtt_api.kinds.markers import Items, Text
from mqtt_api.kinds.selectors import LabelSelector
from mqtt_api.kinds.shape import Rule, Shape

EXCEPTIONS_MAX = 16
CIDR_CHARACTERS_MAX = 49

CIDR = Annotated[
    str,
    Text(
        "must be a network such as 10.0.0.0/8 or fd00::/8",
        pattern=r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$",
        characters_max=CIDR_CHARACTERS_MAX,
        check=ipaddress.ip_network,
    ),
]
HostName = Annotated[
    str,
    Text(
        "must be a host name or an address, such as mqtt.example.org or 203.0.113.7, in lower case and without a port",
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*|[0-9a-f:]*:[0-9a-f:.]*)$",
    ),
]


class IPBlock(Shape):
    """A network, with holes."""

    cidr: CIDR = Field(description="The network.")
    exceptions: Annotated[tuple[CIDR, ...], Items(EXCEPTIONS_MAX, count_min=1, unique=True)] | None = Field(
        default=None, alias="except", description="Networks inside it that are not meant."
    )


class NetworkPolicyPeer(Shape):
    """Whom a NetworkPolicy lets in: pods, the pods of some namespaces, or a network."""

    pod_selector: LabelSelector | None = Field(
        default=None, description="Pods by their labels; in the same namespace unless namespaceSelector is there."
    )
    namespace_selector: LabelSelector | None = Field(
        default=None, description="Namespaces by their labels; {} means all of them."
    )
    ip_block: IPBlock | None = Field(default=None, description="A network outside the cluster.")

    invariants = (
        Rule(
            cel="has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
            message="must have either ipBlock, or podSelector and namespaceSelector or one of them",
            holds=lambda self: (
                (self.ip_block is not None) != (self.pod_selector is not None or self.namespace_selector is not None)
            ),
        ),
    )
