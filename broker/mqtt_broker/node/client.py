"""One client's connection: bytes to events, events to flows, effects to bytes.

Knows its transport, its back-pressure and its timers; every decision is the machine's, the policy's or a flow's.
"""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from mqtt_api.policy import Principal
from mqtt_broker.auth.authenticate import Authenticator
from mqtt_broker.auth.credential import Credential
from mqtt_broker.auth.principal import Identity, Peer
from mqtt_broker.node import groups
from mqtt_broker.node.fastlane import FastLane
from mqtt_broker.node.flows import acknowledge, authenticate, connect, disconnect, publish, subscribe
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.order import OrderedEffects
from mqtt_broker.node.outlet import Awaited, Delivery, Outlet
from mqtt_broker.node.rate import TokenBucket
from mqtt_broker.protocol.connection import Connection
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
from mqtt_broker.store.ports import Claimed
from mqtt_broker.wire.packets import Publish
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub

log = logging.getLogger("mqtt_broker.client")

WRITE_BUFFER_BYTES_HIGH = 256 * 1024  # above it deliveries wait in the outlet
WRITE_BUFFER_BYTES_MAX = 4 * 1024 * 1024  # above it the client takes no answers either: it is cut off
EFFECTS_WAITING_HIGH = 1_000  # packets of one publisher that wait for the store before its reading pauses
EFFECTS_WAITING_LOW = 500
EFFECTS_WAITING_BYTES_HIGH = 4 * 1024 * 1024  # of messages among them
EFFECTS_WAITING_BYTES_LOW = 2 * 1024 * 1024
IN_FLIGHT_MAX = 1_000  # QoS 1 and 2 on the way to one client; MQTT 3.1.1 itself knows no bound below 65,535
RECEIVERS_S_MAX = 0.5  # how long a publisher waits for slow receivers before their overflow policy decides
# A read this large has more behind it. The loop would go on reading this connection, 32 times in one turn, before any
# other has its turn: after one such read whoever sends most waits behind the others.
READ_BYTES_LARGE = 128 * 1024
CLOSE_S_MAX = 5.0  # how long the last bytes may take to leave before the connection is cut


class Owner(Protocol):
    """The listener a connection came from."""

    name: str
    authenticator: Authenticator

    def identify(self, transport: asyncio.BaseTransport, address: str) -> Peer:
        """Who the transport proved. Raises ValueError for a certificate that cannot be read."""
        ...

    def connection_closed(self, client: "ClientConnection") -> None: ...


FILTER_PACKETS = frozenset((0x82, 0xA2))  # first byte of SUBSCRIBE and UNSUBSCRIBE
NO_PAUSES: frozenset[str] = frozenset()
NOBODY: frozenset[Awaited] = frozenset()


def gathers_writes(transport: asyncio.BaseTransport) -> bool:
    """True if what is written while sockets are read leaves together, when all that were readable have been.

    The transports of uvloop do that. With others each write is a system call or a WebSocket frame.
    """
    return type(transport).__module__ == "uvloop.loop"


class ClientConnection(asyncio.Protocol):
    """From accept to the last byte. The transport may be plain or TLS; the peer's identity comes from outside."""

    __slots__ = (
        "_awaited",
        "_byte_rate",
        "_connecting",
        "_detached",
        "_gathers_writes",
        "_giving_up",
        "_is_connected",
        "_is_dirty",
        "_is_limited",
        "_lane",
        "_message_rate",
        "_pauses",
        "_ready_lane",
        "_session",
        "_transport",
        "_unflushed_bytes",
        "_write_paused",
        "closed",
        "connection",
        "credential",
        "deferred",
        "hub",
        "listener",
        "order",
        "peer",
        "spreading",
        "subscribe_count",
        "subscribing",
        "underway",
    )

    def __init__(self, hub: "Hub", listener: Owner, address: str) -> None:
        self.hub = hub
        self.listener = listener
        self.peer = Peer(address=address, listener=listener.name)
        self.connection = Connection(hub.settings.mqtt, hub.loop.time())
        self.order = OrderedEffects(hub.pump)
        self.subscribe_count = 0
        self.subscribing = 0
        self.spreading = 0
        self.deferred = 0
        self.closed = False
        self.credential: Credential | None = None
        self.underway: authenticate.Underway | None = None
        self._session: LiveSession | None = None
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._detached = False
        self._pauses: frozenset[str] = NO_PAUSES
        self._awaited: frozenset[Awaited] = NOBODY
        self._giving_up: asyncio.TimerHandle | None = None
        self._write_paused = False
        self._unflushed_bytes = 0
        self._is_dirty = False
        self._lane: FastLane | None = None
        self._ready_lane: FastLane | None = None  # while nothing is held: the next read begins with a packet
        self._gathers_writes = False
        self._is_connected = False
        self._is_limited = False
        self._message_rate: TokenBucket | None = None
        self._byte_rate: TokenBucket | None = None

    # What flows use --------------------------------------------------------------------------------------------------

    @property
    def session(self) -> LiveSession:
        """The session of a connected client; a bug in a flow if asked for before CONNACK."""
        assert self._session is not None
        return self._session

    @property
    def outlet(self) -> Outlet:
        """The outlet of the connected session. Only while `closed` is False."""
        assert self._session is not None
        assert self._session.outlet is not None
        return self._session.outlet

    @property
    def writable(self) -> bool:
        """True while deliveries may be written: the transport keeps up and this turn brought not too much."""
        return not (self._write_paused or self.closed) and self._unflushed_bytes < WRITE_BUFFER_BYTES_HIGH

    @property
    def waits_for_receivers(self) -> bool:
        """True while this publisher is not read because its receivers are behind."""
        return bool(self._awaited)

    def attach(self, session: LiveSession, identity: Identity, claimed: Claimed, principal: Principal | None) -> None:
        """The claim succeeded: this connection is the session's from now on.

        `principal` is the one the identity was decided by.
        """
        previous = self.hub.connections.get(session.client_id)
        if previous is not None and previous is not self:
            previous.take_over()  # there is one owner, whatever happened before
        self._session = session
        by_password = self.connection.connect is not None and self.connection.connect.password is not None
        by_password = by_password and identity.scram is None
        self.credential = Credential(
            had_object=principal is not None,
            was_declared=principal is not None and bool(principal.certificates),
            verifiers=principal.passwords if by_password and principal is not None else (),
            scram=identity.scram,
            certificate=self.peer.certificate,
        )
        session.limits = identity.limits
        session.outlet = Outlet(
            self.hub,
            self,
            client_id=session.client_id,
            incarnation=session.incarnation,
            epoch=session.epoch,
            persistent=session.is_persistent,
            bounds=session.bounds,
            receive_maximum=min(self.connection.client_receive_maximum, IN_FLIGHT_MAX),
            sent_up_to=claimed.record.sent_up_to,
            # Also what was accepted between the claim and this moment [MQTT-4.4.0-1] [MQTT-3.1.2-23].
            backlog=claimed.present,
            still_allowed=self._still_allowed,
        )
        self.hub.connections[session.client_id] = self
        per_user = self.hub.connections_per_user
        per_user[identity.facts.username] = per_user.get(identity.facts.username, 0) + 1
        now = self.hub.loop.time()
        self._is_limited = identity.limits.messages_per_s is not None or identity.limits.bytes_per_s is not None
        if identity.limits.messages_per_s is not None:
            self._message_rate = TokenBucket(identity.limits.messages_per_s, now)
        if identity.limits.bytes_per_s is not None:
            self._byte_rate = TokenBucket(identity.limits.bytes_per_s, now)
        if self.hub.is_frozen:  # since the CONNECT was read
            self.freeze()

    def challenged(self) -> None:
        """A challenge is written: it is the client's turn, and its time to connect runs."""
        self.wrote()
        self._pause_off("connect")

    def accepted(self) -> None:
        """CONNACK is written: go on with what the client sent meanwhile."""
        self.hub.counters.connections_accepted += 1
        self._is_connected = True
        log.info(
            "%s connected from %s on %s",
            self.session.client_id,
            self.peer.address,
            self.peer.listener,
            extra={
                "event": "client.connected",
                "fields": {
                    "client_id": self.session.client_id,
                    "username": self.session.facts.username,
                    "address": self.peer.address,
                    "listener": self.peer.listener,
                    "protocol_version": int(self.session.protocol_version),
                },
            },
        )
        self.wrote()
        self._pause_off("connect")

    def send_publish(self, packet: Publish) -> bool:
        """Write a PUBLISH; False if it is larger than the client takes."""
        sent = self.connection.publish(packet)
        if sent:
            counters = self.hub.counters
            counters.messages_sent += 1
            counters.payload_bytes_sent += len(packet.payload)
            self._unflushed_bytes += len(packet.payload) + len(packet.topic)
            self.wrote()
        return sent

    @property
    def packet_bytes_max(self) -> int:
        """The largest packet this client takes."""
        return self.connection.client_packet_bytes_max

    def fits(self, packet: Publish) -> bool:
        """True if this client takes a packet of that size."""
        return self.connection.fits(packet)

    def forward(self, frames: bytes, frame_bytes: int) -> bool:
        """Write encoded PUBLISH packets; False if the largest is larger than the client takes. The caller counts."""
        sent = self.connection.forward(frames, frame_bytes)
        if sent:
            self._unflushed_bytes += len(frames)
            self.wrote()
        return sent

    def forward_alone(self, frame: bytes) -> bool:
        """As `forward`, for the one packet of a read; False also while this client is not `writable`.

        Where the transport gathers by itself, it is spared the way through the machine and the end of the turn.
        """
        if self._write_paused or self.closed or self._unflushed_bytes >= WRITE_BUFFER_BYTES_HIGH:
            return False
        transport = self._transport
        if self._is_dirty or not self._gathers_writes or transport is None or transport.is_closing():
            return self.forward(frame, len(frame))  # in the order of what waits to be written
        if len(frame) > self.connection.client_packet_bytes_max:
            return False
        self.hub.counters.bytes_sent += len(frame)
        transport.write(frame)
        return True

    def send_pubrel(self, packet_id: int) -> None:
        self.connection.pubrel(packet_id)
        self.wrote()

    def wrote(self) -> None:
        """The machine has bytes to send: they leave at the end of this loop turn."""
        if not self._is_dirty:
            self._is_dirty = True
            self.hub.dirty(self)

    def flush(self) -> None:
        """Write everything gathered in this turn at once. The hub calls it."""
        self._is_dirty = False
        self._unflushed_bytes = 0
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        data = self.connection.data_to_send()
        if data:
            # Before this turn's bytes are added: a single large message is no sign of a client that reads nothing.
            if transport.get_write_buffer_size() > WRITE_BUFFER_BYTES_MAX:
                self._cut("it reads nothing and its write buffer is full")
                return
            self.hub.counters.bytes_sent += len(data)
            transport.write(data)
        if self._session is not None and self._session.outlet is not None and self.writable:
            self._session.outlet.drain()

    # Ends ------------------------------------------------------------------------------------------------------------

    def detach(self, *, with_will: bool, planned_stop: bool = False, is_goodbye: bool = False) -> None:
        """Let go of the session, once. Nothing is delivered through this connection any more."""
        self.closed = True
        if self._detached or self._session is None:
            return
        self._detached = True
        for receiver in self._awaited:
            receiver.release(self)
        self._awaited = NOBODY
        session, username = self._session, self._session.facts.username
        if self.hub.connections.get(session.client_id) is self:
            del self.hub.connections[session.client_id]
        remaining = self.hub.connections_per_user.get(username, 0) - 1
        if remaining > 0:
            self.hub.connections_per_user[username] = remaining
        else:
            self.hub.connections_per_user.pop(username, None)
        disconnect.leave(self, session, with_will=with_will, planned_stop=planned_stop, is_goodbye=is_goodbye)

    def finish(self) -> None:
        """Send what is left and close the transport; cut it if that takes longer than CLOSE_S_MAX.

        Where the node may not act, a session hears nothing more. Who has none yet may be refused: that claims nothing.
        """
        self.closed = True
        if self._session is not None and not self.hub.may_write():
            self.abort()
            return
        self.flush()
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._pause_on("closing")
            transport.close()  # [MQTT-3.14.4-2] [MQTT-4.13.1-1]
            self.hub.loop.call_later(CLOSE_S_MAX, transport.abort)

    def end(
        self,
        reason: ReasonCode,
        *,
        with_will: bool = True,
        planned_stop: bool = False,
        server_reference: str | None = None,
    ) -> None:
        """The server ends the connection: DISCONNECT with the reason to MQTT 5, then close."""
        if self.closed:
            return
        if self._session is not None:
            self.connection.disconnect(reason, server_reference=server_reference)  # [MQTT-4.13.2-1]
        self.detach(with_will=with_will, planned_stop=planned_stop)
        self._note_end(reason.name)
        self.finish()

    def violated(self, detail: str) -> None:
        """What the client sent fits the grammar but not what went before: a protocol error [MQTT-4.13.1-1]."""
        self.connection.disconnect(ReasonCode.PROTOCOL_ERROR)
        self._on_violation(ReasonCode.PROTOCOL_ERROR, detail)

    def take_over(self) -> None:
        """Another connection proved the same client id: this one gets its DISCONNECT, no more [MQTT-3.1.4-3]."""
        self.end(ReasonCode.SESSION_TAKEN_OVER)

    def close_stale(self) -> None:
        """The store says that somebody newer owns the session: this connection must not write for it again."""
        self.end(ReasonCode.SESSION_TAKEN_OVER, with_will=False)

    def has_room(self) -> None:
        """The outlet sent what it held: shared subscriptions with a backlog may have more for it."""
        if self._session is not None and self._session.has_shared:
            self.hub.loop.call_soon(groups.wake_all, self.hub, self._session)

    def pass_on(self, delivery: Delivery) -> None:
        """The client lost its right to a shared message before it was sent: another member may have it."""
        self.hub.loop.call_soon(groups.redeliver, self.hub, (delivery,))

    def freeze(self) -> None:
        """The node may not act now: read nothing of the session; the hub writes nothing."""
        if not self.closed and self._session is not None:
            self._pause_on("lease")

    def thaw(self) -> None:
        self._pause_off("lease")

    def cut(self, why: str) -> None:
        """End the connection without a word."""
        if not self.closed:
            self._cut(why)

    def sever(self) -> None:
        """End the connection, and leave the session alone: it is for another node to say what becomes of it."""
        self.closed = True
        self.abort()

    @property
    def has_unsent(self) -> bool:
        """True while bytes wait here that the connection did not take yet."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def abort(self) -> None:
        """Let go of the connection at once; `connection_lost` does the rest."""
        if self._transport is not None:
            self._transport.abort()

    def _cut(self, why: str) -> None:
        self._note_end(why)
        self.detach(with_will=True)
        if self._transport is not None:
            self._transport.abort()

    def _note_end(self, why: str) -> None:
        if self._session is not None:
            client_id = self._session.client_id
            log.info(
                "%s disconnected: %s",
                client_id,
                why,
                extra={"event": "client.disconnected", "fields": {"client_id": client_id, "why": why}},
            )

    # The transport's callbacks ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_HIGH)
        self._gathers_writes = gathers_writes(transport)
        self.hub.all_connections.add(self)
        try:
            self.peer = self.listener.identify(transport, self.peer.address)
        except ValueError as problem:
            log.info("no connection from %s: %s", self.peer.address, problem, extra={"event": "tls.failed"})
            self._transport.abort()
            return
        self.hub.wheel.watch(self)

    def data_received(self, data: bytes) -> None:
        hub = self.hub
        hub.counters.bytes_received += len(data)
        lane = self._ready_lane
        if lane is not None and self._may_run_alone() and lane.run_alone(data):
            self.connection.heard(hub.loop.time())
            if hub.congested:
                self.wait_for_receivers()
            return
        self._receive(data)
        if len(data) >= READ_BYTES_LARGE and not self._pauses and not self.closed:
            self._pause_on("read")
            self.hub.turns.wait(partial(self._take_turn, "read"))

    def _may_run_alone(self) -> bool:
        """What runs alone is not written at the end of the turn, where all else is held against the lease [D6]."""
        return not (self.closed or self._pauses or self.hub.congested) and self.hub.may_write()

    def _receive(self, data: bytes) -> None:
        if self.closed:
            return
        hub = self.hub
        if hub.congested:
            hub.congested = {}  # what a will or a stored queue filled since the last read is not this client's doing
        messages_before = hub.counters.messages_received
        now = hub.loop.time()
        held = self.connection.take_held(len(data)) if self._is_connected else None
        if held is None:
            self._receive_events(data, now)
        elif held or data:
            self._receive_runs(held + data if held else data, now)
        else:
            self.connection.heard(now)  # a pause of ours is over
        if hub.congested:
            self.wait_for_receivers()
        if self._is_limited:
            self._limit(hub.counters.messages_received - messages_before, len(data), now)
        if self.order and "order" not in self._pauses:
            self._wait_for_store()

    def _wait_for_store(self) -> None:
        """Stop reading while too much of what the client sent waits for the store."""
        order = self.order
        if order.waiting_packets > EFFECTS_WAITING_HIGH or order.waiting_bytes > EFFECTS_WAITING_BYTES_HIGH:
            self._pause_on("order")
            order.when_below(EFFECTS_WAITING_LOW, EFFECTS_WAITING_BYTES_LOW, lambda: self._pause_off("order"))

    def _receive_events(self, data: bytes, now: float) -> None:
        for event in self.connection.receive_data(data, now):
            self._on_event(event)
            if self.closed:  # what follows in the same read is discarded
                return
        if self.connection.has_data_to_send:
            self.wrote()

    def _receive_runs(self, data: bytes, now: float) -> None:
        """Alternate: what the fast lane knows, then one packet by the slow road."""
        connection = self.connection
        lane = self._lane
        if lane is None:
            lane = self._lane = FastLane(self, self.hub.settings.mqtt)
        self._ready_lane = None
        position, end = 0, len(data)
        while position < end:
            if self._stops_before(data, position):
                break
            after_run = lane.run(data, position)
            if after_run != position:
                connection.heard(now)
                if after_run >= end:
                    self._ready_lane = None if self._is_limited else lane
                    break
                if self._stops_before(data, after_run):
                    break
            event, position = connection.receive_packet(data, after_run, now)
            if event is not None:
                self._on_event(event)
                if self.closed:
                    return
        if connection.has_data_to_send:
            self.wrote()

    def _stops_before(self, data: bytes, position: int) -> bool:
        """True if the rest of this read is held: receivers are behind, or others have their turn first."""
        if self.hub.congested:
            self.wait_for_receivers()
        if self._awaited or (data[position] in FILTER_PACKETS and self._must_wait()):
            self.connection.hold(data, position)
            return True
        return False

    def _must_wait(self) -> bool:
        """True if this turn has brought enough filters: the rest of what the client sent is left for a later one."""
        if not self.hub.turns.is_over:
            return False
        if "turn" not in self._pauses:
            self._pause_on("turn")
            self.hub.turns.wait(partial(self._take_turn, "turn"))
        return True

    def _take_turn(self, why: str) -> None:
        if self._lift(why):
            self._receive(b"")

    def _limit(self, messages: int, received_bytes: int, now: float) -> None:
        """Pause the reading of a publisher that is over its rate."""
        pause_s = 0.0
        if self._message_rate is not None:
            pause_s = self._message_rate.take(messages, now)
        if self._byte_rate is not None:
            pause_s = max(pause_s, self._byte_rate.take(received_bytes, now))
        if pause_s > 0:
            self._pause_on("rate")
            self.hub.loop.call_later(pause_s, self._pause_off, "rate")

    def wait_for_receivers(self) -> None:
        """Stop reading while receivers of what was just published are behind, for at most RECEIVERS_S_MAX."""
        congested = self.hub.congested
        if not congested:
            return
        self.hub.congested = {}
        waiting = frozenset(receiver for receiver in congested if receiver.hold(self))
        if not waiting or self.closed:
            return
        if not self._awaited:
            self._pause_on("receivers")
            self._giving_up = self.hub.loop.call_later(RECEIVERS_S_MAX, self._give_up_waiting)
        self._awaited |= waiting

    def receiver_ready(self, receiver: Awaited) -> None:
        """A receiver caught up, or is gone."""
        self._awaited -= {receiver}
        if not self._awaited:
            self._read_on()

    def _give_up_waiting(self) -> None:
        awaited, self._awaited = self._awaited, NOBODY
        for receiver in awaited:
            receiver.excuse(self)
        self._read_on()

    def _read_on(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        self._pause_off("receivers")

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._session is not None and self._session.outlet is not None and not self.closed:
            self._session.outlet.drain()

    def eof_received(self) -> bool:
        return False  # a client that closed its half gets nothing more: close ours

    def connection_lost(self, exc: Exception | None) -> None:
        self.hub.wheel.forget(self)
        self.hub.all_connections.discard(self)
        if not self.hub.all_connections:
            self.hub.nobody_left.set()
        self.hub.counters.other_packets_received += self.connection.other_packets_received
        self.hub.counters.other_packets_sent += self.connection.other_packets_sent
        if not self.closed:
            self._note_end("the connection was closed" if exc is None else type(exc).__name__)
            self.detach(with_will=True)
        self.listener.connection_closed(self)

    def _pause_on(self, why: str) -> None:
        pauses = self.hub.counters.pauses
        if why in pauses:
            pauses[why] += 1
        if not self._pauses and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._pauses |= {why}

    def _pause_off(self, why: str) -> None:
        if self._lift(why):
            self.hub.loop.call_soon(self._receive, b"")  # what was held is due, and keep-alive starts anew

    def _lift(self, why: str) -> bool:
        """True if that was the last reason to pause: what was held is due."""
        if why not in self._pauses:
            return False
        self._pauses = (self._pauses - {why}) or NO_PAUSES
        if self._pauses or self.closed or self._transport is None or self._transport.is_closing():
            return False
        self._transport.resume_reading()
        return True

    # Timed -----------------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        if self._pauses:  # what the client sends is not read: its silence is our doing
            return None if "connect" in self._pauses else self.hub.loop.time() + 1.0
        return self.connection.deadline()

    def expire(self, now: float) -> None:
        violated = self.connection.tick(now)
        if violated is not None:
            self._on_event(violated)

    # Events ----------------------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case PublishReceived(packet=packet):
                publish.on_publish(self, packet)
            case PubAckReceived(packet_id=packet_id):
                acknowledge.on_puback(self, packet_id)
            case PubRecReceived(packet_id=packet_id, reason=reason):
                acknowledge.on_pubrec(self, packet_id, reason)
            case PubRelReceived(packet_id=packet_id):
                acknowledge.on_pubrel(self, packet_id)
            case PubCompReceived(packet_id=packet_id):
                acknowledge.on_pubcomp(self, packet_id)
            case _:
                self._on_rare_event(event)

    def _on_rare_event(self, event: Event) -> None:
        match event:
            case SubscribeReceived(packet=packet):
                self.hub.turns.spend(len(packet.subscriptions))
                subscribe.on_subscribe(self, packet)
            case UnsubscribeReceived(packet=packet):
                self.hub.turns.spend(len(packet.filters))
                subscribe.on_unsubscribe(self, packet)
            case ConnectReceived(packet=packet):
                self.hub.counters.connects_received += 1
                is_plain = packet.properties.authentication_method is None
                self._answer(connect.on_connect(self, packet) if is_plain else authenticate.on_connect(self, packet))
            case AuthReceived(packet=packet) if self._session is None:
                self._answer(authenticate.on_auth(self, packet))
            case AuthReceived(packet=packet):
                authenticate.on_reauthentication(self, packet)
            case DisconnectReceived() if self._session is None:  # instead of an answer to our challenge
                self.finish()
            case DisconnectReceived(packet=packet):
                self._note_end(packet.reason.name)
                disconnect.on_disconnect(self, packet)
            case Violated(reason=reason, detail=detail):
                self._on_violation(reason, detail)
            case _:
                raise AssertionError(f"no flow for {event!r}")

    def _answer(self, flow: Coroutine[Any, Any, None]) -> None:
        """It is our turn: read nothing more until the client has its CONNACK or a challenge."""
        self._pause_on("connect")
        self._connecting = self.hub.loop.create_task(flow, name="connect")
        self._connecting.add_done_callback(self._connect_ended)

    def _on_violation(self, reason: ReasonCode, detail: str) -> None:
        self.hub.counters.violations += 1
        client_id = self._session.client_id if self._session is not None else ""
        log.info(
            "%s from %s broke the protocol: %s (%s)",
            client_id or "a client",
            self.peer.address,
            reason.name,
            detail,
            extra={
                "event": "client.violation",
                "fields": {
                    "client_id": client_id,
                    "address": self.peer.address,
                    "listener": self.peer.listener,
                    "reason": reason.name,
                    "detail": detail,
                },
            },
        )
        self.detach(with_will=True)
        self.finish()

    def _connect_ended(self, task: "asyncio.Task[None]") -> None:
        self._connecting = None
        if task.cancelled() or task.exception() is None:
            self.hub.wheel.watch(self)
            return
        log.error("a CONNECT could not be answered", exc_info=task.exception())
        if self._transport is not None:
            self._transport.abort()

    def _still_allowed(self, delivery: Delivery) -> bool:
        """The full decision at hand-over, for what was planned under an older policy or read from the queue."""
        session = self.session
        group = None if delivery.group is None else delivery.group[0]
        return session.may_still_receive(delivery.message.topic, delivery.qos, group)
