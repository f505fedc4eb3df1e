"""Everything that was made for a broker, as it is now.

Knows which kinds to look through; does not know what should be there.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from mqtt_api.kinds.certificates import IssuerRef
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import kinds, names
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.labels import children_selector, pods_selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import Kube
from mqtt_operator.status.verdict import Problem

ALWAYS_SERVED = (
    kinds.SERVICE_ACCOUNT,
    kinds.NETWORK_POLICY,
    kinds.SECRET,
    kinds.CONFIG_MAP,
    kinds.SERVICE,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.STATEFUL_SET,
    kinds.HORIZONTAL_POD_AUTOSCALER,
)
OPTIONAL = (kinds.CERTIFICATE, kinds.SERVICE_MONITOR, kinds.PROMETHEUS_RULE)
"""Kinds that others install."""


class ObjectName(NamedTuple):
    """Which object of a namespace."""

    kind: str
    name: str


class Found(NamedTuple):
    """`children` carry the labels of this broker; `pods` those of its nodes. `served`: the optional kinds there are.

    `issuers`: those that listeners name and that something is wrong with.
    """

    children: Mapping[ObjectName, Manifest]
    pods: tuple[Manifest, ...]
    served: frozenset[Kind]
    issuers: Mapping[IssuerRef, Problem] = {}

    def child(self, kind: Kind, name: str) -> Manifest | None:
        return self.children.get(ObjectName(kind.kind, name))

    def stateful_set(self, broker: MQTTBroker) -> Manifest | None:
        """That of the nodes."""
        return self.child(kinds.STATEFUL_SET, names.stateful_set(broker.metadata.name))


def name_of(manifest: Manifest) -> ObjectName:
    """How an object of the broker's namespace is told apart."""
    return ObjectName(manifest["kind"], manifest["metadata"]["name"])


async def observe(kube: Kube, broker: MQTTBroker) -> Found:
    """Not at one moment. Raises KubeError."""
    served = frozenset([kind for kind in OPTIONAL if await kube.serves(kind)])
    namespace, name = broker.metadata.namespace, broker.metadata.name
    looked_through = (*ALWAYS_SERVED, *(kind for kind in OPTIONAL if kind in served))
    lists = [kube.list(kind, namespace, children_selector(name)) for kind in looked_through]
    *children, pods = await asyncio.gather(*lists, kube.list(kinds.POD, namespace, pods_selector(name)))
    found = {name_of(each): each for some in children for each in some}
    return Found(children=found, pods=tuple(pods), served=served)
