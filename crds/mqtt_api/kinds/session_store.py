"""The store of an MQTTBroker: inside the node, a Redis that exists, or one run along with it; and what it promises.

Knows the shape and which combinations contradict each other; does not know Redis.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mqtt_api.kinds.common import DataKey, DataRef, ObjectName
from mqtt_api.kinds.images import Image
from mqtt_api.kinds.markers import Items, Text
from mqtt_api.kinds.quantities import Bytes, BytesBetween
from mqtt_api.kinds.shape import Rule, Shape
from mqtt_api.kinds.workload import Resources

ADDRESSES_MAX = 16
CA_REFS_MAX = 16
KEY_PREFIX_CHARACTERS_MAX = 128  # it stands in every key
REDIS_REPLICAS_MAX = 8


class RedisMode(StrEnum):
    STANDALONE = "Standalone"
    SENTINEL = "Sentinel"


class DurabilityLevel(StrEnum):
    MEMORY = "Memory"
    DISK = "Disk"
    REPLICATED = "Replicated"


class Verification(StrEnum):
    REQUIRED = "Required"
    DECLARED = "Declared"


HostPort = Annotated[
    str,
    Text(
        "must be host:port, such as redis:6379 or [::1]:6379",
        pattern=r"^([A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$",
    ),
]
KeyPrefix = Annotated[
    str,
    Text(
        "must be letters, digits, '-', '_', '.' and ':'",  # no brace: the prefix stands between two of them
        pattern=r"^[-A-Za-z0-9_.:]+$",
        characters_max=KEY_PREFIX_CHARACTERS_MAX,
    ),
]
MasterName = Annotated[str, Text("must be letters, digits, '-', '_' and '.'", pattern=r"^[-A-Za-z0-9_.]+$")]


STORAGE_DEFAULT = Bytes("1Gi")
"""How large a volume is that nobody gave a size."""

_STORAGE_GROWS = Rule(
    cel="!has(oldSelf.storage) || (has(self.storage)"
    " && quantity(string(self.storage)).compareTo(quantity(string(oldSelf.storage))) >= 0)",
    message="cannot shrink: a volume only grows; make another broker",
    field="storage",
)
_STORAGE_CLASS_STAYS = Rule(
    cel="has(self.storageClassName) == has(oldSelf.storageClassName) "
    "&& (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
    message="cannot change: what lies on the old volume would be lost; make another broker",
    field="storageClassName",
)


class EmbeddedStore(Shape):
    """The store inside the node's own process."""

    storage: Annotated[Bytes, BytesBetween("16Mi", "16Ti")] | None = Field(
        default=None,
        description="How large the store may grow, and its volume. Absent: as large as its disk; in Kubernetes 1Gi. "
        "When it is full, publishes that must be stored are not acknowledged until queues have drained.",
    )
    storage_class_name: ObjectName | None = Field(
        default=None, description="The StorageClass of its volume. Absent: the cluster's default. Never changes."
    )

    invariants = (_STORAGE_GROWS, _STORAGE_CLASS_STAYS)


class ManagedStore(Shape):
    """One small Redis that is run along with the broker: for trials and small plants."""

    storage: Annotated[Bytes, BytesBetween("64Mi", "16Ti")] | None = Field(
        default=None, description="How large its volume is. Absent: 1Gi. Elsewhere than in Kubernetes: the disk's size."
    )
    storage_class_name: ObjectName | None = Field(
        default=None, description="The StorageClass of its volume. Absent: the cluster's default. Never changes."
    )
    image: Image | None = Field(
        default=None, description="What it runs: Redis 7 or Valkey 8. Absent: what the operator is told to use."
    )
    resources: Resources | None = Field(default=None, description="What it gets of its machine.")

    invariants = (_STORAGE_GROWS, _STORAGE_CLASS_STAYS)


class RedisCredentialsRef(Shape):
    """The Secret with which to log in to Redis, in the namespace of the broker."""

    name: ObjectName = Field(description="Name of the Secret, in the same namespace.")
    username_key: DataKey | None = Field(
        default=None, description="Which entry is the user name. Absent: Redis' user named default."
    )
    password_key: DataKey | None = Field(default=None, description="Which entry is the password. Absent: password.")


class RedisTLS(Shape):
    """TLS to Redis."""

    ca_refs: Annotated[tuple[DataRef, ...], Items(CA_REFS_MAX, count_min=1)] | None = Field(
        default=None,
        description="The CAs whose certificate Redis may show, in PEM form. Absent: those the system trusts.",
    )


class RedisStore(Shape):
    """A Redis 7 or Valkey 8 that exists already."""

    mode: RedisMode = Field(
        default=RedisMode.STANDALONE,
        description="Standalone: one server. Sentinel: addresses are those of the sentinels, which know the primary.",
    )
    addresses: Annotated[tuple[HostPort, ...], Items(ADDRESSES_MAX, count_min=1, unique=True)] = Field(
        description="Where it is, as host:port: the one server, or the sentinels."
    )
    master_name: MasterName | None = Field(
        default=None, description="Only for mode: Sentinel: what the sentinels call the primary."
    )
    key_prefix: KeyPrefix | None = Field(
        default=None,
        description="What all keys start with, so that several brokers share one Redis. Absent: mqtt.NAMESPACE.NAME.",
    )
    credentials_ref: RedisCredentialsRef | None = Field(
        default=None, description="How nodes log in. Absent: without a password."
    )
    operator_credentials_ref: RedisCredentialsRef | None = Field(
        default=None,
        description="How the operator logs in, as the only one that may write the policy. Absent: as the nodes do, who "
        "could then write it too.",
    )
    sentinel_credentials_ref: RedisCredentialsRef | None = Field(
        default=None, description="Only for mode: Sentinel: how to log in to the sentinels. Absent: without a password."
    )
    tls: RedisTLS | None = Field(
        default=None, description="TLS to Redis, and to the sentinels; {} trusts what the system does. Absent: none."
    )

    invariants = (
        Rule(
            cel="self.mode != 'Standalone' || size(self.addresses) == 1",
            message="must be one server; several addresses are for mode: Sentinel",
            holds=lambda self: self.mode != RedisMode.STANDALONE or len(self.addresses) == 1,
            field="addresses",
        ),
        Rule(
            cel="(self.mode == 'Sentinel') == has(self.masterName)",
            message="goes with mode: Sentinel, which cannot do without it",
            holds=lambda self: (self.mode == RedisMode.SENTINEL) == (self.master_name is not None),
            field="masterName",
        ),
        Rule(
            cel="self.mode == 'Sentinel' || !has(self.sentinelCredentialsRef)",
            message="is only for mode: Sentinel: leave it out",
            holds=lambda self: self.mode == RedisMode.SENTINEL or self.sentinel_credentials_ref is None,
            field="sentinelCredentialsRef",
        ),
        Rule(
            cel="has(self.keyPrefix) == has(oldSelf.keyPrefix) "
            "&& (!has(self.keyPrefix) || self.keyPrefix == oldSelf.keyPrefix)",
            message="cannot change: what lies under the old prefix would be lost; make another broker",
            field="keyPrefix",
        ),
    )

    @property
    def log_ins(self) -> dict[str, RedisCredentialsRef]:
        """Those that are declared, by the field that declares each."""
        declared = {
            "credentialsRef": self.credentials_ref,
            "operatorCredentialsRef": self.operator_credentials_ref,
            "sentinelCredentialsRef": self.sentinel_credentials_ref,
        }
        return {field: ref for field, ref in declared.items() if ref is not None}


class Durability(Shape):
    """What an acknowledged message survives; checked against the store, never assumed."""

    level: DurabilityLevel = Field(
        default=DurabilityLevel.DISK,
        description="What is acknowledged is: Memory: in the store's memory. Disk: on its disk (Redis with appendfsync "
        "always). Replicated: on that many replicas too.",
    )
    verification: Verification = Field(
        default=Verification.REQUIRED,
        description="Required: a node does not start unless Redis shows the settings that the level needs. Declared: "
        "believe it, for services that hide their settings.",
    )
    replicas: Annotated[int, Field(strict=True, ge=1, le=REDIS_REPLICAS_MAX)] | None = Field(
        default=None,
        description="Only for level: Replicated: how many replicas must have a write before it counts; all that may be "
        "promoted.",
    )

    invariants = (
        Rule(
            cel="(has(self.level) && self.level == 'Replicated') == has(self.replicas)",
            message="goes with level: Replicated, which cannot do without it",
            holds=lambda self: (self.level == DurabilityLevel.REPLICATED) == (self.replicas is not None),
            field="replicas",
        ),
    )


class SessionStore(Shape):
    """Where sessions, queues and retained messages are kept: exactly one of embedded, redis and managed."""

    embedded: EmbeddedStore | None = Field(
        default=None,
        description="A file next to the broker: survives restarts, needs nothing else, and serves exactly one node.",
    )
    redis: RedisStore | None = Field(
        default=None, description="A Redis or Valkey that exists already: shared by all nodes of the broker."
    )
    managed: ManagedStore | None = Field(
        default=None,
        description="One Redis, run along with the broker, with everything on its disk: for trials and small plants.",
    )
    durability: Durability = Field(
        default=Durability(), description="What an acknowledged message survives. The embedded store is always Disk."
    )

    invariants = (
        Rule(
            cel="[has(self.embedded), has(self.redis), has(self.managed)].filter(given, given).size() == 1",
            message="needs exactly one of embedded, redis and managed",
            holds=lambda self: [self.embedded, self.redis, self.managed].count(None) == 2,
        ),
        Rule(
            cel="has(self.redis) || self.durability.level != 'Replicated'",
            message="must be Memory or Disk, unless redis names a store that has replicas",
            holds=lambda self: self.redis is not None or self.durability.level != DurabilityLevel.REPLICATED,
            field="durability",
        ),
        Rule(
            cel="!has(self.embedded) || self.durability.level != 'Memory'",
            message="cannot be less than Disk with the embedded store: leave it out",
            holds=lambda self: self.embedded is None or self.durability.level != DurabilityLevel.MEMORY,
            field="durability",
        ),
        Rule(
            cel="has(self.embedded) == has(oldSelf.embedded) && has(self.redis) == has(oldSelf.redis)",
            message="cannot become another kind of store: what the old one holds would be lost; make another broker",
        ),
    )
