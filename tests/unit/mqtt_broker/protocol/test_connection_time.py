"""The connect deadline and the keep-alive: moments come in as arguments, nobody waits here."""

import pytest

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.protocol.connection import CONNECT_DEADLINE_S, Connection
from mqtt_broker.protocol.events import Violated
from mqtt_broker.protocol.states import State
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import ConnAck, Disconnect, PingReq, ProtocolVersion, Publish
from mqtt_broker.wire.reasons import ReasonCode
from unit.mqtt_broker.protocol.machines import (
    LIMITS,
    METHOD,
    V3_1,
    V3_1_1,
    V5,
    WITH_METHOD,
    closed,
    connected,
    connecting,
    receive,
    sent,
)

VERSIONS = (V3_1, V3_1_1, V5)


def test_the_connect_deadline_counts_from_the_start_and_not_from_the_last_byte() -> None:
    connection = Connection(LIMITS, 100.0)
    for second in range(9):
        connection.receive_data(b"\x10\x7f\x00\x04MQTT"[second : second + 1], 100.0 + second)
        assert connection.deadline() == 100.0 + CONNECT_DEADLINE_S
        assert connection.tick(100.0 + second) is None
    violated = connection.tick(100.0 + CONNECT_DEADLINE_S)
    assert isinstance(violated, Violated)
    assert violated.reason is ReasonCode.UNSPECIFIED_ERROR
    assert connection.state is State.CLOSED
    assert not connection.has_data_to_send


def test_the_connect_deadline_can_be_set() -> None:
    assert Connection(LIMITS, 5.0, connect_deadline_s=2).deadline() == 7.0


def test_nothing_runs_against_the_client_while_it_is_our_turn() -> None:
    connection = connecting(now=0.0)
    assert connection.deadline() is None
    assert connection.tick(1_000_000.0) is None
    assert connection.state is State.CONNECTING


def test_the_connect_deadline_runs_while_a_challenge_is_out() -> None:
    connection = connecting(V5, WITH_METHOD, now=3.0)
    connection.challenge(METHOD)
    connection.data_to_send()
    assert connection.deadline() == 3.0 + CONNECT_DEADLINE_S
    assert connection.tick(3.0 + CONNECT_DEADLINE_S) is not None
    assert sent(connection) == [ConnAck(session_present=False, reason=ReasonCode.UNSPECIFIED_ERROR)]


@pytest.mark.parametrize("version", VERSIONS)
def test_silence_for_one_and_a_half_keep_alives_ends_the_connection(version: ProtocolVersion) -> None:
    """[MQTT-3.1.2-22], [3.1.1 MQTT-3.1.2-24]"""
    connection = connected(version, keep_alive=60, now=10.0)
    assert connection.keep_alive_s == 60
    assert connection.deadline() == 100.0
    assert connection.tick(99.9) is None
    violated = connection.tick(100.0)
    assert isinstance(violated, Violated)
    assert violated.reason is ReasonCode.KEEP_ALIVE_TIMEOUT
    assert connection.state is State.CLOSED
    assert sent(connection) == ([Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)] if version is V5 else [])


@pytest.mark.parametrize("packet", [PingReq(), Publish("a", b"")])
def test_every_packet_is_a_sign_of_life(packet: PingReq | Publish) -> None:
    connection = connected(keep_alive=60, now=0.0)
    receive(connection, packet, now=50.0)
    assert connection.deadline() == 140.0


def test_a_part_of_a_packet_is_no_sign_of_life() -> None:
    """[MQTT-3.1.2-22]: a control packet must come, not a byte"""
    connection = connected(keep_alive=60, now=0.0)
    first, second = encode(PingReq(), V5)
    connection.receive_data(bytes((first,)), 50.0)
    assert connection.deadline() == 90.0
    connection.receive_data(bytes((second,)), 60.0)
    assert connection.deadline() == 150.0


def test_a_pause_of_our_own_does_not_count_against_the_client() -> None:
    connection = connected(keep_alive=60, now=0.0)
    connection.receive_data(b"", 80.0)
    assert connection.deadline() == 170.0


def test_the_keep_alive_starts_when_the_hub_goes_on_after_connack() -> None:
    connection = connecting(keep_alive=2, now=0.0)
    connection.accept(session_present=False)
    connection.receive_data(b"", 7.0)
    assert connection.deadline() == 10.0


@pytest.mark.parametrize(
    ("asked", "cap", "enforced", "told"),
    [(60, 600, 60, None), (600, 600, 600, None), (601, 600, 600, 600), (65_535, 600, 600, 600), (0, 600, 600, 600)],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_keep_alive_is_capped_and_5_is_told(
    version: ProtocolVersion, asked: int, cap: int, enforced: int, told: int | None
) -> None:
    """[MQTT-3.2.2-21]"""
    connection = connecting(version, limits=MQTTSettings(keep_alive_s_max=cap), keep_alive=asked)
    assert connection.keep_alive_s == enforced
    connection.accept(session_present=False)
    (packet,) = sent(connection)
    assert isinstance(packet, ConnAck)
    assert packet.properties.server_keep_alive == (told if version is V5 else None)
    assert connection.deadline() == 1.5 * enforced


def test_without_a_cap_a_client_may_ask_for_no_keep_alive() -> None:
    """[MQTT-3.2.2-22]"""
    connection = connected(limits=MQTTSettings(keep_alive_s_max=0), keep_alive=0)
    assert connection.keep_alive_s == 0
    assert connection.deadline() is None
    assert connection.tick(1_000_000.0) is None


def test_a_closed_connection_has_no_deadline() -> None:
    connection = closed()
    assert connection.deadline() is None
    assert connection.tick(1_000_000.0) is None
