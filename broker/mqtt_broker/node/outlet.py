"""The one ordered outlet of a connected session: whatever is delivered to it goes through here.

Knows pending deliveries, the send window, the sent mark and the memory bounds; does not know who may receive: it asks
`still_allowed` when a delivery was decided under an older policy. Messages of one QoS leave in the order they came.

QoS 0 waits only for the transport. QoS 1 and 2 wait for the window too, and those that lie in the store for the mark
that says "may have been sent": it is written ahead of each window, so that one write serves many messages. For those
that find room at once it is raised in the step that stores them.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from mqtt_broker.node.counters import DropReason
from mqtt_broker.protocol.outbox import PACKET_BYTES_LIMIT
from mqtt_broker.session.inflight import Answer, OutboundWindow, PubRecOutcome
from mqtt_broker.session.message import Message, is_expired
from mqtt_broker.session.session import QueueBounds
from mqtt_broker.store.ports import Acknowledge, Drop, MarkSent, QueueEntry, Result, Return, Stale, StoreUnavailable
from mqtt_broker.wire.packets import Properties, Publish

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub

STORED_IN_MEMORY_MAX = 512  # entries of a stored queue kept in memory; the rest is read again when there is room
REFILL_MESSAGES_MAX = 256
REFILL_BYTES_MAX = 1024 * 1024
MARK_AHEAD_MAX = 100  # one write of the mark serves so many messages; what is marked escapes overflow and expiry
UNDECIDED = -2  # no number of `hub.decisions`: whatever comes from a stored queue is decided again at hand-over


class Delivery(Struct, frozen=True):
    """One message on its way to one session. `sequence` 0: it lies in memory only, else in the session's queue.

    `decided_under`: `hub.decisions` when it was allowed. `group`: (group, filter) of a shared subscription.
    """

    message: Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    decided_under: int
    sequence: int = 0
    dup: bool = False  # [MQTT-4.3.2-2] [MQTT-4.3.3-2]; the publisher's is not passed on [MQTT-3.3.1-3]
    received: bool = False
    group: tuple[str, str] | None = None


NOTHING: deque[Delivery] = deque()  # stays empty: most outlets hold nothing back, and a deque of their own is 760 bytes


class Sink(Protocol):
    """The connection an outlet writes to."""

    @property
    def writable(self) -> bool: ...

    @property
    def waits_for_receivers(self) -> bool: ...

    def receiver_ready(self, receiver: "Awaited") -> None: ...

    @property
    def packet_bytes_max(self) -> int: ...

    def fits(self, packet: Publish) -> bool: ...

    def send_publish(self, packet: Publish) -> bool: ...

    def forward(self, frames: bytes, frame_bytes: int) -> bool: ...

    def forward_alone(self, frame: bytes) -> bool: ...

    def send_pubrel(self, packet_id: int) -> None: ...

    def close_stale(self) -> None: ...

    def has_room(self) -> None: ...

    def pass_on(self, delivery: Delivery) -> None: ...


class Awaited(Protocol):
    """A receiver that is behind, or what leads to some: publishers are not read meanwhile."""

    def hold(self, publisher: Sink, /) -> bool:
        """Call `receiver_ready` when it has caught up. False: it has, or is not waited for any more."""
        ...

    def excuse(self, publisher: Sink, /) -> None:
        """This publisher waited long enough."""
        ...

    def release(self, publisher: Sink, /) -> None:
        """The publisher is gone."""
        ...


NO_GROUPS: frozenset[tuple[str, str]] = frozenset()
NOBODY: dict[Sink, None] = {}  # stays empty, as NOTHING does


class Outlet:
    """Created when a session is connected, dropped with the connection. Not thread-safe: the loop's alone."""

    __slots__ = (
        "_backlog",
        "_bounds",
        "_client_id",
        "_closed",
        "_congested",
        "_epoch",
        "_excused",
        "_hub",
        "_incarnation",
        "_marked_up_to",
        "_marking",
        "_newest",
        "_pending",
        "_pending_bytes",
        "_pending_qos0",
        "_persistent",
        "_read_up_to",
        "_reading",
        "_receive_maximum",
        "_resent_up_to",
        "_sent_up_to",
        "_sink",
        "_still_allowed",
        "_under_way",
        "_waiters",
        "_window",
        "given_back",
        "groups_given_back",
        "groups_taken_from",
    )

    def __init__(
        self,
        hub: "Hub",
        sink: Sink,
        *,
        client_id: str,
        incarnation: int,
        epoch: int,
        persistent: bool,
        bounds: QueueBounds,
        receive_maximum: int,
        sent_up_to: int,
        backlog: bool,
        still_allowed: Callable[[Delivery], bool],
    ) -> None:
        self._hub = hub
        self._sink = sink
        self._client_id = client_id
        self._incarnation = incarnation
        self._epoch = epoch
        self._persistent = persistent
        self._bounds = bounds
        self._receive_maximum = receive_maximum
        self._still_allowed = still_allowed
        self._window: OutboundWindow[Delivery] = OutboundWindow(receive_maximum)  # [MQTT-4.9.0-1]
        self._pending = NOTHING  # QoS 1 and 2
        self._pending_qos0 = NOTHING
        self._pending_bytes = 0
        self._resent_up_to = sent_up_to  # entries up to here may have been sent by an earlier connection
        self._marked_up_to = sent_up_to
        self._marking = False
        self._under_way = 0
        self._sent_up_to = sent_up_to
        self._read_up_to = 0
        self._newest = 0
        self._backlog = backlog
        self._reading: asyncio.Task[None] | None = None
        self._closed = False
        self.groups_taken_from: frozenset[tuple[str, str]] = NO_GROUPS
        self.groups_given_back: frozenset[tuple[str, str]] = NO_GROUPS
        self.given_back = 0
        self._congested = False
        self._excused = False
        self._waiters = NOBODY  # in the order in which they began to wait

    # What others ask -------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """That of the session while this connection is its own."""
        return self._epoch

    @property
    def sent_up_to(self) -> int:
        """The highest stored sequence really sent: what the mark must say when the connection ends in good order."""
        return self._sent_up_to

    @property
    def is_full(self) -> bool:
        """True if one more message would overflow the bounds of memory."""
        waiting = len(self._pending) + len(self._pending_qos0)
        return waiting >= self._bounds.messages_max or self._pending_bytes >= self._bounds.bytes_max

    @property
    def refuses_qos0(self) -> bool:
        """True if a QoS 0 message is dropped now: it cannot be written, and there is no place or load is shed."""
        if self._sink.writable and not self._pending_qos0:
            return False
        return self.is_full or self._hub.overload.level >= 1

    @property
    def room(self) -> int:
        """How many QoS 1 and 2 messages could be sent now: what a shared subscription's member may take."""
        if not self._sink.writable or self._pending or self._behind:
            return 0
        return max(0, self._receive_maximum - len(self._window))

    @property
    def run_max(self) -> int:
        """How many stored messages of one publisher may come as one: all can be sent at once or none, and all but the
        last leave it as it is whether publishers should pause.
        """
        if self._congested:
            most = sys.maxsize if self._excused else 1
        else:
            most = max(1, -(-3 * self._bounds.messages_max // 4) - self._stored_here)
        return min(most, self._room_stored or most)

    @property
    def _room_stored(self) -> int:
        """How many messages of its stored queue could be sent as soon as they lie there, behind all that come before.

        Also while some wait for the mark: it is raised past them, or they would wait for it again and again.
        """
        if not self._persistent or self._behind or not self._sink.writable:
            return 0
        return max(0, self._receive_maximum - self._stored_here)

    @property
    def _stored_here(self) -> int:
        """How many messages the queue holds, as far as this connection knows, or will hold when the store answers."""
        return len(self._window) + len(self._pending) + self._under_way if self._persistent else 0

    @property
    def room_qos0(self) -> int:
        """How many QoS 0 messages could be written now, or dropped, all alike; 0 if each must be queued for itself."""
        if self._sink.writable and not self._pending_qos0:
            return sys.maxsize
        return sys.maxsize if self._excused and self.refuses_qos0 else 0  # nobody is paused for it: all alike

    @property
    def waiting(self) -> int:
        return len(self._pending) + len(self._pending_qos0)

    @property
    def _behind(self) -> bool:
        """True while the store holds entries that memory does not."""
        return self._backlog or self._newest > self._read_up_to

    # What comes in ---------------------------------------------------------------------------------------------------

    def offer_qos0(self, delivery: Delivery) -> None:
        """Send at once if the transport has room; else wait within the bounds, else drop and count."""
        if self._sink.writable and not self._pending_qos0:
            self._send_qos0(delivery)
        elif self.refuses_qos0:
            self.refuse(1)
        else:
            self._append_qos0(delivery)

    def offer(self, delivery: Delivery) -> None:
        """A QoS 1 or 2 message that lies in memory only. The overflow policy decides when the bounds are met."""
        if self.is_full and not self._make_room():
            self.refuse(1)
            return
        self._append(delivery)
        self.drain()

    def offer_stored(self, delivery: Delivery) -> None:
        """A message that lies in the session's queue under `delivery.sequence`; memory keeps only the next few."""
        sequence = delivery.sequence
        if delivery.group is not None:
            self.groups_taken_from |= {delivery.group}
        if sequence <= self._read_up_to:
            return  # read from the queue already, between its commit and this call
        if self._must_be_read(sequence):
            self.note_stored(sequence)
            return
        self._newest = self._read_up_to = sequence
        self._append(delivery)
        self.drain()

    def _must_be_read(self, sequence: int) -> bool:
        """What other nodes appended may be told later than what this one did: a gap is read, never skipped."""
        has_gap = sequence != self._read_up_to + 1
        return has_gap or self._behind or len(self._pending) >= STORED_IN_MEMORY_MAX

    def note_stored(self, sequence: int) -> None:
        """The session's queue has an entry of this sequence: it is read when its turn comes."""
        self._newest = max(self._newest, sequence)
        self.drain()

    def expect(self, count: int) -> bool:
        """Messages are on their way to the queue, no more than `run_max`. `answered`, `arrive` and `relax` come next.

        True if they could be sent at once: then the mark is to be raised in the step that stores them. Three quarters
        of the bounds taken, by what is not acknowledged too: whoever publishes to this receiver should pause.
        """
        has_room = self._room_stored > 0
        self._under_way += count
        if 4 * self._stored_here >= 3 * self._bounds.messages_max:
            self._congested = True
        self._press()
        return has_room

    def answered(self, marked_up_to: int, *, is_stale: bool) -> None:
        """The store has answered. `marked_up_to` 0: the mark is where it was. `is_stale`: it is not ours to raise."""
        if is_stale:
            self._close_stale()
        else:
            self._marked_up_to = max(self._marked_up_to, marked_up_to)

    def arrive(self, count: int) -> None:
        """So many are not under way any more: they are handed over with this, or found no place."""
        self._under_way -= count

    def relax(self) -> None:
        """Whoever waits for this receiver goes on, if it has caught up."""
        if self._congested and self._has_caught_up:
            self._end_congestion()

    def forward_qos0(self, frames: bytes, frame_bytes: int) -> bool:
        """Write encoded QoS 0 packets, the largest `frame_bytes` long. The caller counts them as sent.

        False: each is to be offered. They must wait, or are too large for the client as they are: an alias may help.
        """
        if self._pending_qos0 or not self._sink.writable:
            return False
        return self._sink.forward(frames, frame_bytes)

    def forward_qos0_alone(self, frame: bytes) -> bool:
        """As `forward_qos0`, for the one packet of a read."""
        return not self._pending_qos0 and self._sink.forward_alone(frame)

    def begin_forgettable(self, count: int, frame_bytes: int) -> Sequence[int]:
        """Packet ids for as many of `count` QoS 1 packets as `forward_qos1` may write now; the others wait.

        None for a session that outlives its connection: its messages lie in the store.
        """
        if self._persistent or frame_bytes > self._sink.packet_bytes_max:
            return ()
        count = min(count, self.room)
        return self._window.send_forgettable(count) if count else ()

    def begin_stored(self, first: int, count: int, frame_bytes: int) -> Sequence[int]:
        """Packet ids for QoS 1 packets of `count` entries of the queue, from `first` on, which `forward_qos1` writes.

        None, unless all of them may be written: they are not next, not marked, or must wait.
        """
        last = first + count - 1
        if first != self._read_up_to + 1 or last > self._marked_up_to or count > self.room:
            return ()
        if frame_bytes > self._sink.packet_bytes_max:
            return ()
        ids = self._window.send_stored(first, count)
        if ids:
            self._newest = self._read_up_to = self._sent_up_to = last
        return ids

    def leave_stored(self, first: int, last: int) -> bool:
        """True if these entries are to be read from the queue when their turn comes. False: each is to be offered."""
        if last <= self._read_up_to:
            return True
        if first <= self._read_up_to or not self._must_be_read(first):
            return False
        self.note_stored(last)
        return True

    def forward_qos1(self, frames: bytes, frame_bytes: int) -> None:
        """Write the packets that `begin_forgettable` or `begin_stored` gave ids for. The caller counts them as sent."""
        self._sink.forward(frames, frame_bytes)

    def is_light(self, packet_id: int) -> bool:
        """True if of the QoS 1 packet under this id, not acknowledged yet, nothing is kept in memory."""
        return self._window.is_light(packet_id)

    def finish_light(self, packet_ids: Collection[int]) -> bool:
        """PUBACKs came. False (nothing changed): not all are for packets as `is_light` says, and of one kind.

        So it is also where more than one may not be taken at once: each makes room for something that waits.
        """
        if not self._window.finish_forgettable(packet_ids):
            if len(packet_ids) > 1 and (self._pending or self._behind):
                return False
            sequences = self._window.finish_stored(packet_ids)
            if not sequences:
                return False
            self._acknowledge_all(sequences)
        self.drain()
        return True

    def refuse(self, count: int) -> None:
        """Drop messages that have no place here. Whoever published them should pause all the same."""
        self._hub.drop("overflow", count)
        self._press()

    def forget(self, sequences: Collection[int]) -> None:
        """The store's overflow policy removed these entries before they were sent."""
        self._discard(lambda delivery: delivery.sequence in sequences)

    def drop_disallowed(self) -> list[Delivery]:
        """The policy changed: whatever waits is decided again; what is refused goes, and is counted.

        But what is shared is for another member, who may have the right: entries taken from a group's queue are given
        back, and those that lie in memory only are returned.
        """
        self.groups_given_back = NO_GROUPS
        gone = self._discard(lambda delivery: not delivery.received and not self._still_allowed(delivery))
        shared = [delivery for delivery in gone if _is_for_others(delivery)]
        for delivery in shared:
            if delivery.sequence:
                self._give_back(delivery)
        stored = tuple(d.sequence for d in gone if d.sequence and not _is_for_others(d))
        if stored:
            self._hub.pump.submit(Drop(client_id=self._client_id, incarnation=self._incarnation, sequences=stored))
        self._hub.drop("revoked", len(gone) - len(shared))
        return [delivery for delivery in shared if not delivery.sequence]

    def _discard(self, unwanted: Callable[[Delivery], bool]) -> list[Delivery]:
        gone = [d for d in (*self._pending_qos0, *self._pending) if unwanted(d)]
        if gone:
            self._pending = deque(d for d in self._pending if not unwanted(d))
            self._pending_qos0 = deque(d for d in self._pending_qos0 if not unwanted(d))
            for delivery in gone:
                self._leave(delivery)
            self.relax()
        return gone

    def _make_room(self) -> bool:
        """DropOldest: the oldest message that lies in memory only gives way; the store bounds its own queue."""
        if self._bounds.overflow != "DropOldest":
            return False
        for index, delivery in enumerate(self._pending):
            if not delivery.sequence:
                del self._pending[index]
                self._leave(delivery)
                self._hub.drop("overflow", 1)
                self.relax()
                return True
        return False

    # Back-pressure ---------------------------------------------------------------------------------------------------

    def _append_qos0(self, delivery: Delivery) -> None:
        if self._pending_qos0 is NOTHING:
            self._pending_qos0 = deque()
        self._pending_qos0.append(delivery)
        self._wait(delivery)

    def _append(self, delivery: Delivery) -> None:
        if self._pending is NOTHING:
            self._pending = deque()
        self._pending.append(delivery)  # [MQTT-4.6.0-5] [MQTT-4.6.0-6]
        self._wait(delivery)

    def _wait(self, delivery: Delivery) -> None:
        """It waits here from now on. Half of the bounds taken: whoever publishes to this receiver should pause."""
        size = delivery.message.size
        self._pending_bytes += size
        self._hub.buffered_bytes += size
        bounds = self._bounds
        if 2 * self.waiting >= bounds.messages_max or 2 * self._pending_bytes >= bounds.bytes_max:
            self._congested = True
        self._press()

    def _press(self) -> None:
        if self._congested and not self._excused:
            self._hub.congested[self] = None

    def _leave(self, delivery: Delivery) -> None:
        size = delivery.message.size
        self._pending_bytes -= size
        self._hub.buffered_bytes -= size

    @property
    def _has_caught_up(self) -> bool:
        """True if a quarter of the bounds waits at most, and half is taken by what is not acknowledged too."""
        bounds = self._bounds
        if 4 * self.waiting > bounds.messages_max or 2 * self._stored_here > bounds.messages_max:
            return False
        return 4 * self._pending_bytes <= bounds.bytes_max

    def _end_congestion(self) -> None:
        self._congested = self._excused = False
        waiters, self._waiters = self._waiters, NOBODY
        for waiter in waiters:
            waiter.receiver_ready(self)

    def hold(self, publisher: Sink) -> bool:
        """Call `receiver_ready` when this receiver has caught up. False: it has, or is not waited for any more."""
        if not self._congested or self._excused or self._sink is publisher or self._sink.waits_for_receivers:
            return False  # never for one that is itself paused: two that publish to each other would wait for ever
        if self._waiters is NOBODY:
            self._waiters = {}
        self._waiters[publisher] = None
        return True

    def excuse(self, publisher: Sink) -> None:
        """A publisher waited long enough: until this receiver has caught up, its overflow policy decides."""
        self._excused = True
        self._waiters.pop(publisher, None)

    def release(self, publisher: Sink) -> None:
        """The publisher is gone."""
        self._waiters.pop(publisher, None)

    # What goes out ---------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Send what transport, window and mark allow, in order; then fetch more of the stored queue if there is any."""
        if self._congested:
            self.relax()
        sink = self._sink
        while self._pending_qos0 and sink.writable:
            delivery = self._pending_qos0.popleft()
            self._leave(delivery)
            self._send_qos0(delivery)
            self.relax()
        while self._pending and sink.writable and not self._closed:
            delivery = self._pending[0]
            if delivery.sequence > self._marked_up_to:
                self._mark_ahead(delivery.sequence)
                return
            # [MQTT-4.9.0-2] PUBLISH waits for the window, and nothing else does [MQTT-3.3.4-10] [MQTT-4.9.0-3].
            if not self._may_begin(delivery):
                return
            self._pending.popleft()
            self._leave(delivery)
            self._send(delivery)
            self.relax()
        if self._pending:
            return
        if self._behind:
            self._refill()
        else:
            self._pending = NOTHING
            if self._hub.group_backlog:
                self._sink.has_room()
        if not self._pending_qos0:
            self._pending_qos0 = NOTHING

    def _may_begin(self, delivery: Delivery) -> bool:
        """False while the window, or the packet id that this one must have, is taken."""
        if delivery.received:
            return self._window.can_resume(delivery.sequence)
        return delivery.qos == 0 or self._window.can_send(self._id_sequence(delivery))

    def _id_sequence(self, delivery: Delivery) -> int | None:
        """What fixes the packet id: the place in the queue, so that a resend has its old one [MQTT-4.4.0-1].

        None: any free id will do, for what a session that ends with its connection is sent for the first time.
        """
        return delivery.sequence if delivery.sequence and (self._persistent or delivery.dup) else None

    def _send_qos0(self, delivery: Delivery) -> None:
        packet = self._packet(delivery, 0)  # [MQTT-4.3.1-1]
        if packet is None:
            self._hub.drop("expired", 1)
        elif not self._sink.send_publish(packet):
            self._hub.drop("too_large", 1)  # [MQTT-3.1.2-25]

    def _send(self, delivery: Delivery) -> None:
        if delivery.received:  # PUBREC came before: only PUBREL may follow [MQTT-4.3.3-5] [MQTT-4.3.3-6]
            self._sink.send_pubrel(self._window.resume(delivery, delivery.sequence, 2, released=True))
            return
        if delivery.decided_under != self._hub.decisions and not self._still_allowed(delivery):
            self._give_up_revoked(delivery)
            return
        if delivery.qos == 0:  # a member of a stored group that asked for no more
            self._send_qos0(delivery)
            self._acknowledge(delivery)
            return
        packet_id = self._begin(delivery)
        packet = self._packet(delivery, packet_id)
        if packet is None:
            self._take_back(packet_id)
            self._give_up(delivery, "expired")  # [MQTT-3.3.2-5]
        elif not self._sink.send_publish(packet):
            self._take_back(packet_id)
            self._give_up(delivery, "too_large")  # [MQTT-3.1.2-25]: behave as if it had been sent
        elif delivery.sequence:
            self._sent_up_to = max(self._sent_up_to, delivery.sequence)

    def _begin(self, delivery: Delivery) -> int:
        """Its packet id. Of QoS 1 whose id follows from its place in the queue nothing more need be kept."""
        sequence = self._id_sequence(delivery)
        if delivery.qos == 1 and sequence is not None:
            (packet_id,) = self._window.send_stored(sequence, 1)
            return packet_id
        return self._window.send(delivery, delivery.qos, sequence)

    def _take_back(self, packet_id: int) -> None:
        """The exchange did not begin after all: its id is free again."""
        if not self._window.finish_stored((packet_id,)) and self._window.puback(packet_id) is None:
            self._window.pubrec_failed(packet_id)

    def _packet(self, delivery: Delivery, packet_id: int) -> Publish | None:
        """The PUBLISH of this delivery, or None if its lifetime has passed."""
        message = delivery.message
        properties = message.properties
        if message.expires_at is not None or delivery.identifiers:
            now = self._hub.store_now()
            # What was begun is finished: it is not late, but repeated [MQTT-4.3.3-7].
            if is_expired(message, now) and not delivery.dup:
                return None
            properties = _with_delivery(properties, delivery, now)
        return Publish(
            topic=message.topic,
            payload=message.payload,
            qos=delivery.qos,
            retain=delivery.retain,
            dup=delivery.dup,
            packet_id=packet_id,
            properties=properties,
        )

    def _give_up_revoked(self, delivery: Delivery) -> None:
        """What is shared goes back to its group: another member may have the right."""
        if not _is_for_others(delivery):
            self._give_up(delivery, "revoked")
        elif delivery.sequence:
            self._give_back(delivery)
        else:
            self._sink.pass_on(delivery)

    def _give_back(self, delivery: Delivery) -> None:
        assert delivery.group is not None
        back = Return(client_id=self._client_id, epoch=self._epoch, sequences=(delivery.sequence,))
        self._hub.pump.submit(back, self._check)
        self.given_back += 1
        self.groups_given_back |= {delivery.group}  # not to be taken by this one again at once
        self._hub.group_backlog[delivery.group] = max(1, self._hub.group_backlog.get(delivery.group, 0))

    def _give_up(self, delivery: Delivery, reason: DropReason) -> None:
        self._hub.drop(reason, 1)
        self._acknowledge(delivery)

    def _acknowledge(self, delivery: Delivery) -> None:
        if delivery.sequence:
            self._acknowledge_all((delivery.sequence,))

    def _acknowledge_all(self, sequences: tuple[int, ...]) -> None:
        acknowledge = Acknowledge(client_id=self._client_id, epoch=self._epoch, sequences=sequences)
        self._hub.pump.submit(acknowledge, self._check)

    def _mark_ahead(self, sequence: int) -> None:
        """Raise the stored mark to a window past `sequence`; sending goes on when it is durable."""
        if self._marking:
            return
        self._marking = True
        up_to = sequence + min(self._receive_maximum, MARK_AHEAD_MAX) - 1

        def marked(result: Result) -> None:
            self._marking = False
            self._marked_up_to = max(self._marked_up_to, up_to)
            self._check(result)
            if not self._closed:
                self.drain()

        self._hub.pump.submit(MarkSent(client_id=self._client_id, epoch=self._epoch, sequence=up_to), marked)

    def _check(self, result: Result) -> None:
        if isinstance(result, Stale):
            self._close_stale()

    def _close_stale(self) -> None:
        if not self._closed:
            self._sink.close_stale()

    # What the client answers -----------------------------------------------------------------------------------------

    def awaits(self, packet_id: int) -> Answer | None:
        """What the client owes for this packet id; None: nothing is on its way under it."""
        return self._window.awaits(packet_id)

    def fits(self, message: Message, qos: int, identifiers: tuple[int, ...]) -> bool:
        """True if the client takes a packet as large as this message makes [MQTT-3.1.2-24]."""
        if self._sink.packet_bytes_max >= PACKET_BYTES_LIMIT:
            return True
        packet = self._packet(Delivery(message, qos, True, identifiers, UNDECIDED), 1 if qos else 0)  # noqa: FBT003
        return packet is None or self._sink.fits(packet)

    def puback(self, packet_id: int) -> None:
        """QoS 1 is done [MQTT-4.3.2-3]. An unknown id is ignored: nothing of another message is touched."""
        if self.finish_light((packet_id,)):
            return
        delivery = self._window.puback(packet_id)
        if delivery is not None:
            self._acknowledge(delivery)  # whatever its reason [MQTT-4.4.0-2] [MQTT-4.8.2-6]
            self.drain()

    def pubrec_failed(self, packet_id: int) -> None:
        """PUBREC with an error code: the exchange is over and the id free (MQTT 5.0, 4.3.3)."""
        delivery = self._window.pubrec_failed(packet_id)
        if delivery is not None:
            self._acknowledge(delivery)  # [MQTT-4.4.0-2]
            self.drain()

    def pubrec(self, packet_id: int) -> tuple[PubRecOutcome, Delivery | None]:
        """The client has the QoS 2 message: the caller stores that, where it is stored, and sends PUBREL."""
        return self._window.pubrec(packet_id)

    def pubcomp(self, packet_id: int) -> None:
        delivery = self._window.pubcomp(packet_id)
        if delivery is not None:
            self._acknowledge(delivery)
            self.drain()

    # The stored queue ------------------------------------------------------------------------------------------------

    def _refill(self) -> None:
        if self._reading is None and not self._closed:
            self._reading = asyncio.get_running_loop().create_task(self._read_more(), name="queue-read")

    async def _read_more(self) -> None:
        newest = self._newest
        try:
            entries = await self._hub.store.read_queue(
                self._client_id,
                self._incarnation,
                self._read_up_to,
                REFILL_MESSAGES_MAX,
                REFILL_BYTES_MAX,
                epoch=self._epoch,
            )
        except StoreUnavailable:
            await asyncio.sleep(0.2)  # the pump tells the log; this only keeps from spinning
            entries = ()
        else:
            if not entries:
                self._backlog = False
                self._read_up_to = max(self._read_up_to, newest)
        self._reading = None
        if self._closed:
            return
        for entry in entries:
            self._append_entry(entry)
        self.drain()

    def _append_entry(self, entry: QueueEntry) -> None:
        self._read_up_to = entry.sequence
        if entry.group is not None:
            self.groups_taken_from |= {entry.group}
        self._newest = max(self._newest, entry.sequence)
        delivery = Delivery(
            message=entry.message,
            qos=entry.qos,
            retain=entry.retain,
            identifiers=entry.identifiers,
            decided_under=UNDECIDED,
            sequence=entry.sequence,
            dup=entry.sequence <= self._resent_up_to and not entry.received,  # [MQTT-3.3.1-1] [MQTT-4.4.0-1]
            received=entry.received,
            group=entry.group,
        )
        self._append(delivery)

    # The end ---------------------------------------------------------------------------------------------------------

    def close(self) -> list[Delivery]:
        """Stop. Returns the shared deliveries that lie in memory only and may go to another member of their group.

        Those are what was not sent, and QoS 1 not acknowledged; QoS 2 once sent goes to nobody else.
        """
        self._closed = True
        self._hub.buffered_bytes -= self._pending_bytes
        self._end_congestion()
        if self._reading is not None:
            self._reading.cancel()
        # [MQTT-4.8.2-5]
        unfinished = [exchange.item for exchange in self._window.in_flight() if exchange.qos == 1]
        return [d for d in (*unfinished, *self._pending) if d.group is not None and not d.sequence]


def _is_for_others(delivery: Delivery) -> bool:
    """True for a message of a shared subscription that this client was not sent yet."""
    return delivery.group is not None and not delivery.dup


def _with_delivery(properties: Properties, delivery: Delivery, now: float) -> Properties:
    """The message's own properties plus this delivery's: remaining lifetime and identifiers."""
    expires_at = delivery.message.expires_at
    return Properties(
        payload_format_indicator=properties.payload_format_indicator,
        # [MQTT-3.3.2-6]
        message_expiry_interval=None if expires_at is None else max(1, round(expires_at - now)),
        content_type=properties.content_type,
        response_topic=properties.response_topic,
        correlation_data=properties.correlation_data,
        subscription_identifiers=delivery.identifiers,  # [MQTT-3.3.4-3]
        user_properties=properties.user_properties,
    )
