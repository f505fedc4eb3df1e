"""Frames that come back, read in bulk: what was delivered, what was acknowledged, and the answers to write.

Knows the wire format as a client receives it; does not know sockets or time (the clock's value is passed in). A run of
frames that are laid out alike is read column by column at the speed of C; everything else frame by frame.
"""

import struct
from collections.abc import Callable

from bench.driver.frames import FILLER, MARKS, PAYLOAD_BYTES, V5
from bench.driver.ledger import Ledger

TopicOf = Callable[[int, int], bytes]
CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x20, 0x30, 0x40, 0x50, 0x62, 0x70
_ANSWERS = {PUBREC: b"\x62", PUBREL: b"\x70"}
_FAILURE = 0x80


class FrameError(Exception):
    """What the broker sent is no MQTT."""


class _Layout:
    """How the last PUBLISH looked: frames like it are read together."""

    __slots__ = ("frame_bytes", "head", "marks", "packet_id_at", "payload_at", "topic_end")

    def __init__(self, frame: bytes, topic_end: int, packet_id_at: int | None, payload_at: int) -> None:
        self.frame_bytes = len(frame)
        self.head = frame[:2]
        self.topic_end = topic_end
        self.packet_id_at = packet_id_at
        self.payload_at = payload_at
        after = self.frame_bytes - payload_at - MARKS.size
        self.marks = struct.Struct(f">{payload_at}xIIQ{after}x")


class Scanner:
    """The incoming side of one connection. `answers` are whole frames of other types, for whoever waits for them."""

    __slots__ = ("_layout", "_rest", "_topic_of", "_version", "acknowledged", "answers", "ledger", "refused")

    def __init__(self, version: int, ledger: Ledger, topic_of: TopicOf) -> None:
        self._version = version
        self._topic_of = topic_of
        self._layout: _Layout | None = None
        self._rest = b""
        self.ledger = ledger
        self.acknowledged = 0
        self.refused = 0
        self.answers: list[bytes] = []

    def feed(self, data: bytes, now_ns: int = 0) -> bytes:
        """Read what came, however it was cut; returns the acknowledgements to write. Raises FrameError.

        `now_ns` is compared with the stamps of stamped messages.
        """
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        reply = bytearray()
        while size - at >= 2:
            if data[at] & 0xF0 == PUBLISH:
                taken = self._run_of_publishes(data, at, now_ns, reply)
            else:
                taken = self._run_of_acknowledgements(data, at, reply)
            if not taken:
                taken = self._one(data, at, now_ns, reply)
            if not taken:
                break
            at += taken
        self._rest = data[at:]
        return bytes(reply)

    # --- many at once ------------------------------------------------------------------------------------------------

    def _run_of_publishes(self, data: bytes, at: int, now_ns: int, reply: bytearray) -> int:
        layout = self._layout
        if layout is None:
            return 0
        width = layout.frame_bytes
        count = min(_run(data, at + i, width, layout.head[i : i + 1]) for i in (0, 1))
        count = min(count, (len(data) - at) // width)
        end = at + count * width
        if count < 2 or data.count(FILLER, at, end) != count or not self._topics_fit(data, at, end - width, layout):
            return 0
        self._note(layout.marks.iter_unpack(memoryview(data)[at:end]), count, now_ns)
        if layout.packet_id_at is not None:
            reply += _acknowledgements(layout.head[0], data, at + layout.packet_id_at, end, width, count)
        return end - at

    def _topics_fit(self, data: bytes, first: int, last: int, layout: _Layout) -> bool:
        """The topics of a run's ends; those between have the same length, filler and numbers in a row."""
        start = layout.topic_end
        for at in (first, last):
            stream, sequence, _ = MARKS.unpack_from(data, at + layout.payload_at)
            topic = self._topic_of(stream, sequence)
            if data[at + start - len(topic) : at + start] != topic:
                return False
        return True

    def _note(self, marks: object, count: int, now_ns: int) -> None:
        ledger = self.ledger
        ledger.received += count
        following = ledger.next
        streams = len(following)
        latencies = ledger.latencies_ns
        for stream, sequence, sent_ns in marks:  # type: ignore[attr-defined]  # what iter_unpack returns has no type
            if stream < streams and following[stream] == sequence:
                following[stream] = sequence + 1
            else:
                ledger.irregular(stream, sequence)
            if sent_ns:
                latencies.append(now_ns - sent_ns)

    def _run_of_acknowledgements(self, data: bytes, at: int, reply: bytearray) -> int:
        """PUBACK, PUBREC, PUBREL or PUBCOMP in their shortest form, one after the other."""
        kind = data[at]
        if kind not in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            return 0
        count = min(_run(data, at, 4, data[at : at + 1]), _run(data, at + 1, 4, b"\x02"), (len(data) - at) // 4)
        if not count:
            return 0
        end = at + 4 * count
        if kind in _ANSWERS:
            answers = bytearray(data[at:end])
            answers[0::4] = _ANSWERS[kind] * count
            reply += answers
        else:
            self.acknowledged += count
        return end - at

    # --- one at a time -----------------------------------------------------------------------------------------------

    def _one(self, data: bytes, at: int, now_ns: int, reply: bytearray) -> int:
        """Read one frame; returns its length, or 0 if it is not all here."""
        body_at, length = _fixed_header(data, at)
        if not body_at or body_at + length > len(data):
            return 0
        end = body_at + length
        kind = data[at]
        if kind & 0xF0 == PUBLISH:
            self._publish(data[at:end], body_at - at, now_ns, reply)
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self._acknowledgement(data[at:end], body_at - at, reply)
        else:
            self.answers.append(data[at:end])
        return end - at

    def _publish(self, frame: bytes, body_at: int, now_ns: int, reply: bytearray) -> None:
        qos = frame[0] >> 1 & 3
        topic_at = body_at + 2
        topic_end = topic_at + int.from_bytes(frame[body_at:topic_at])
        packet_id_at = topic_end if qos else None
        payload_at = topic_end + (2 if qos else 0)
        if self._version == V5:
            after, length = _varint(frame, payload_at)
            payload_at = after + length
        if packet_id_at is not None:
            reply += _acknowledgements(frame[0], frame, packet_id_at, len(frame), len(frame), 1)
        if len(frame) - payload_at != PAYLOAD_BYTES or not frame.endswith(FILLER):
            self.ledger.received += 1
            self.ledger.corrupt += 1
            return
        marks = MARKS.unpack_from(frame, payload_at)
        if self._topic_of(marks[0], marks[1]) != frame[topic_at:topic_end]:
            self.ledger.corrupt += 1
        self._note((marks,), 1, now_ns)
        self._layout = _Layout(frame, topic_end, packet_id_at, payload_at)

    def _acknowledgement(self, frame: bytes, body_at: int, reply: bytearray) -> None:
        """In its long form: with a reason code, which may say that the message was refused."""
        reason = frame[body_at + 2] if len(frame) > body_at + 2 else 0
        if reason >= _FAILURE:
            self.refused += 1
            self.acknowledged += 1
        elif frame[0] in _ANSWERS:
            reply += _ANSWERS[frame[0]] + b"\x02" + frame[body_at : body_at + 2]
        else:
            self.acknowledged += 1


def _run(data: bytes, at: int, width: int, value: bytes) -> int:
    """How many bytes, `width` apart from `at` on, are `value` before the first that is not."""
    if data[at + width : at + width + 1] != value:  # no run: a column would cost more than it gives
        return 1 if data[at : at + 1] == value else 0
    column = data[at::width]
    return len(column) - len(column.lstrip(value))


def _acknowledgements(first: int, data: bytes, at: int, end: int, width: int, count: int) -> bytearray:
    """PUBACK or PUBREC for the packet ids that lie `width` apart from `at` on."""
    made = bytearray(4 * count)
    made[0::4] = (b"\x40" if first & 0x06 == 0x02 else b"\x50") * count
    made[1::4] = b"\x02" * count
    made[2::4] = data[at:end:width]
    made[3::4] = data[at + 1 : end : width]
    return made


def _fixed_header(data: bytes, at: int) -> tuple[int, int]:
    """Where the body begins and how long it is; (0, 0) if the header is not all here."""
    try:
        return _varint(data, at + 1)
    except IndexError:
        return 0, 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The byte after a Variable Byte Integer, and its value. FrameError past four bytes, IndexError at the end."""
    value = 0
    for place in range(4):
        digit = data[at + place]
        value |= (digit & 0x7F) << 7 * place
        if digit < 0x80:
            return at + place + 1, value
    raise FrameError("a length of more than four bytes")
