"""A batch of operations on its way into the commit script, and its results on their way out.

Knows the arguments and replies of the script (scripts/commit.lua and the pieces before it); does not know what an
operation does, connections or WAIT.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from mqtt_broker.session.message import Message
from mqtt_broker.session.session import QueueBounds, SessionRecord
from mqtt_broker.store.encoding import Details, around_payload, decode_details, decode_subscription, encode
from mqtt_broker.store.ports import (
    FREEING,
    Accept,
    Accepted,
    AcceptedRun,
    AcceptRun,
    Acknowledge,
    Claim,
    Claimed,
    ClaimRefused,
    Detach,
    Done,
    Drop,
    Dropped,
    Duplicate,
    End,
    Forward,
    GroupTarget,
    MarkSent,
    Membership,
    Operation,
    Part,
    Received,
    Rejected,
    Release,
    Result,
    Return,
    Settle,
    Stale,
    StoreFull,
    StoreUnavailable,
    Subscribe,
    Take,
    Taken,
    Target,
    Unsubscribe,
)
from mqtt_broker.store.redis import retained
from mqtt_broker.store.redis.entries import body, decode_entry, header
from mqtt_broker.store.redis.records import overflow_number
from mqtt_broker.store.redis.script import Script, script

SHARED_PARTS = ("names", "streams", "heads", "queues", "groups", "sessions", "retained", "flush")
_PARTS = (*SHARED_PARTS, "replies", "claims", "accept", "progress", "subscribing", "endings", "commit")

GROWING = script("commit", *_PARTS)
DRAINING = script("commit when full", *_PARTS, flags="allow-oom")
RECALL = script("recall", "names", "recall", flags="allow-oom")

OnCrowded = Callable[[Sequence[str]], None]

_FIRST_BLOB = 3  # ARGV[1] is the time, ARGV[2] the batch

Reply = Any


class Link(Protocol):
    """What is needed of a connection."""

    async def call(
        self, script: Script, args: Sequence[str | bytes | int], *, writes: bool = False, confirms: bool = False
    ) -> Reply: ...


async def commit(
    link: Link,
    given: str,
    membership: Membership,
    number: int,
    operations: Sequence[Operation],
    inbox_bytes_max: int,
    readers: Sequence[int] = (),
    on_crowded: OnCrowded = lambda _: None,
) -> tuple[Result, ...]:
    """As ports.Store.commit. `given`: the time of all operations, or "" for the server's.

    `readers`: tokens of nodes that understand cluster.Overflowed. `on_crowded`: as ClusterStore.tell_crowded.
    """
    arguments = encode_batch(membership, number, operations, inbox_bytes_max, readers)
    frees = all(isinstance(operation, FREEING) for operation in operations)
    try:
        reply = await link.call(DRAINING if frees else GROWING, (given, *arguments), writes=True)
    except StoreFull:
        # The memory may have run out after this very batch was done and its reply lost: its number is not free then.
        reply = await link.call(RECALL, (membership.node, membership.token, number), writes=True)
        if not isinstance(reply, list):
            raise
    if isinstance(reply, list) and len(reply) == len(operations) + 1:
        on_crowded(names_of(reply.pop()))
    return decode_results(membership.node, operations, reply)


# In ------------------------------------------------------------------------------------------------------------------


class _Blobs:
    """What goes as it is, named by its index in ARGV. A header that is asked for again is sent once."""

    __slots__ = ("_headers", "all")

    def __init__(self) -> None:
        self.all: list[bytes] = []
        self._headers: dict[bytes, int] = {}

    def add(self, blob: bytes) -> int:
        self.all.append(blob)
        return len(self.all) + _FIRST_BLOB - 1

    def header(self, blob: bytes) -> int:
        index = self._headers.get(blob)
        if index is None:
            index = self._headers[blob] = self.add(blob)
        return index


def encode_batch(
    membership: Membership,
    number: int,
    operations: Sequence[Operation],
    inbox_bytes_max: int,
    readers: Sequence[int] = (),
) -> list[bytes]:
    """ARGV of the commit script, from the second on."""
    blobs = _Blobs()
    items = [_ENCODERS[type(operation)](operation, blobs) for operation in operations]
    batch = encode((membership.node, membership.token, number, inbox_bytes_max, items, readers))
    return [batch, *blobs.all]


def _claim(operation: Claim, blobs: _Blobs) -> tuple[object, ...]:
    facts, will = operation.facts, operation.will
    details = Details(facts=facts, protocol_version=operation.protocol_version, bounds=operation.bounds, will=will)
    return (
        1,
        operation.client_id,
        facts.username,
        int(facts.anonymous),
        int(operation.clean_start),
        operation.expiry_interval_s,
        False if will is None else will.properties.will_delay_interval or 0,
        *_bounds(operation.bounds),
        blobs.add(encode(details)),
    )


def _bounds(bounds: QueueBounds | None) -> tuple[int, int, int]:
    return (0, 0, -1) if bounds is None else (bounds.messages_max, bounds.bytes_max, overflow_number(bounds))


def _accept(operation: Accept, blobs: _Blobs) -> tuple[object, ...]:
    message = operation.message
    size = message.size
    targets = _targets(operation.targets, message, size, blobs)
    return (2, blobs.add(body(message)), size, targets, _rest(operation, size, blobs))


def _targets(targets: Iterable[Target], message: Message, size: int, blobs: _Blobs) -> list[str | int]:
    items: list[str | int] = []
    for target in targets:
        front = header(message, size, target.qos, retain=target.retain, identifiers=target.identifiers)
        items += (target.client_id, target.incarnation, blobs.header(front), _epoch(target))
    return items


def _epoch(target: Target) -> int:
    """Above zero: its mark is to be raised; below: it is only to be looked at."""
    return target.epoch if target.raises_mark else -target.epoch


def _accept_run(operation: AcceptRun, blobs: _Blobs) -> tuple[object, ...]:
    message, payloads, targets = operation.message, operation.payloads, operation.targets
    length = len(payloads[0])
    size = message.size + length
    before, after = around_payload(message, length) if targets else (b"", b"")  # of what is appended to a queue
    return (
        14,
        blobs.header(before),
        blobs.add(b"".join(payloads)),
        blobs.header(after),
        len(payloads),
        length,
        size,
        _targets(targets, message, size, blobs),
        [(each.node, each.token, blobs.header(each.head)) for each in operation.forwards],
    )


def _rest(operation: Accept, size: int, blobs: _Blobs) -> tuple[object, ...] | bool:
    """What most messages have nothing of."""
    marker, part = operation.marker, operation.part
    is_retained = operation.retain or operation.retained_before
    if not (operation.groups or marker or is_retained or operation.fires_will_of or operation.forwards or part):
        return False
    return (
        [_group_target(operation, target, size, blobs) for target in operation.groups],
        marker is not None and (marker.client_id, marker.epoch, marker.packet_id),
        operation.retain and _retained(operation, blobs),
        operation.fires_will_of or False,
        [_forward(forward, part, blobs) for forward in operation.forwards],
        part is not None and (part.token, int(part.is_last), part.heard),
        bool(operation.retained_before) and (operation.message.topic, operation.retained_before),
    )


def _forward(forward: Forward, part: Part | None, blobs: _Blobs) -> tuple[object, ...]:
    item = (forward.node, forward.token, blobs.add(encode(forward)))
    return item if part is None else (*item, [target.incarnation for target in forward.targets])


def _group_target(operation: Accept, target: GroupTarget, size: int, blobs: _Blobs) -> tuple[object, ...]:
    front = header(operation.message, size, operation.message.qos, retain=operation.message.retain)
    return (target.group, target.filter, blobs.header(front), *_bounds(target.bounds), target.wakes, target.turn)


def _retained(operation: Accept, blobs: _Blobs) -> tuple[object, ...]:
    message = operation.message
    if not message.payload:  # [MQTT-3.3.1-6]
        return (message.topic, 0, False)
    front = blobs.header(retained.header(operation.position, message.expires_at))
    return (message.topic, front, False if message.expires_at is None else message.expires_at)


def _plainly(number: int, *fields: str) -> Callable[[Any, _Blobs], tuple[object, ...]]:
    """An operation whose fields go as they are."""
    return lambda operation, _: (number, *[getattr(operation, field) for field in fields])


def _acknowledge(operation: Acknowledge, _: _Blobs) -> tuple[object, ...]:
    return (6, operation.client_id, operation.epoch, operation.sequences)


def _subscribe(operation: Subscribe, blobs: _Blobs) -> tuple[object, ...]:
    items: list[str | int] = []
    for subscription in operation.subscriptions:
        items += (subscription.filter, subscription.group or "", blobs.add(encode(subscription)))
    whose = (operation.client_id, operation.incarnation, _or_false(operation.epoch))
    return (8, *whose, items, int(operation.only_known), operation.owes)


def _unsubscribe(operation: Unsubscribe, _: _Blobs) -> tuple[object, ...]:
    items: list[str] = []
    for topic_filter, group in operation.keys:
        items += (topic_filter, group or "")
    return (9, operation.client_id, operation.incarnation, _or_false(operation.epoch), items)


def _take(operation: Take, _: _Blobs) -> tuple[object, ...]:
    who = (operation.group, operation.filter, operation.client_id, operation.epoch)
    return (
        10,
        *who,
        operation.limit,
        operation.qos,
        operation.identifiers,
        int(operation.retain_as_published),
    )


def _return(operation: Return, _: _Blobs) -> tuple[object, ...]:
    return (11, operation.client_id, operation.epoch, _or_false(operation.sequences))


def _detach(operation: Detach, _: _Blobs) -> tuple[object, ...]:
    moments = (_or_false(operation.will_due_at), _or_false(operation.sent_up_to))
    return (12, operation.client_id, operation.epoch, operation.expiry_interval_s, *moments)


def _end(operation: End, _: _Blobs) -> tuple[object, ...]:
    return (13, operation.client_id, operation.incarnation, int(operation.if_expired))


def _or_false(value: object | None) -> object:
    """Lua's arrays end where a nil stands."""
    return False if value is None else value


_ENCODERS: dict[type, Callable[[Any, _Blobs], tuple[object, ...]]] = {
    Claim: _claim,
    Accept: _accept,
    AcceptRun: _accept_run,
    Release: _plainly(3, "client_id", "epoch", "packet_id"),
    MarkSent: _plainly(4, "client_id", "epoch", "sequence"),
    Received: _plainly(5, "client_id", "epoch", "sequence"),
    Acknowledge: _acknowledge,
    Drop: _plainly(7, "client_id", "incarnation", "sequences"),
    Subscribe: _subscribe,
    Settle: _plainly(15, "client_id", "incarnation", "filter", "position"),
    Unsubscribe: _unsubscribe,
    Take: _take,
    Return: _return,
    Detach: _detach,
    End: _end,
}

# Out -----------------------------------------------------------------------------------------------------------------


def decode_results(node: str, operations: Sequence[Operation], reply: Reply) -> tuple[Result, ...]:
    """What the script told `node` of each operation. Raises StoreUnavailable if that makes no sense."""
    try:
        pairs = zip(operations, reply, strict=True)
        return tuple([_result(node, operation, item) for operation, item in pairs])
    except (LookupError, TypeError, ValueError, AttributeError, msgspec.MsgspecError) as problem:
        raise StoreUnavailable(f"the store's answer to a batch makes no sense: {problem!r}") from problem


def _result(node: str, operation: Operation, item: Reply) -> Result:
    if type(item) is int:
        return Accepted((item,)) if item >= 0 else _WORDS[item]
    if type(operation) is Claim:
        return _claimed(node, operation, item)
    return _DECODERS[item[0]](item)


def _accepted(item: list[Any]) -> Accepted:
    _, targets, stale = item[:3]
    names_at = 3 + targets
    end = names_at + stale
    rest = list(zip(item[end::2], item[end + 1 :: 2], strict=True))
    evicted = tuple([(name.decode(), place) for name, place in rest if name])
    heard = tuple([incarnation for name, incarnation in rest if not name])
    return Accepted(tuple(item[3:names_at]), evicted, _names(item, names_at, end), heard)


def _accepted_run(item: list[Any]) -> AcceptedRun:
    _, refused, targets, stale = item[:4]
    names_at = 4 + 2 * targets
    end = names_at + stale
    stored = tuple(zip(item[4:names_at:2], item[5:names_at:2], strict=True))
    places = zip(item[end::3], item[end + 1 :: 3], item[end + 2 :: 3], strict=True)
    evicted = tuple([(index, name.decode(), place) for index, name, place in places])
    return AcceptedRun(stored, evicted, _names(item, names_at, end), refused)


def names_of(reply: Reply) -> list[str]:
    """Names of nodes. Raises StoreUnavailable if that makes no sense."""
    try:
        return [name.decode() for name in reply]
    except (TypeError, ValueError, AttributeError) as problem:
        raise StoreUnavailable(f"the store's answer names no nodes: {str(reply)[:100]}") from problem


def _names(item: list[Any], start: int, end: int) -> tuple[str, ...]:
    if len(item) < end:
        raise ValueError(f"{len(item)} items instead of {end}")
    return tuple([name.decode() for name in item[start:end]])


def _rejected(item: list[Any]) -> Rejected:
    return Rejected(item[1].decode())


def _dropped(item: list[Any]) -> Dropped:
    return Dropped(item[1])


def _done_at(item: list[Any]) -> Done:
    return Done(item[1], tuple([existed == 1 for existed in item[2:]]))


def _taken(item: list[Any]) -> Taken:
    pairs = zip(item[2::2], item[3::2], strict=True)
    return Taken(tuple([decode_entry(sequence, value, received=False) for sequence, value in pairs]), item[1])


def _claimed(node: str, operation: Claim, item: list[Any]) -> Claimed:
    _, incarnation, epoch, present, mark, queued, owner, token, previous_epoch, position, inbox_end, lapsed = item[:12]
    owed_at = 13 + item[12]
    inbound_at = owed_at + 1 + 2 * item[owed_at]
    subscriptions, owed, inbound = item[13:owed_at], item[owed_at + 1 : inbound_at], item[inbound_at:]
    record = SessionRecord(
        client_id=operation.client_id,
        incarnation=incarnation,
        epoch=epoch,
        facts=operation.facts,
        protocol_version=operation.protocol_version,
        expiry_interval_s=operation.expiry_interval_s,
        bounds=operation.bounds,
        owner=node,
        will=operation.will,
        subscriptions=tuple([decode_subscription(blob) for blob in subscriptions]),
        sent_up_to=mark,
        inbound_qos2=tuple(inbound),
    )
    return Claimed(
        record,
        present=present == 1,
        previous_owner=owner.decode() or None,
        lapsed_will=decode_details(lapsed).will if lapsed else None,
        queued=queued,
        previous_token=token,
        previous_epoch=previous_epoch,
        position=position,
        inbox_end=inbox_end,
        owed=tuple([(name.decode(), int(at)) for name, at in zip(owed[::2], owed[1::2], strict=True)]),
    )


_WORDS: dict[int, Result] = {
    -1: Done(),
    -2: Stale(),
    -3: Duplicate(),
    -4: ClaimRefused(),
    -5: Accepted(),
    -6: AcceptedRun(()),
}
_DECODERS: dict[int, Callable[[list[Any]], Result]] = {
    1: _accepted,
    2: _rejected,
    3: _dropped,
    4: _done_at,
    5: _taken,
    7: _accepted_run,
}
