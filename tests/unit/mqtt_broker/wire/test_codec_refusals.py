"""What a peer may not send, each with the clause that forbids it and the reason that it is refused with."""

import pytest

from mqtt_broker.wire.codec import decode, read_header
from mqtt_broker.wire.decoders import FILTERS_MAX
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.header import PacketType
from mqtt_broker.wire.packets import ProtocolVersion
from mqtt_broker.wire.primitives import encode_variable_byte_integer
from mqtt_broker.wire.properties import USER_PROPERTIES_MAX
from mqtt_broker.wire.reasons import (
    AUTH_REASONS,
    CONNACK_REASONS,
    DISCONNECT_REASONS,
    PUBACK_REASONS,
    PUBCOMP_REASONS,
    PUBREC_REASONS,
    PUBREL_REASONS,
    SUBACK_REASONS,
    UNSUBACK_REASONS,
    ReasonCode,
    ReasonTable,
)

V3_1 = ProtocolVersion.V3_1
V3_1_1 = ProtocolVersion.V3_1_1
V5 = ProtocolVersion.V5
PACKET_BYTES_MAX = 1_000_000
MALFORMED = ReasonCode.MALFORMED_PACKET
PROTOCOL_ERROR = ReasonCode.PROTOCOL_ERROR


def refusal(data: bytes, version: ProtocolVersion | None, packet_bytes_max: int = PACKET_BYTES_MAX) -> ReasonCode:
    with pytest.raises(Violation) as caught:
        decode(data, 0, version, packet_bytes_max)
    assert caught.value.detail
    return caught.value.reason


def framed(first: int, body: str | bytes) -> bytes:
    data = bytes.fromhex(body) if isinstance(body, str) else body
    return bytes((first,)) + encode_variable_byte_integer(len(data)) + data


# The fixed header


@pytest.mark.parametrize("version", [None, *ProtocolVersion])
@pytest.mark.parametrize("flags", range(16))
def test_packet_type_zero_is_malformed(version: ProtocolVersion | None, flags: int) -> None:
    """MQTT 5.0, table 2-1."""
    assert refusal(framed(flags, ""), version) is MALFORMED


@pytest.mark.parametrize("packet_type", [kind for kind in PacketType if kind is not PacketType.CONNECT])
@pytest.mark.parametrize("flags", [0, 2])
def test_anything_before_connect_is_refused_at_its_header(packet_type: PacketType, flags: int) -> None:
    """[MQTT-3.1.0-1]: the body is not waited for, however long it claims to be."""
    first = packet_type << 4 | flags

    assert refusal(bytes((first, 0x02)), None) is PROTOCOL_ERROR
    assert refusal(bytes((first, 0xFF, 0xFF, 0xFF, 0x7F)), None) is PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("packet_type", "lawful"),
    [
        pytest.param(PacketType.CONNECT, {0b0000}, id="CONNECT MQTT-2.1.3-1"),
        pytest.param(PacketType.CONNACK, {0b0000}, id="CONNACK MQTT-2.1.3-1"),
        pytest.param(
            PacketType.PUBLISH,
            {0b0000, 0b0001, 0b0010, 0b0011, 0b0100, 0b0101, 0b1010, 0b1011, 0b1100, 0b1101},
            id="PUBLISH MQTT-3.3.1-2 MQTT-3.3.1-4",
        ),
        pytest.param(PacketType.PUBACK, {0b0000}, id="PUBACK MQTT-2.1.3-1"),
        pytest.param(PacketType.PUBREC, {0b0000}, id="PUBREC MQTT-2.1.3-1"),
        pytest.param(PacketType.PUBREL, {0b0010}, id="PUBREL MQTT-3.6.1-1"),
        pytest.param(PacketType.PUBCOMP, {0b0000}, id="PUBCOMP MQTT-2.1.3-1"),
        pytest.param(PacketType.SUBSCRIBE, {0b0010}, id="SUBSCRIBE MQTT-3.8.1-1"),
        pytest.param(PacketType.SUBACK, {0b0000}, id="SUBACK MQTT-2.1.3-1"),
        pytest.param(PacketType.UNSUBSCRIBE, {0b0010}, id="UNSUBSCRIBE MQTT-3.10.1-1"),
        pytest.param(PacketType.UNSUBACK, {0b0000}, id="UNSUBACK MQTT-2.1.3-1"),
        pytest.param(PacketType.PINGREQ, {0b0000}, id="PINGREQ MQTT-2.1.3-1"),
        pytest.param(PacketType.PINGRESP, {0b0000}, id="PINGRESP MQTT-2.1.3-1"),
        pytest.param(PacketType.DISCONNECT, {0b0000}, id="DISCONNECT MQTT-3.14.1-1"),
        pytest.param(PacketType.AUTH, {0b0000}, id="AUTH MQTT-3.15.1-1"),
    ],
)
@pytest.mark.parametrize("version", [V3_1_1, V5], ids=["3.1.1", "5.0"])
def test_flags_other_than_the_lawful_ones_are_malformed(
    packet_type: PacketType, lawful: set[int], version: ProtocolVersion
) -> None:
    """[MQTT-2.1.3-1], [3.1.1 MQTT-2.2.2-1], [3.1.1 MQTT-2.2.2-2]; judged before the body is there."""
    if version is V3_1_1 and packet_type is PacketType.AUTH:
        lawful = set()
    for flags in range(16):
        header = bytes((packet_type << 4 | flags, 0x7F))
        if flags in lawful:
            assert decode(header, 0, version, PACKET_BYTES_MAX) is None
        else:
            assert refusal(header, version) is MALFORMED


@pytest.mark.parametrize("first", [0x6A, 0x8A, 0xAA])
def test_repetition_mark_of_mqtt_3_1_is_refused_by_its_successors(first: int) -> None:
    """[MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [3.1.1 MQTT-3.6.1-1] [3.1.1 MQTT-3.8.1-1] [3.1.1 MQTT-3.10.1-1]

    MQTT 3.1, 2.1 has DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE; [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]
    """
    assert decode(bytes((first, 0x7F)), 0, V3_1, PACKET_BYTES_MAX) is None
    assert refusal(bytes((first, 0x7F)), V3_1_1) is MALFORMED
    assert refusal(bytes((first, 0x7F)), V5) is MALFORMED


@pytest.mark.parametrize("version", [None, V3_1_1, V5])
@pytest.mark.parametrize("length", ["ffffffff01", "ffffffff", "8000", "80808000"])
def test_remaining_length_of_five_bytes_or_in_overlong_form_is_malformed(
    length: str, version: ProtocolVersion | None
) -> None:
    """[MQTT-1.5.5-1], MQTT 5.0, 2.1.4."""
    data = b"\x10" + bytes.fromhex(length)

    assert refusal(data, version) is MALFORMED
    with pytest.raises(Violation):
        read_header(data, 0)


def test_packet_beyond_the_size_is_refused_at_its_header() -> None:
    """[MQTT-3.2.2-15]: the size is that of the whole packet, and the body is not waited for."""
    packet = framed(0x30, "0001 74" + "00" * 200)

    assert decode(packet, 0, V3_1_1, len(packet)) is not None
    assert refusal(packet[:3], V3_1_1, len(packet) - 1) is ReasonCode.PACKET_TOO_LARGE
    assert refusal(bytes.fromhex("10 ffffff7f"), None, 65_536) is ReasonCode.PACKET_TOO_LARGE


@pytest.mark.parametrize("version", [V3_1_1, V5])
@pytest.mark.parametrize("first", [0xC0, 0xD0])
def test_ping_with_a_body_is_malformed(first: int, version: ProtocolVersion) -> None:
    """MQTT 5.0, 3.12 and 3.13: no variable header, no payload."""
    assert refusal(framed(first, "00"), version) is MALFORMED


@pytest.mark.parametrize(
    ("version", "packet"),
    [
        pytest.param(None, "10 0e 0004 4d515454 04 02 0000 0001 61 00", id="CONNECT"),
        pytest.param(V3_1_1, "20 03 00 00 00", id="CONNACK 3.1.1"),
        pytest.param(V5, "20 04 00 00 00 00", id="CONNACK 5.0"),
        pytest.param(V3_1_1, "40 03 0001 00", id="PUBACK 3.1.1"),
        pytest.param(V3_1_1, "50 03 0001 00", id="PUBREC 3.1.1"),
        pytest.param(V3_1_1, "62 03 0001 00", id="PUBREL 3.1.1"),
        pytest.param(V3_1_1, "70 03 0001 00", id="PUBCOMP 3.1.1"),
        pytest.param(V5, "40 05 0001 00 00 00", id="PUBACK 5.0"),
        pytest.param(V3_1_1, "b0 03 0001 00", id="UNSUBACK 3.1.1"),
        pytest.param(V3_1_1, "e0 01 00", id="DISCONNECT 3.1.1"),
        pytest.param(V5, "e0 03 00 00 00", id="DISCONNECT 5.0"),
        pytest.param(V5, "f0 07 18 04 15 0001 6d 00", id="AUTH"),
    ],
)
def test_bytes_behind_the_last_field_are_malformed(version: ProtocolVersion | None, packet: str) -> None:
    assert refusal(bytes.fromhex(packet), version) is MALFORMED


# CONNECT


def connect(body: str) -> bytes:
    return framed(0x10, body)


@pytest.mark.parametrize(
    "name_and_level",
    [
        pytest.param("0004 4d515454 00", id="level 0"),
        pytest.param("0004 4d515454 03", id="MQTT level 3"),
        pytest.param("0004 4d515454 06", id="MQTT level 6"),
        pytest.param("0004 4d515454 84", id="bridge bit"),
        pytest.param("0006 4d5149736470 04", id="MQIsdp level 4"),
        pytest.param("0006 4d5149736470 05", id="MQIsdp level 5"),
        pytest.param("0004 6d717474 04", id="mqtt"),
        pytest.param("0005 4d51545458 05", id="MQTTX"),
        pytest.param("0000 05", id="no name"),
    ],
)
def test_unknown_protocol_name_or_level_is_an_unsupported_version(name_and_level: str) -> None:
    """[MQTT-3.1.2-1] [MQTT-3.1.2-2] [3.1.1 MQTT-3.1.2-1] [3.1.1 MQTT-3.1.2-2]

    found before anything else in the packet is looked at.
    """
    assert refusal(connect(name_and_level + "ff ffff"), None) is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION


@pytest.mark.parametrize(
    ("level", "flags"),
    [
        pytest.param(level, flags, id=f"{level} {flags:08b} {clause}")
        for level in ("03", "04", "05")
        for flags, clause in [
            (0b0000_0001, "MQTT-3.1.2-3"),
            (0b1111_0111, "MQTT-3.1.2-3"),
            (0b0001_1100, "MQTT-3.1.2-12, 3.1.1 MQTT-3.1.2-14"),
            (0b0000_1000, "MQTT-3.1.2-11, 3.1.1 MQTT-3.1.2-11, 3.1.1 MQTT-3.1.2-13"),
            (0b0001_0000, "MQTT-3.1.2-11, 3.1.1 MQTT-3.1.2-11, 3.1.1 MQTT-3.1.2-13"),
            (0b0001_1000, "MQTT-3.1.2-11, 3.1.1 MQTT-3.1.2-11, 3.1.1 MQTT-3.1.2-13"),
            (0b0010_0000, "MQTT-3.1.2-13, 3.1.1 MQTT-3.1.2-11, 3.1.1 MQTT-3.1.2-15"),
            (0b0100_0000, "3.1.1 MQTT-3.1.2-22"),
        ]
        if not (level == "05" and flags == 0b0100_0000)
    ],
)
def test_contradictory_connect_flags_are_malformed(level: str, flags: int) -> None:
    name = "0006 4d5149736470" if level == "03" else "0004 4d515454"
    fields = "0001 61" * 5

    assert refusal(connect(f"{name} {level} {flags:02x} 0000" + fields), None) is MALFORMED


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("0004 4d515454 04 02 0000", id="3.1.1 MQTT-3.1.3-3 no client identifier"),
        pytest.param("0004 4d515454 04 06 0000 0001 61", id="3.1.1 MQTT-3.1.2-9 no will topic"),
        pytest.param("0004 4d515454 04 06 0000 0001 61 0001 74", id="3.1.1 MQTT-3.1.2-9 no will payload"),
        pytest.param("0004 4d515454 04 82 0000 0001 61", id="3.1.1 MQTT-3.1.2-19 no user name"),
        pytest.param("0004 4d515454 04 c2 0000 0001 61 0001 75", id="3.1.1 MQTT-3.1.2-21 no password"),
        pytest.param("0004 4d515454 04 02 0000 0001 61 0001 74", id="3.1.1 MQTT-3.1.2-18 a user name without its flag"),
        pytest.param("0004 4d515454 05 02 0000 00", id="5.0 no client identifier"),
        pytest.param("0004 4d515454 05 82 0000 00 0000", id="5.0 MQTT-3.1.2-17 no user name"),
        pytest.param("0004 4d515454 05 02 0000", id="5.0 no property length"),
        pytest.param("0004 4d515454 04 02 0000 03 21 0005 0001 61", id="3.1.1 with properties"),
        pytest.param("0004 4d515454 04 02 0000 0002 6100", id="3.1.1 MQTT-3.1.3-4 U+0000 in client identifier"),
        pytest.param("0004 4d515454 04 82 0000 0001 61 0001 ff", id="3.1.1 MQTT-3.1.3-11 user name no UTF-8"),
        pytest.param("0004 4d515454 04 06 0000 0001 61 0001 ff 0000", id="3.1.1 MQTT-3.1.3-10 will topic no UTF-8"),
        pytest.param("0004 4d51ffff 04 02 0000 0001 61", id="3.1.1 MQTT-1.5.3-1 protocol name no UTF-8"),
    ],
)
def test_connect_with_missing_or_broken_fields_is_malformed(body: str) -> None:
    assert refusal(connect(body), None) is MALFORMED


@pytest.mark.parametrize("topic", ["0000", "0003 612f2b", "0001 23", "0003 612362"])
@pytest.mark.parametrize("start", ["0004 4d515454 04 06 0000 0001 61", "0004 4d515454 05 06 0000 00 0001 61 00"])
def test_will_topic_that_is_no_topic_name_is_refused(start: str, topic: str) -> None:
    """[MQTT-4.7.0-1] [MQTT-4.7.3-1] [3.1.1 MQTT-4.7.1-1]"""
    assert refusal(connect(f"{start} {topic} 0000"), None) is ReasonCode.TOPIC_NAME_INVALID


def test_user_properties_of_connect_and_will_share_one_bound() -> None:
    """MQTT 5.0, 4.13: what costs too much is refused; the bound is one of the packet, not of each block."""

    def packet(count: int, count_in_will: int) -> bytes:
        return framed(
            0x10,
            bytes.fromhex("0004 4d515454 05 06 0000")
            + encode_variable_byte_integer(5 * count)
            + bytes.fromhex("26 0000 0000" * count + "0000")
            + encode_variable_byte_integer(5 * count_in_will)
            + bytes.fromhex("26 0000 0000" * count_in_will + "0001 74 0000"),
        )

    half = USER_PROPERTIES_MAX // 2
    assert decode(packet(half, half), 0, None, PACKET_BYTES_MAX) is not None
    assert refusal(packet(half, half + 1), None) is ReasonCode.PACKET_TOO_LARGE


def test_password_without_user_name_is_lawful_in_mqtt_5() -> None:
    """MQTT 5.0, 3.1.2.9 lifts [3.1.1 MQTT-3.1.2-22]."""
    assert decode(connect("0004 4d515454 05 42 0000 00 0000 0001 70"), 0, None, PACKET_BYTES_MAX) is not None


def test_password_bytes_never_stand_in_the_detail() -> None:
    secret = b"hunter2".hex()
    with pytest.raises(Violation) as caught:
        decode(connect(f"0004 4d515454 04 c2 0000 0001 61 0001 75 0007 {secret} 00"), 0, None, PACKET_BYTES_MAX)

    assert "hunter2" not in str(caught.value)


def test_password_never_stands_in_the_text_of_a_packet() -> None:
    decoded = decode(connect("0004 4d515454 05 42 0000 00 0000 0007" + b"hunter2".hex()), 0, None, PACKET_BYTES_MAX)

    assert decoded is not None
    assert "hunter2" not in repr(decoded[0])


# CONNACK


@pytest.mark.parametrize(
    ("version", "body", "reason"),
    [
        pytest.param(V3_1_1, "02 00", MALFORMED, id="3.1.1 3.2.2.1 reserved flag"),
        pytest.param(V5, "81 00 00", MALFORMED, id="5.0 MQTT-3.2.2-1 reserved flag"),
        pytest.param(V3_1_1, "01 05", PROTOCOL_ERROR, id="3.1.1 MQTT-3.2.2-4 session present on refusal"),
        pytest.param(V5, "01 87 00", PROTOCOL_ERROR, id="5.0 MQTT-3.2.2-6 session present on refusal"),
        pytest.param(V3_1_1, "00 06", PROTOCOL_ERROR, id="3.1.1 reserved return code"),
        pytest.param(V3_1_1, "00", MALFORMED, id="3.1.1 no return code"),
        pytest.param(V5, "00 00", MALFORMED, id="5.0 no property length"),
    ],
)
def test_connack_against_the_law_is_refused(version: ProtocolVersion, body: str, reason: ReasonCode) -> None:
    assert refusal(framed(0x20, body), version) is reason


# PUBLISH


@pytest.mark.parametrize(
    ("version", "first", "body", "reason"),
    [
        pytest.param(V3_1_1, 0x30, "", MALFORMED, id="MQTT-3.3.2-1 empty"),
        pytest.param(V3_1_1, 0x30, "00", MALFORMED, id="MQTT-3.3.2-1 half a length"),
        pytest.param(V3_1_1, 0x30, "0002 74", MALFORMED, id="MQTT-3.3.2-1 topic name beyond packet"),
        pytest.param(V3_1_1, 0x30, "0001 ff", MALFORMED, id="MQTT-3.3.2-1 topic name no UTF-8"),
        pytest.param(V3_1_1, 0x30, "0003 610062", MALFORMED, id="MQTT-4.7.3-2 U+0000 in topic name"),
        pytest.param(V3_1_1, 0x30, "0003 eda080", MALFORMED, id="MQTT-1.5.4-1 surrogate"),
        pytest.param(V3_1_1, 0x30, "0003 611b62", MALFORMED, id="control character in topic name"),
        pytest.param(V3_1_1, 0x30, "0000", MALFORMED, id="3.1.1 MQTT-4.7.3-1 topic name empty"),
        pytest.param(V3_1, 0x30, "0000", MALFORMED, id="3.1 topic name empty"),
        pytest.param(V5, 0x30, "0000 00", PROTOCOL_ERROR, id="5.0 topic name empty, no alias"),
        pytest.param(V5, 0x30, "0000 03 26 0000 0000", MALFORMED, id="5.0 properties beyond their block"),
        pytest.param(V5, 0x30, "0000 05 26 0000 0000", PROTOCOL_ERROR, id="5.0 topic name empty, other property"),
        pytest.param(V3_1_1, 0x30, "0003 612f2b", ReasonCode.TOPIC_NAME_INVALID, id="3.1.1 MQTT-3.3.2-2 plus"),
        pytest.param(V5, 0x30, "0001 23 00", ReasonCode.TOPIC_NAME_INVALID, id="5.0 MQTT-3.3.2-2 hash"),
        pytest.param(V5, 0x30, "0003 612b62 00", ReasonCode.TOPIC_NAME_INVALID, id="5.0 MQTT-3.3.2-2 plus inside"),
        pytest.param(V3_1_1, 0x32, "0001 74", MALFORMED, id="QoS 1 without packet identifier"),
        pytest.param(V3_1_1, 0x34, "0001 74 00", MALFORMED, id="QoS 2 with half a packet identifier"),
        pytest.param(V3_1_1, 0x32, "0001 74 0000", PROTOCOL_ERROR, id="3.1.1 MQTT-2.3.1-1 packet identifier 0"),
        pytest.param(V5, 0x34, "0001 74 0000 00", PROTOCOL_ERROR, id="5.0 MQTT-2.2.1-3 packet identifier 0"),
        pytest.param(V5, 0x30, "0001 74", MALFORMED, id="5.0 MQTT-2.2.2-1 no property length"),
        pytest.param(V5, 0x30, "0001 74 01", MALFORMED, id="5.0 property length beyond packet"),
        pytest.param(V5, 0x30, "0001 74 8000", MALFORMED, id="5.0 MQTT-1.5.5-1 overlong property length"),
        pytest.param(V5, 0x30, "0001 74 03 23 0000", ReasonCode.TOPIC_ALIAS_INVALID, id="5.0 MQTT-3.3.2-8 alias 0"),
    ],
)
def test_publish_against_the_law_is_refused(
    version: ProtocolVersion, first: int, body: str, reason: ReasonCode
) -> None:
    assert refusal(framed(first, body), version) is reason


# Acknowledgements and their reason codes


@pytest.mark.parametrize("version", [V3_1_1, V5])
@pytest.mark.parametrize("first", [0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0])
def test_packet_identifier_that_is_zero_or_missing_is_refused(first: int, version: ProtocolVersion) -> None:
    """[MQTT-2.2.1-3..6], [3.1.1 MQTT-2.3.1-1]"""
    assert refusal(framed(first, "0000"), version) is PROTOCOL_ERROR
    assert refusal(framed(first, "00"), version) is MALFORMED
    assert refusal(framed(first, ""), version) is MALFORMED


@pytest.mark.parametrize(
    ("first", "template", "reasons"),
    [
        pytest.param(0x20, "00 {:02x} 00", CONNACK_REASONS, id="CONNACK MQTT-3.2.2-8"),
        pytest.param(0x40, "0001 {:02x}", PUBACK_REASONS, id="PUBACK MQTT-3.4.2-1"),
        pytest.param(0x50, "0001 {:02x}", PUBREC_REASONS, id="PUBREC MQTT-3.5.2-1"),
        pytest.param(0x62, "0001 {:02x}", PUBREL_REASONS, id="PUBREL MQTT-3.6.2-1"),
        pytest.param(0x70, "0001 {:02x}", PUBCOMP_REASONS, id="PUBCOMP MQTT-3.7.2-1"),
        pytest.param(0x90, "0001 00 {:02x}", SUBACK_REASONS, id="SUBACK MQTT-3.9.3-2"),
        pytest.param(0xB0, "0001 00 {:02x}", UNSUBACK_REASONS, id="UNSUBACK MQTT-3.11.3-2"),
        pytest.param(0xE0, "{:02x}", DISCONNECT_REASONS, id="DISCONNECT MQTT-3.14.2-1"),
        pytest.param(0xF0, "{:02x} 04 15 0001 6d", AUTH_REASONS, id="AUTH MQTT-3.15.2-1"),
    ],
)
def test_every_reason_code_outside_of_the_packets_table_is_a_protocol_error(
    first: int, template: str, reasons: ReasonTable
) -> None:
    for code in range(256):
        packet = framed(first, template.format(code))
        if code in reasons:
            assert decode(packet, 0, V5, PACKET_BYTES_MAX) is not None
        else:
            assert refusal(packet, V5) is PROTOCOL_ERROR


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
def test_suback_return_code_that_mqtt_3_reserves_is_a_protocol_error(version: ProtocolVersion) -> None:
    """[3.1.1 MQTT-3.9.3-2]"""
    for code in range(256):
        packet = framed(0x90, f"0001 {code:02x}")
        if code in (0, 1, 2, 0x80):
            assert decode(packet, 0, version, PACKET_BYTES_MAX) is not None
        else:
            assert refusal(packet, version) is PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("version", "first", "body"),
    [(V3_1_1, 0x90, "0001"), (V5, 0x90, "0001 00"), (V5, 0xB0, "0001 00")],
    ids=["SUBACK 3.1.1", "SUBACK 5.0 MQTT-3.8.4-6", "UNSUBACK 5.0"],
)
def test_acknowledgement_of_no_filter_is_a_protocol_error(version: ProtocolVersion, first: int, body: str) -> None:
    assert refusal(framed(first, body), version) is PROTOCOL_ERROR


# SUBSCRIBE and UNSUBSCRIBE


@pytest.mark.parametrize(
    ("version", "first", "body", "reason"),
    [
        pytest.param(V3_1_1, 0x82, "0001", PROTOCOL_ERROR, id="3.1.1 MQTT-3.8.3-3 no filter"),
        pytest.param(V5, 0x82, "0001 00", PROTOCOL_ERROR, id="5.0 MQTT-3.8.3-2 no filter"),
        pytest.param(V3_1_1, 0xA2, "0001", PROTOCOL_ERROR, id="3.1.1 MQTT-3.10.3-2 no filter"),
        pytest.param(V5, 0xA2, "0001 00", PROTOCOL_ERROR, id="5.0 MQTT-3.10.3-2 no filter"),
        pytest.param(V3_1_1, 0x82, "0001 0000 00", MALFORMED, id="3.1.1 MQTT-4.7.3-1 empty filter"),
        pytest.param(V5, 0x82, "0001 00 0000 00", MALFORMED, id="5.0 MQTT-4.7.3-1 empty filter"),
        pytest.param(V3_1_1, 0xA2, "0001 0000", MALFORMED, id="3.1.1 MQTT-4.7.3-1 empty filter to leave"),
        pytest.param(V5, 0xA2, "0001 00 0000", MALFORMED, id="5.0 MQTT-4.7.3-1 empty filter to leave"),
        pytest.param(V5, 0x82, "0001 00 0001 ff 00", MALFORMED, id="MQTT-3.8.3-1 filter no UTF-8"),
        pytest.param(V5, 0xA2, "0001 00 0001 ff", MALFORMED, id="MQTT-3.10.3-1 filter no UTF-8"),
        pytest.param(V3_1_1, 0x82, "0001 0001 61", MALFORMED, id="3.1.1 no requested QoS"),
        pytest.param(V3_1_1, 0x82, "0001 0001 61 03", MALFORMED, id="3.1.1 MQTT-3.8.3-4 QoS 3"),
        pytest.param(V3_1_1, 0x82, "0001 0001 61 04", MALFORMED, id="3.1.1 MQTT-3.8.3-4 reserved bit 2"),
        pytest.param(V3_1_1, 0x82, "0001 0001 61 81", MALFORMED, id="3.1.1 MQTT-3.8.3-4 reserved bit 7"),
        pytest.param(V5, 0x82, "0001 00 0001 61 40", MALFORMED, id="5.0 MQTT-3.8.3-5 reserved bit 6"),
        pytest.param(V5, 0x82, "0001 00 0001 61 80", MALFORMED, id="5.0 MQTT-3.8.3-5 reserved bit 7"),
        pytest.param(V5, 0x82, "0001 00 0001 61 03", PROTOCOL_ERROR, id="5.0 3.8.3.1 QoS 3"),
        pytest.param(V5, 0x82, "0001 00 0001 61 30", PROTOCOL_ERROR, id="5.0 3.8.3.1 retain handling 3"),
        pytest.param(
            V5, 0x82, "0001 00 000a 2473686172652f672f61 04", PROTOCOL_ERROR, id="5.0 MQTT-3.8.3-4 no local, shared"
        ),
        pytest.param(V5, 0x82, "0001", MALFORMED, id="5.0 SUBSCRIBE without property length"),
        pytest.param(V5, 0xA2, "0001", MALFORMED, id="5.0 UNSUBSCRIBE without property length"),
    ],
)
def test_subscribe_and_unsubscribe_against_the_law_are_refused(
    version: ProtocolVersion, first: int, body: str, reason: ReasonCode
) -> None:
    assert refusal(framed(first, body), version) is reason


@pytest.mark.parametrize(("first", "one_filter"), [(0x82, "0001 61 00"), (0xA2, "0001 61")])
def test_more_filters_than_the_bound_are_refused(first: int, one_filter: str) -> None:
    bounded = framed(first, "0001" + one_filter * FILTERS_MAX)

    assert decode(bounded, 0, V3_1_1, PACKET_BYTES_MAX) is not None
    assert refusal(framed(first, "0001" + one_filter * (FILTERS_MAX + 1)), V3_1_1) is ReasonCode.QUOTA_EXCEEDED


# AUTH


def test_auth_does_not_exist_in_mqtt_3() -> None:
    """MQTT 3.1.1, table 2.1: type 15 is forbidden."""
    assert refusal(framed(0xF0, ""), V3_1_1) is MALFORMED
    assert refusal(framed(0xF0, ""), V3_1) is MALFORMED


@pytest.mark.parametrize("body", ["18 00", "19 05 1f 0002 6e6f"])
def test_auth_without_a_method_is_a_protocol_error(body: str) -> None:
    """MQTT 5.0, 3.15.2.2.2."""
    assert refusal(framed(0xF0, body), V5) is PROTOCOL_ERROR


def test_auth_with_a_reason_and_no_properties_is_malformed() -> None:
    """MQTT 5.0, 3.15.2.1 allows to leave out both or none."""
    assert refusal(framed(0xF0, "18"), V5) is MALFORMED
