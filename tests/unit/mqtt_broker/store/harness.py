"""A world under test, the nodes that join it, and short ways to write operations.

An adapter's test module provides the fixture `world`: an empty world of its own with a clock that tests move.
"""

from collections.abc import Awaitable, Callable

import pytest

from mqtt_api.policy import Facts
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import QueueBounds, SessionRecord, Subscription
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    Acknowledge,
    Claim,
    Claimed,
    Detach,
    Done,
    End,
    GroupTarget,
    Marker,
    MarkSent,
    Membership,
    Operation,
    QueueEntry,
    Received,
    Release,
    Result,
    Return,
    Store,
    Subscribe,
    Take,
    Target,
    Unsubscribe,
)
from mqtt_broker.wire.packets import Will

WORLD = "world-1"
WIDE = QueueBounds(messages_max=1_000, bytes_max=1_000_000, overflow="DropOldest")
WILL = Will("state/a", b"gone", 1, retain=False)
SHARED = Subscription(filter="work/#", group="crew", qos=2)


class Clock:
    """The machine's clock, in the hands of a test."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        return self.time


class World:
    """One world under test: `opener` gives a new handle to it."""

    def __init__(self, clock: Clock, opener: Callable[[], Awaitable[Store]]) -> None:
        self.clock = clock
        self._opener = opener
        self._opened: list[Store] = []

    async def open(self) -> Store:
        store = await self._opener()
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


class Node:
    """A node that joined: it numbers its batches."""

    def __init__(self, store: Store, membership: Membership) -> None:
        self.store = store
        self.membership = membership
        self.number = 0

    async def commit(self, *operations: Operation) -> tuple[Result, ...]:
        self.number += 1
        return await self.store.commit(self.membership, self.number, operations)

    async def do(self, operation: Operation) -> Result:
        (result,) = await self.commit(operation)
        return result

    async def claim(self, client_id: str = "a", **changes: object) -> SessionRecord:
        result = await self.do(claim(client_id, **changes))
        assert isinstance(result, Claimed)
        return result.record

    async def publish(self, record: SessionRecord, *payloads: bytes, qos: int = 1) -> list[int]:
        results = await self.commit(*[Accept(message=message(p, qos), targets=(to(record, qos),)) for p in payloads])
        return [result.sequences[0] for result in results if isinstance(result, Accepted)]

    async def queue(self, record: SessionRecord, after: int = 0) -> tuple[QueueEntry, ...]:
        return await self.store.read_queue(record.client_id, record.incarnation, after, 1_000, 1_000_000)

    async def payloads(self, record: SessionRecord) -> list[bytes]:
        return [entry.message.payload for entry in await self.queue(record)]

    async def record(self, client_id: str = "a") -> SessionRecord:
        (found,) = [r for r in (await self.store.load()).sessions if r.client_id == client_id]
        return found


async def join(store: Store, name: str = "node-0") -> Node:
    return Node(store, await store.join(name, WORLD))


def facts(client_id: str = "a", username: str = "user") -> Facts:
    return Facts(client_id=client_id, username=username, anonymous=not username, attributes={"site": "north"})


def claim(client_id: str = "a", **changes: object) -> Claim:
    values: dict[str, object] = {
        "client_id": client_id,
        "facts": facts(client_id),
        "protocol_version": 5,
        "clean_start": False,
        "expiry_interval_s": 100,
        "will": None,
        "bounds": WIDE,
    }
    return Claim(**{**values, **changes})  # type: ignore[arg-type]


def message(payload: bytes = b"x", qos: int = 1, topic: str = "t", **changes: object) -> Message:
    return Message(topic=topic, payload=payload, qos=qos, publisher="p", username="up", **changes)  # type: ignore[arg-type]


def to(record: SessionRecord, qos: int = 1, **changes: object) -> Target:
    return Target(client_id=record.client_id, incarnation=record.incarnation, qos=qos, **changes)  # type: ignore[arg-type]


def subscribe(record: SessionRecord, *subscriptions: Subscription, epoch: int | None = None) -> Subscribe:
    return Subscribe(
        client_id=record.client_id, incarnation=record.incarnation, epoch=epoch, subscriptions=subscriptions
    )


def existed(result: Result) -> tuple[bool, ...]:
    """What a written or removed subscription's result says of those that were there before."""
    assert isinstance(result, Done)
    return result.existed


def detach(record: SessionRecord, expiry_interval_s: int = 100, will_due_at: float | None = None) -> Detach:
    return Detach(
        client_id=record.client_id,
        epoch=record.epoch,
        expiry_interval_s=expiry_interval_s,
        will_due_at=will_due_at,
    )


def end(record: SessionRecord) -> End:
    return End(client_id=record.client_id, incarnation=record.incarnation)


def mark(record: SessionRecord, sequence: int) -> MarkSent:
    return MarkSent(client_id=record.client_id, epoch=record.epoch, sequence=sequence)


def acknowledge(record: SessionRecord, *sequences: int) -> Acknowledge:
    return Acknowledge(client_id=record.client_id, epoch=record.epoch, sequences=sequences)


def take(record: SessionRecord, limit: int, **changes: object) -> Take:
    return Take(group="crew", filter="work/#", client_id=record.client_id, epoch=record.epoch, limit=limit, **changes)  # type: ignore[arg-type]


def give_back(record: SessionRecord) -> Return:
    return Return(client_id=record.client_id, epoch=record.epoch)


def to_crew(*payloads: bytes, qos: int = 1, bounds: QueueBounds | None = None) -> list[Operation]:
    target = GroupTarget(group="crew", filter="work/#", bounds=bounds)
    return [Accept(message=message(payload, qos), groups=(target,)) for payload in payloads]


def by_epoch(client_id: str, epoch: int, incarnation: int) -> list[Operation]:
    """One of each operation that only the session's owner may do."""
    return [
        Release(client_id=client_id, epoch=epoch, packet_id=1),
        MarkSent(client_id=client_id, epoch=epoch, sequence=1),
        Received(client_id=client_id, epoch=epoch, sequence=1),
        Acknowledge(client_id=client_id, epoch=epoch, sequences=(1,)),
        Subscribe(client_id=client_id, incarnation=incarnation, epoch=epoch, subscriptions=(Subscription(filter="f"),)),
        Unsubscribe(client_id=client_id, incarnation=incarnation, epoch=epoch, keys=(("f", None),)),
        Take(group="g", filter="f", client_id=client_id, epoch=epoch, limit=1),
        Return(client_id=client_id, epoch=epoch),
        Accept(message=message(), marker=Marker(client_id=client_id, epoch=epoch, packet_id=9)),
        Detach(client_id=client_id, epoch=epoch, expiry_interval_s=0, will_due_at=None),
    ]


def strict(overflow: str, messages_max: int = 2, bytes_max: int = 1_000) -> QueueBounds:
    return QueueBounds(messages_max=messages_max, bytes_max=bytes_max, overflow=overflow)


class Joined:
    """A test class with a node that has joined an empty world."""

    @pytest.fixture
    async def node(self, world: World) -> Node:
        return await join(await world.open())
