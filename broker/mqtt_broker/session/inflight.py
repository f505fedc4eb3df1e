"""The QoS 1 and 2 exchanges of one session, both ways: which packet ids are in use and what may follow for each.

Knows packet ids, phases and the receive maximum; does not know packets, sockets, time or where a message is stored.
An answer of the peer that fits nothing is an ordinary outcome here (None or an Enum): the flow decides what to reply.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import Enum
from typing import Generic, TypeVar

PACKET_IDS_MAX = 65_535  # packet identifiers are 1..65535 (MQTT 5.0, 2.2.1)

T = TypeVar("T")


def packet_id_of(sequence: int) -> int:
    """The packet id of a queue's entry. It follows from the sequence, so a resend has its old id on any node."""
    return (sequence - 1) % PACKET_IDS_MAX + 1


# Most sessions have nothing under way; an empty set of their own is 216 bytes.
NO_IDS: frozenset[int] = frozenset()
NO_SEQUENCES: dict[int, int] = {}


class Phase(Enum):
    """Where an outbound exchange stands."""

    SENT = "PUBLISH sent"
    RELEASED = "PUBREC received, PUBREL sent"


class PubRecOutcome(Enum):
    """What a PUBREC means for the sender."""

    FIRST = "store that the client has it, then send PUBREL"
    REPEATED = "known already: send PUBREL again"
    UNKNOWN = "no such exchange: PUBREL with 0x92"


class Answer(Enum):
    """The packet that the client owes for an exchange."""

    PUBACK = "PUBACK"
    PUBREC = "PUBREC"
    PUBCOMP = "PUBCOMP"


class Exchange(Generic[T]):
    """One message on its way to the client."""

    __slots__ = ("item", "packet_id", "phase", "qos")

    def __init__(self, packet_id: int, item: T, qos: int, phase: Phase) -> None:
        self.packet_id = packet_id
        self.item = item
        self.qos = qos
        self.phase = phase


class OutboundWindow(Generic[T]):
    """The exchanges that this side began, in the order of their first PUBLISH [MQTT-4.6.0-5].

    `receive_maximum` (1..65535) is the client's: exchanges not yet completed never outnumber it [MQTT-3.3.4-9].
    The caller sends a queue's entries in the order of their sequence; only then the ids in use here are all there are.
    """

    __slots__ = ("_exchanges", "_forgettable", "_last_free_id", "_receive_maximum", "_stored")

    def __init__(self, receive_maximum: int) -> None:
        if not 1 <= receive_maximum <= PACKET_IDS_MAX:
            raise AssertionError(f"receive maximum {receive_maximum} is not within 1..{PACKET_IDS_MAX}")
        self._receive_maximum = receive_maximum
        self._exchanges: dict[int, Exchange[T]] = {}
        self._forgettable: set[int] | frozenset[int] = NO_IDS
        self._stored = NO_SEQUENCES
        self._last_free_id = 0

    def __len__(self) -> int:
        return len(self._exchanges) + len(self._forgettable) + len(self._stored)

    @property
    def has_room(self) -> bool:
        """True if the client takes one more QoS 1 or 2 PUBLISH [MQTT-4.9.0-2]."""
        return len(self) < self._receive_maximum  # [MQTT-3.3.4-9] [MQTT-4.9.0-2]

    def can_send(self, sequence: int | None = None) -> bool:
        """True if `send` may be called. A queue's entry also waits for its own packet id [MQTT-2.2.1-4]."""
        if not self.has_room:
            return False
        return sequence is None or not self._is_used(packet_id_of(sequence))

    def can_resume(self, sequence: int) -> bool:
        """True if `resume` may be called for a released exchange: only its packet id must be free."""
        return not self._is_used(packet_id_of(sequence))

    def send(self, item: T, qos: int, sequence: int | None = None) -> int:
        """Begin an exchange and return its packet id. The caller asked `can_send` first; `qos` is 1 or 2.

        `sequence` is that of the session's queue; None = the message lies in memory only and gets the next free id.
        """
        if qos not in (1, 2):
            raise AssertionError(f"QoS {qos} has no exchange")
        if not self.can_send(sequence):
            raise AssertionError("send without room or with a packet id in use")
        packet_id = self._free_id() if sequence is None else packet_id_of(sequence)  # [MQTT-4.3.2-1] [MQTT-4.3.3-1]
        self._exchanges[packet_id] = Exchange(packet_id, item, qos, Phase.SENT)
        return packet_id

    def resume(self, item: T, sequence: int, qos: int, *, released: bool) -> int:
        """Take up an exchange of an earlier connection and return its packet id [MQTT-4.4.0-1].

        `released`: its PUBREC came, so only PUBREL is sent again; that needs no room, for it is no PUBLISH
        [MQTT-4.9.0-3]. Otherwise the caller asked `can_send` first and sends PUBLISH with DUP [MQTT-3.3.1-1].
        """
        packet_id = packet_id_of(sequence)
        if not released:
            return self.send(item, qos, sequence)
        if self._is_used(packet_id):
            raise AssertionError("resume with a packet id in use")
        self._exchanges[packet_id] = Exchange(packet_id, item, 2, Phase.RELEASED)
        return packet_id

    def send_forgettable(self, count: int) -> Sequence[int]:
        """Begin `count` QoS 1 exchanges whose messages nobody needs again, and return their packet ids in order.

        For a session that ends with its connection: what it did not acknowledge is sent to nobody. The caller made sure
        that there is room for them; `finish_forgettable` ends them.
        """
        if len(self) + count > self._receive_maximum:
            raise AssertionError("more exchanges than the client takes")
        first = self._last_free_id + 1
        ids: Sequence[int] = range(first, first + count)
        if first + count > PACKET_IDS_MAX or not self._are_free(ids):
            ids = self._next_free_ids(count)
        self._last_free_id = ids[-1]
        if isinstance(self._forgettable, frozenset):
            self._forgettable = set()
        self._forgettable.update(ids)
        return ids

    def send_stored(self, first: int, count: int) -> Sequence[int]:
        """Begin QoS 1 exchanges of `count` entries of the queue, from sequence `first` on: their packet ids, in order.

        Nothing is kept of them but that: `finish_stored` ends them. Empty, and nothing has begun: there is no room for
        all of them, or one of their ids is in use.
        """
        if len(self) + count > self._receive_maximum:  # [MQTT-3.3.4-9]
            return ()
        sequences = range(first, first + count)
        first_id = packet_id_of(first)
        ids: Sequence[int] = range(first_id, first_id + count)
        if ids[-1] > PACKET_IDS_MAX:
            ids = [packet_id_of(sequence) for sequence in sequences]
        if not self._are_free(ids):  # [MQTT-2.2.1-4]
            return ()
        if self._stored is NO_SEQUENCES:
            self._stored = {}
        self._stored.update(zip(ids, sequences, strict=True))
        return ids

    def finish_stored(self, packet_ids: Collection[int]) -> tuple[int, ...]:
        """PUBACKs came: the sequences. Empty: they are not all of stored exchanges, each once; nothing changed then."""
        stored = self._stored
        if not stored or len(set(packet_ids)) != len(packet_ids) or not stored.keys() >= set(packet_ids):
            return ()
        return tuple([stored.pop(packet_id) for packet_id in packet_ids])

    def is_light(self, packet_id: int) -> bool:
        """True while this id is one of `send_forgettable`'s or `send_stored`'s."""
        return packet_id in self._forgettable or packet_id in self._stored

    def finish_forgettable(self, packet_ids: Collection[int]) -> bool:
        """PUBACKs came. False: they are not all of forgettable exchanges, each once; nothing changed then."""
        forgettable = self._forgettable
        if isinstance(forgettable, frozenset) or not forgettable.issuperset(packet_ids):
            return False
        if len(set(packet_ids)) != len(packet_ids):
            return False
        forgettable.difference_update(packet_ids)
        return True

    def awaits(self, packet_id: int) -> Answer | None:
        """What the client owes for this id; None: no exchange has it."""
        exchange = self._exchanges.get(packet_id)
        if exchange is None:
            return Answer.PUBACK if self.is_light(packet_id) else None
        if exchange.qos == 1:
            return Answer.PUBACK
        return Answer.PUBREC if exchange.phase is Phase.SENT else Answer.PUBCOMP

    def puback(self, packet_id: int) -> T | None:
        """End a QoS 1 exchange. None: there is none with this id, nothing changed."""
        return self._end(packet_id, 1, Phase.SENT)

    def pubrec(self, packet_id: int) -> tuple[PubRecOutcome, T | None]:
        """The client has a QoS 2 message: from here on only PUBREL is sent for it [MQTT-4.3.3-6]."""
        exchange = self._exchanges.get(packet_id)
        if exchange is None or exchange.qos != 2:
            return PubRecOutcome.UNKNOWN, None
        if exchange.phase is Phase.RELEASED:
            return PubRecOutcome.REPEATED, exchange.item
        exchange.phase = Phase.RELEASED  # [MQTT-4.3.3-6]
        return PubRecOutcome.FIRST, exchange.item

    def pubrec_failed(self, packet_id: int) -> T | None:
        """A PUBREC of 0x80 or above ends the exchange and frees its id (MQTT 5.0, 4.3.3). None: unknown id."""
        return self._end(packet_id, 2, Phase.SENT)

    def pubcomp(self, packet_id: int) -> T | None:
        """End a QoS 2 exchange. None: unknown id, or its PUBREC has not come; nothing changed."""
        return self._end(packet_id, 2, Phase.RELEASED)

    def in_flight(self) -> Iterator[Exchange[T]]:
        """Everything not completed, in the order of its first PUBLISH."""
        return iter(self._exchanges.values())

    def clear(self) -> None:
        """Forget all: the session has ended."""
        self._exchanges.clear()
        self._forgettable = NO_IDS
        self._stored = NO_SEQUENCES

    def _end(self, packet_id: int, qos: int, phase: Phase) -> T | None:
        exchange = self._exchanges.get(packet_id)
        # [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5]
        if exchange is None or exchange.qos != qos or exchange.phase is not phase:
            return None
        del self._exchanges[packet_id]
        return exchange.item

    def _free_id(self) -> int:
        """The next id not in use; there is one, for the window is never larger than the number of ids."""
        packet_id = self._last_free_id
        while True:
            packet_id = packet_id % PACKET_IDS_MAX + 1
            if not self._is_used(packet_id):
                self._last_free_id = packet_id
                return packet_id

    def _is_used(self, packet_id: int) -> bool:
        return packet_id in self._exchanges or self.is_light(packet_id)

    def _are_free(self, ids: Collection[int]) -> bool:
        in_use = (self._forgettable, self._exchanges.keys(), self._stored.keys())
        return all(not some or some.isdisjoint(ids) for some in in_use)

    def _next_free_ids(self, count: int) -> list[int]:
        ids: list[int] = []
        packet_id = self._last_free_id
        while len(ids) < count:
            packet_id = packet_id % PACKET_IDS_MAX + 1
            if not self._is_used(packet_id):
                ids.append(packet_id)
        return ids


class InboundIds:
    """The packet ids that the client has in use towards the server.

    QoS 2: accepted and not yet released; outlives the connection (`unreleased` is what the store kept). QoS 1: begun
    and not yet acknowledged. `len` is what counts against the receive maximum that CONNACK announced [MQTT-3.3.4-7].
    """

    __slots__ = ("_unacknowledged", "_unreleased")

    def __init__(self, unreleased: Iterable[int] = ()) -> None:
        self._unreleased: set[int] | None = set(unreleased) or None
        self._unacknowledged: set[int] | None = None

    def __len__(self) -> int:
        return len(self._unreleased or ()) + len(self._unacknowledged or ())

    def __contains__(self, packet_id: int) -> bool:
        return packet_id in (self._unreleased or ()) or packet_id in (self._unacknowledged or ())

    def add(self, packet_id: int) -> bool:
        """A QoS 2 PUBLISH. False: a duplicate, answered with PUBREC and not delivered again [MQTT-4.3.3-10]."""
        if self._unreleased is None:
            self._unreleased = set()
        if packet_id in self._unreleased:
            return False
        self._unreleased.add(packet_id)
        return True

    def release(self, packet_id: int) -> bool:
        """A PUBREL. False: the id is not known, which PUBCOMP says with 0x92."""
        if self._unreleased is None or packet_id not in self._unreleased:
            return False
        self._unreleased.remove(packet_id)
        return True

    def begin(self, packet_id: int) -> bool:
        """A QoS 1 PUBLISH that waits for its acknowledgement. False: the id is in use."""
        if packet_id in self:
            return False
        if self._unacknowledged is None:
            self._unacknowledged = set()
        self._unacknowledged.add(packet_id)
        return True

    def finish(self, packet_id: int) -> None:
        """PUBACK went out: the id is free. Idempotent."""
        if self._unacknowledged is not None:
            self._unacknowledged.discard(packet_id)
