"""Random batches on the Redis store and on the embedded one: results, queues, snapshots and what is due agree.

Tokens, incarnations and epochs differ between the two; each side names its own by what its claims gave.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.store.servers import RedisWorld, redis_server, running
from mqtt_broker.session.session import NEVER_S, QueueBounds, SessionRecord, Subscription
from mqtt_broker.store.embedded import EmbeddedStore
from mqtt_broker.store.ports import (
    Accept,
    AcceptRun,
    Acknowledge,
    Claim,
    Claimed,
    Detach,
    Done,
    Drop,
    End,
    GroupTarget,
    Marker,
    MarkSent,
    Operation,
    QueueEntry,
    Received,
    Release,
    Result,
    Return,
    Store,
    Subscribe,
    Take,
    Taken,
    Target,
    Unsubscribe,
)
from mqtt_broker.wire.packets import Properties, Will
from support.redis_server import RedisServer
from unit.mqtt_broker.store.harness import WILL, Clock, Node, facts, join, message

CLIENTS = ("a", "b", "c", "d")
NODES = ("node-0", "node-1")
SLOW_WILL = Will("state/slow", b"gone", 1, retain=True, properties=Properties(will_delay_interval=7))
BOUNDS = {
    "a": QueueBounds(messages_max=4, bytes_max=1_000, overflow="DropOldest"),
    "b": QueueBounds(messages_max=4, bytes_max=1_000, overflow="DropNewest"),
    "c": QueueBounds(messages_max=4, bytes_max=1_000, overflow="Reject"),
    "d": QueueBounds(messages_max=100, bytes_max=30, overflow="DropOldest"),
}
SUBSCRIPTIONS = (
    Subscription(filter="f"),
    Subscription(filter="f", qos=2, muted=True),
    Subscription(filter="f", group="crew"),
    Subscription(filter="work/#", group="crew", qos=2),
)

clients = st.sampled_from(CLIENTS)
places = st.integers(1, 12)
some_places = st.lists(places, max_size=4)
packet_ids = st.integers(1, 3)
qos = st.integers(1, 2)
identifiers = st.sampled_from([(), (1,), (2, 268_435_455)])
group_bounds = st.sampled_from([None, *BOUNDS.values()])
maybe_clients = st.none() | clients


class Side:
    """One of the two stores, with the nodes that joined it and what its claims gave. `stores`: what each node uses."""

    def __init__(self, stores: dict[str, Store]) -> None:
        self.stores = stores
        self.store = stores[NODES[0]]
        self.nodes: dict[str, Node] = {}
        self.records: dict[str, SessionRecord] = {}

    async def join(self, name: str) -> None:
        self.nodes[name] = await join(self.stores[name], name)

    async def commit(self, node: str, steps: list[dict[str, Any]]) -> list[object]:
        operations = [self.operation(**step) for step in steps]
        results = await self.nodes[node].commit(*operations)
        again = await self.nodes[node].store.commit(self.nodes[node].membership, self.nodes[node].number, operations)
        assert again == results
        for operation, result in zip(operations, results, strict=True):
            if isinstance(operation, Claim) and isinstance(result, Claimed):
                self.records[operation.client_id] = result.record
        return [plain(result) for result in results]

    def operation(self, kind: type[Any], client: str, *, is_stale: bool = False, **fields: Any) -> Operation:
        """Names in `fields` are resolved to what they are on this side. `is_stale`: by an earlier epoch."""
        record = self.records.get(client)
        incarnation, epoch = (record.incarnation, record.epoch) if record else (1 << 40, 1 << 40)
        values: dict[str, Any] = {"client_id": client, "epoch": epoch - is_stale, "incarnation": incarnation, **fields}
        if kind in (Subscribe, Unsubscribe) and fields.pop("by_incarnation"):
            values["epoch"] = None
        if kind in (Accept, AcceptRun):
            values["targets"] = tuple([self.target(*target) for target in fields["targets"]])
        if kind is Accept:
            values["marker"] = self.marker(*fields["marker"]) if fields["marker"] else None
            values["fires_will_of"] = self.name(fields["fires_will_of"])
        return kind(**{name: values[name] for name in kind.__struct_fields__ if name in values})  # type: ignore[no-any-return]

    def name(self, client: str | None) -> tuple[str, int] | None:
        if client is None:
            return None
        return client, self.records[client].incarnation if client in self.records else 1 << 40

    def target(self, client: str, *how: Any) -> Target:
        name = self.name(client)
        assert name is not None
        epoch = self.records[client].epoch if client in self.records else 0
        return Target(
            client_id=client,
            incarnation=name[1],
            qos=how[0],
            retain=how[1],
            identifiers=how[2],
            epoch=epoch,
            raises_mark=how[3] and epoch > 0,
        )

    def marker(self, client: str, packet_id: int) -> Marker:
        record = self.records.get(client)
        return Marker(client_id=client, epoch=record.epoch if record else 1, packet_id=packet_id)

    async def state(self) -> dict[str, object]:
        """All that can be read of it."""
        snapshot, due, kept = await self.store.load(), await self.store.due(), await self.store.kept()
        queues = {}
        for name, record in self.records.items():
            found = await self.store.read_queue(name, record.incarnation, 0, 1_000, 1_000_000)
            part = await self.store.read_queue(name, record.incarnation, 2, 2, 1)
            queues[name] = [entry(each) for each in found], [entry(each) for each in part]
        retained = await self.store.read_retained(["t0", "t1", "state/slow"])
        return {
            "sessions": sorted((plain_record(record) for record in snapshot.sessions), key=repr),
            "topics": sorted(snapshot.retained_topics),
            "groups": sorted(snapshot.groups),
            "queues": queues,
            "retained": [found.message for found in retained],
            "kept": kept.messages,
            "wills": sorted((_whose(will.record), repr(will.record.will)) for will in due.wills),
            "expiries": sorted(expiry.client_id for expiry in due.expiries),
            "removed": sorted(due.retained_topics),
            "next": due.next_at,
        }


def plain(result: Result) -> object:
    """A result without numbers that are each side's own."""
    if isinstance(result, Claimed):
        told = (result.present, result.previous_owner, result.lapsed_will, result.queued)
        return Claimed, plain_record(result.record), told
    if isinstance(result, Done):
        return Done, result.existed
    if isinstance(result, Taken):
        return Taken, [entry(each) for each in result.entries], result.left
    return result


def _whose(record: SessionRecord) -> str:
    """Without the epoch in the name of a will that a claim made owed."""
    name = record.client_id
    return f"owed {name.partition(' ')[2]}" if name.startswith("\0") else name


def plain_record(record: SessionRecord) -> object:
    values = msgspec.structs.asdict(record)
    del values["incarnation"], values["epoch"]
    values["subscriptions"] = sorted(values["subscriptions"], key=lambda each: (each.filter, each.group or ""))
    values["inbound_qos2"] = sorted(values["inbound_qos2"])
    return values


def entry(found: QueueEntry) -> object:
    """Without the group: once that is gone, the embedded store does not know its name any more."""
    return msgspec.structs.replace(found, group=None)


def steps(kind: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), "client": clients, **fields})


stale = st.sampled_from([False] * 9 + [True])
messages = st.builds(
    message,
    st.sampled_from([b"", b"x", b"y" * 9, b"z" * 25]),
    qos,
    st.sampled_from(["t0", "t1"]),
    retain=st.booleans(),
    expires_at=st.sampled_from([None, None, 1_003.5, 1_020.25]),
)
claims = steps(
    Claim,
    clean_start=st.sampled_from([False, False, True]),
    expiry_interval_s=st.sampled_from([0, 10, NEVER_S]),
    will=st.sampled_from([None, WILL, SLOW_WILL]),
    protocol_version=st.just(5),
).flatmap(
    lambda step: st.sampled_from(["user", "user", "user", "other"]).map(
        lambda user: {**step, "facts": facts(step["client"], user), "bounds": BOUNDS[step["client"]]}
    )
)
targets = st.tuples(clients, qos, st.booleans(), identifiers, st.sampled_from([False, False, True]))
accepts = steps(
    Accept,
    message=messages,
    targets=st.lists(targets, max_size=3),
    groups=st.lists(
        st.builds(GroupTarget, group=st.just("crew"), filter=st.sampled_from(["work/#", "f"]), bounds=group_bounds),
        max_size=2,
    ).map(tuple),
    marker=st.none() | st.tuples(clients, packet_ids),
    retain=st.booleans(),
    fires_will_of=st.one_of(st.none(), st.none(), maybe_clients),
)
plain_accepts = steps(
    Accept,
    message=messages,
    targets=targets.map(lambda target: [target]),
    groups=st.just(()),
    marker=st.none(),
    retain=st.just(value=False),
    fires_will_of=st.none(),
)
runs = steps(
    AcceptRun,
    message=st.builds(message, st.just(b""), qos, st.sampled_from(["t0", "t1"])),
    payloads=st.tuples(st.sampled_from([0, 1, 9]), st.integers(1, 5)).map(
        lambda shape: tuple([bytes([number]) * shape[0] for number in range(shape[1])])
    ),
    targets=st.lists(targets, max_size=3, unique_by=lambda target: target[0]),
)
takes = steps(
    Take,
    is_stale=stale,
    group=st.just("crew"),
    filter=st.sampled_from(["work/#", "f"]),
    limit=st.integers(0, 4),
    qos=qos,
    identifiers=identifiers,
    retain_as_published=st.booleans(),
)
returns = steps(Return, is_stale=stale, sequences=st.none() | some_places.map(tuple))
kinds = st.one_of(
    claims,
    accepts,
    accepts,
    plain_accepts,
    plain_accepts,
    runs,
    runs,
    takes,
    takes,
    takes,
    steps(Release, is_stale=stale, packet_id=packet_ids),
    steps(MarkSent, is_stale=stale, sequence=places),
    steps(Received, is_stale=stale, sequence=places),
    steps(Acknowledge, is_stale=stale, sequences=some_places.map(tuple)),
    steps(Drop, sequences=some_places.map(tuple)),
    steps(
        Subscribe,
        is_stale=stale,
        by_incarnation=st.booleans(),
        subscriptions=st.lists(st.sampled_from(SUBSCRIPTIONS), max_size=3).map(tuple),
    ),
    steps(
        Unsubscribe,
        is_stale=stale,
        by_incarnation=st.booleans(),
        keys=st.lists(st.sampled_from([each.key for each in SUBSCRIPTIONS]), max_size=2).map(tuple),
    ),
    returns,
    returns,
    steps(
        Detach,
        is_stale=stale,
        expiry_interval_s=st.sampled_from([0, 10, NEVER_S]),
        will_due_at=st.sampled_from([None, 1_000.0, 1_004.125, 1_015.3]),
        sent_up_to=st.none() | places,
    ),
    steps(End, if_expired=st.booleans()),
)
batches = st.tuples(st.sampled_from(NODES), st.lists(kinds, min_size=3, max_size=12))
turns = st.one_of(batches, batches, batches, batches, st.sampled_from(["time", "time", "join"]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from running(redis_server(tmp_path_factory.mktemp("redis")))


async def drive(server: RedisServer, script: list[Any]) -> None:
    world = RedisWorld(server)
    clock: Clock = world.clock
    async with contextlib.AsyncExitStack() as opened:
        opened.push_async_callback(world.close)
        embedded = await EmbeddedStore.open("sqlite::memory:", clock)
        opened.push_async_callback(embedded.close)
        sides = Side({name: await world.open() for name in NODES}), Side(dict.fromkeys(NODES, embedded))
        for side in sides:
            for name in NODES:
                await side.join(name)
            for steps_ in SETTING:
                await side.commit("node-0", steps_)
        for turn in script:
            if turn == "time":
                clock.time += 3.25
            elif turn == "join":
                for side in sides:
                    await side.join("node-1")
            else:
                ours, theirs = [await side.commit(*turn) for side in sides]
                assert ours == theirs
            ours_now, theirs_now = [await side.state() for side in sides]
            assert ours_now == theirs_now


# Every example begins with sessions that are subscribed, and with something in their queues and in a group.
SETTING: list[list[dict[str, Any]]] = [
    [
        {
            "kind": Claim,
            "client": name,
            "facts": facts(name),
            "bounds": BOUNDS[name],
            "clean_start": False,
            "expiry_interval_s": NEVER_S,
            "will": None,
            "protocol_version": 5,
        }
        for name in CLIENTS
    ],
    [
        {"kind": Subscribe, "client": name, "by_incarnation": False, "subscriptions": SUBSCRIPTIONS[2:]}
        for name in CLIENTS[1:]
    ],
    [
        {
            "kind": Accept,
            "client": "",
            "message": message(str(number).encode(), 1 + number % 2, retain=number == 3),
            "targets": [(name, 1 + number % 2, False, (), False) for name in CLIENTS],
            "groups": (GroupTarget(group="crew", filter="work/#"),),
            "marker": None,
            "fires_will_of": None,
        }
        for number in range(4)
    ],
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(script=st.lists(turns, min_size=5, max_size=20))
def test_both_stores_give_the_same_answers_and_hold_the_same(server: RedisServer, script: list[Any]) -> None:
    asyncio.run(drive(server, script))
