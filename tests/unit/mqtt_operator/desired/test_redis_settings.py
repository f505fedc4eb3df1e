"""Where the shared store is, who logs in, and what it must promise arrive in the settings of nodes and operator."""

from typing import Any

import pytest

from mqtt_api.kinds.session_store import DurabilityLevel
from mqtt_api.node_settings import RedisSettings, RedisTLSSettings
from mqtt_api.resources import MQTTBroker, parse_document
from mqtt_operator.desired.redis_settings import LogIn, RedisPlace, build_redis_settings, key_prefix

REDIS = {"redis": {"addresses": ["redis:6379"]}}
PLACE = RedisPlace(
    addresses=("redis:6379",),
    node=LogIn(username="n", password_file="/p/node"),
    operator=LogIn(username="o", password_file="/p/operator"),
)


def broker_of(document: dict[str, Any]) -> MQTTBroker:
    broker = parse_document(document)
    assert isinstance(broker, MQTTBroker)
    return broker


def test_nodes_and_operator_differ_in_who_logs_in(broker: Any) -> None:
    declared = broker_of(broker(sessionStore=REDIS))
    node = build_redis_settings(declared, PLACE, PLACE.node)
    assert node == RedisSettings(
        addresses=("redis:6379",), key_prefix="mqtt.default.plant", username="n", password_file="/p/node"
    )
    operator = build_redis_settings(declared, PLACE, PLACE.operator)
    assert (operator.username, operator.password_file) == ("o", "/p/operator")


def test_the_prefix_is_the_declared_one_or_the_brokers_name(broker: Any) -> None:
    declared = {"redis": {"addresses": ["redis:6379"], "keyPrefix": "mine"}}
    assert key_prefix(broker_of(broker(sessionStore=declared))) == "mine"
    assert key_prefix(broker_of(broker(sessionStore={"managed": {}}))) == "mqtt.default.plant"


def test_sentinels_tls_and_durability_arrive(broker: Any) -> None:
    declared = {
        "redis": {"mode": "Sentinel", "addresses": ["a:1", "b:2"], "masterName": "m", "tls": {}},
        "durability": {"level": "Replicated", "replicas": 2, "verification": "Declared"},
    }
    place = RedisPlace(
        addresses=("a:1", "b:2"),
        master_name="m",
        sentinel=LogIn(username="s", password_file="/p/s"),
        tls=RedisTLSSettings(ca_files=("/ca",)),
    )
    settings = build_redis_settings(broker_of(broker(sessionStore=declared)), place, LogIn())
    assert (settings.master_name, settings.sentinel_username, settings.sentinel_password_file) == ("m", "s", "/p/s")
    assert settings.tls == RedisTLSSettings(ca_files=("/ca",))
    assert (settings.durability, settings.replicas, settings.verification) == ("Replicated", 2, "Declared")


@pytest.mark.parametrize("level", [DurabilityLevel.MEMORY, DurabilityLevel.DISK])
def test_another_level_of_the_command_line_counts_instead(broker: Any, level: DurabilityLevel) -> None:
    declared = {**REDIS, "durability": {"level": "Replicated", "replicas": 2}}
    place = RedisPlace(addresses=("redis:6379",), durability=level)
    settings = build_redis_settings(broker_of(broker(sessionStore=declared)), place, LogIn())
    assert (settings.durability, settings.replicas) == (level.value, 0)
