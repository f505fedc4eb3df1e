"""docs/limits.md says the defaults, thresholds and names that the code has."""

import re
from pathlib import Path

import pytest

from mqtt_api.kinds.mqttbroker import MQTT, Listener, Queue
from mqtt_broker.auth import passwords
from mqtt_broker.node import client, node, overload
from mqtt_broker.node.counters import Counters
from mqtt_broker.protocol import connection
from mqtt_broker.wire import decoders, properties

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
METRICS = (ROOT / "broker" / "mqtt_broker" / "node" / "metrics.py").read_text(encoding="utf-8")
MIB = 1024 * 1024
NAMES_OF_UNITS = {"Ki": " KiB", "Mi": " MiB", "m": " min", "h": " h"}


def cells(words: str) -> list[str]:
    """The cells of the one row whose first cell has these words."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| ") and words in line.split("|")[1]]
    return [cell.strip() for cell in row.strip("|").split("|")]


def as_written(default: object) -> str:
    if isinstance(default, int):
        return f"{default:,}"
    number, unit = re.fullmatch(r"(\d+)(\w+)", str(default)).groups()  # type: ignore[union-attr]
    return number + NAMES_OF_UNITS[unit]


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ("maxConnectionsPerNode", Listener.model_fields["max_connections_per_node"].default),
        ("maxPacketSize", MQTT.model_fields["max_packet_size"].default),
        ("receiveMaximum", MQTT.model_fields["receive_maximum"].default),
        ("topicAliasMaximum", MQTT.model_fields["topic_alias_maximum"].default),
        ("maxKeepAlive", MQTT.model_fields["max_keep_alive"].default),
        ("maxTopicLevels", MQTT.model_fields["max_topic_levels"].default),
        ("maxSubscriptionsPerClient", MQTT.model_fields["max_subscriptions_per_client"].default),
        ("maxSessionExpiry", MQTT.model_fields["max_session_expiry"].default),
        ("maxMessageExpiry", MQTT.model_fields["max_message_expiry"].default),
        ("queue.maxMessages", Queue.model_fields["max_messages"].default),
        ("queue.maxBytes", Queue.model_fields["max_bytes"].default),
    ],
)
def test_the_default_of_a_field_is_the_one_on_the_page(field: str, default: object) -> None:
    assert cells(f"`{field}`")[1] == as_written(default)


@pytest.mark.parametrize(
    ("words", "bound"),
    [
        ("CONNECT, from", f"{connection.CONNECT_DEADLINE_S:g} s, {connection.CONNECT_BYTES_MAX // 1024} KiB"),
        ("passwords that wait", f"{node.PASSWORDS_WAITING_MAX}, {passwords.WAIT_S_MAX:g} s"),
        ("user properties", f"{properties.USER_PROPERTIES_MAX}"),
        ("filters of a SUBSCRIBE", f"{decoders.FILTERS_MAX:,}"),
        ("wait for the disk", f"{client.EFFECTS_WAITING_HIGH:,}, {client.EFFECTS_WAITING_BYTES_HIGH // MIB} MiB"),
        ("under way to a client", f"its receive maximum, at most {client.IN_FLIGHT_MAX:,}"),
        ("bytes written", f"{client.WRITE_BUFFER_BYTES_HIGH // 1024} KiB"),
        ("the same, with answers, before more is added", f"{client.WRITE_BUFFER_BYTES_MAX // MIB} MiB"),
    ],
)
def test_a_bound_without_a_field_is_the_one_on_the_page(words: str, bound: str) -> None:
    assert cells(words)[1] == bound


def test_the_wait_for_receivers_is_the_one_on_the_page() -> None:
    assert f"**for at most {client.RECEIVERS_S_MAX} s**" in PAGE


@pytest.mark.parametrize("level", range(1, overload.LEVEL_MAX + 1))
def test_the_thresholds_of_a_level_are_those_on_the_page(level: int) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {level} |")]
    waiting_bytes = int(overload.BUFFERED[level - 1] * overload.BUFFERED_BYTES_MAX)
    assert row.startswith(f"| {level} | {overload.LAG_S[level - 1]} s | {waiting_bytes // MIB} MiB |")


def test_a_level_is_left_as_the_page_says() -> None:
    assert f"below {overload.CALM:.0%} of".replace("%", " %") in PAGE
    assert overload.CALM_S == 1.0


def test_every_reason_to_drop_is_explained_and_no_other() -> None:
    table = PAGE.split("## What is dropped")[1]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Counters().dropped)


def test_every_figure_on_the_page_exists() -> None:
    named = set(re.findall(r"\b(stoa_[a-z_]+)", PAGE))
    assert len(named) > 8
    for name in named:
        assert f'"{name}"' in METRICS, name
