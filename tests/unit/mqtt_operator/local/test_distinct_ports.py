"""Nodes and front of one machine never want one port."""

import pytest

from mqtt_api.node_settings import ListenerSettings
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.ports import PORT_MAX, Wanted, check_distinct


def wanted(owner: str, *ports: int) -> list[Wanted]:
    return [Wanted(owner, ListenerSettings(name=f"l{port}", host="127.0.0.1", port=port)) for port in ports]


def test_ports_of_their_own_are_fine() -> None:
    check_distinct([*wanted("plant-0", 8883, 9001), *wanted("plant-1", 8884, 9002)])


def test_a_port_wanted_twice_names_both() -> None:
    with pytest.raises(ExpectedError, match=r"8884 would be needed twice: by l8884 of plant-0 and by l8884 of plant-1"):
        check_distinct([*wanted("plant-0", 8883, 8884), *wanted("plant-1", 8884, 8885)])


def test_there_is_no_port_beyond_the_last() -> None:
    with pytest.raises(ExpectedError, match="ports end at 65535"):
        check_distinct(wanted("plant-1", PORT_MAX + 1))
