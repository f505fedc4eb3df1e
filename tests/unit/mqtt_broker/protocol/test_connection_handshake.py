"""CONNECT in, CONNACK out: what is refused with which words, and what an accepted client is told."""

from typing import Any

import pytest
from msgspec.structs import replace

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.protocol.connection import CONNECT_BYTES_MAX, HELD_BYTES_MAX, Connection
from mqtt_broker.protocol.events import ConnectReceived, Event, PublishReceived, Violated
from mqtt_broker.protocol.states import State
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    ConnAck,
    Connect,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    Publish,
    Will,
)
from mqtt_broker.wire.reasons import ReasonCode
from unit.mqtt_broker.protocol.machines import (
    LIMITS,
    V3_1,
    V3_1_1,
    V5,
    WITH_METHOD,
    connect_packet,
    connected,
    connecting,
    receive,
    sent,
    violation,
)

VERSIONS = (V3_1, V3_1_1, V5)
NAME = b"\x00\x04MQTT"
NAME_3_1 = b"\x00\x06MQIsdp"


def frame(body: bytes, first: int = 0x10) -> bytes:
    assert len(body) < 0x80
    return bytes((first, len(body))) + body


def fed_in_every_way(data: bytes, limits: MQTTSettings = LIMITS) -> list[tuple[list[Event], bytes]]:
    """Events and answers of fresh connections that get the bytes whole, one by one, and with a tail."""
    outcomes = []
    for pieces in ([data], [bytes((byte,)) for byte in data], [data + b"\xc0\x00"]):
        connection = Connection(limits, 0.0)
        events = [event for piece in pieces for event in connection.receive_data(piece, 0.0)]
        outcomes.append((events, connection.data_to_send()))
    return outcomes


def the_one_outcome(data: bytes, limits: MQTTSettings = LIMITS) -> tuple[list[Event], bytes]:
    outcomes = fed_in_every_way(data, limits)
    assert all(outcome == outcomes[0] for outcome in outcomes)
    return outcomes[0]


def refused(data: bytes, limits: MQTTSettings = LIMITS) -> tuple[ReasonCode, bytes]:
    events, answer = the_one_outcome(data, limits)
    assert len(events) == 1
    return violation(events), answer


def connack_v5(reason: ReasonCode) -> bytes:
    return encode(ConnAck(session_present=False, reason=reason), V5)


# CONNECT that is understood


@pytest.mark.parametrize("version", VERSIONS)
def test_connect_is_handed_over_once_it_is_whole(version: ProtocolVersion) -> None:
    """[MQTT-3.1.0-1] [3.1.1 MQTT-3.1.0-1]"""
    packet = connect_packet(version)
    assert the_one_outcome(encode(packet, version)) == ([ConnectReceived(packet)], b"")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_machine_knows_what_the_client_announced(version: ProtocolVersion) -> None:
    connection = connecting(version)
    assert connection.version is version
    assert connection.connect == connect_packet(version)
    assert connection.client_receive_maximum == 65_535
    assert connection.client_packet_bytes_max == 268_435_460
    assert connection.wants_reason_strings


def test_the_limits_of_a_client_of_5_are_noted() -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-29] [MQTT-3.3.4-9]"""
    properties = Properties(receive_maximum=7, maximum_packet_size=99, request_problem_information=0)
    connection = connecting(V5, properties)
    assert connection.client_receive_maximum == 7
    assert connection.client_packet_bytes_max == 99
    assert not connection.wants_reason_strings


def test_before_connect_nothing_is_known() -> None:
    connection = Connection(LIMITS, 0.0)
    assert (connection.version, connection.connect, connection.keep_alive_s) == (None, None, 0)
    assert connection.receive_data(b"", 0.0) == []
    assert connection.state is State.AWAITING_CONNECT


# The first packet is no CONNECT, or a bad one


@pytest.mark.parametrize("first", [0x20, 0x30, 0x40, 0x82, 0xC0, 0xE0, 0xF0, ord("G"), ord("S")])
def test_any_other_first_packet_closes_at_its_first_byte_without_a_word(first: int) -> None:
    """[MQTT-3.1.0-1] [3.1.1 MQTT-3.1.0-1]"""
    connection = Connection(LIMITS, 0.0)
    assert violation(connection.receive_data(bytes((first,)), 0.0)) is ReasonCode.PROTOCOL_ERROR
    assert connection.state is State.CLOSED
    assert not connection.has_data_to_send


def test_a_first_packet_of_type_0_closes_without_a_word() -> None:
    assert refused(b"\x00\x00") == (ReasonCode.MALFORMED_PACKET, b"")


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\x01", b"\x80\x00"])
def test_a_remaining_length_that_cannot_be_closes_without_a_word(length: bytes) -> None:
    """[MQTT-1.5.5-1]"""
    assert refused(b"\x10" + length) == (ReasonCode.MALFORMED_PACKET, b"")


@pytest.mark.parametrize("level", [6, 0x7F, 0x85])
def test_a_level_above_ours_is_answered_in_the_form_of_5(level: int) -> None:
    """[MQTT-3.1.2-2]"""
    reason = ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
    assert refused(frame(NAME + bytes((level, 2, 0, 60, 0, 0, 0)))) == (reason, connack_v5(reason))


@pytest.mark.parametrize("name_and_level", [NAME + b"\x00", NAME + b"\x03", NAME_3_1 + b"\x04", NAME_3_1 + b"\x05"])
def test_an_older_level_that_is_none_of_ours_gets_return_code_1(name_and_level: bytes) -> None:
    """[3.1.1 MQTT-3.1.2-2] [3.1.1 MQTT-3.2.2-5]"""
    answer = refused(frame(name_and_level + b"\x02\x00\x3c\x00\x00"))
    assert answer == (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, b"\x20\x02\x00\x01")


def test_a_wrong_protocol_name_is_closed_without_a_word() -> None:
    """[MQTT-3.1.2-1] [3.1.1 MQTT-3.1.2-1]"""
    assert refused(frame(b"\x00\x04mqtt\x05\x02\x00\x3c\x00\x00\x00"))[1] == b""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (NAME + b"\x05\x03\x00\x3c\x00\x00\x00", ReasonCode.MALFORMED_PACKET),  # reserved flag [MQTT-3.1.2-3]
        (NAME + b"\x05\x02\x00\x3c\x03\x21\x00\x00\x00\x00", ReasonCode.PROTOCOL_ERROR),  # Receive Maximum 0
        (NAME + b"\x05\x02\x00\x3c\x00\x00\x01", ReasonCode.MALFORMED_PACKET),  # client id cut off
    ],
)
def test_a_bad_connect_of_5_is_told_the_reason(body: bytes, reason: ReasonCode) -> None:
    """[MQTT-3.1.4-1]"""
    assert refused(frame(body)) == (reason, connack_v5(reason))


def test_wrong_header_flags_of_a_connect_of_5_are_told() -> None:
    """[MQTT-2.1.3-1]"""
    whole = frame(NAME + b"\x05\x02\x00\x3c\x00\x00\x00", first=0x11)
    assert refused(whole) == (ReasonCode.MALFORMED_PACKET, connack_v5(ReasonCode.MALFORMED_PACKET))


@pytest.mark.parametrize("name_and_level", [NAME + b"\x04", NAME_3_1 + b"\x03"])
def test_a_bad_connect_of_3_is_closed_without_a_word(name_and_level: bytes) -> None:
    """[3.1.1 MQTT-3.1.4-1]"""
    assert refused(frame(name_and_level + b"\x03\x00\x3c\x00\x00")) == (ReasonCode.MALFORMED_PACKET, b"")


@pytest.mark.parametrize("body", [b"", b"\x00", NAME, NAME_3_1[:5]])
def test_a_connect_that_ends_before_its_level_is_closed_without_a_word(body: bytes) -> None:
    assert refused(frame(body)) == (ReasonCode.MALFORMED_PACKET, b"")


# The client id


@pytest.mark.parametrize(
    ("version", "clean_start", "accepted"),
    [(V5, False, True), (V5, True, True), (V3_1_1, True, True), (V3_1_1, False, False), (V3_1, True, False)],
)
def test_an_empty_client_id_needs_a_session_that_need_not_be_found_again(
    version: ProtocolVersion, clean_start: bool, accepted: bool
) -> None:
    """[MQTT-3.1.3-6], [3.1.1 MQTT-3.1.3-7] [3.1.1 MQTT-3.1.3-8]: return code 2"""
    packet = Connect(version, "", clean_start, keep_alive=60)
    events, answer = the_one_outcome(encode(packet, version))
    if accepted:
        assert (events, answer) == ([ConnectReceived(packet)], b"")
    else:
        assert violation(events) is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
        assert answer == b"\x20\x02\x00\x02"


# A will that cannot be


@pytest.mark.parametrize(
    ("limits", "will", "reason"),
    [
        (MQTTSettings(maximum_qos=1), Will("a", b"", qos=2, retain=False), ReasonCode.QOS_NOT_SUPPORTED),
        (MQTTSettings(retain_available=False), Will("a", b"", qos=0, retain=True), ReasonCode.RETAIN_NOT_SUPPORTED),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_will_above_our_limits_is_refused(
    version: ProtocolVersion, limits: MQTTSettings, will: Will, reason: ReasonCode
) -> None:
    """[MQTT-3.2.2-12] [MQTT-3.2.2-13] 3.x has no return code for it"""
    packet = replace(connect_packet(version), will=will)
    assert refused(encode(packet, version), limits) == (reason, connack_v5(reason) if version is V5 else b"")
    assert the_one_outcome(encode(packet, version))[0] == [ConnectReceived(packet)]


# Bounds before anybody is known


def test_a_connect_above_the_cap_is_refused_before_its_body_is_there() -> None:
    """MQTT 5.0, 3.1.4: 0x95"""
    head = b"\x10\xff\xff\x7f" + NAME + b"\x05"
    events: list[Event] = []
    answer = b""
    connection = Connection(LIMITS, 0.0)
    for byte in head:
        assert not events
        events += connection.receive_data(bytes((byte,)), 0.0)
        answer += connection.data_to_send()
    assert violation(events) is ReasonCode.PACKET_TOO_LARGE
    assert answer == connack_v5(ReasonCode.PACKET_TOO_LARGE)


@pytest.mark.parametrize("name_and_level", [NAME + b"\x04", NAME_3_1 + b"\x03", b"GET / HT"])
def test_a_connect_above_the_cap_is_closed_without_a_word_if_it_is_not_of_5(name_and_level: bytes) -> None:
    assert refused(b"\x10\xff\xff\x7f" + name_and_level) == (ReasonCode.PACKET_TOO_LARGE, b"")


def test_the_cap_on_connect_can_be_reached_and_not_passed() -> None:
    packet = replace(connect_packet(), username="u", password=b"")
    rest = CONNECT_BYTES_MAX - len(encode(packet, V5)) - 2  # two more bytes of remaining length
    for password_bytes, fits in ((rest, True), (rest + 1, False)):
        connection = Connection(LIMITS, 0.0)
        data = encode(replace(packet, password=bytes(password_bytes)), V5)
        assert len(data) == CONNECT_BYTES_MAX + (not fits)
        (event,) = connection.receive_data(data, 0.0)
        assert isinstance(event, ConnectReceived if fits else Violated)


def test_connect_obeys_the_smaller_of_both_limits() -> None:
    data = encode(replace(connect_packet(), username="u" * 200), V5)
    assert violation(Connection(LIMITS, 0.0, connect_bytes_max=100).receive_data(data, 0.0)) is (
        ReasonCode.PACKET_TOO_LARGE
    )
    assert violation(Connection(MQTTSettings(packet_bytes_max=100), 0.0).receive_data(data, 0.0)) is (
        ReasonCode.PACKET_TOO_LARGE
    )


def test_bytes_behind_connect_are_held_until_it_is_answered() -> None:
    """[MQTT-3.1.4-6] [MQTT-3.2.0-1]"""
    connection = Connection(LIMITS, 0.0)
    publish = Publish("a/b", b"x")
    held = encode(publish, V5) + encode(PingReq(), V5)
    packet = connect_packet()
    assert connection.receive_data(encode(packet, V5) + held, 0.0) == [ConnectReceived(packet)]
    assert connection.held_bytes == len(held)
    assert not connection.has_data_to_send
    connection.accept(session_present=False)
    assert connection.receive_data(b"", 0.0) == [PublishReceived(publish)]
    assert connection.held_bytes == 0
    assert [type(packet) for packet in sent(connection)] == [ConnAck, PingResp]


def test_held_bytes_are_never_looked_at_after_a_refusal() -> None:
    """[MQTT-3.1.4-6] [3.1.1 MQTT-3.1.4-5]"""
    connection = connecting()
    receive(connection, Publish("a/b", b"x"))
    connection.refuse(ReasonCode.NOT_AUTHORIZED)
    assert connection.receive_data(b"", 0.0) == []
    assert connection.held_bytes == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_more_held_bytes_than_the_bound_end_the_connection(version: ProtocolVersion) -> None:
    connection = connecting(version)
    assert connection.receive_data(bytes(HELD_BYTES_MAX), 0.0) == []
    assert connection.held_bytes == HELD_BYTES_MAX
    assert violation(connection.receive_data(b"\x00", 0.0)) is ReasonCode.PACKET_TOO_LARGE
    assert connection.held_bytes == 0
    expected = connack_v5(ReasonCode.PACKET_TOO_LARGE) if version is V5 else b""  # [MQTT-3.14.0-1] no DISCONNECT
    assert connection.data_to_send() == expected
    assert not connection.accept(session_present=False)


def test_the_bound_on_held_bytes_counts_what_came_with_connect() -> None:
    connection = Connection(LIMITS, 0.0)
    packet = connect_packet()
    events = connection.receive_data(encode(packet, V5) + bytes(HELD_BYTES_MAX + 1), 0.0)
    assert events[0] == ConnectReceived(packet)
    assert violation(events) is ReasonCode.PACKET_TOO_LARGE


# CONNACK with success


def accepted(version: ProtocolVersion, asked: Properties = NO_PROPERTIES, **answer: Any) -> ConnAck:
    connection = connecting(
        version, asked, limits=answer.pop("limits", LIMITS), keep_alive=answer.pop("keep_alive", 60)
    )
    assert connection.accept(answer.pop("session_present", False), **answer)
    assert connection.state is State.CONNECTED
    (packet,) = sent(connection)
    assert isinstance(packet, ConnAck)
    assert packet.reason is ReasonCode.SUCCESS
    return packet


def test_only_what_differs_from_the_protocol_is_announced() -> None:
    limits = MQTTSettings(receive_maximum=65_535, topic_alias_maximum=0, packet_bytes_max=5_000)
    assert accepted(V5, limits=limits).properties == Properties(maximum_packet_size=5_000)


@pytest.mark.parametrize(
    ("limits", "announced"),
    [
        (MQTTSettings(receive_maximum=9), {"receive_maximum": 9}),
        (MQTTSettings(topic_alias_maximum=9), {"topic_alias_maximum": 9}),
        (MQTTSettings(maximum_qos=1), {"maximum_qos": 1}),  # [MQTT-3.2.2-9]
        (MQTTSettings(maximum_qos=0), {"maximum_qos": 0}),
        (MQTTSettings(retain_available=False), {"retain_available": 0}),
        (MQTTSettings(wildcard_subscription_available=False), {"wildcard_subscription_available": 0}),
        (MQTTSettings(shared_subscription_available=False), {"shared_subscription_available": 0}),
        (MQTTSettings(keep_alive_s_max=59), {"server_keep_alive": 59}),  # [MQTT-3.2.2-21]
    ],
)
def test_each_limit_is_announced(limits: MQTTSettings, announced: dict[str, int]) -> None:
    properties = accepted(V5, limits=limits).properties
    assert {name: getattr(properties, name) for name in announced} == announced


def test_an_assigned_client_id_is_told() -> None:
    """[MQTT-3.2.2-16]"""
    assert accepted(V5, assigned_client_id="auto-1").properties.assigned_client_identifier == "auto-1"


@pytest.mark.parametrize(
    ("asked", "used", "told"), [(None, 0, None), (None, 60, 60), (60, 60, None), (60, 0, 0), (60, None, None)]
)
def test_the_session_expiry_is_told_if_it_is_not_the_one_asked_for(
    asked: int | None, used: int | None, told: int | None
) -> None:
    """MQTT 5.0, 3.2.2.3.2"""
    packet = accepted(V5, Properties(session_expiry_interval=asked), session_expiry_s=used)
    assert packet.properties.session_expiry_interval == told


@pytest.mark.parametrize(("asked", "told"), [(None, None), (0, None), (1, "replies/")])
def test_response_information_is_told_only_to_who_asked(asked: int | None, told: str | None) -> None:
    """[MQTT-3.1.2-28]"""
    packet = accepted(V5, Properties(request_response_information=asked), response_information="replies/")
    assert packet.properties.response_information == told


def test_connack_names_the_authentication_method_of_connect() -> None:
    """[MQTT-4.12.0-5]"""
    properties = accepted(V5, WITH_METHOD, authentication_data=b"server-final").properties
    assert properties.authentication_method == WITH_METHOD.authentication_method
    assert properties.authentication_data == b"server-final"


@pytest.mark.parametrize("version", [V3_1_1, V5])
@pytest.mark.parametrize("session_present", [False, True])
def test_connack_says_whether_the_session_was_there(version: ProtocolVersion, session_present: bool) -> None:
    """[MQTT-3.2.2-2] [MQTT-3.2.2-3] [3.1.1 MQTT-3.2.2-1] [3.1.1 MQTT-3.2.2-2] [3.1.1 MQTT-3.2.2-3]"""
    assert accepted(version, session_present=session_present).session_present is session_present


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
def test_connack_of_3_is_four_bytes_whatever_our_limits_are(version: ProtocolVersion) -> None:
    connection = connecting(version, limits=MQTTSettings(maximum_qos=1, retain_available=False))
    connection.accept(session_present=False, assigned_client_id="auto-1", session_expiry_s=3)
    assert connection.data_to_send() == b"\x20\x02\x00\x00"


def test_a_client_that_takes_no_connack_is_not_connected() -> None:
    """[MQTT-3.1.2-24]"""
    connection = connecting(V5, Properties(maximum_packet_size=5))
    assert not connection.accept(session_present=False)
    assert connection.state is State.CLOSED
    assert not connection.has_data_to_send


# CONNACK with an error


def test_a_refusal_carries_its_reason_and_ends_the_connection() -> None:
    """[MQTT-3.2.2-7] [MQTT-3.2.2-6]"""
    connection = connecting()
    connection.refuse(ReasonCode.NOT_AUTHORIZED, "no rule for this client")
    assert sent(connection) == [
        ConnAck(
            session_present=False,
            reason=ReasonCode.NOT_AUTHORIZED,
            properties=Properties(reason_string="no rule for this client"),
        )
    ]
    assert connection.state is State.CLOSED


def test_a_refusal_can_name_another_server() -> None:
    """MQTT 5.0, 4.13: server redirection"""
    connection = connecting()
    connection.refuse(ReasonCode.USE_ANOTHER_SERVER, server_reference="other:8883")
    (packet,) = sent(connection)
    assert isinstance(packet, ConnAck)
    assert packet.properties.server_reference == "other:8883"


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
@pytest.mark.parametrize(
    ("reason", "answer"),
    [
        (ReasonCode.SERVER_UNAVAILABLE, b"\x20\x02\x00\x03"),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, b"\x20\x02\x00\x04"),
        (ReasonCode.NOT_AUTHORIZED, b"\x20\x02\x00\x05"),
        (ReasonCode.UNSPECIFIED_ERROR, b""),  # no return code fits: [3.1.1 MQTT-3.2.2-6]
    ],
)
def test_a_refusal_of_3_has_a_return_code_or_is_silent(
    version: ProtocolVersion, reason: ReasonCode, answer: bytes
) -> None:
    """[3.1.1 MQTT-3.2.2-4] [3.1.1 MQTT-3.2.2-5] [3.1.1 MQTT-3.2.2-6]"""
    connection = connecting(version)
    connection.refuse(reason, "a reason string", server_reference="other:8883")
    assert connection.data_to_send() == answer
    assert connection.state is State.CLOSED


# A second CONNECT


@pytest.mark.parametrize("version", VERSIONS)
def test_a_second_connect_ends_the_connection(version: ProtocolVersion) -> None:
    """[MQTT-3.1.0-2] [3.1.1 MQTT-3.1.0-2]"""
    connection = connected(version)
    assert violation(receive(connection, connect_packet(version))) is ReasonCode.PROTOCOL_ERROR
    assert connection.data_to_send() == (b"\xe0\x01\x82" if version is V5 else b"")
