"""The tables of states are the machine: each cell is tried on a real connection."""

from collections.abc import Callable

import pytest

from mqtt_broker.protocol.connection import Connection
from mqtt_broker.protocol.events import Violated
from mqtt_broker.protocol.states import (
    RECEIVED,
    TAKEN,
    IllegalStepError,
    State,
    Step,
    after_receiving,
    after_taking,
)
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.header import PacketType
from mqtt_broker.wire.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
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
)
from mqtt_broker.wire.reasons import ReasonCode
from unit.mqtt_broker.protocol.machines import MACHINES, METHOD, V5, WITH_METHOD, connected, receive, sent, violation

EXAMPLES: dict[PacketType, Packet] = {
    PacketType.CONNECT: Connect(V5, "pump-1", clean_start=True, keep_alive=60),
    PacketType.CONNACK: ConnAck(session_present=False, reason=ReasonCode.SUCCESS),
    PacketType.PUBLISH: Publish("a/b", b"x"),
    PacketType.PUBACK: PubAck(1),
    PacketType.PUBREC: PubRec(1),
    PacketType.PUBREL: PubRel(1),
    PacketType.PUBCOMP: PubComp(1),
    PacketType.SUBSCRIBE: Subscribe(1, (SubscriptionRequest("a/#"),)),
    PacketType.SUBACK: SubAck(1, (ReasonCode.GRANTED_QOS_0,)),
    PacketType.UNSUBSCRIBE: Unsubscribe(1, ("a/#",)),
    PacketType.UNSUBACK: UnsubAck(1, (ReasonCode.SUCCESS,)),
    PacketType.PINGREQ: PingReq(),
    PacketType.PINGRESP: PingResp(),
    PacketType.DISCONNECT: Disconnect(),
    PacketType.AUTH: Auth(ReasonCode.CONTINUE_AUTHENTICATION, WITH_METHOD),
}
STEPS: dict[Step, Callable[[Connection], object]] = {
    Step.CHALLENGE: lambda connection: connection.challenge(METHOD, b"more"),
    Step.ACCEPT: lambda connection: connection.accept(session_present=False),
    Step.REFUSE: lambda connection: connection.refuse(ReasonCode.NOT_AUTHORIZED),
    Step.SEND: lambda connection: connection.puback(1),
    Step.CLOSE: lambda connection: connection.disconnect(ReasonCode.SERVER_SHUTTING_DOWN),
}


def example(packet_type: PacketType, state: State) -> Packet:
    """A packet of that type that is right in everything but, maybe, its moment."""
    if packet_type is PacketType.AUTH and state is State.CONNECTED:
        return Auth(ReasonCode.RE_AUTHENTICATE, WITH_METHOD)
    return EXAMPLES[packet_type]


@pytest.mark.parametrize("packet_type", PacketType)
@pytest.mark.parametrize("state", [State.AWAITING_CONNECT, State.AUTHENTICATING, State.CONNECTED])
def test_a_packet_leads_where_the_table_says_or_ends_the_connection(state: State, packet_type: PacketType) -> None:
    """[MQTT-3.1.0-1] [MQTT-3.1.0-2] [MQTT-3.1.2-30], and packets that only a server sends."""
    connection = MACHINES[state]()
    events = receive(connection, example(packet_type, state))
    following = RECEIVED[state].get(packet_type)
    if following is None:
        assert violation(events) is ReasonCode.PROTOCOL_ERROR
        assert connection.state is State.CLOSED
    else:
        assert not any(isinstance(event, Violated) for event in events)
        assert connection.state is following


@pytest.mark.parametrize("packet_type", PacketType)
def test_a_packet_before_the_answer_to_connect_is_held_and_means_nothing_yet(packet_type: PacketType) -> None:
    """[MQTT-3.1.4-6]"""
    connection = MACHINES[State.CONNECTING]()
    assert receive(connection, EXAMPLES[packet_type]) == []
    assert connection.state is State.CONNECTING
    assert connection.held_bytes == len(encode(EXAMPLES[packet_type], V5))


@pytest.mark.parametrize("packet_type", PacketType)
def test_a_packet_after_the_end_means_nothing(packet_type: PacketType) -> None:
    connection = MACHINES[State.CLOSED]()
    assert receive(connection, EXAMPLES[packet_type]) == []
    assert connection.state is State.CLOSED
    assert not connection.has_data_to_send


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("state", [state for state in State if state is not State.CONNECTED])
def test_a_step_of_ours_leads_where_the_table_says_or_is_an_error(state: State, step: Step) -> None:
    connection = MACHINES[state]()
    following = TAKEN[state].get(step)
    if following is None:
        with pytest.raises(IllegalStepError, match=f"{step.name} is not possible in state {state.name}") as raised:
            STEPS[step](connection)
        assert (raised.value.state, raised.value.step) == (state, step)
        assert connection.state is state
        assert not connection.has_data_to_send
    else:
        STEPS[step](connection)
        assert connection.state is following


@pytest.mark.parametrize("step", [Step.ACCEPT, Step.REFUSE])
def test_a_live_connection_cannot_be_answered_again(step: Step) -> None:
    """[MQTT-3.2.0-2]"""
    connection = connected()
    with pytest.raises(IllegalStepError):
        STEPS[step](connection)
    assert connection.state is State.CONNECTED


def test_a_live_connection_sends_and_closes() -> None:
    connection = connected()
    STEPS[Step.SEND](connection)
    assert connection.state is TAKEN[State.CONNECTED][Step.SEND]
    STEPS[Step.CLOSE](connection)
    assert connection.state is TAKEN[State.CONNECTED][Step.CLOSE]
    assert [type(packet) for packet in sent(connection)] == [PubAck, Disconnect]


@pytest.mark.parametrize("step", Step)
def test_steps_after_the_end_do_nothing(step: Step) -> None:
    """The peer may be gone when our answer is ready."""
    connection = MACHINES[State.CLOSED]()
    assert not STEPS[step](connection)
    assert connection.state is State.CLOSED
    assert not connection.has_data_to_send


@pytest.mark.parametrize("state", [State.AWAITING_CONNECT, State.CONNECTING])
def test_publish_before_connack_is_a_bug_of_ours(state: State) -> None:
    """[MQTT-3.2.0-1] [3.1.1 MQTT-3.2.0-1]"""
    with pytest.raises(IllegalStepError):
        MACHINES[state]().publish(Publish("a", b""))


def test_every_state_has_a_row_in_both_tables() -> None:
    assert set(RECEIVED) == set(TAKEN) == set(State)


def test_the_only_way_to_a_live_connection_is_our_accept() -> None:
    """[MQTT-3.2.0-1] Default deny: no packet and no other step leads to CONNECTED."""
    by_packet = {(state, kind) for state, row in RECEIVED.items() for kind, to in row.items() if to is State.CONNECTED}
    assert {state for state, _ in by_packet} == {State.CONNECTED}
    by_step = {(state, step) for state, row in TAKEN.items() for step, to in row.items() if to is State.CONNECTED}
    assert {step for state, step in by_step if state is not State.CONNECTED} == {Step.ACCEPT}


def test_nothing_leads_out_of_closed() -> None:
    assert RECEIVED[State.CLOSED] == {}
    assert set(TAKEN[State.CLOSED].values()) == {State.CLOSED}


@pytest.mark.parametrize("state", State)
def test_packet_type_0_is_malformed_in_every_state(state: State) -> None:
    """MQTT 5.0, table 2-1."""
    with pytest.raises(Violation) as raised:
        after_receiving(state, 0)
    assert raised.value.reason is ReasonCode.MALFORMED_PACKET


def test_the_tables_can_be_asked_alone() -> None:
    assert after_receiving(State.AWAITING_CONNECT, PacketType.CONNECT) is State.CONNECTING
    assert after_taking(State.CONNECTING, Step.ACCEPT) is State.CONNECTED
