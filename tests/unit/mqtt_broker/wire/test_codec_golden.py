"""One table of bytes and packets for every packet and version: both directions, and every way the bytes may arrive."""

from typing import NamedTuple

import pytest

from mqtt_broker.wire.codec import Header, decode, encode, read_header
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
    Will,
)
from mqtt_broker.wire.reasons import ReasonCode

V3_1 = ProtocolVersion.V3_1
V3_1_1 = ProtocolVersion.V3_1_1
V5 = ProtocolVersion.V5
PACKET_BYTES_MAX = 1_000


class Golden(NamedTuple):
    name: str
    version: ProtocolVersion
    hex: str
    packet: Packet

    @property
    def data(self) -> bytes:
        return bytes.fromhex(self.hex)


EVERY_CONNECT_PROPERTY = Properties(
    session_expiry_interval=10,
    authentication_method="m",
    authentication_data=b"d",
    request_problem_information=0,
    request_response_information=1,
    receive_maximum=20,
    topic_alias_maximum=30,
    user_properties=(("k", "v"), ("k", "w")),
    maximum_packet_size=256,
)
EVERY_WILL_PROPERTY = Properties(
    payload_format_indicator=1,
    message_expiry_interval=2,
    content_type="c",
    response_topic="r",
    correlation_data=b"\x00",
    will_delay_interval=5,
    user_properties=(("k", "v"),),
)
EVERY_CONNACK_PROPERTY = Properties(
    session_expiry_interval=1,
    assigned_client_identifier="i",
    server_keep_alive=60,
    authentication_method="m",
    authentication_data=b"",
    response_information="r",
    server_reference="s",
    reason_string="e",
    receive_maximum=9,
    topic_alias_maximum=8,
    maximum_qos=1,
    retain_available=0,
    user_properties=(("", ""),),
    maximum_packet_size=0xFFFF_FFFF,
    wildcard_subscription_available=1,
    subscription_identifiers_available=0,
    shared_subscription_available=1,
)
EVERY_PUBLISH_PROPERTY = Properties(
    payload_format_indicator=0,
    message_expiry_interval=0xFFFF_FFFF,
    content_type="c",
    response_topic="r/t",
    correlation_data=b"\xff",
    subscription_identifiers=(1, 268_435_455),
    topic_alias=5,
    user_properties=(("a", "b"), ("a", "b")),
)
A_REASON_STRING = Properties(reason_string="no")

# The shortest form of each packet: what `encode` must write and `decode` must read.
GOLDEN = [
    # CONNECT
    Golden(
        "least", V3_1, "10 0f 0006 4d5149736470 03 02 0000 0001 61", Connect(V3_1, "a", clean_start=True, keep_alive=0)
    ),
    Golden(
        "least", V3_1_1, "10 0d 0004 4d515454 04 02 003c 0001 61", Connect(V3_1_1, "a", clean_start=True, keep_alive=60)
    ),
    Golden(
        "least", V5, "10 0d 0004 4d515454 05 00 ffff 00 0000", Connect(V5, "", clean_start=False, keep_alive=65_535)
    ),
    Golden(
        "whole",
        V3_1_1,
        "10 1b 0004 4d515454 04 ee 0001 0001 61 0003 742f31 0002 00ff 0001 75 0000",
        Connect(
            V3_1_1,
            "a",
            clean_start=True,
            keep_alive=1,
            will=Will("t/1", b"\x00\xff", qos=1, retain=True),
            username="u",
            password=b"",
        ),
    ),
    Golden(
        "whole",
        V3_1,
        "10 1b 0006 4d5149736470 03 d4 0001 0001 61 0001 74 0001 78 0001 75 0001 70",
        Connect(
            V3_1,
            "a",
            clean_start=False,
            keep_alive=1,
            will=Will("t", b"x", qos=2, retain=False),
            username="u",
            password=b"p",
        ),
    ),
    Golden(
        "whole",
        V5,
        "10 64 0004 4d515454 05 d6 0001"
        "2a 11 0000000a 15 0001 6d 16 0001 64 17 00 19 01 21 0014 22 001e"
        "26 0001 6b 0001 76 26 0001 6b 0001 77 27 00000100 0001 61"
        "1f 01 01 02 00000002 03 0001 63 08 0001 72 09 0001 00 18 00000005 26 0001 6b 0001 76"
        "0001 74 0001 78 0001 75 0001 70",
        Connect(
            V5,
            "a",
            clean_start=True,
            keep_alive=1,
            will=Will("t", b"x", qos=2, retain=False, properties=EVERY_WILL_PROPERTY),
            username="u",
            password=b"p",
            properties=EVERY_CONNECT_PROPERTY,
        ),
    ),
    Golden(
        "password alone",
        V5,
        "10 10 0004 4d515454 05 42 0000 00 0000 0001 70",
        Connect(V5, "", clean_start=True, keep_alive=0, password=b"p"),
    ),
    # CONNACK
    Golden("accepted", V3_1, "20 02 00 00", ConnAck(session_present=False, reason=ReasonCode.SUCCESS)),
    Golden("session present", V3_1_1, "20 02 01 00", ConnAck(session_present=True, reason=ReasonCode.SUCCESS)),
    Golden(
        "version", V3_1_1, "20 02 00 01", ConnAck(session_present=False, reason=ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
    ),
    Golden(
        "identifier",
        V3_1_1,
        "20 02 00 02",
        ConnAck(session_present=False, reason=ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),
    ),
    Golden("unavailable", V3_1_1, "20 02 00 03", ConnAck(session_present=False, reason=ReasonCode.SERVER_UNAVAILABLE)),
    Golden(
        "password", V3_1_1, "20 02 00 04", ConnAck(session_present=False, reason=ReasonCode.BAD_USER_NAME_OR_PASSWORD)
    ),
    Golden("not authorized", V3_1_1, "20 02 00 05", ConnAck(session_present=False, reason=ReasonCode.NOT_AUTHORIZED)),
    Golden("session present", V5, "20 03 01 00 00", ConnAck(session_present=True, reason=ReasonCode.SUCCESS)),
    Golden("busy", V5, "20 03 00 89 00", ConnAck(session_present=False, reason=ReasonCode.SERVER_BUSY)),
    Golden(
        "whole",
        V5,
        "20 3c 00 00 39 11 00000001 12 0001 69 13 003c 15 0001 6d 16 0000 1a 0001 72 1c 0001 73 1f 0001 65"
        "21 0009 22 0008 24 01 25 00 26 0000 0000 27 ffffffff 28 01 29 00 2a 01",
        ConnAck(session_present=False, reason=ReasonCode.SUCCESS, properties=EVERY_CONNACK_PROPERTY),
    ),
    # PUBLISH
    Golden("least", V3_1, "30 03 0001 74", Publish("t", b"")),
    Golden("QoS 0", V3_1_1, "30 05 0001 74 6869", Publish("t", b"hi")),
    Golden("QoS 1 retain", V3_1_1, "33 06 0001 74 0001 68", Publish("t", b"h", 1, retain=True, packet_id=1)),
    Golden("QoS 2 dup", V3_1_1, "3c 05 0001 74 ffff", Publish("t", b"", 2, dup=True, packet_id=65_535)),
    Golden("U+FEFF and space", V3_1_1, "30 06 0004 efbbbf20", Publish("\ufeff ", b"")),
    Golden("QoS 0", V5, "30 05 0001 74 00 68", Publish("t", b"h")),
    Golden(
        "QoS 1 retain dup",
        V5,
        "3b 08 0002 c3a9 0102 00 00",
        Publish("é", b"\x00", 1, retain=True, dup=True, packet_id=258),
    ),
    Golden(
        "alias alone",
        V5,
        "34 08 0000 0007 03 23 0001",
        Publish("", b"", 2, packet_id=7, properties=Properties(topic_alias=1)),
    ),
    Golden(
        "whole",
        V5,
        "30 32 0001 74 2d 01 00 02 ffffffff 03 0001 63 08 0003 722f74 09 0001 ff 0b 01 0b ffffff7f 23 0005"
        "26 0001 61 0001 62 26 0001 61 0001 62 70",
        Publish("t", b"p", properties=EVERY_PUBLISH_PROPERTY),
    ),
    Golden("128 bytes long", V3_1_1, "30 8001 0001 74" + "78" * 125, Publish("t", b"x" * 125)),
    # PUBACK, PUBREC, PUBREL, PUBCOMP
    Golden("success", V3_1_1, "40 02 0001", PubAck(1)),
    Golden("success", V3_1_1, "50 02 ffff", PubRec(65_535)),
    Golden("success", V3_1_1, "62 02 0001", PubRel(1)),
    Golden("success", V3_1_1, "70 02 0001", PubComp(1)),
    Golden("success", V5, "40 02 0001", PubAck(1)),
    Golden("reason", V5, "40 03 0001 10", PubAck(1, ReasonCode.NO_MATCHING_SUBSCRIBERS)),
    Golden("properties", V5, "40 09 0001 00 05 1f 0002 6e6f", PubAck(1, properties=A_REASON_STRING)),
    Golden("reason", V5, "50 03 0001 97", PubRec(1, ReasonCode.QUOTA_EXCEEDED)),
    Golden("whole", V5, "50 09 0001 87 05 1f 0002 6e6f", PubRec(1, ReasonCode.NOT_AUTHORIZED, A_REASON_STRING)),
    Golden("reason", V5, "62 03 0001 92", PubRel(1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)),
    Golden("properties", V5, "62 09 0001 00 05 1f 0002 6e6f", PubRel(1, properties=A_REASON_STRING)),
    Golden("reason", V5, "70 03 0001 92", PubComp(1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)),
    Golden("properties", V5, "70 09 0001 00 05 1f 0002 6e6f", PubComp(1, properties=A_REASON_STRING)),
    # SUBSCRIBE and SUBACK
    Golden("one", V3_1, "82 06 0001 0001 23 02", Subscribe(1, (SubscriptionRequest("#", 2),))),
    Golden(
        "two",
        V3_1_1,
        "82 0c 000a 0003 612f62 01 0001 2b 00",
        Subscribe(10, (SubscriptionRequest("a/b", 1), SubscriptionRequest("+"))),
    ),
    Golden("no option", V5, "82 07 0001 00 0001 74 00", Subscribe(1, (SubscriptionRequest("t"),))),
    Golden(
        "every option",
        V5,
        "82 11 000a 02 0b 07 0003 612f62 2e 0003 632f64 11",
        Subscribe(
            10,
            (
                SubscriptionRequest("a/b", 2, no_local=True, retain_as_published=True, retain_handling=2),
                SubscriptionRequest("c/d", 1, retain_handling=1),
            ),
            Properties(subscription_identifiers=(7,)),
        ),
    ),
    Golden("failure", V3_1, "90 03 0001 80", SubAck(1, (ReasonCode.UNSPECIFIED_ERROR,))),
    Golden(
        "every code",
        V3_1_1,
        "90 06 0001 00 01 02 80",
        SubAck(
            1,
            (
                ReasonCode.GRANTED_QOS_0,
                ReasonCode.GRANTED_QOS_1,
                ReasonCode.GRANTED_QOS_2,
                ReasonCode.UNSPECIFIED_ERROR,
            ),
        ),
    ),
    Golden(
        "whole",
        V5,
        "90 0a 0001 05 1f 0002 6e6f 02 87",
        SubAck(1, (ReasonCode.GRANTED_QOS_2, ReasonCode.NOT_AUTHORIZED), A_REASON_STRING),
    ),
    # UNSUBSCRIBE and UNSUBACK
    Golden("two", V3_1_1, "a2 0a 0001 0001 61 0003 622f23", Unsubscribe(1, ("a", "b/#"))),
    Golden(
        "properties",
        V5,
        "a2 0d 0001 07 26 0001 6b 0001 76 0001 61",
        Unsubscribe(1, ("a",), Properties(user_properties=(("k", "v"),))),
    ),
    Golden("no reasons", V3_1_1, "b0 02 0001", UnsubAck(1, ())),
    Golden(
        "whole",
        V5,
        "b0 0a 0001 05 1f 0002 6e6f 00 11",
        UnsubAck(1, (ReasonCode.SUCCESS, ReasonCode.NO_SUBSCRIPTION_EXISTED), A_REASON_STRING),
    ),
    # PINGREQ, PINGRESP
    Golden("only", V3_1, "c0 00", PingReq()),
    Golden("only", V5, "c0 00", PingReq()),
    Golden("only", V3_1_1, "d0 00", PingResp()),
    Golden("only", V5, "d0 00", PingResp()),
    # DISCONNECT, AUTH
    Golden("only", V3_1_1, "e0 00", Disconnect()),
    Golden("normal", V5, "e0 00", Disconnect()),
    Golden("reason", V5, "e0 01 04", Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)),
    Golden(
        "whole",
        V5,
        "e0 0e 9c 0c 11 00000000 1c 0001 73 1f 0000",
        Disconnect(
            ReasonCode.USE_ANOTHER_SERVER,
            Properties(session_expiry_interval=0, server_reference="s", reason_string=""),
        ),
    ),
    Golden("success", V5, "f0 00", Auth(ReasonCode.SUCCESS)),
    Golden(
        "whole",
        V5,
        "f0 0a 18 08 15 0001 6d 16 0001 64",
        Auth(ReasonCode.CONTINUE_AUTHENTICATION, Properties(authentication_method="m", authentication_data=b"d")),
    ),
]

# Longer than need be, and lawful all the same: what `decode` must read although `encode` never writes it.
VERBOSE = [
    Golden("reason 0", V5, "40 03 0001 00", PubAck(1)),
    Golden("reason 0, no properties", V5, "50 04 0001 00 00", PubRec(1)),
    Golden("reason, no properties", V5, "62 04 0001 92 00", PubRel(1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)),
    Golden("reason 0", V5, "e0 01 00", Disconnect()),
    Golden("reason 0, no properties", V5, "e0 02 00 00", Disconnect()),
    Golden("repeated PUBREL", V3_1, "6a 02 0001", PubRel(1)),
    Golden("repeated SUBSCRIBE", V3_1, "8a 06 0001 0001 23 02", Subscribe(1, (SubscriptionRequest("#", 2),))),
    Golden("repeated UNSUBSCRIBE", V3_1, "aa 05 0001 0001 61", Unsubscribe(1, ("a",))),
    # MQTT 3.1, 3.1: the remaining length outranks the user name flag and the password flag.
    Golden(
        "promised name missing",
        V3_1,
        "10 0f 0006 4d5149736470 03 c2 0000 0001 61",
        Connect(V3_1, "a", clean_start=True, keep_alive=0),
    ),
    Golden(
        "promised password missing",
        V3_1,
        "10 12 0006 4d5149736470 03 c2 0000 0001 61 0001 75",
        Connect(V3_1, "a", clean_start=True, keep_alive=0, username="u"),
    ),
]


def _name(case: Golden) -> str:
    return f"{type(case.packet).__name__}-{case.version.name}-{case.name}"


def _version_before(case: Golden) -> ProtocolVersion | None:
    return None if isinstance(case.packet, Connect) else case.version


every_case = pytest.mark.parametrize("case", [*GOLDEN, *VERBOSE], ids=_name)


@every_case
def test_packet_is_read_whole(case: Golden) -> None:
    assert decode(case.data, 0, _version_before(case), PACKET_BYTES_MAX) == (case.packet, len(case.data))


@every_case
def test_packet_is_read_at_an_offset_and_before_a_tail(case: Golden) -> None:
    data = b"\xff\xff\xff" + case.data + b"\xff\xff"

    assert decode(data, 3, _version_before(case), PACKET_BYTES_MAX) == (case.packet, 3 + len(case.data))


@every_case
def test_every_shorter_prefix_means_need_more(case: Golden) -> None:
    for length in range(len(case.data)):
        assert decode(case.data[:length], 0, _version_before(case), PACKET_BYTES_MAX) is None


@every_case
def test_every_body_that_is_cut_short_is_refused_or_means_less(case: Golden) -> None:
    """A remaining length that ends the body early never yields the same packet, and never anything but a Violation."""
    if len(case.data) > 0x7F or isinstance(case.packet, Publish):
        return  # the end of a payload is wherever its packet ends
    for length in range(len(case.data) - 2):
        shorter = bytes((case.data[0], length)) + case.data[2 : 2 + length]
        try:
            decoded = decode(shorter, 0, _version_before(case), PACKET_BYTES_MAX)
        except Violation:
            continue
        assert decoded is not None
        assert decoded[0] != case.packet or case in VERBOSE


@pytest.mark.parametrize("case", GOLDEN, ids=_name)
def test_packet_is_written_in_its_shortest_form(case: Golden) -> None:
    """[MQTT-2.2.2-1]"""
    assert encode(case.packet, case.version) == case.data


@pytest.mark.parametrize("case", VERBOSE, ids=_name)
def test_packet_is_never_written_longer_than_need_be(case: Golden) -> None:
    assert decode(encode(case.packet, case.version), 0, case.version, PACKET_BYTES_MAX) is not None
    assert len(encode(case.packet, case.version)) <= len(case.data)


@every_case
def test_header_tells_type_and_size_before_the_body(case: Golden) -> None:
    header = read_header(case.data, 0)

    assert header is not None
    assert header.packet_type == case.data[0] >> 4
    assert header.flags == case.data[0] & 0x0F
    assert header.header_length + header.remaining_length == len(case.data)
    assert read_header(bytearray(b"\xff" + case.data[: header.header_length]), 1) == header
    assert read_header(memoryview(case.data[: header.header_length]), 0) == header


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x80", b"\x30\xff\xff\xff"])
def test_header_that_is_incomplete_means_need_more(data: bytes) -> None:
    assert read_header(data, 0) is None
    assert decode(data, 0, V5, PACKET_BYTES_MAX) is None


def test_header_of_the_greatest_packet() -> None:
    assert read_header(bytes.fromhex("30 ffffff7f"), 0) == Header(3, 0, 268_435_455, 5)


def test_every_packet_has_a_golden_case() -> None:
    assert {type(case.packet) for case in GOLDEN} == set(Packet.__args__)
