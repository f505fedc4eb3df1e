"""From an MQTTBroker to what a node, or the operator, is told about the Redis that the nodes share.

Knows both shapes; does not know where the password files come from, or a client of Redis. Pure.
"""

from msgspec import Struct

from mqtt_api.kinds.session_store import DurabilityLevel
from mqtt_api.node_settings import RedisSettings, RedisTLSSettings
from mqtt_api.resources import MQTTBroker


class LogIn(Struct, frozen=True, kw_only=True):
    """Who logs in, and the file with the password; None = without."""

    username: str | None = None
    password_file: str | None = None


class RedisPlace(Struct, frozen=True, kw_only=True):
    """What no MQTTBroker says in the form that is needed: addresses, log-ins, files.

    `durability`: another level than the broker declares, None = that one.
    """

    addresses: tuple[str, ...]
    master_name: str | None = None
    node: LogIn = LogIn()
    operator: LogIn = LogIn()
    sentinel: LogIn = LogIn()
    tls: RedisTLSSettings | None = None
    durability: DurabilityLevel | None = None


def build_redis_settings(broker: MQTTBroker, place: RedisPlace, log_in: LogIn) -> RedisSettings:
    """How whoever logs in like this reaches the store of this broker."""
    durability = broker.spec.session_store.durability
    return RedisSettings(
        addresses=place.addresses,
        key_prefix=key_prefix(broker),
        master_name=place.master_name,
        username=log_in.username,
        password_file=log_in.password_file,
        sentinel_username=place.sentinel.username,
        sentinel_password_file=place.sentinel.password_file,
        tls=place.tls,
        durability=(place.durability or durability.level).value,
        verification=durability.verification.value,
        replicas=durability.replicas or 0 if place.durability is None else 0,
    )


def key_prefix(broker: MQTTBroker) -> str:
    """What all keys of this broker start with."""
    redis = broker.spec.session_store.redis
    declared = None if redis is None else redis.key_prefix
    return declared or f"mqtt.{broker.metadata.namespace}.{broker.metadata.name}"
