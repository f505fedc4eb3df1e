"""What all passes over brokers share: the doors, and what is remembered between passes.

Knows names; does not know what is done with any of them.
"""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from mqtt_api.node_facts import NodeFacts
from mqtt_operator.kube.port import Kube
from mqtt_operator.reconcile.apply import Applier
from mqtt_operator.reconcile.exchange import Exchange
from mqtt_operator.reconcile.lags import Lags
from mqtt_operator.reconcile.managed_store import LiveStores
from mqtt_operator.reconcile.progress import Progress
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.reconcile.sights import Sights
from mqtt_operator.reconcile.store import Looker
from mqtt_operator.reconcile.store_files import StoreFiles
from mqtt_operator.reconcile.surroundings import Surroundings
from mqtt_operator.reconcile.turns import Turns

AskNode = Callable[[str], Awaitable[NodeFacts | None]]


class Means(Struct, frozen=True, kw_only=True):
    """`look` asks a store, `ask_node` a node by the address of its pod."""

    kube: Kube
    registry: Registry
    exchange: Exchange
    surroundings: Surroundings
    applier: Applier
    sights: Sights
    turns: Turns
    progress: Progress
    lags: Lags
    live: LiveStores
    files: StoreFiles
    look: Looker
    ask_node: AskNode
