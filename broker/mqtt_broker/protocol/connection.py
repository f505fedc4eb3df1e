"""One MQTT connection seen from the server, as a machine: bytes and moments in, events and bytes out.

Knows the order of packets, the limits both sides announced, topic aliases and keep-alive; does not know who is allowed,
who receives, what outlives the connection, or how bytes travel. Time comes in as `now`, in seconds of any clock that
does not go back.

The conversation of the hub with it:

1. `receive_data(data, now)` gives events, in order. After ConnectReceived (and AuthReceived before CONNACK) nothing is
   parsed until the hub calls `accept`, `refuse`, `challenge` or `disconnect`; what arrives is held (`held_bytes`).
2. `receive_data(b"", now)` after every pause that was the hub's own: it goes on with what was held and restarts the
   keep-alive. After `accept` and `challenge` it is always due.
3. `data_to_send()` after every call: send what it returns. When the state is CLOSED after that, close the transport.
4. `tick(now)` no earlier than `deadline()` says.

A step that the state does not have raises IllegalStepError. CLOSED has them all, and there they do nothing.
"""

import sys
from typing import cast

from msgspec.structs import replace

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.protocol.aliases import InboundAliases, without_topic_alias
from mqtt_broker.protocol.events import (
    AuthReceived,
    ConnectReceived,
    DisconnectReceived,
    Event,
    PubAckReceived,
    PubCompReceived,
    PublishReceived,
    PubRecReceived,
    PubRelReceived,
    SubscribeReceived,
    UnsubscribeReceived,
    Violated,
)
from mqtt_broker.protocol.handshake import (
    RECEIVE_MAXIMUM_DEFAULT,
    VERSION_FIELD_BYTES,
    announced_limits,
    asked_expiry_s,
    check_connect,
    effective_keep_alive_s,
    version_of_answer,
)
from mqtt_broker.protocol.outbox import PACKET_BYTES_LIMIT, Outbox
from mqtt_broker.protocol.rules import check_auth, check_disconnect, check_publish
from mqtt_broker.protocol.states import RECEIVED, IllegalStepError, State, Step, after_receiving, after_taking
from mqtt_broker.protocol.window import ReceiveWindow
from mqtt_broker.wire.codec import decode, read_header
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.header import PacketType
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
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
    UnsubAck,
    Unsubscribe,
)
from mqtt_broker.wire.primitives import two_byte_integers
from mqtt_broker.wire.reasons import ReasonCode, return_code_of

CONNECT_BYTES_MAX = 65_536  # before anybody is known: room for long credentials and a will, no room for a flood
CONNECT_DEADLINE_S = 10.0  # a client on a bad line needs two; one that sends a byte now and then gets no more
HELD_BYTES_MAX = 524_288  # two reads of 256 KiB: the hub pauses reading after the first that left something held
SMALLEST_PACKET_BYTES = 2  # never above what a client takes
NO_LIMIT = -1  # counts down and never meets 0
KEEP_ALIVE_GRACE = 1.5  # [MQTT-3.1.2-22]; [3.1.1 MQTT-3.1.2-24]

# All that a bad CONNECT of 3.1 or 3.1.1 is ever told; for the rest those versions have no return code.
_TOLD_TO_3_X = frozenset({ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID})
_V5 = ProtocolVersion.V5
_PUBLISH = PacketType.PUBLISH.value  # a plain number: this is asked for every packet


class Connection:
    """The server's side of one connection.

    `limits`: what this server announces and enforces. `now`: the moment the transport was accepted, from which the
    connect deadline counts. `connect_bytes_max` bounds each packet before CONNACK.

    Read-only to the hub: `state`; `version` and `connect` once CONNECT was understood; `keep_alive_s` as enforced (0 =
    none); what the client announced: `client_receive_maximum`, `client_packet_bytes_max`, `wants_reason_strings`;
    `other_packets_received` and `other_packets_sent`: packets other than PUBLISH so far, but for what the hub handles.
    """

    __slots__ = (
        "_auth_due",
        "_connect_bytes_max",
        "_connect_deadline",
        "_heard_at",
        "_inbound_aliases",
        "_limits",
        "_needed_bytes",
        "_outbox",
        "_tail",
        "_window",
        "client_packet_bytes_max",
        "client_receive_maximum",
        "connect",
        "keep_alive_s",
        "other_packets_received",
        "state",
        "version",
        "wants_reason_strings",
    )

    def __init__(
        self,
        limits: MQTTSettings,
        now: float,
        *,
        connect_bytes_max: int = CONNECT_BYTES_MAX,
        connect_deadline_s: float = CONNECT_DEADLINE_S,
    ) -> None:
        self.state = State.AWAITING_CONNECT
        self.version: ProtocolVersion | None = None
        self.connect: Connect | None = None
        self.keep_alive_s = 0
        self.client_receive_maximum = RECEIVE_MAXIMUM_DEFAULT
        self.client_packet_bytes_max = PACKET_BYTES_LIMIT
        self.wants_reason_strings = True
        self.other_packets_received = 0
        self._limits = limits
        self._connect_bytes_max = min(connect_bytes_max, limits.packet_bytes_max)
        self._connect_deadline = now + connect_deadline_s
        self._heard_at = now
        self._tail = bytearray()  # what arrived and is not parsed yet
        self._needed_bytes = 0  # length of `_tail` below which parsing it again cannot help
        self._outbox = Outbox(_V5)  # a better one comes with CONNECT
        self._auth_due: ReasonCode | None = None  # the reason that the client's next AUTH must have; None = our turn
        self._inbound_aliases: InboundAliases | None = None
        self._window: ReceiveWindow | None = None

    # -- in ------------------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Take what one read brought; return what it means, in order. Never raises for what the peer sent.

        `data` empty: go on with what is held, after a pause of the hub's own (see the module's text).
        Violated and DisconnectReceived are the last event of a connection; the state is CLOSED then.
        """
        state, tail = self.state, self._tail
        if state is State.CLOSED:
            return []
        if not data:
            self._heard_at = now
        if tail:
            tail += data
            if state is State.CONNECTING:
                return self._bounded([])
            if len(tail) < self._needed_bytes:
                return []  # without a look at the bytes: a large packet in small pieces must not cost their square
            data = bytes(tail)
        events: list[Event] = []
        try:
            consumed = self._parse(data, events)
        except Violation as violation:
            events.append(self._fail(violation))
            return events
        if consumed:
            self._heard_at = now
        if self.state is State.CLOSED:
            tail.clear()
        elif tail:
            del tail[:consumed]
        elif consumed < len(data):
            tail += data[consumed:]
        return self._bounded(events)

    def take_held(self, arriving: int) -> bytes | None:
        """The beginning of a packet that is held, for a caller that goes through a read itself with `receive_packet`.

        It must give it back in front of what follows. None: not now, use `receive_data`: the state is not CONNECTED, or
        `arriving` more bytes are too few to complete the packet.
        """
        if self.state is not State.CONNECTED:
            return None
        tail = self._tail
        if not tail:
            return b""
        if len(tail) + arriving < self._needed_bytes:
            return None
        held = bytes(tail)
        tail.clear()
        self._needed_bytes = 0
        return held

    def receive_packet(self, data: bytes, start: int, now: float) -> tuple[Event | None, int]:
        """Parse the one packet at `start`; return what it means, if anything, and the index after it.

        Only while CONNECTED, and with nothing held (`take_held`). An incomplete packet is held, and the index is
        the end of `data`; so it is after Violated and DisconnectReceived, the last event.
        """
        events: list[Event] = []
        try:
            consumed = self._parse(data, events, start, packets_max=1)
        except Violation as violation:
            return self._fail(violation), len(data)
        if consumed > start:
            self._heard_at = now
        if self.state is State.CLOSED:
            consumed = len(data)
        elif consumed == start:
            self._tail += data[start:]
            consumed = len(data)
        return (events[0] if events else None), consumed

    def hold(self, data: bytes, start: int) -> None:
        """Keep what is in `data` from `start` on for `take_held`: a later turn goes on with it.

        As for `receive_packet`: only while CONNECTED, and with nothing held.
        """
        self._tail += data[start:]

    @property
    def alias_changes(self) -> int:
        """Grows whenever one of the client's topic aliases comes to stand for another name."""
        return 0 if self._inbound_aliases is None else self._inbound_aliases.changes

    def aliased_topic(self, alias: int) -> str | None:
        """The topic name that this alias of the client stands for now."""
        return None if self._inbound_aliases is None else self._inbound_aliases.known(alias)

    @property
    def has_open_exchanges(self) -> bool:
        """True while PUBLISH packets of the client that count against our Receive Maximum are not completed."""
        return bool(self._window)

    @property
    def receive_room(self) -> int:
        """How many PUBLISH of QoS 1 and 2 the client may send before we complete one [MQTT-3.3.4-7]."""
        return sys.maxsize if self._window is None else self._window.room

    def opened(self, packet_ids: bytes) -> None:
        """The caller understood QoS 1 packets by itself, no more than `receive_room`: ids of two bytes each."""
        if self._window is not None:
            self._window.open_all(two_byte_integers(packet_ids))

    def heard(self, now: float) -> None:
        """The caller understood whole packets of this client by itself: they count for keep-alive [MQTT-3.1.2-22]."""
        self._heard_at = now

    def _bounded(self, events: list[Event]) -> list[Event]:
        """End the connection of a client that sends more than HELD_BYTES_MAX before it was answered."""
        if self.held_bytes > HELD_BYTES_MAX:
            events.append(self._fail(Violation(ReasonCode.PACKET_TOO_LARGE, "too many bytes before CONNACK")))
        return events

    def _parse(self, data: bytes, events: list[Event], start: int = 0, packets_max: int = NO_LIMIT) -> int:
        """Append the events of the whole packets from `start` on; return the index after the last of them."""
        if self.state is State.CONNECTING:  # [MQTT-3.1.4-6]
            return 0
        if self.state is State.AWAITING_CONNECT:
            return self._parse_connect(data, events)
        state = self.state
        received = RECEIVED[state]
        version = self.version
        bytes_max = self._limits.packet_bytes_max if state is State.CONNECTED else self._connect_bytes_max
        position, end = start, len(data)
        while position < end and packets_max:
            packets_max -= 1
            packet_type = data[position] >> 4
            following = received.get(packet_type)
            if following is None:
                following = after_receiving(state, packet_type)  # raises
            decoded = decode(data, position, version, bytes_max)
            if decoded is None:
                header = read_header(data, position)
                self._needed_bytes = header.header_length + header.remaining_length if header else 0
                return position
            packet, position = decoded
            if packet_type != _PUBLISH:
                self.other_packets_received += 1
            event = self._on_packet(packet)
            if event is not None:
                events.append(event)
            if following is not state:
                self.state = following  # it is our turn, or it is over: either way the rest is not parsed now
                break
        self._needed_bytes = 0
        return position

    def _parse_connect(self, data: bytes, events: list[Event]) -> int:
        """The first packet: its type is judged by the first byte, its size before the body is there."""
        if not data:
            return 0
        following = after_receiving(self.state, data[0] >> 4)  # whatever is not CONNECT is not answered
        announced: ProtocolVersion | None = None
        try:
            header = read_header(data, 0)
            if header is None:
                return 0
            whole_bytes = header.header_length + header.remaining_length
            is_too_large = whole_bytes > self._connect_bytes_max
            # Of one that is too large only the version is awaited, to know how to say so.
            self._needed_bytes = header.header_length + VERSION_FIELD_BYTES if is_too_large else whole_bytes
            if len(data) < self._needed_bytes:
                return 0
            announced = version_of_answer(data[header.header_length : whole_bytes])
            if is_too_large:
                raise Violation(ReasonCode.PACKET_TOO_LARGE, f"CONNECT of {whole_bytes} bytes")
            # It is whole, and before there is a version nothing but CONNECT is read.
            packet, position = cast("tuple[Connect, int]", decode(data, 0, None, self._connect_bytes_max))
            self.other_packets_received += 1
            check_connect(packet, self._limits)
        except Violation as violation:
            self._answer_bad_connect(violation.reason, announced)
            raise  # [MQTT-3.1.4-1]
        self._understand(packet)
        self._needed_bytes = 0
        self.state = following
        events.append(ConnectReceived(packet))
        return position

    def _understand(self, packet: Connect) -> None:
        """Note what the client announced."""
        properties = packet.properties
        self.connect = packet
        self.version = packet.version
        self.keep_alive_s = effective_keep_alive_s(packet, self._limits.keep_alive_s_max)
        self.client_receive_maximum = properties.receive_maximum or RECEIVE_MAXIMUM_DEFAULT
        self.client_packet_bytes_max = properties.maximum_packet_size or PACKET_BYTES_LIMIT
        self.wants_reason_strings = properties.request_problem_information != 0
        is_v5 = packet.version is _V5
        self._window = ReceiveWindow(self._limits.receive_maximum) if is_v5 else None
        self._inbound_aliases = InboundAliases(self._limits.topic_alias_maximum) if is_v5 else None  # [MQTT-3.3.2-7]
        self._outbox = Outbox(
            packet.version,
            packet_bytes_max=self.client_packet_bytes_max,
            wants_reason_strings=self.wants_reason_strings,
            # Our own setting bounds the memory that a client can claim by announcing 65,535.
            # [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]
            alias_maximum=min(properties.topic_alias_maximum or 0, self._limits.topic_alias_maximum),
        )

    def _on_packet(self, packet: Packet) -> Event | None:
        """What a packet of AUTHENTICATING or CONNECTED means; the most frequent first. Raises Violation."""
        match packet:
            case Publish():
                return PublishReceived(self._on_publish(packet))
            case PubAck():
                return PubAckReceived(packet.packet_id, packet.reason)
            case PubRec():
                return PubRecReceived(packet.packet_id, packet.reason)
            case PubRel():
                return PubRelReceived(packet.packet_id, packet.reason)
            case PubComp():
                return PubCompReceived(packet.packet_id, packet.reason)
            case PingReq():
                self._outbox.send(PingResp())  # [MQTT-3.12.4-1]
                return None
            case Subscribe():
                return SubscribeReceived(packet)
            case Unsubscribe():
                return UnsubscribeReceived(packet)
            case _:
                return self._on_rare_packet(packet)

    def _on_rare_packet(self, packet: Packet) -> Event:
        connect = cast("Connect", self.connect)
        if isinstance(packet, Auth):
            check_auth(packet, connect, due=self._auth_due)
            self._auth_due = None
            return AuthReceived(packet)
        disconnect = cast("Disconnect", packet)  # the table of states lets nothing else through
        check_disconnect(disconnect, connect)
        return DisconnectReceived(disconnect)

    def _on_publish(self, packet: Publish) -> Publish:
        """The packet with its topic name resolved; counted against our Receive Maximum."""
        check_publish(packet, self._limits)
        if packet.qos and self._window is not None:
            self._window.open(packet.packet_id)
        alias, aliases = packet.properties.topic_alias, self._inbound_aliases
        if alias is None or aliases is None:
            return packet
        return replace(
            packet, topic=aliases.resolve(alias, packet.topic), properties=without_topic_alias(packet.properties)
        )

    # -- what the peer did wrong ---------------------------------------------------------------------------------------

    def _answer_bad_connect(self, reason: ReasonCode, announced: ProtocolVersion | None) -> None:
        """A bad CONNECT may be answered before the close: where its version has words for it."""
        if announced is _V5 or (announced is not None and reason in _TOLD_TO_3_X):
            self._outbox = Outbox(announced)
            self._outbox.send(ConnAck(session_present=False, reason=reason))

    def _fail(self, violation: Violation) -> Violated:
        """Say what was wrong, where the version and the state have a packet for it, and close."""
        if self.version is _V5:
            if self.state is State.CONNECTED:
                self._outbox.send(Disconnect(violation.reason))
            else:
                # [MQTT-3.14.0-1] No DISCONNECT before CONNACK.
                self._outbox.send(ConnAck(session_present=False, reason=violation.reason))
        self._close()  # [MQTT-4.13.1-1] [MQTT-4.13.2-1]
        return Violated(violation.reason, violation.detail)

    def _close(self) -> None:
        self.state = State.CLOSED
        self._tail.clear()

    # -- time ----------------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """The moment at which `tick` would end the connection if nothing comes; None = never.

        While it is the hub's turn (CONNECTING) nothing runs against the client.
        """
        if self.state is State.CONNECTED:
            return self._heard_at + KEEP_ALIVE_GRACE * self.keep_alive_s if self.keep_alive_s else None
        if self.state in (State.AWAITING_CONNECT, State.AUTHENTICATING):
            return self._connect_deadline
        return None

    def tick(self, now: float) -> Violated | None:
        """End the connection if its deadline has passed. Before it is reached nothing happens.

        A whole packet counts as a sign of life, a part of one does not.
        """
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return None
        if self.state is State.CONNECTED:  # [MQTT-3.1.2-22]
            return self._fail(Violation(ReasonCode.KEEP_ALIVE_TIMEOUT, f"no packet within 1.5 x {self.keep_alive_s} s"))
        return self._fail(Violation(ReasonCode.UNSPECIFIED_ERROR, f"not connected in time, {self.state.name}"))

    # -- out -----------------------------------------------------------------------------------------------------------

    @property
    def other_packets_sent(self) -> int:
        return self._outbox.other_packets

    @property
    def has_data_to_send(self) -> bool:
        return bool(self._outbox)

    @property
    def held_bytes(self) -> int:
        """Bytes that arrived before the CONNECT was answered and wait for that; at most HELD_BYTES_MAX.

        The hub pauses reading while it is not 0.
        """
        return len(self._tail) if self.state is State.CONNECTING else 0

    def data_to_send(self) -> bytes:
        """Everything to be sent since the last call, in order. It is the caller's from now on."""
        return self._outbox.take()

    def _step(self, step: Step) -> bool:
        """Take a step of ours; False = the connection is CLOSED already and there is nothing to do."""
        if self.state is State.CLOSED:
            return False
        self.state = after_taking(self.state, step)
        return True

    # -- out: the handshake --------------------------------------------------------------------------------------------

    def accept(
        self,
        session_present: bool,
        *,
        assigned_client_id: str | None = None,
        session_expiry_s: int | None = None,
        response_information: str | None = None,
        authentication_data: bytes | None = None,
        reason_string: str | None = None,
    ) -> bool:
        """Answer CONNECT with success and our limits. Then `receive_data(b"", now)` is due.

        `session_expiry_s`: the interval we will use, told if it differs from the one asked for. `response_information`
        is told only to a client that asked. False: the client went away meanwhile, or takes no packet of that size; the
        state is CLOSED then, and the session is not connected.
        """
        if not self._step(Step.ACCEPT):
            return False
        connect = cast("Connect", self.connect)
        asked = connect.properties
        properties = NO_PROPERTIES
        if connect.version is _V5:
            properties = replace(
                announced_limits(connect, self._limits, self.keep_alive_s),
                session_expiry_interval=session_expiry_s if session_expiry_s != asked_expiry_s(connect) else None,
                assigned_client_identifier=assigned_client_id,  # [MQTT-3.2.2-16]
                # [MQTT-3.1.2-28]
                response_information=response_information if asked.request_response_information else None,
                authentication_method=asked.authentication_method,  # [MQTT-4.12.0-5]
                authentication_data=authentication_data,
            )
        self._needed_bytes = 0
        self._auth_due = ReasonCode.RE_AUTHENTICATE
        if self._outbox.send(ConnAck(session_present, ReasonCode.SUCCESS, properties), reason_string):  # [MQTT-3.1.4-5]
            return True
        self._close()
        return False

    def refuse(
        self, reason: ReasonCode, reason_string: str | None = None, *, server_reference: str | None = None
    ) -> None:
        """Answer CONNECT with an error; the state is CLOSED then.

        Reasons that 3.1.1 has no return code for close it without an answer.
        """
        if not self._step(Step.REFUSE):
            return
        is_v5 = self.version is _V5
        if is_v5 or return_code_of(reason) is not None:
            properties = Properties(server_reference=server_reference) if is_v5 else NO_PROPERTIES
            answer = ConnAck(session_present=False, reason=reason, properties=properties)  # [MQTT-3.2.2-6]
            self._outbox.send(answer, reason_string)
        self._close()

    def challenge(self, method: str, data: bytes | None = None) -> None:
        """Go on with enhanced authentication (AUTH 0x18), before CONNACK or in a repeated one [MQTT-4.12.0-2].

        Raises IllegalStepError if it is not our turn, ValueError if `method` is not the one of CONNECT [MQTT-4.12.0-5]
        [MQTT-4.12.0-6]; nothing has changed then.
        """
        self._answer_auth(Step.CHALLENGE, ReasonCode.CONTINUE_AUTHENTICATION, method, data)  # [MQTT-4.12.0-2]

    def reauthenticate_success(self, method: str, data: bytes | None = None) -> None:
        """End a repeated authentication well (AUTH 0x00, MQTT 5.0, 4.12.1). A failed one ends with `disconnect`.

        Raises as `challenge` does.
        """
        self._answer_auth(Step.SEND, ReasonCode.SUCCESS, method, data)

    def _answer_auth(self, step: Step, reason: ReasonCode, method: str, data: bytes | None) -> None:
        if self.state is State.CLOSED:
            return
        following = after_taking(self.state, step)
        if self._auth_due is not None:
            raise IllegalStepError(self.state, step)
        # [MQTT-4.12.0-5] [MQTT-4.12.0-6]
        if method != cast("Connect", self.connect).properties.authentication_method:
            raise ValueError("the authentication method is the one of CONNECT")
        self.state = following
        self._needed_bytes = 0
        is_done = reason is ReasonCode.SUCCESS
        self._auth_due = ReasonCode.RE_AUTHENTICATE if is_done else ReasonCode.CONTINUE_AUTHENTICATION
        self._outbox.send(Auth(reason, Properties(authentication_method=method, authentication_data=data)))

    # -- out: on a live connection -------------------------------------------------------------------------------------
    # Each returns False if nothing was queued: the packet is larger than the client takes (to be treated as sent and
    # completed [MQTT-3.1.2-25]), or the connection is CLOSED. Packet ids are the caller's business.

    def publish(self, packet: Publish) -> bool:
        """Queue a PUBLISH; a topic alias is put in where the client takes one."""
        if self.state is not State.CONNECTED:
            return self._step(Step.SEND)
        return self._outbox.publish(packet)

    def fits(self, packet: Publish) -> bool:
        """True if the client takes a packet of this size, its topic name in full."""
        return self._outbox.fits(packet)

    def forward(self, frames: bytes, largest_bytes: int) -> bool:
        """Queue PUBLISH packets as they are: encoded in this client's version, topic names in full, ids the caller's.

        `largest_bytes` is the size of the largest. False: larger than the client takes, or CLOSED; nothing was queued.
        """
        return self.state is State.CONNECTED and self._outbox.forward(frames, largest_bytes)

    def acknowledge(self, acknowledgements: bytes, opened: bytes = b"") -> None:
        """Queue PUBACKs as they are, for QoS 1 packets that the caller understood by itself [MQTT-4.3.2-4].

        `opened`: their ids, as they were told to `opened`; none for what is acknowledged at once.
        """
        if self.state is not State.CONNECTED:
            return
        self._outbox.forward(acknowledgements, SMALLEST_PACKET_BYTES)
        if opened and self._window is not None:
            self._window.complete_all(two_byte_integers(opened))

    def puback(self, packet_id: int, reason: ReasonCode = ReasonCode.SUCCESS, reason_string: str | None = None) -> bool:
        """Complete an inbound PUBLISH of QoS 1."""
        return self._complete(packet_id, PubAck(packet_id, reason), reason_string)

    def pubrec(self, packet_id: int, reason: ReasonCode = ReasonCode.SUCCESS, reason_string: str | None = None) -> bool:
        """Answer an inbound PUBLISH of QoS 2; with an error it is complete."""
        packet = PubRec(packet_id, reason)
        if reason.is_error:
            return self._complete(packet_id, packet, reason_string)
        return self._step(Step.SEND) and self._outbox.send(packet, reason_string)

    def pubrel(self, packet_id: int, reason: ReasonCode = ReasonCode.SUCCESS, reason_string: str | None = None) -> bool:
        """Release an outbound PUBLISH of QoS 2."""
        return self._step(Step.SEND) and self._outbox.send(PubRel(packet_id, reason), reason_string)

    def pubcomp(
        self, packet_id: int, reason: ReasonCode = ReasonCode.SUCCESS, reason_string: str | None = None
    ) -> bool:
        """Complete an inbound PUBLISH of QoS 2."""
        return self._complete(packet_id, PubComp(packet_id, reason), reason_string)

    def _complete(self, packet_id: int, packet: PubAck | PubRec | PubComp, reason_string: str | None) -> bool:
        if not self._step(Step.SEND):
            return False
        if self._window is not None:
            self._window.complete(packet_id)
        return self._outbox.send(packet, reason_string)

    def suback(self, packet_id: int, reasons: tuple[ReasonCode, ...], reason_string: str | None = None) -> bool:
        """Answer SUBSCRIBE: one reason for each filter [MQTT-3.8.4-6], in its order [MQTT-3.9.3-1]."""
        return self._step(Step.SEND) and self._outbox.send(SubAck(packet_id, reasons), reason_string)

    def unsuback(self, packet_id: int, reasons: tuple[ReasonCode, ...], reason_string: str | None = None) -> bool:
        """Answer UNSUBSCRIBE: one reason for each filter, in its order [MQTT-3.11.3-1]; 3.x gets none."""
        return self._step(Step.SEND) and self._outbox.send(UnsubAck(packet_id, reasons), reason_string)

    def disconnect(
        self, reason: ReasonCode, reason_string: str | None = None, *, server_reference: str | None = None
    ) -> None:
        """End the connection from our side, in any state. Only 5.0 has a packet for it, and only after CONNACK."""
        if self.state is State.CONNECTED and self.version is _V5:  # [MQTT-3.14.0-1]
            self._outbox.send(Disconnect(reason, Properties(server_reference=server_reference)), reason_string)
        if self._step(Step.CLOSE):
            self._close()
