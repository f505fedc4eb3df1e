"""Queues in the embedded store: rows in order, their counters, bounds, and messages that several rows share.

Knows places, sizes and the sent mark; does not know clients, epochs, subscriptions or transactions.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence

from mqtt_broker.session.message import Message
from mqtt_broker.session.session import QueueBounds
from mqtt_broker.store.encoding import around_payload, decode_identifiers, decode_message, encode
from mqtt_broker.store.ordinals import Ordinals
from mqtt_broker.store.ports import QueueEntry, Take, Target

COUNTERS_CACHED_MAX = 50_000  # about 10 MB; more are read again when needed

_READ = """
    SELECT q.place, q.qos, q.retain, q.received, q.identifiers, b.body, q.size, g.share, g.filter
    FROM queue q JOIN bodies b ON b.id = q.body_id LEFT JOIN groups g ON g.id = q.group_id
    WHERE q.home = ? AND q.place > ? ORDER BY q.place LIMIT ?"""
_APPEND = "INSERT INTO queue VALUES (?, ?, ?, ?, ?, 0, NULL, NULL, ?, ?)"
_EVICT = """
    DELETE FROM queue WHERE home = ? AND place = (SELECT min(place) FROM queue WHERE home = ? AND place > ?)
    RETURNING place, size, body_id"""


def _spans(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The first and last of each stretch of consecutive numbers. One that stands there again begins a stretch anew."""
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last


class Queue:
    """The counters of one queue. `last` is the highest place ever given, `sent_up_to` the mark."""

    __slots__ = ("bytes", "home", "last", "messages", "sent_up_to")

    def __init__(self, home: int, last: int = 0, messages: int = 0, size: int = 0, sent_up_to: int = 0) -> None:
        self.home = home
        self.last = last
        self.messages = messages
        self.bytes = size
        self.sent_up_to = sent_up_to

    def has_room(self, bounds: QueueBounds, size: int, copies: int = 1) -> bool:
        return self.messages + copies <= bounds.messages_max and self.bytes + copies * size <= bounds.bytes_max


class Queues:
    """All queues of the world. Counters live in memory and are written by `flush`; `forget` after a rollback."""

    def __init__(self, connection: sqlite3.Connection, ordinals: Ordinals) -> None:
        self._connection = connection
        self._ordinals = ordinals
        self._cache: dict[int, Queue] = {}
        self._changed: set[int] = set()

    def create(self, home: int) -> Queue:
        queue = self._cache[home] = Queue(home)
        self._connection.execute("INSERT INTO counters VALUES (?, 0, 0, 0, 0)", (home,))
        return queue

    def find(self, home: int) -> Queue | None:
        queue = self._cache.get(home)
        if queue is None:
            row = self._connection.execute("SELECT * FROM counters WHERE home = ?", (home,)).fetchone()
            if row is None:
                return None
            queue = self._cache[home] = Queue(*row)
        return queue

    def of(self, home: int) -> Queue:
        """The queue of something that is known to have one."""
        queue = self.find(home)
        if queue is None:
            raise AssertionError(f"home {home} has no queue")
        return queue

    def discard(self, home: int) -> None:
        """The queue goes, with everything in it."""
        rows = self._connection.execute("DELETE FROM queue WHERE home = ? RETURNING body_id", (home,)).fetchall()
        self._let_all_go([body_id for (body_id,) in rows])
        self._connection.execute("DELETE FROM counters WHERE home = ?", (home,))
        self._cache.pop(home, None)
        self._changed.discard(home)

    def set_mark(self, queue: Queue, place: int) -> None:
        queue.sent_up_to = place
        self._changed.add(queue.home)

    def mark_received(self, queue: Queue, place: int) -> None:
        self._connection.execute("UPDATE queue SET received = 1 WHERE home = ? AND place = ?", (queue.home, place))

    def hold(self, message: Message, holders: int) -> int:
        """Store a message for `holders` rows: the id of its body. The caller appends as often, or calls `let_go`."""
        body_id = self._ordinals.next()
        self._connection.execute("INSERT INTO bodies VALUES (?, ?, ?)", (body_id, holders, encode(message)))
        return body_id

    def let_go(self, body_id: int) -> None:
        """One holder fewer; the last one takes the body with it."""
        self._let_all_go((body_id,))

    def _let_all_go(self, body_ids: Iterable[int]) -> None:
        """As `let_go`, for each of them."""
        for first, last in _spans(body_ids):
            gone = self._connection.execute(
                "DELETE FROM bodies WHERE id BETWEEN ? AND ? AND holders = 1", (first, last)
            ).rowcount
            if gone <= last - first:
                self._connection.execute(
                    "UPDATE bodies SET holders = holders - 1 WHERE id BETWEEN ? AND ?", (first, last)
                )

    def append(
        self,
        queue: Queue,
        body_id: int,
        size: int,
        qos: int,
        *,
        retain: bool = False,
        identifiers: tuple[int, ...] = (),
    ) -> int:
        """Put a held message of `size` bytes at the end. The place it got."""
        queue.last += 1
        queue.messages += 1
        queue.bytes += size
        self._changed.add(queue.home)
        numbers = encode(identifiers) if identifiers else None
        self._connection.execute(_APPEND, (queue.home, queue.last, size, qos, retain, numbers, body_id))
        return queue.last

    def hold_run(self, message: Message, payloads: Sequence[bytes], holders: int) -> range:
        """As `hold`, for messages that differ in their payloads of one length: the ids of their bodies."""
        body_ids = self._ordinals.some(len(payloads))
        before, after = around_payload(message, len(payloads[0]))
        self._connection.executemany(
            "INSERT INTO bodies VALUES (?, ?, ?)",
            [(body_id, holders, before + p + after) for body_id, p in zip(body_ids, payloads, strict=True)],
        )
        return body_ids

    def append_run(self, queue: Queue, body_ids: range, size: int, target: Target) -> int:
        """As `append`, for messages of `size` bytes each. The place of the first."""
        first, count = queue.last + 1, len(body_ids)
        queue.last += count
        queue.messages += count
        queue.bytes += count * size
        self._changed.add(queue.home)
        numbers = encode(target.identifiers) if target.identifiers else None
        home, qos, retain = queue.home, target.qos, target.retain
        rows = [(home, place, size, qos, retain, numbers, body_id) for place, body_id in enumerate(body_ids, first)]
        self._connection.executemany(_APPEND, rows)
        return first

    def make_room(self, queue: Queue, bounds: QueueBounds, size: int) -> tuple[int, ...] | None:
        """Evict the oldest entries above the mark until `size` bytes fit: their places. None: it would not help."""
        if queue.has_room(bounds, size):
            return ()
        kept, kept_bytes = self._connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM queue WHERE home = ? AND place <= ?",
            (queue.home, queue.sent_up_to),
        ).fetchone()
        if kept >= bounds.messages_max or kept_bytes + size > bounds.bytes_max:
            return None
        evicted = []
        while not queue.has_room(bounds, size):
            rows = self._connection.execute(_EVICT, (queue.home, queue.home, queue.sent_up_to)).fetchall()
            if not rows:
                raise AssertionError(f"counters of queue {queue.home} disagree with its rows")
            evicted += [place for place, _, _ in rows]
            self._count_out(queue, rows)
        return tuple(evicted)

    def remove(self, queue: Queue, places: Iterable[int]) -> int:
        """Delete these entries, unknown ones ignored. How many there were."""
        rows = []
        for first, last in _spans(places):
            rows += self._connection.execute(
                "DELETE FROM queue WHERE home = ? AND place BETWEEN ? AND ? RETURNING place, size, body_id",
                (queue.home, first, last),
            ).fetchall()
        self._count_out(queue, rows)
        return len(rows)

    def read(self, queue: Queue, after: int, messages_max: int, bytes_max: int) -> tuple[QueueEntry, ...]:
        """Entries above `after`, oldest first, within both bounds, but at least one."""
        entries: list[QueueEntry] = []
        left = bytes_max
        cursor = self._connection.execute(_READ, (queue.home, after, max(messages_max, 1)))
        for place, qos, retain, received, identifiers, body, size, share, topic_filter in cursor:
            left -= size
            if left < 0 and entries:
                break
            entry = QueueEntry(
                sequence=place,
                message=decode_message(body),
                qos=qos,
                retain=bool(retain),
                identifiers=decode_identifiers(identifiers) if identifiers else (),
                received=bool(received),
                group=None if share is None else (share, topic_filter),
            )
            entries.append(entry)
        cursor.close()  # an open one would hold the log back from its next checkpoint
        return tuple(entries)

    def take(self, group: Queue, member: Queue, operation: Take) -> int:
        """Move the oldest `limit` entries of a group to the end of a member's queue. How many there were."""
        rows = self._connection.execute(
            "SELECT q.place, q.size, b.body FROM queue q JOIN bodies b ON b.id = q.body_id"
            " WHERE q.home = ? ORDER BY q.place LIMIT ?",
            (group.home, operation.limit),
        ).fetchall()
        numbers = encode(operation.identifiers) if operation.identifiers else None
        for place, size, body in rows:
            message = decode_message(body)
            granted = min(message.qos, operation.qos)  # [MQTT-3.8.4-8]
            retain = message.retain and operation.retain_as_published  # [MQTT-3.3.1-12] [MQTT-3.3.1-13]
            member.last += 1
            self._connection.execute(
                "UPDATE queue SET home = ?, place = ?, group_id = ?, group_place = ?, qos = ?, retain = ?,"
                " identifiers = ? WHERE home = ? AND place = ?",
                (member.home, member.last, group.home, place, granted, retain, numbers, group.home, place),
            )
            self._move_count(group, member, size)
        return len(rows)

    def give_back(self, member: Queue, places: Collection[int] | None = None) -> None:
        """What a member took goes back to its old place in its group's queue; QoS 2 that was sent stays.

        `places`: only these, which were not sent.
        """
        rows = self._connection.execute(
            "SELECT place, size, group_id, group_place FROM queue"
            " WHERE home = ? AND group_id IS NOT NULL AND NOT (qos = 2 AND place <= ?)",  # [MQTT-4.8.2-4]
            (member.home, member.sent_up_to),
        ).fetchall()
        if places is not None:
            rows = self._connection.execute(
                "SELECT place, size, group_id, group_place FROM queue WHERE home = ? AND group_id IS NOT NULL",
                (member.home,),
            ).fetchall()
            rows = [row for row in rows if row[0] in places]
        for place, size, group_id, group_place in rows:
            group = self.find(group_id)
            if group is None:
                self.remove(member, (place,))
                continue
            self._connection.execute(
                "UPDATE queue SET home = ?, place = ?, group_id = NULL, group_place = NULL, received = 0, retain = 0,"
                " identifiers = NULL WHERE home = ? AND place = ?",
                (group_id, group_place, member.home, place),
            )
            self._move_count(member, group, size)

    def flush(self) -> None:
        """Write changed counters: part of the batch's transaction."""
        changed = [self._cache[home] for home in self._changed]
        self._connection.executemany(
            "UPDATE counters SET last = ?, messages = ?, bytes = ?, sent_up_to = ? WHERE home = ?",
            [(queue.last, queue.messages, queue.bytes, queue.sent_up_to, queue.home) for queue in changed],
        )
        self._changed.clear()

    def total(self) -> tuple[int, int]:
        """Messages and bytes in all queues. Only between batches: nothing may be unwritten."""
        messages, size = self._connection.execute(
            "SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0) FROM counters"
        ).fetchone()
        return messages, size

    def trim_cache(self) -> None:
        """Bound the memory. Only between batches: nothing may be unwritten."""
        if len(self._cache) > COUNTERS_CACHED_MAX:
            self._cache.clear()

    def forget(self) -> None:
        self._cache.clear()
        self._changed.clear()

    def _count_out(self, queue: Queue, rows: list[tuple[int, int, int]]) -> None:
        """Account for deleted rows of (place, size, body_id)."""
        if not rows:
            return
        queue.messages -= len(rows)
        queue.bytes -= sum([size for _, size, _ in rows])
        self._changed.add(queue.home)
        self._let_all_go([body_id for _, _, body_id in rows])

    def _move_count(self, source: Queue, destination: Queue, size: int) -> None:
        source.messages -= 1
        source.bytes -= size
        destination.messages += 1
        destination.bytes += size
        self._changed.update((source.home, destination.home))
