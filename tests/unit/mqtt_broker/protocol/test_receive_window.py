"""Our Receive Maximum, counted in packet ids."""

import pytest

from mqtt_broker.protocol.window import ReceiveWindow
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.reasons import ReasonCode


def test_more_open_ids_than_the_maximum_are_a_violation() -> None:
    """[MQTT-3.3.4-7]"""
    window = ReceiveWindow(2)
    window.open(1)
    window.open(2)
    with pytest.raises(Violation) as raised:
        window.open(3)
    assert raised.value.reason is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


def test_the_same_id_again_counts_once() -> None:
    window = ReceiveWindow(1)
    for _ in range(3):
        window.open(1)


def test_a_completed_id_makes_room() -> None:
    window = ReceiveWindow(1)
    window.open(1)
    window.complete(1)
    window.open(2)


def test_completing_what_is_not_open_changes_nothing() -> None:
    window = ReceiveWindow(1)
    window.complete(9)
    window.open(1)
    with pytest.raises(Violation):
        window.open(2)


def test_many_ids_are_opened_and_completed_at_once() -> None:
    """[MQTT-3.3.4-7]"""
    window = ReceiveWindow(4)
    window.open_all([1, 2, 2])
    assert window.room == 2
    window.complete_all([2, 9])
    assert window.room == 3
    window.open_all([3, 4, 5])
    with pytest.raises(Violation):
        window.open(6)
