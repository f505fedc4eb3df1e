"""The reason string of CONNACK, which must fit into what the client takes."""

from collections.abc import Callable

import pytest

from mqtt_broker.protocol.connection import Connection
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import ConnAck, Properties
from mqtt_broker.wire.reasons import ReasonCode
from unit.mqtt_broker.protocol.machines import V5, connecting, sent

WHY = "the reason, at some length, for those who read it"


def accept(connection: Connection) -> None:
    connection.accept(session_present=False, reason_string=WHY)


def refuse(connection: Connection) -> None:
    connection.refuse(ReasonCode.NOT_AUTHORIZED, WHY)


def connack(answer: Callable[[Connection], None], packet_bytes_max: int | None = None) -> ConnAck:
    """What a client hears that takes packets of this size."""
    connection = connecting(V5, Properties(maximum_packet_size=packet_bytes_max))
    answer(connection)
    (packet,) = sent(connection)
    assert isinstance(packet, ConnAck)
    return packet


@pytest.mark.parametrize("answer", [accept, refuse])
def test_a_reason_string_of_connack_that_does_not_fit_is_left_out(answer: Callable[[Connection], None]) -> None:
    """[MQTT-3.2.2-19]"""
    whole = connack(answer)
    assert whole.properties.reason_string == WHY
    whole_bytes = len(encode(whole, V5))
    assert connack(answer, whole_bytes) == whole
    shorter = connack(answer, whole_bytes - 1)
    assert shorter.properties.reason_string is None
    assert shorter.reason is whole.reason
