"""Following the feed, the own inbox and the own orders; writing to inboxes and orders of others.

Knows how entries are laid out (the head of scripts/streams.lua) and what is forgotten when; does not know what a node
does with an entry. What is not understood stops the node: it was written by a newer version, or is not ours.
"""

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.cluster import (
    Applied,
    Backlog,
    Change,
    Command,
    ControlEntry,
    Delivery,
    Drain,
    Evict,
    Evicted,
    FeedEntry,
    FeedLost,
    Forwarded,
    ForwardedRun,
    GroupBacklog,
    InboxEntry,
    News,
    NodeEntered,
    NodeLeft,
    Overflowed,
    PolicyWritten,
    Positions,
    Post,
    PostRun,
    RetainedChanged,
    SessionEnded,
    SessionOwned,
    SessionSubscribed,
    SessionUnsubscribed,
    Stored,
)
from mqtt_broker.store.encoding import decode_details, decode_subscription, encode
from mqtt_broker.store.ports import Forward, Membership, StoreMismatch, StoreUnavailable
from mqtt_broker.store.redis.connection import CALL_S_MAX, Connection
from mqtt_broker.store.redis.entries import body, decode_body, decode_entry
from mqtt_broker.store.redis.operations import OnCrowded, names_of
from mqtt_broker.store.redis.script import script
from mqtt_broker.store.redis.wire import Argument, Reply

ENTRIES_PER_ANSWER_MAX = 64  # of each stream; a batch is one entry, so that is thousands of messages
POST_BYTES_PER_CALL_MAX = 4 * 1024 * 1024
ACKNOWLEDGE_S = 0.05  # how long what was read may stay where it is
ACKNOWLEDGED_PARTS = 64  # of an inbox's bound: that much of it may be taken by what was read
SEQUENCE_BITS = 20  # of a control position: ids are milliseconds and a sequence within

_LIBRARY = ("names", "streams", "nodes")
_ACKNOWLEDGE = script("acknowledge", *_LIBRARY, "acknowledge", flags="allow-oom")
_POST = script("post", *_LIBRARY, "post")
_COMMAND = script("command", *_LIBRARY, "command", flags="allow-oom")

_RUN = struct.Struct(">III")

_array: Callable[[bytes], list[Any]] = msgspec.msgpack.Decoder(list[Any]).decode
_decode_forward = msgspec.msgpack.Decoder(Forward).decode

# What a reply or an entry of another shape raises on its way through the decoders.
_MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    StopIteration,
    struct.error,
    msgspec.MsgspecError,
)


# Follow --------------------------------------------------------------------------------------------------------------


class Follower:
    """Follows the streams of one node. `inbox_bytes_max` bounds its inbox."""

    def __init__(self, connection: Connection, keys: StoreKeys, inbox_bytes_max: int) -> None:
        self._connection = connection
        self._keys = keys
        self._read_bytes_max = inbox_bytes_max // ACKNOWLEDGED_PARTS
        self._membership: Membership | None = None
        self._names = (b"", b"", b"")
        self._acknowledged_at = float("-inf")
        self._read_bytes = 0
        self._has_orders = False

    async def follow(self, membership: Membership, positions: Positions, wait_s: float) -> News:
        """One answer to three questions, as soon as one of them has any. The connection is busy meanwhile."""
        own = (membership.node, membership.token)
        if membership is not self._membership:
            self._membership, self._acknowledged_at = membership, float("-inf")
            inbox = f"{self._keys.data}inbox:{own[0]}:{own[1]}"
            self._names = (self._keys.feed.encode(), inbox.encode(), self._keys.control(*own).encode())
        behind = (f"{positions.feed}-0", f"{positions.inbox}-0", _control_id(positions.control))
        block = ("BLOCK", max(1, int(wait_s * 1000))) if wait_s > 0 else ()  # 0 would be for ever
        question = ("XREAD", "COUNT", ENTRIES_PER_ANSWER_MAX, *block, "STREAMS", *self._names, *behind)
        timeout_s = wait_s + CALL_S_MAX
        if self._must_acknowledge():
            args = (*own, positions.inbox, _control_id(positions.control + 1))
            _, reply = await self._connection.call_and(_ACKNOWLEDGE, args, *question, timeout_s=timeout_s)
        else:
            reply = await self._connection.read(*question, timeout_s=timeout_s)
        news = self._told(reply)
        if news.feed and news.feed[0].position != positions.feed + 1:
            raise FeedLost(f"the feed begins at {news.feed[0].position}, this node knows it up to {positions.feed}")
        return news

    def _must_acknowledge(self) -> bool:
        """Not each time: to say what was read costs as much as to ask what came."""
        now = time.monotonic()
        is_early = now - self._acknowledged_at < ACKNOWLEDGE_S
        if is_early and self._read_bytes <= self._read_bytes_max and not self._has_orders:
            return False
        self._acknowledged_at, self._read_bytes, self._has_orders = now, 0, False
        return True

    def _told(self, reply: Reply) -> News:
        try:
            streams = dict(reply or ())
            feed, inbox, control = (streams.get(name, ()) for name in self._names)
            self._read_bytes += sum(len(fields[-1]) for _, fields in inbox)
            self._has_orders |= bool(control)
            return _news(feed, inbox, control)
        except _MALFORMED as problem:
            raise StoreMismatch(f"the store tells what this version does not understand: {problem!r}") from problem


def _news(feed: list[Any], inbox: list[Any], control: list[Any]) -> News:
    return News(
        feed=tuple([_feed_entry(id_, fields) for id_, fields in feed]),
        inbox=tuple([_inbox_entry(id_, fields) for id_, fields in inbox]),
        control=tuple([_control_entry(id_, fields) for id_, fields in control]),
        is_all=max(len(feed), len(inbox), len(control)) < ENTRIES_PER_ANSWER_MAX,
    )


class _Frames:
    """The items of one entry, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        while self._at < len(self._data):
            yield self._next()

    def take(self, kind: bytes) -> bytes:
        """The payload of the next one, which must be of this kind."""
        found, payload = self._next()
        if found != kind:
            raise ValueError(f"{found!r} where {kind!r} must follow")
        return payload

    def follows(self, kind: bytes) -> bool:
        return self._data[self._at : self._at + 1] == kind

    def _next(self) -> tuple[bytes, bytes]:
        start = self._at + 5
        self._at = start + int.from_bytes(self._data[start - 4 : start], "big")
        if self._at > len(self._data):
            raise ValueError("an item is cut short")
        return self._data[start - 5 : start - 4], self._data[start : self._at]


# Feed ----------------------------------------------------------------------------------------------------------------


def _feed_entry(id_: bytes, fields: list[bytes]) -> FeedEntry:
    values = _fields(fields)
    frames = _Frames(values[b"c"])
    changes = tuple(_CHANGES[kind](payload, frames) for kind, payload in frames)
    return FeedEntry(_position(id_), values[b"o"].decode(), changes)


def _subscribed(payload: bytes, frames: _Frames) -> Change:
    client_id, incarnation, epoch, owner, expiry, count = _array(payload)
    facts = decode_details(frames.take(b"d")).facts
    return SessionSubscribed(
        client_id=client_id,
        incarnation=incarnation,
        epoch=epoch,
        owner=owner or None,
        expiry_interval_s=expiry,
        facts=facts,
        subscriptions=tuple(decode_subscription(frames.take(b"u")) for _ in range(count)),
    )


def _owned(payload: bytes, frames: _Frames) -> Change:
    client_id, incarnation, epoch, owner, expiry = _array(payload)
    return SessionOwned(
        client_id=client_id,
        incarnation=incarnation,
        epoch=epoch,
        owner=owner or None,
        expiry_interval_s=expiry,
        facts=decode_details(frames.take(b"d")).facts,
    )


def _unsubscribed(payload: bytes, _: _Frames) -> Change:
    client_id, incarnation, *pairs = _array(payload)
    keys = tuple((filter_, group or None) for filter_, group in zip(pairs[::2], pairs[1::2], strict=True))
    return SessionUnsubscribed(client_id=client_id, incarnation=incarnation, keys=keys)


def _ended(payload: bytes, _: _Frames) -> Change:
    client_id, incarnation = _array(payload)
    return SessionEnded(client_id=client_id, incarnation=incarnation)


def _retained(payload: bytes, _: _Frames) -> Change:
    topic, is_set = _array(payload)
    return RetainedChanged(topic=topic, is_set=bool(is_set))


def _group_backlog(payload: bytes, _: _Frames) -> Change:
    group, filter_ = _array(payload)
    return GroupBacklog(group=group, filter=filter_)


def _policy_written(payload: bytes, _: _Frames) -> Change:
    return PolicyWritten(revision=int(payload))


def _entered(payload: bytes, _: _Frames) -> Change:
    token, node = payload.decode().split(" ", 1)
    return NodeEntered(node=node, token=int(token))


def _left(payload: bytes, _: _Frames) -> Change:
    token, node = payload.decode().split(" ", 1)
    return NodeLeft(node=node, token=int(token))


_CHANGES: dict[bytes, Callable[[bytes, _Frames], Change]] = {
    b"S": _subscribed,
    b"O": _owned,
    b"U": _unsubscribed,
    b"E": _ended,
    b"R": _retained,
    b"G": _group_backlog,
    b"P": _policy_written,
    b"N": _entered,
    b"L": _left,
}


# Inbox ---------------------------------------------------------------------------------------------------------------


def _inbox_entry(id_: bytes, fields: list[bytes]) -> InboxEntry:
    return InboxEntry(_position(id_), tuple(_deliveries(_Frames(_fields(fields)[b"c"]))))


def _deliveries(frames: _Frames) -> Iterator[Delivery]:
    for kind, payload in frames:
        if kind == b"m":
            message = decode_body(payload)
            yield Forwarded(message, _forward(frames))
            while frames.follows(b"f"):  # the same message for more of them
                yield Forwarded(message, _forward(frames))
        elif kind == b"r":
            yield _forwarded_run(payload)
        elif kind == b"s":
            client_id, incarnation, sequence = _array(payload)
            entry = decode_entry(sequence, frames.take(b"e")) if frames.follows(b"e") else None
            yield Stored(client_id, incarnation, sequence, entry)
        elif kind == b"v":
            client_id, incarnation, *sequences = _array(payload)
            yield Overflowed(client_id, incarnation, tuple(sequences))
        elif kind == b"b":
            group, filter_, turns = _array(payload)
            yield Backlog(group, filter_, turns)
        else:
            raise ValueError(f"an inbox item of kind {kind!r}")


def _forwarded_run(payload: bytes) -> ForwardedRun:
    head_bytes, length, count = _RUN.unpack_from(payload)
    start = _RUN.size + head_bytes
    if start + count * length != len(payload):
        raise ValueError("a run is cut short")
    payloads = [payload[at : at + length] for at in range(start, len(payload), length)] if length else [b""] * count
    return ForwardedRun(payload[_RUN.size : start], payloads)


def _forward(frames: _Frames) -> Forward:
    forward = _decode_forward(frames.take(b"f"))
    if not frames.follows(b"x"):
        return forward
    had = frozenset(_array(frames.take(b"x")))
    return replace(forward, targets=tuple([each for each in forward.targets if each.incarnation not in had]))


# Control -------------------------------------------------------------------------------------------------------------


def _control_entry(id_: bytes, fields: list[bytes]) -> ControlEntry:
    kind, payload = fields
    return ControlEntry(_control_position(id_), _COMMANDS[kind](payload))


def _evict(payload: bytes) -> Command:
    client_id, epoch, node, token = _array(payload)
    return Evict(client_id, epoch, (node, token))


_COMMANDS: dict[bytes, Callable[[bytes], Command]] = {
    b"evict": _evict,
    b"evicted": lambda payload: Evicted(*_array(payload)),
    b"applied": lambda payload: Applied(*_array(payload)),
    b"drain": lambda _: Drain(),
}


def _written(command: Command) -> tuple[str, bytes]:
    """Kind and payload, as in the head of scripts/streams.lua."""
    match command:
        case Evict(client_id, epoch, (node, token)):
            return "evict", encode((client_id, epoch, node, token))
        case Evicted(client_id, epoch):
            return "evicted", encode((client_id, epoch))
        case Applied(node, token, position):
            return "applied", encode((node, token, position))
        case Drain():
            return "drain", b""


# Ids and fields ------------------------------------------------------------------------------------------------------


def _fields(fields: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _position(id_: bytes) -> int:
    return int(id_.partition(b"-")[0])


def _control_position(id_: bytes) -> int:
    """Ids are the server's, so that an operator can write there too; as one integer they keep their order."""
    milliseconds, _, sequence = id_.partition(b"-")
    return int(milliseconds) << SEQUENCE_BITS | int(sequence)


def _control_id(position: int) -> str:
    return f"{position >> SEQUENCE_BITS}-{position & (1 << SEQUENCE_BITS) - 1}"


# Tell others ---------------------------------------------------------------------------------------------------------


async def post(
    connection: Connection,
    told: str,
    membership: Membership,
    posts: Sequence[Post | PostRun],
    inbox_bytes_max: int,
    on_crowded: OnCrowded,
) -> None:
    """Append to inboxes; `inbox_bytes_max` bounds each, and counts for whoever is over it there.

    `told`: see StoreClock. `on_crowded`: as ClusterStore.tell_crowded.
    Raises StoreUnavailable also if the call was so long on its way that nothing was appended.
    """
    head: tuple[Argument, ...] = (told, membership.node, membership.token, inbox_bytes_max)
    args, size = list(head), 0
    for one in posts:
        first, second, count = _posted(one)
        if size and size + len(first) + len(second) > POST_BYTES_PER_CALL_MAX:
            await _post(connection, args, on_crowded)
            args, size = list(head), 0
        args += (one.forward.node, one.forward.token, first, second, count)
        size += len(first) + len(second)
    if size:
        await _post(connection, args, on_crowded)


def _posted(one: Post | PostRun) -> tuple[bytes, bytes, int]:
    """Body and forward of a message, and 0; or head and payloads of a run, and how many they are."""
    if isinstance(one, Post):
        return body(one.message), encode(one.forward), 0
    return one.forward.head, b"".join(one.payloads), len(one.payloads)


async def _post(connection: Connection, args: list[Argument], on_crowded: OnCrowded) -> None:
    reply = await connection.call(_POST, args)
    if reply == 0:
        raise StoreUnavailable("it took the store too long to take what is only worth something at once")
    if crowded := names_of(reply):
        on_crowded(crowded)


async def command(connection: Connection, membership: Membership, node: str, token: int, order: Command) -> None:
    args = (membership.node, membership.token, *_written(order), node, token)
    await connection.call(_COMMAND, args, writes=True)


async def report(connection: Connection, membership: Membership, position: int, origins: Sequence[str]) -> None:
    """To whoever holds each name now: a node that joined anew waits for nothing that its former self wrote."""
    order = Applied(membership.node, membership.token, position)
    nodes: list[Argument] = []
    for origin in dict.fromkeys(origins):
        if origin:  # else an operator, who has no control stream
            nodes += (origin, "")
    if nodes:
        await connection.call(_COMMAND, (membership.node, membership.token, *_written(order), *nodes), writes=True)
