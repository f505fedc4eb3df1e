"""What of the declared durability a store does not show."""

import pytest

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.look import Look, durability_lacks
from mqtt_operator.channel.terms import Members

SAFE = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}


def lacks(level: str, config: dict[str, str] | None, replicas: int = 0) -> list[str]:
    settings = RedisSettings(addresses=("r:1",), key_prefix="mqtt.a", durability=level, replicas=2)
    members = Members(nodes={}, feed_end=0, policy_revision=-1)
    return durability_lacks(
        settings, Look(world="", is_rolled_back=False, members=members, replicas=replicas, config=config)
    )


@pytest.mark.parametrize(
    ("level", "config", "replicas", "lack"),
    [
        ("Disk", SAFE, 0, None),
        ("Memory", {**SAFE, "appendonly": "no"}, 0, None),
        ("Replicated", {**SAFE, "appendonly": "no"}, 2, None),
        ("Disk", None, 0, "Its settings cannot be read: allow CONFIG GET, or set durability.verification to Declared."),
        ("Disk", {**SAFE, "appendonly": "no"}, 0, "Disk needs appendonly yes, or declare Memory."),
        (
            "Disk",
            {**SAFE, "appendfsync": "everysec"},
            0,
            "Disk needs appendfsync always, not everysec; or declare Memory.",
        ),
        ("Replicated", SAFE, 1, "Replicated needs 2 replicas, 1 are connected."),
        (
            "Memory",
            {**SAFE, "maxmemory-policy": "allkeys-lru"},
            0,
            "maxmemory-policy allkeys-lru deletes what was acknowledged when memory is short: set noeviction.",
        ),
    ],
)
def test_each_level_needs_its_settings(
    level: str, config: dict[str, str] | None, replicas: int, lack: str | None
) -> None:
    assert lacks(level, config, replicas) == ([] if lack is None else [lack])


def test_everything_that_is_lacking_is_told() -> None:
    assert len(lacks("Disk", {"maxmemory-policy": "allkeys-lru", "appendonly": "no"})) == 2
