"""The states of one connection, and what may follow what: the two tables here are the machine.

Knows states, packet types and the steps our side may take; does not know what a packet says, bytes, sockets or time.
A packet that the table does not name is the peer's fault (`Violation`); a step that it does not name is our bug
(`IllegalStepError`).
"""

from enum import Enum, IntEnum, auto

from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.header import PacketType
from mqtt_broker.wire.reasons import ReasonCode

RESERVED_TYPE = 0  # MQTT 5.0, table 2-1


class State(IntEnum):
    """Where a connection stands. Bytes are parsed in all states but CONNECTING and CLOSED."""

    AWAITING_CONNECT = 0
    CONNECTING = 1  # it is our turn: CONNECT or AUTH was handed to the hub, what follows is held unparsed
    AUTHENTICATING = 2  # it is the client's turn: our AUTH challenge is out
    CONNECTED = 3
    CLOSED = 4  # for good; whatever still arrives is discarded


class Step(Enum):
    """What our side may do."""

    CHALLENGE = auto()
    ACCEPT = auto()
    REFUSE = auto()
    SEND = auto()
    CLOSE = auto()


class IllegalStepError(Exception):
    """Our side asked for a step that its state does not have. A bug of ours, never the peer's doing."""

    def __init__(self, state: State, step: Step) -> None:
        super().__init__(f"{step.name} is not possible in state {state.name}")
        self.state = state
        self.step = step


RECEIVED: dict[State, dict[int, State]] = {
    # [MQTT-3.1.0-1] The first packet is CONNECT.
    State.AWAITING_CONNECT: {PacketType.CONNECT: State.CONNECTING},
    # Nothing is processed before the CONNECT is answered: bytes are held, not parsed.
    State.CONNECTING: {},
    # [MQTT-3.1.2-30] With an authentication method, only AUTH and DISCONNECT may come before CONNACK.
    State.AUTHENTICATING: {PacketType.AUTH: State.CONNECTING, PacketType.DISCONNECT: State.CLOSED},
    # [MQTT-3.1.0-2] No second CONNECT; and none of the packets that only a server sends.
    State.CONNECTED: {
        PacketType.PUBLISH: State.CONNECTED,
        PacketType.PUBACK: State.CONNECTED,
        PacketType.PUBREC: State.CONNECTED,
        PacketType.PUBREL: State.CONNECTED,
        PacketType.PUBCOMP: State.CONNECTED,
        PacketType.SUBSCRIBE: State.CONNECTED,
        PacketType.UNSUBSCRIBE: State.CONNECTED,
        PacketType.PINGREQ: State.CONNECTED,
        PacketType.AUTH: State.CONNECTED,
        PacketType.DISCONNECT: State.CLOSED,
    },
    State.CLOSED: {},
}

TAKEN: dict[State, dict[Step, State]] = {
    State.AWAITING_CONNECT: {Step.CLOSE: State.CLOSED},
    State.CONNECTING: {
        Step.CHALLENGE: State.AUTHENTICATING,
        Step.ACCEPT: State.CONNECTED,  # [MQTT-3.2.0-1] [MQTT-3.2.0-2]
        Step.REFUSE: State.CLOSED,  # [MQTT-3.2.2-7] [MQTT-3.1.4-6]
        Step.CLOSE: State.CLOSED,
    },
    # REFUSE: rights may be withdrawn, or the node may stop, while the client thinks about our challenge.
    State.AUTHENTICATING: {Step.REFUSE: State.CLOSED, Step.CLOSE: State.CLOSED},
    # CHALLENGE: authentication is repeated on a live connection (MQTT 5.0, 4.12.1).
    State.CONNECTED: {
        Step.CHALLENGE: State.CONNECTED,
        Step.SEND: State.CONNECTED,
        Step.CLOSE: State.CLOSED,  # [MQTT-3.14.4-1]
    },
    # The peer may close while our answer is being prepared, so every step is possible here, and none does anything.
    State.CLOSED: dict.fromkeys(Step, State.CLOSED),
}


def after_receiving(state: State, packet_type: int) -> State:
    """The state after a packet of this type. Raises Violation if the peer may not send it now."""
    following = RECEIVED[state].get(packet_type)
    if following is not None:
        return following
    if packet_type == RESERVED_TYPE:
        raise Violation(ReasonCode.MALFORMED_PACKET, "packet type 0 is forbidden")
    raise Violation(ReasonCode.PROTOCOL_ERROR, f"{PacketType(packet_type).name} may not come in {state.name}")


def after_taking(state: State, step: Step) -> State:
    """The state after a step of ours. Raises IllegalStepError if the state does not have it."""
    following = TAKEN[state].get(step)
    if following is None:
        raise IllegalStepError(state, step)
    return following
