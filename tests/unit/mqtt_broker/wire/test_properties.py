"""The table of properties against MQTT 5.0, table 2-4, and the laws of their values."""

from typing import Any

import pytest

from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.header import PacketType
from mqtt_broker.wire.packets import NO_PROPERTIES, Properties
from mqtt_broker.wire.primitives import Reader, encode_variable_byte_integer
from mqtt_broker.wire.properties import (
    SUBSCRIPTION_IDENTIFIERS_MAX,
    USER_PROPERTIES_MAX,
    WILL,
    decode_properties,
    encode_properties,
)
from mqtt_broker.wire.reasons import ReasonCode

EVERYWHERE = "will connect connack publish puback pubrec pubrel pubcomp subscribe suback unsubscribe unsuback"
ANSWERS = "connack puback pubrec pubrel pubcomp suback unsuback disconnect auth"

# Identifier, one lawful encoded value, the field and value it becomes, and where it may stand: MQTT 5.0, table 2-4.
TABLE: list[tuple[int, str, str, Any, str]] = [
    (0x01, "01", "payload_format_indicator", 1, "publish will"),
    (0x02, "00000000", "message_expiry_interval", 0, "publish will"),
    (0x03, "0001 63", "content_type", "c", "publish will"),
    (0x08, "0001 72", "response_topic", "r", "publish will"),
    (0x09, "0001 00", "correlation_data", b"\x00", "publish will"),
    (0x0B, "8001", "subscription_identifiers", (128,), "publish subscribe"),
    (0x11, "ffffffff", "session_expiry_interval", 0xFFFF_FFFF, "connect connack disconnect"),
    (0x12, "0001 69", "assigned_client_identifier", "i", "connack"),
    (0x13, "0000", "server_keep_alive", 0, "connack"),
    (0x15, "0001 6d", "authentication_method", "m", "connect connack auth"),
    (0x16, "0000", "authentication_data", b"", "connect connack auth"),
    (0x17, "00", "request_problem_information", 0, "connect"),
    (0x18, "00000001", "will_delay_interval", 1, "will"),
    (0x19, "01", "request_response_information", 1, "connect"),
    (0x1A, "0001 72", "response_information", "r", "connack"),
    (0x1C, "0001 73", "server_reference", "s", "connack disconnect"),
    (0x1F, "0000", "reason_string", "", ANSWERS),
    (0x21, "0001", "receive_maximum", 1, "connect connack"),
    (0x22, "0000", "topic_alias_maximum", 0, "connect connack"),
    (0x23, "ffff", "topic_alias", 65_535, "publish"),
    (0x24, "00", "maximum_qos", 0, "connack"),
    (0x25, "01", "retain_available", 1, "connack"),
    (0x26, "0001 6b 0000", "user_properties", (("k", ""),), EVERYWHERE + " disconnect auth"),
    (0x27, "00000001", "maximum_packet_size", 1, "connect connack"),
    (0x28, "00", "wildcard_subscription_available", 0, "connack"),
    (0x29, "01", "subscription_identifiers_available", 1, "connack"),
    (0x2A, "00", "shared_subscription_available", 0, "connack"),
]
CARRIERS = {
    name: WILL if name == "will" else PacketType[name.upper()] for name in f"{EVERYWHERE} disconnect auth".split()
}
SCALARS = [row for row in TABLE if row[2] not in ("user_properties", "subscription_identifiers")]


def block(content: str | bytes) -> bytes:
    data = bytes.fromhex(content) if isinstance(content, str) else content
    return encode_variable_byte_integer(len(data)) + data


def decoded(data: bytes, carrier: int) -> Properties:
    reader = Reader(data, 0, len(data))
    properties = decode_properties(reader, carrier)
    assert reader.remaining_bytes == 0
    return properties


def refusal(data: bytes, carrier: int) -> ReasonCode:
    with pytest.raises(Violation) as caught:
        decoded(data, carrier)
    return caught.value.reason


def first_carrier(where: str) -> int:
    return CARRIERS[where.split()[0]]


def companion(field: str) -> tuple[str, dict[str, Any]]:
    """Authentication data may not stand alone."""
    if field == "authentication_data":
        return "15 0001 6d", {"authentication_method": "m"}
    return "", {}


@pytest.mark.parametrize(("identifier", "value", "field", "expected", "where"), TABLE, ids=[row[2] for row in TABLE])
def test_property_stands_where_the_table_says_and_nowhere_else(
    identifier: int, value: str, field: str, expected: Any, where: str
) -> None:
    """MQTT 5.0, 2.2.2.2: an identifier that is not valid for its packet is malformed."""
    other, other_values = companion(field)
    data = block(other + f"{identifier:02x}" + value)
    properties = Properties(**{field: expected, **other_values})
    for name, carrier in CARRIERS.items():
        if name in where.split():
            assert decoded(data, carrier) == properties
            assert encode_properties(properties, carrier) == data
        else:
            assert refusal(block(f"{identifier:02x}" + value), carrier) is ReasonCode.MALFORMED_PACKET
            with pytest.raises(ValueError, match="does not belong here"):
                encode_properties(properties, carrier)


@pytest.mark.parametrize(
    ("identifier", "value", "field", "expected", "where"), SCALARS, ids=[row[2] for row in SCALARS]
)
def test_property_that_is_there_twice_is_a_protocol_error(
    identifier: int, value: str, field: str, expected: Any, where: str
) -> None:
    """MQTT 5.0, 2.2.2.2 and the section of each property."""
    assert refusal(block(f"{identifier:02x} {value}" * 2), first_carrier(where)) is ReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize(("identifier", "value", "field", "expected", "where"), TABLE, ids=[row[2] for row in TABLE])
def test_property_cut_off_by_its_block_is_malformed(
    identifier: int, value: str, field: str, expected: Any, where: str
) -> None:
    whole = bytes.fromhex(f"{identifier:02x} {value}")
    for length in range(1, len(whole)):
        data = encode_variable_byte_integer(length) + whole
        assert refusal(data, first_carrier(where)) is ReasonCode.MALFORMED_PACKET


def test_every_field_of_properties_has_a_row() -> None:
    assert {row[2] for row in TABLE} == set(Properties.__struct_fields__)


@pytest.mark.parametrize("identifier", [i for i in range(128) if i not in {row[0] for row in TABLE}])
def test_unknown_identifier_is_malformed(identifier: int) -> None:
    """MQTT 5.0, 2.2.2.2."""
    assert refusal(block(bytes((identifier, 0))), PacketType.CONNACK) is ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize("identifier", ["a600", "a6808000", "8101", "ffffff7f", "ffffffff01", "80"])
def test_identifier_of_several_bytes_is_malformed(identifier: str) -> None:
    """[MQTT-1.5.5-1]: a known identifier in a longer form is no other spelling of it."""
    assert refusal(block(identifier + "0001 6b 0000"), PacketType.PUBLISH) is ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize("length", ["05", "ff7f", "8000", "ffffffff01", "80", ""])
def test_block_beyond_its_packet_or_of_a_broken_length_is_malformed(length: str) -> None:
    assert refusal(bytes.fromhex(length) + b"\x01\x00", PacketType.PUBLISH) is ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize(
    ("carrier", "content", "reason"),
    [
        pytest.param("publish", "01 02", ReasonCode.PROTOCOL_ERROR, id="payload format indicator 2"),
        pytest.param("connect", "17 02", ReasonCode.PROTOCOL_ERROR, id="3.1.2.11.7 request problem information 2"),
        pytest.param("connect", "19 ff", ReasonCode.PROTOCOL_ERROR, id="3.1.2.11.6 request response information 255"),
        pytest.param("connack", "24 02", ReasonCode.PROTOCOL_ERROR, id="3.2.2.3.4 maximum QoS 2"),
        pytest.param("connack", "25 02", ReasonCode.PROTOCOL_ERROR, id="3.2.2.3.5 retain available 2"),
        pytest.param("connack", "28 02", ReasonCode.PROTOCOL_ERROR, id="3.2.2.3.11 wildcard subscription available 2"),
        pytest.param("connack", "29 02", ReasonCode.PROTOCOL_ERROR, id="3.2.2.3.12 identifiers available 2"),
        pytest.param("connack", "2a 02", ReasonCode.PROTOCOL_ERROR, id="3.2.2.3.13 shared subscription available 2"),
        pytest.param("connect", "21 0000", ReasonCode.PROTOCOL_ERROR, id="3.1.2.11.3 receive maximum 0"),
        pytest.param("connect", "27 00000000", ReasonCode.PROTOCOL_ERROR, id="3.1.2.11.4 maximum packet size 0"),
        pytest.param("subscribe", "0b 00", ReasonCode.PROTOCOL_ERROR, id="3.8.2.1.2 subscription identifier 0"),
        pytest.param("publish", "0b 01 0b 00", ReasonCode.PROTOCOL_ERROR, id="3.3.2.3.8 subscription identifier 0"),
        pytest.param("subscribe", "0b 01 0b 02", ReasonCode.PROTOCOL_ERROR, id="3.8.2.1.2 two identifiers"),
        pytest.param("publish", "23 0000", ReasonCode.TOPIC_ALIAS_INVALID, id="MQTT-3.3.2-8 topic alias 0"),
        pytest.param("publish", "08 0003 612f2b", ReasonCode.PROTOCOL_ERROR, id="MQTT-3.3.2-14 plus"),
        pytest.param("will", "08 0001 23", ReasonCode.PROTOCOL_ERROR, id="MQTT-3.3.2-14 hash in the will"),
        pytest.param("publish", "08 0000", ReasonCode.PROTOCOL_ERROR, id="MQTT-4.7.3-1 response topic empty"),
        pytest.param("publish", "08 0001 ff", ReasonCode.MALFORMED_PACKET, id="MQTT-3.3.2-13 response topic no UTF-8"),
        pytest.param("publish", "03 0001 00", ReasonCode.MALFORMED_PACKET, id="MQTT-3.3.2-19 U+0000 in content type"),
        pytest.param("publish", "26 0001 00 0000", ReasonCode.MALFORMED_PACKET, id="MQTT-1.5.7-1 U+0000 in a name"),
        pytest.param("publish", "26 0000 0001 0a", ReasonCode.MALFORMED_PACKET, id="MQTT-1.5.7-1 line feed in a value"),
        pytest.param("publish", "0b ffffffff01", ReasonCode.MALFORMED_PACKET, id="subscription identifier of 5 bytes"),
        pytest.param("connect", "16 0001 64", ReasonCode.PROTOCOL_ERROR, id="3.1.2.11.10 data without method"),
    ],
)
def test_value_against_the_law_is_refused(carrier: str, content: str, reason: ReasonCode) -> None:
    assert refusal(block(content), CARRIERS[carrier]) is reason


@pytest.mark.parametrize(
    ("carrier", "properties"),
    [
        ("connect", Properties(receive_maximum=0)),
        ("connect", Properties(maximum_packet_size=1 << 32)),
        ("connack", Properties(maximum_qos=2)),
        ("connack", Properties(server_keep_alive=65_536)),
        ("publish", Properties(topic_alias=0)),
        ("publish", Properties(response_topic="a/#")),
        ("publish", Properties(content_type="x" * 65_536)),
        ("publish", Properties(subscription_identifiers=(268_435_456,))),
        ("subscribe", Properties(subscription_identifiers=(1, 2))),
        ("publish", Properties(user_properties=(("k", "v"),) * (USER_PROPERTIES_MAX + 1))),
    ],
)
def test_our_own_value_against_the_law_is_a_value_error(carrier: str, properties: Properties) -> None:
    with pytest.raises(ValueError, match=r".+"):
        encode_properties(properties, CARRIERS[carrier])


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS.keys())
def test_empty_block_is_the_shared_empty_value(carrier: int) -> None:
    """[MQTT-2.2.2-1]"""
    assert decoded(b"\x00", carrier) is NO_PROPERTIES
    assert encode_properties(NO_PROPERTIES, carrier) == b"\x00"
    assert encode_properties(Properties(), carrier) == b"\x00"


def test_user_properties_keep_order_and_repetition() -> None:
    """[MQTT-3.3.2-17], [MQTT-3.3.2-18]: the same name may come more than once. [MQTT-1.5.7-1]"""
    pairs = (("b", "1"), ("a", "2"), ("b", "1"))
    data = encode_properties(Properties(user_properties=pairs), PacketType.PUBLISH)

    assert decoded(data, PacketType.PUBLISH).user_properties == pairs


@pytest.mark.parametrize("topic", ["r", "/", "r/t"])
def test_a_response_topic_is_any_topic_name(topic: str) -> None:
    """[MQTT-3.3.2-14] [MQTT-4.7.3-1]"""
    data = encode_properties(Properties(response_topic=topic), PacketType.PUBLISH)
    assert decoded(data, PacketType.PUBLISH).response_topic == topic


def test_user_properties_beyond_the_bound_are_refused_before_the_rest_is_read() -> None:
    """The rest of the block is garbage here, and nobody looks at it."""
    pair = bytes.fromhex("26 0000 0000")

    assert len(decoded(block(pair * USER_PROPERTIES_MAX), PacketType.CONNECT).user_properties) == USER_PROPERTIES_MAX
    beyond = block(pair * (USER_PROPERTIES_MAX + 1) + b"\xff" * 100)
    assert refusal(beyond, PacketType.CONNECT) is ReasonCode.PACKET_TOO_LARGE


def test_subscription_identifiers_beyond_the_bound_are_refused() -> None:
    identifiers = b"\x0b\x01" * SUBSCRIPTION_IDENTIFIERS_MAX

    assert len(decoded(block(identifiers), PacketType.PUBLISH).subscription_identifiers) == SUBSCRIPTION_IDENTIFIERS_MAX
    assert refusal(block(identifiers + b"\x0b\x01"), PacketType.PUBLISH) is ReasonCode.PACKET_TOO_LARGE
