"""Which objects of the cluster the operator follows.

Knows the kinds and where each is followed; does not know how, or what is made of the news. Pure.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mqtt_operator.desired import kinds
from mqtt_operator.desired.labels import MANAGED_BY, MANAGED_BY_LABEL
from mqtt_operator.kube.place import Place
from mqtt_operator.reconcile.registry import EVERYWHERE, Scope

DECLARED = (kinds.MQTT_BROKER, kinds.MQTT_CLIENT, kinds.TOPIC_PERMISSION)
"""What people declare: all of it."""

MADE = (
    kinds.STATEFUL_SET,
    kinds.POD,
    kinds.SERVICE,
    kinds.SERVICE_ACCOUNT,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.HORIZONTAL_POD_AUTOSCALER,
    kinds.NETWORK_POLICY,
)
"""What is made for a broker: only what is labelled so, which the API server sorts out."""

MADE_WHERE_SERVED = (kinds.CERTIFICATE, kinds.SERVICE_MONITOR, kinds.PROMETHEUS_RULE)
"""The same, of kinds that others install."""

DATA = (kinds.SECRET, kinds.CONFIG_MAP)
"""What people refer to: all of it in the namespaces that a broker or a client is in, and nowhere else."""

OF_OURS = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
NO_RELEASES = "type!=helm.sh/release.v1"  # a megabyte each, and never what a reference means


class Followed(NamedTuple):
    """`scope`: how the registry calls it. None: it is only told that something changed."""

    place: Place
    scope: Scope | None


def standing(watched: Iterable[str]) -> Iterator[Followed]:
    """What is followed from start to end. `watched`: the namespaces; none = all."""
    namespaces = tuple(watched)
    for namespace in namespaces or (EVERYWHERE,):
        for kind in DECLARED:
            yield _told(Place(kind, namespace))
        for kind in MADE:
            yield Followed(Place(kind, namespace, OF_OURS), None)
        for kind in MADE_WHERE_SERVED:
            yield Followed(Place(kind, namespace, OF_OURS, optional=True), None)
    if not namespaces:
        yield _told(Place(kinds.NAMESPACE))


def of_home(namespace: str) -> Iterator[Followed]:
    """What is followed in a namespace as long as a broker or a client is in it."""
    for kind in DATA:
        yield _told(Place(kind, namespace, fields=NO_RELEASES if kind is kinds.SECRET else ""))


def _told(place: Place) -> Followed:
    return Followed(place, Scope(place.kind, place.namespace))
