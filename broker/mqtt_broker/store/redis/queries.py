"""What is read of the store, and what is done on the side of time: load, due, reap.

Knows the arguments and replies of these scripts; does not know operations, connections or when a node asks. `given` is
the time to go by, or "" for the server's.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from mqtt_broker.session.session import SessionRecord
from mqtt_broker.store.ports import (
    Due,
    DueExpiry,
    DueWill,
    Kept,
    Membership,
    QueueEntry,
    RetainedMessage,
    Snapshot,
    StoreUnavailable,
)
from mqtt_broker.store.redis.entries import decode_entry
from mqtt_broker.store.redis.operations import SHARED_PARTS, Link, Reply
from mqtt_broker.store.redis.records import decode_record
from mqtt_broker.store.redis.retained import decode_retained
from mqtt_broker.store.redis.script import script

DUE_MAX = 1_000  # wills, sessions and retained messages, each, in one answer: some 10 ms of Redis
PROBES_MAX = 5_000  # places of a queue that one call looks at, some 3 ms of Redis
SLICE = 200  # about how many sessions, groups or topics one call of `load` brings
TOPICS_MAX = 200  # retained messages that one call brings

_READ_QUEUE = script("read queue", *SHARED_PARTS, "read_queue", flags="no-writes")
_READ_RETAINED = script("read retained", *SHARED_PARTS, "read_retained", flags="no-writes")
_LOAD = script("load", *SHARED_PARTS, "load", flags="no-writes")
_KEPT = script("kept", *SHARED_PARTS, "kept", flags="no-writes")
_DUE = script("due", *SHARED_PARTS, "due", flags="allow-oom")
_REAP = script("reap", *SHARED_PARTS, "replies", "reap", flags="allow-oom")


async def read_queue(
    link: Link, client_id: str, incarnation: int, after: int, messages_max: int, bytes_max: int, epoch: int
) -> tuple[QueueEntry, ...]:
    """As ports.Store.read_queue."""
    entries: list[QueueEntry] = []
    left, bytes_left = max(1, messages_max), bytes_max
    with _readable():
        while left > 0 and (bytes_left > 0 or not entries):
            where = (client_id, incarnation, after, left, bytes_left, PROBES_MAX, epoch)
            reply = await link.call(_READ_QUEUE, where, confirms=True)
            for sequence, value, received in zip(reply[1::3], reply[2::3], reply[3::3], strict=True):
                entry = decode_entry(sequence, value, received=received == 1)
                bytes_left -= entry.message.size
                if bytes_left < 0 and entries:
                    return tuple(entries)
                entries.append(entry)
                left -= 1
            if reply[0] == 0:
                break
            if reply[0] - 1 <= after:
                raise ValueError(f"goes on from {reply[0]} after {after}")
            after = reply[0] - 1
    return tuple(entries)


async def read_retained(link: Link, given: str, topics: Sequence[str]) -> tuple[RetainedMessage, ...]:
    """As ports.Store.read_retained."""
    found: list[RetainedMessage] = []
    for start in range(0, len(topics), TOPICS_MAX):
        reply = await link.call(_READ_RETAINED, (given, *topics[start : start + TOPICS_MAX]), confirms=True)
        with _readable():
            found += [decode_retained(value) for value in reply]
    return tuple(found)


async def load(link: Link, given: str) -> Snapshot:
    """As ports.Store.load, but slice by slice: each is of its moment, all after the feed's position that is noted."""
    with _readable():
        position = (await link.call(_KEPT, (), confirms=True))[0]
        sessions: dict[str, SessionRecord] = {}  # a slice may bring what an earlier one brought
        async for item in _slices(link, given, "sessions"):
            record = _record(item)
            sessions[record.client_id] = record
        groups = {(item[0].decode(), item[1].decode()): item[2] async for item in _slices(link, given, "groups")}
        topics = {topic.decode() async for topic in _slices(link, given, "retained")}
        return Snapshot(
            sessions=tuple(sessions.values()),
            retained_topics=tuple(topics),
            groups=tuple([(*name, messages) for name, messages in groups.items() if messages]),
            position=position,
        )


async def _slices(link: Link, given: str, what: str) -> AsyncIterator[Reply]:
    cursor = b"0"
    while True:
        cursor, items = await link.call(_LOAD, (given, what, cursor, SLICE), confirms=True)
        for item in items:
            yield item
        if cursor == b"0":
            return


def _record(item: list[Reply]) -> SessionRecord:
    inbound_at = 4 + item[3]
    return decode_record(item[0], item[1], item[2], item[4:inbound_at], item[inbound_at:])


async def kept(link: Link) -> Kept:
    """As ports.Store.kept: from counters that every batch keeps."""
    reply = await link.call(_KEPT, ())
    with _readable():
        _, messages, size, retained, retained_bytes = reply
        return Kept(messages + retained, size + retained_bytes)


async def due(link: Link, given: str, node: str) -> Due:
    """As ports.Store.due. `node` asks. The records of wills are without subscriptions and inbound packet ids."""
    reply = await link.call(_DUE, (given, node, DUE_MAX), writes=True)
    with _readable():
        next_at, topics, wills, expiries = reply
        return Due(
            wills=tuple([DueWill(record=decode_record(*will)) for will in wills]),
            expiries=tuple([DueExpiry(client_id=name.decode(), incarnation=number) for name, number in expiries]),
            retained_topics=tuple([topic.decode() for topic in topics]),
            next_at=float(next_at) if next_at else None,
        )


async def reap(link: Link, given: str, membership: Membership, sessions_max: int) -> int:
    """As cluster.ClusterStore.reap."""
    return await _reap(link, given, membership, sessions_max, "all")


async def release(link: Link, given: str, membership: Membership, sessions_max: int) -> int:
    """As `reap`, but only what earlier tokens of this node's name owned."""
    return await _reap(link, given, membership, sessions_max, "own")


async def _reap(link: Link, given: str, membership: Membership, sessions_max: int, whose: str) -> int:
    arguments = (given, membership.node, membership.token, sessions_max, whose)
    reply = await link.call(_REAP, arguments, writes=True)
    if not isinstance(reply, int):
        raise StoreUnavailable(f"the store's answer makes no sense: {reply!r}")
    return reply


@contextmanager
def _readable() -> Iterator[None]:
    """An answer of another shape than the script's is the store's fault, and never half understood."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, msgspec.MsgspecError) as problem:
        raise StoreUnavailable(f"the store's answer makes no sense: {problem!r}") from problem
