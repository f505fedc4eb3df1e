"""What all stories of policies share, and the changing state of one of them that its parts work on together.

Knows the parts by name; does not know what they do.
"""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.credentials.book import VerifierBook
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.kube.port import Kube
from mqtt_operator.policy.incremental import Compiler
from mqtt_operator.reconcile.exchange import Exchange
from mqtt_operator.reconcile.policy_chores import Chores
from mqtt_operator.reconcile.policy_hashing import Hashing, Jobs
from mqtt_operator.reconcile.policy_ledger import Ledger
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.reconcile.statuses import StatusWriter, Subject


class Means(Struct, frozen=True, kw_only=True):
    """One for the process. `inputs`: what our own objects say of the release. `clock` for what is written down,
    `seconds` for what is waited for.
    """

    registry: Registry
    kube: Kube
    exchange: Exchange
    statuses: StatusWriter
    hashing: Hashing
    inputs: Inputs
    open_store: Callable[[RedisSettings], SharedStore]
    clock: Callable[[], datetime]
    seconds: Callable[[], float]


class Work(Struct, frozen=True, kw_only=True):
    """What has been compiled of one broker, and what is under way for it."""

    compiler: Compiler
    ledger: Ledger[Subject]
    book: VerifierBook
    jobs: Jobs
    chores: Chores
