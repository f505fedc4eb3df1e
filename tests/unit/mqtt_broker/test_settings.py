"""What a node reads at its start: one file may be the settings of many nodes."""

from pathlib import Path

import msgspec
import pytest

from mqtt_api.node_settings import NodeSettings
from mqtt_broker.settings import SettingsError, read_settings

SETTINGS = NodeSettings(
    node="plant-0",
    broker="factory/plant",
    world="world",
    store="sqlite::memory:",
    admin_socket="/run/stoa/admin.sock",
    listeners=(),
    server_reference="{node}.plant-nodes.factory.svc:8883",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.json"
    path.write_bytes(msgspec.json.encode(SETTINGS))
    return path


def test_a_name_that_is_given_is_the_nodes_and_stands_in_its_server_reference(file: Path) -> None:
    settings = read_settings(file, "plant-7")
    assert settings.node == "plant-7"
    assert settings.server_reference == "plant-7.plant-nodes.factory.svc:8883"


def test_without_one_the_name_of_the_file_counts(file: Path) -> None:
    settings = read_settings(file)
    assert (settings.node, settings.server_reference) == ("plant-0", "plant-0.plant-nodes.factory.svc:8883")


def test_a_reference_without_the_word_stays_as_it_is(file: Path) -> None:
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(SETTINGS, server_reference="mqtt.example:8883")))
    assert read_settings(file, "plant-7").server_reference == "mqtt.example:8883"


def test_a_field_that_is_unknown_is_named(file: Path) -> None:
    file.write_bytes(b'{"http": {"host": "::", "port": 8081, "path": "/x"}}')
    with pytest.raises(SettingsError, match="path"):
        read_settings(file)
