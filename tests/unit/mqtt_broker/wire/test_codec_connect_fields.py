"""The fields of CONNECT, SUBSCRIBE and UNSUBSCRIBE that a client left out, added, or spelt in no UTF-8."""

import pytest

from mqtt_broker.wire.codec import decode
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import Connect, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode

V3_1_1, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
PACKET_BYTES_MAX = 1_000
LEVEL_4, LEVEL_5 = "0004 4d515454 04", "0004 4d515454 05"
NO_UTF_8 = "0001 ff"


def framed(first: int, body: str) -> bytes:
    data = bytes.fromhex(body)
    return bytes((first, len(data))) + data


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f"{LEVEL_5} 06 0000 00 0001 61", id="MQTT-3.1.2-9 no will"),
        pytest.param(f"{LEVEL_5} 06 0000 00 0001 61 00", id="MQTT-3.1.2-9 no will topic"),
        pytest.param(f"{LEVEL_5} 06 0000 00 0001 61 00 0001 74", id="MQTT-3.1.2-9 no will payload"),
        pytest.param(f"{LEVEL_5} 02 0000 00 0001 61 0001 75", id="MQTT-3.1.2-16 a user name without its flag"),
        pytest.param(f"{LEVEL_5} 82 0000 00 0001 61", id="MQTT-3.1.2-17 no user name"),
        pytest.param(f"{LEVEL_5} 82 0000 00 0001 61 0001 75 0001 70", id="MQTT-3.1.2-18 a password without its flag"),
        pytest.param(f"{LEVEL_5} c2 0000 00 0001 61 0001 75", id="MQTT-3.1.2-19 no password"),
        pytest.param(f"{LEVEL_5} 02 0000 00", id="MQTT-3.1.3-3 no client identifier"),
        pytest.param(f"{LEVEL_5} 02 0000 00 {NO_UTF_8}", id="MQTT-3.1.3-4 client identifier of no UTF-8"),
        pytest.param(f"{LEVEL_5} 06 0000 00 0001 61 00 {NO_UTF_8} 0000", id="MQTT-3.1.3-11 will topic of no UTF-8"),
        pytest.param(f"{LEVEL_5} 82 0000 00 0001 61 {NO_UTF_8}", id="MQTT-3.1.3-12 user name of no UTF-8"),
        pytest.param(f"{LEVEL_4} 82 0000 0001 61 0001 75 0001 70", id="3.1.1 MQTT-3.1.2-20 a password"),
    ],
)
def test_connect_of_other_fields_than_its_flags_say_is_malformed(body: str) -> None:
    with pytest.raises(Violation) as caught:
        decode(framed(0x10, body), 0, None, PACKET_BYTES_MAX)
    assert caught.value.reason is ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize(("level", "empty"), [(LEVEL_4, ""), (LEVEL_5, "00")])
def test_the_fields_of_connect_have_one_order(level: str, empty: str) -> None:
    """[MQTT-3.1.3-1] [3.1.1 MQTT-3.1.3-1]"""
    body = f"{level} c6 0000 {empty} 0001 63 {empty} 0001 74 0001 6d 0001 75 0001 70"
    decoded = decode(framed(0x10, body), 0, None, PACKET_BYTES_MAX)
    assert decoded is not None
    packet = decoded[0]
    assert isinstance(packet, Connect)
    assert packet.will is not None
    assert (packet.client_id, packet.will.topic, packet.will.payload) == ("c", "t", b"m")
    assert (packet.username, packet.password) == ("u", b"p")


@pytest.mark.parametrize(
    ("version", "first", "body"),
    [
        pytest.param(V3_1_1, 0x82, f"0001 {NO_UTF_8} 00", id="3.1.1 MQTT-3.8.3-1"),
        pytest.param(V3_1_1, 0xA2, f"0001 {NO_UTF_8}", id="3.1.1 MQTT-3.10.3-1"),
        pytest.param(V5, 0x82, f"0001 00 {NO_UTF_8} 00", id="MQTT-3.8.3-1"),
        pytest.param(V5, 0xA2, f"0001 00 {NO_UTF_8}", id="MQTT-3.10.3-1"),
    ],
)
def test_a_filter_of_no_utf_8_is_malformed(version: ProtocolVersion, first: int, body: str) -> None:
    with pytest.raises(Violation) as caught:
        decode(framed(first, body), 0, version, PACKET_BYTES_MAX)
    assert caught.value.reason is ReasonCode.MALFORMED_PACKET
