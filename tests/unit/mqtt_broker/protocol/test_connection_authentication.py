"""Enhanced authentication (MQTT 5.0, 4.12): whose turn it is, and which AUTH fits."""

import pytest

from mqtt_broker.protocol.connection import CONNECT_BYTES_MAX, Connection
from mqtt_broker.protocol.events import AuthReceived, DisconnectReceived
from mqtt_broker.protocol.states import IllegalStepError, State
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import Auth, ConnAck, Disconnect, Properties, Publish
from mqtt_broker.wire.reasons import ReasonCode
from unit.mqtt_broker.protocol.machines import (
    METHOD,
    V3_1_1,
    V5,
    WITH_METHOD,
    authenticating,
    connected,
    connecting,
    receive,
    sent,
    violation,
)

CONTINUE, AGAIN = ReasonCode.CONTINUE_AUTHENTICATION, ReasonCode.RE_AUTHENTICATE


def auth(reason: ReasonCode, data: bytes | None = None, method: str = METHOD) -> Auth:
    return Auth(reason, Properties(authentication_method=method, authentication_data=data))


def test_a_challenge_is_an_auth_with_the_method_of_connect() -> None:
    """[MQTT-4.12.0-2] [MQTT-4.12.0-5]"""
    connection = connecting(V5, WITH_METHOD)
    connection.challenge(METHOD, b"challenge")
    assert sent(connection) == [auth(CONTINUE, b"challenge")]
    assert connection.state is State.AUTHENTICATING


def test_the_answer_to_a_challenge_is_handed_over_and_it_is_our_turn_again() -> None:
    """[MQTT-4.12.0-3]"""
    connection = authenticating()
    assert receive(connection, auth(CONTINUE, b"proof")) == [AuthReceived(auth(CONTINUE, b"proof"))]
    assert connection.state is State.CONNECTING
    connection.challenge(METHOD, b"second")
    assert receive(connection, auth(CONTINUE, b"more")) == [AuthReceived(auth(CONTINUE, b"more"))]
    assert connection.accept(session_present=False, authentication_data=b"final")
    assert [type(packet) for packet in sent(connection)] == [Auth, ConnAck]


def test_what_follows_the_answer_is_held_until_we_have_decided() -> None:
    """[MQTT-3.1.4-6]"""
    connection = authenticating()
    publish = Publish("a", b"x")
    assert receive(connection, auth(CONTINUE), publish) == [AuthReceived(auth(CONTINUE))]
    assert connection.held_bytes == len(encode(publish, V5))
    connection.accept(session_present=False)
    assert len(connection.receive_data(b"", 0.0)) == 1


def test_what_was_sent_ahead_of_the_answer_to_a_challenge_is_an_offence() -> None:
    """[MQTT-3.1.2-30]"""
    connection = connecting(V5, WITH_METHOD)
    receive(connection, Publish("a", b"x"))
    connection.challenge(METHOD)
    connection.data_to_send()
    assert violation(connection.receive_data(b"", 0.0)) is ReasonCode.PROTOCOL_ERROR
    # [MQTT-3.14.0-1] No DISCONNECT before CONNACK.
    assert sent(connection) == [ConnAck(session_present=False, reason=ReasonCode.PROTOCOL_ERROR)]


def test_a_client_may_leave_in_the_middle() -> None:
    """[MQTT-3.1.2-30]"""
    connection = authenticating()
    assert receive(connection, Disconnect()) == [DisconnectReceived(Disconnect())]
    assert connection.state is State.CLOSED
    assert not connection.has_data_to_send


def test_a_refusal_in_the_middle_is_a_connack() -> None:
    """[MQTT-4.12.0-4]"""
    connection = authenticating()
    receive(connection, auth(CONTINUE, b"wrong"))
    connection.refuse(ReasonCode.NOT_AUTHORIZED)
    assert sent(connection) == [ConnAck(session_present=False, reason=ReasonCode.NOT_AUTHORIZED)]


@pytest.mark.parametrize(
    "packet", [auth(AGAIN), auth(ReasonCode.SUCCESS), auth(CONTINUE, method="SCRAM-SHA-1"), Auth(ReasonCode.SUCCESS)]
)
def test_an_auth_out_of_turn_or_of_another_method_ends_the_handshake(packet: Auth) -> None:
    """[MQTT-4.12.0-3] [MQTT-4.12.0-5]"""
    connection = authenticating()
    assert violation(receive(connection, packet)) is ReasonCode.PROTOCOL_ERROR
    assert sent(connection) == [ConnAck(session_present=False, reason=ReasonCode.PROTOCOL_ERROR)]


def test_an_auth_before_connack_obeys_the_cap_on_connect() -> None:
    connection = authenticating()
    head = b"\xf0\xff\xff\x7f"
    assert len(head) < CONNECT_BYTES_MAX
    assert violation(connection.receive_data(head, 0.0)) is ReasonCode.PACKET_TOO_LARGE


# Again, on a live connection


def live() -> Connection:
    return connected(V5, WITH_METHOD)


def test_a_live_connection_authenticates_again_while_it_goes_on() -> None:
    """MQTT 5.0, 4.12.1"""
    connection = live()
    assert receive(connection, auth(AGAIN, b"first")) == [AuthReceived(auth(AGAIN, b"first"))]
    connection.challenge(METHOD, b"challenge")
    assert connection.publish(Publish("a", b""))
    assert receive(connection, Publish("a", b""), auth(CONTINUE, b"proof"))[1] == AuthReceived(auth(CONTINUE, b"proof"))
    connection.reauthenticate_success(METHOD, b"final")
    assert connection.state is State.CONNECTED
    assert sent(connection) == [auth(CONTINUE, b"challenge"), Publish("a", b""), auth(ReasonCode.SUCCESS, b"final")]
    assert len(receive(connection, auth(AGAIN))) == 1


def test_a_failed_one_ends_with_disconnect() -> None:
    """[MQTT-4.12.1-2]"""
    connection = live()
    receive(connection, auth(AGAIN))
    connection.disconnect(ReasonCode.NOT_AUTHORIZED)
    assert sent(connection) == [Disconnect(ReasonCode.NOT_AUTHORIZED)]


@pytest.mark.parametrize(
    "packets",
    [
        [auth(CONTINUE)],
        [auth(ReasonCode.SUCCESS)],
        [auth(AGAIN, method="SCRAM-SHA-1")],
        [auth(AGAIN), auth(AGAIN)],
        [auth(AGAIN), auth(CONTINUE)],
    ],
)
def test_an_auth_out_of_turn_ends_a_live_connection(packets: list[Auth]) -> None:
    """[MQTT-4.12.0-3] [MQTT-4.12.1-1]"""
    connection = live()
    assert violation(receive(connection, *packets)) is ReasonCode.PROTOCOL_ERROR
    assert sent(connection) == [Disconnect(ReasonCode.PROTOCOL_ERROR)]


def test_a_live_connection_without_a_method_has_no_auth() -> None:
    """[MQTT-4.12.0-7]"""
    connection = connected(V5)
    assert violation(receive(connection, auth(AGAIN))) is ReasonCode.PROTOCOL_ERROR
    assert sent(connection) == [Disconnect(ReasonCode.PROTOCOL_ERROR)]


def test_3_1_1_has_no_auth() -> None:
    connection = connected(V3_1_1)
    assert violation(connection.receive_data(b"\xf0\x00", 0.0)) is ReasonCode.MALFORMED_PACKET
    assert not connection.has_data_to_send


# Our own mistakes


def test_a_challenge_without_a_request_is_a_bug_of_ours() -> None:
    connection = live()
    with pytest.raises(IllegalStepError):
        connection.challenge(METHOD)
    with pytest.raises(IllegalStepError):
        connection.reauthenticate_success(METHOD)
    assert not connection.has_data_to_send


def test_a_challenge_of_another_method_is_a_bug_of_ours() -> None:
    """[MQTT-4.12.0-5] [MQTT-4.12.0-6]"""
    for connection in (connecting(V5, WITH_METHOD), connecting(V5), connecting(V3_1_1)):
        with pytest.raises(ValueError, match="authentication method"):
            connection.challenge("SCRAM-SHA-1")
        assert connection.state is State.CONNECTING
        assert not connection.has_data_to_send


def test_answers_after_the_end_are_dropped() -> None:
    connection = live()
    receive(connection, auth(AGAIN), Disconnect())
    connection.challenge(METHOD)
    connection.reauthenticate_success(METHOD)
    assert not connection.has_data_to_send
