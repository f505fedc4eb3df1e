"""The feed, inboxes and orders on a real server: what is told, to whom, how fast, and what is forgotten when."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from cluster.store.servers import redis_server, valkey_server
from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.cluster import (
    Applied,
    Change,
    Command,
    ControlEntry,
    Drain,
    Evict,
    Evicted,
    FeedLost,
    Forwarded,
    InboxLevel,
    News,
    PolicyWritten,
    Positions,
    Post,
    RetainedChanged,
    SessionEnded,
    SessionOwned,
    SessionSubscribed,
    SessionUnsubscribed,
    Stored,
)
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    Claimed,
    Fenced,
    Forward,
    StoreMismatch,
    Target,
    Unsubscribe,
)
from mqtt_broker.store.redis import membership as members
from mqtt_broker.store.redis import streams
from mqtt_broker.store.redis.store import RedisStore
from support.redis_rig import make_world, settings_for
from support.redis_server import RedisServer
from unit.mqtt_broker.store.harness import Node as Writer
from unit.mqtt_broker.store.harness import claim, detach, end, facts, join, message, subscribe

INBOX_BYTES = 10_000


@pytest.fixture(params=[redis_server, valkey_server], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with request.param(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def settings(server: RedisServer) -> RedisSettings:
    settings = settings_for(server, inbox_bytes_max=INBOX_BYTES)
    make_world(server, settings)
    return settings


class Node(Writer):
    """A node that has joined and entered, and keeps its positions."""

    store: RedisStore

    def __init__(self, writer: Writer, entered_at: int) -> None:
        super().__init__(writer.store, writer.membership)
        self.entered_at = entered_at
        self.positions = Positions(feed=entered_at)

    @property
    def name(self) -> str:
        return self.membership.node

    @property
    def token(self) -> int:
        return self.membership.token

    async def news(self, wait_s: float = 1.0) -> News:
        """What is new, once."""
        news = await self.store.follow(self.membership, self.positions, wait_s)
        self.positions = Positions(
            feed=news.feed[-1].position if news.feed else self.positions.feed,
            inbox=news.inbox[-1].position if news.inbox else self.positions.inbox,
            control=news.control[-1].position if news.control else self.positions.control,
        )
        return news

    async def changes(self) -> list[Change]:
        return [change for entry in (await self.news()).feed for change in entry.changes]

    async def post(self, *posts: Post) -> None:
        await self.store.post(self.membership, posts)


class Nodes:
    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._stores: list[RedisStore] = []

    async def __call__(self, name: str) -> Node:
        store = await RedisStore.open(self._settings)
        self._stores.append(store)
        writer = await join(store, name)
        return Node(writer, await store.enter(writer.membership, NodeFacts()))

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


@pytest.fixture
async def enter(settings: RedisSettings) -> AsyncIterator[Nodes]:
    nodes = Nodes(settings)
    yield nodes
    await nodes.close()


@pytest.fixture
async def a(enter: Nodes) -> Node:
    return await enter("a")


@pytest.fixture
async def b(enter: Nodes, a: Node) -> Node:
    b = await enter("b")
    a.positions = Positions(feed=b.entered_at)  # what happened until now is known to both
    return b


@pytest.fixture
def keys(settings: RedisSettings) -> StoreKeys:
    return StoreKeys(settings.key_prefix)


def posted(node: Node, payload: bytes = b"x", client_id: str = "c") -> Post:
    target = Target(client_id=client_id, incarnation=1, qos=0)
    return Post(message(payload, qos=0), Forward(node=node.name, token=node.token, targets=(target,)))


# The feed ------------------------------------------------------------------------------------------------------------


async def test_what_is_written_wakes_a_follower_within_milliseconds(a: Node, b: Node) -> None:
    waiting = asyncio.ensure_future(b.news(wait_s=5.0))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await a.post(posted(b))
    news = await waiting
    assert news.inbox
    assert time.monotonic() - began < 0.1


async def test_nothing_new_is_an_empty_answer_after_the_wait(b: Node) -> None:
    began = time.monotonic()
    assert await b.news(wait_s=0.1) == News()
    assert 0.08 < time.monotonic() - began < 1.0
    assert await b.news(wait_s=0) == News()


async def test_each_change_of_a_session_is_told_in_order(a: Node, b: Node) -> None:
    """One story: subscribed, left, claimed again, unsubscribed, subscribed again, ended."""
    record = await a.claim("c")
    plain, shared = Subscription(filter="x/+", qos=1, identifier=7), Subscription(filter="y", group="g", qos=2)
    await a.do(subscribe(record, plain, shared, epoch=record.epoch))
    await a.do(detach(record))
    again = await a.claim("c", expiry_interval_s=200)
    keys = (("y", "g"),)
    gone = Unsubscribe(client_id="c", incarnation=record.incarnation, epoch=again.epoch, keys=keys)
    await a.do(gone)
    await a.do(end(again))
    number = record.incarnation
    assert await b.changes() == [
        SessionSubscribed(
            client_id="c",
            incarnation=number,
            epoch=record.epoch,
            owner="a",
            expiry_interval_s=100,
            facts=facts("c"),
            subscriptions=(plain, shared),
        ),
        owned("c", number, record.epoch, None, 100),
        owned("c", number, again.epoch, "a", 200),
        SessionUnsubscribed(client_id="c", incarnation=number, keys=keys),
        SessionEnded(client_id="c", incarnation=number),
    ]


def owned(client_id: str, incarnation: int, epoch: int, owner: str | None, expiry_interval_s: int) -> SessionOwned:
    return SessionOwned(
        client_id=client_id,
        incarnation=incarnation,
        epoch=epoch,
        owner=owner,
        expiry_interval_s=expiry_interval_s,
        facts=facts(client_id),
    )


async def test_retained_topics_are_told_when_they_come_and_go(a: Node, b: Node) -> None:
    await a.do(Accept(message=message(b"1", topic="t/1"), retain=True))
    await a.do(Accept(message=message(b"2", topic="t/1"), retain=True))
    await a.do(Accept(message=message(b"", topic="t/1"), retain=True))
    assert await b.changes() == [
        RetainedChanged(topic="t/1", is_set=True),
        RetainedChanged(topic="t/1", is_set=False),
    ]


async def test_an_operators_entry_is_told_with_no_origin(b: Node, server: RedisServer, keys: StoreKeys) -> None:
    position = server.execute("INCR", f"{keys.feed}_end")
    server.execute("XADD", keys.feed, f"{position}-0", "o", "", "c", b"P\x00\x00\x00\x0242")
    (entry,) = (await b.news()).feed
    assert (entry.position, entry.origin, entry.changes) == (position, "", (PolicyWritten(revision=42),))


async def test_a_feed_that_was_trimmed_past_the_position_is_lost(a: Node, b: Node, server: RedisServer) -> None:
    for number in range(5):
        await a.do(Accept(message=message(topic=f"t/{number}"), retain=True))
    key = f"{{{b.store._settings.key_prefix}}}:d:feed"
    server.execute("XTRIM", key, "MAXLEN", 2)
    with pytest.raises(FeedLost):
        await b.news()


async def test_the_feed_is_trimmed_below_what_all_have_applied_but_not_too_far(
    a: Node, b: Node, server: RedisServer, keys: StoreKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "FEED_KEPT", 3)
    for number in range(10):
        await a.do(Accept(message=message(topic=f"t/{number}"), retain=True))
    end_ = b.entered_at + 10
    await a.store.renew(a.membership, NodeFacts(applied=end_))
    await b.store.renew(b.membership, NodeFacts(applied=b.entered_at + 2))
    assert server.execute("XLEN", keys.feed) == 8  # b has not applied them
    await b.store.renew(b.membership, NodeFacts(applied=end_))
    assert server.execute("XLEN", keys.feed) == 3  # who loads a snapshot now needs them
    monkeypatch.setattr(members, "FEED_MAX", 1)
    await b.store.renew(b.membership, NodeFacts(applied=b.entered_at))
    assert server.execute("XLEN", keys.feed) == 1


async def test_an_entry_of_a_kind_from_the_future_stops_the_node(b: Node, server: RedisServer, keys: StoreKeys) -> None:
    position = server.execute("INCR", f"{keys.feed}_end")
    server.execute("XADD", keys.feed, f"{position}-0", "o", "a", "c", b"?\x00\x00\x00\x00")
    with pytest.raises(StoreMismatch, match="does not understand"):
        await b.news()


@pytest.mark.parametrize(
    "items",
    [
        pytest.param(b"E", id="a head that is cut short"),
        pytest.param(b"E\x00\x00\x00\x09abc", id="a payload that is cut short"),
        pytest.param(b"E\x00\x00\x00\x01\xc1", id="no MessagePack"),
        pytest.param(b"E\x00\x00\x00\x01\x90", id="an array that is too short"),
        pytest.param(b"O\x00\x00\x00\x06\x95\xa0\x01\x01\xa0\x01", id="details that do not follow"),
        pytest.param(b"N\x00\x00\x00\x01x", id="a node without a token"),
    ],
)
async def test_malformed_entries_are_never_half_understood(
    b: Node, server: RedisServer, keys: StoreKeys, items: bytes
) -> None:
    position = server.execute("INCR", f"{keys.feed}_end")
    server.execute("XADD", keys.feed, f"{position}-0", "o", "a", "c", items)
    with pytest.raises(StoreMismatch):
        await b.news()


async def test_an_answer_is_bounded_and_the_next_goes_on(a: Node, b: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ENTRIES_PER_ANSWER_MAX", 3)
    for number in range(7):
        await a.do(Accept(message=message(topic=f"t/{number}"), retain=True))
    assert [len(await b.changes()) for _ in range(3)] == [3, 3, 1]


# Inboxes -------------------------------------------------------------------------------------------------------------


async def test_posts_reach_the_inbox_of_their_node_in_order(a: Node, b: Node) -> None:
    posts = [posted(b, b"%d" % number) for number in range(3)]
    await a.post(*posts)
    (entry,) = (await b.news()).inbox
    assert entry.deliveries == tuple(Forwarded(post.message, post.forward) for post in posts)


async def test_a_post_to_a_token_that_is_over_vanishes(a: Node, b: Node) -> None:
    target = Target(client_id="c", incarnation=1, qos=0)
    await a.post(Post(message(), Forward(node="b", token=b.token - 1, targets=(target,))))
    await a.post(Post(message(), Forward(node="nobody", token=1, targets=(target,))))
    assert await b.news(wait_s=0.05) == News()


async def test_what_was_read_makes_room_and_what_finds_none_is_counted(
    a: Node, b: Node, server: RedisServer, keys: StoreKeys
) -> None:
    big = posted(b, b"x" * 3_000)
    await a.post(big, big, big, big)
    (entry,) = (await b.news()).inbox
    assert len(entry.deliveries) == 2  # QoS 0 leaves a quarter of the bound to others
    assert server.execute("HGET", f"{keys.data}node:b", "dropped_qos0") == b"2"
    await b.news(wait_s=0.01)  # says that it was taken care of
    assert server.execute("XLEN", f"{keys.data}inbox:b:{b.token}") == 0
    await a.post(big, big)
    assert len((await b.news()).inbox[0].deliveries) == 2


async def test_whoever_finds_an_inbox_more_than_half_full_is_told_so_and_may_ask_how_full_it_is(
    a: Node, b: Node
) -> None:
    crowded: list[Sequence[str]] = []
    a.store.tell_crowded(crowded.append)
    forward = Forward(node="b", token=b.token, targets=(Target(client_id="c", incarnation=5, qos=1),))
    accept = Accept(message=message(b"x" * 3_000), forwards=(forward,))
    assert await a.do(accept) == Accepted()
    assert crowded == []
    assert await a.do(accept) == Accepted()
    assert crowded == [["b"]]
    await a.post(posted(b, b"x" * 3_000))  # which finds no room
    assert crowded == [["b"], ["b"]]
    level = await a.store.inbox_level("b")
    assert 6_000 < level.waiting < INBOX_BYTES
    assert level.taken == 0
    await b.news()
    await b.news(wait_s=0.01)  # says that it was taken care of
    assert await a.store.inbox_level("b") == InboxLevel(0, level.waiting)
    await a.post(posted(b))
    assert crowded == [["b"], ["b"]]


async def test_nobodys_inbox_is_empty(a: Node) -> None:
    assert await a.store.inbox_level("nobody") == InboxLevel(0, 0)


async def test_many_bytes_are_posted_in_several_calls(a: Node, b: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POST_BYTES_PER_CALL_MAX", 500)
    await a.post(*(posted(b, b"x" * 100) for _ in range(10)))
    entries = (await b.news()).inbox
    assert len(entries) > 1
    assert sum(len(entry.deliveries) for entry in entries) == 10


async def test_what_is_stored_for_a_session_elsewhere_is_announced_where_it_is(a: Node, b: Node) -> None:
    record = await b.claim("c")
    await a.publish(record, b"one")
    ((delivery,),) = [entry.deliveries for entry in (await b.news()).inbox]
    assert isinstance(delivery, Stored)
    assert (delivery.client_id, delivery.incarnation, delivery.sequence) == ("c", record.incarnation, 1)
    assert delivery.entry is not None
    assert delivery.entry.message.payload == b"one"
    await a.publish(record, b"x" * 5_000)
    ((delivery,),) = [entry.deliveries for entry in (await b.news()).inbox]
    assert isinstance(delivery, Stored)
    assert delivery.entry is None  # too large to bring along


async def test_copies_for_transient_sessions_travel_with_the_batch(a: Node, b: Node) -> None:
    forward = Forward(node="b", token=b.token, targets=(Target(client_id="c", incarnation=5, qos=1),))
    accept = Accept(message=message(b"one"), forwards=(forward,))
    assert await a.do(accept) == Accepted()
    (entry,) = (await b.news()).inbox
    assert entry.deliveries == (Forwarded(accept.message, forward),)


async def test_an_inbox_item_of_a_kind_from_the_future_stops_the_node(
    b: Node, server: RedisServer, keys: StoreKeys
) -> None:
    server.execute("XADD", f"{keys.data}inbox:b:{b.token}", "1-0", "b", "1", "c", b"?\x00\x00\x00\x00")
    with pytest.raises(StoreMismatch):
        await b.news()


# Control -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [Evict("c", 7, ("a", 3)), Evicted("c", 7), Applied("a", 3, 2**45), Drain()],
    ids=lambda c: type(c).__name__,
)
async def test_each_order_arrives_as_it_was_given(a: Node, b: Node, command: Command) -> None:
    await a.store.command(a.membership, "b", b.token, command)
    assert [entry.command for entry in (await b.news()).control] == [command]


async def test_orders_come_in_order_and_once(a: Node, b: Node, server: RedisServer, keys: StoreKeys) -> None:
    for epoch in range(5):
        await a.store.command(a.membership, "b", b.token, Evicted("c", epoch))
    control = (await b.news()).control
    assert [entry.command for entry in control] == [Evicted("c", epoch) for epoch in range(5)]
    assert [entry.position for entry in control] == sorted({entry.position for entry in control})
    assert await b.news(wait_s=0.01) == News()
    assert server.execute("XLEN", keys.control("b", b.token)) == 0


async def test_an_order_for_a_token_that_is_over_goes_nowhere(a: Node, b: Node) -> None:
    await a.store.command(a.membership, "b", b.token - 1, Drain())
    await a.store.command(a.membership, "nobody", 1, Drain())
    assert await b.news(wait_s=0.05) == News()


async def test_an_operator_may_order_a_node_to_drain(b: Node, server: RedisServer, keys: StoreKeys) -> None:
    server.execute("XADD", keys.control("b", b.token), "*", "drain", "")
    (entry,) = (await b.news()).control
    assert isinstance(entry, ControlEntry)
    assert entry.command == Drain()


async def test_a_report_reaches_each_origin_once_and_no_operator(a: Node, b: Node) -> None:
    await b.store.report(b.membership, 9, ("a", "", "a", "nobody"))
    assert [entry.command for entry in (await a.news()).control] == [Applied("b", b.token, 9)]
    await b.store.report(b.membership, 9, ("",))


async def test_a_claim_tells_the_previous_owner_to_let_go(a: Node, b: Node) -> None:
    before = await a.claim("c")
    after = await b.do(claim("c"))
    assert isinstance(after, Claimed)
    assert (after.previous_owner, after.previous_token, after.previous_epoch) == ("a", a.token, before.epoch)
    assert [entry.command for entry in (await a.news()).control] == [Evict("c", before.epoch, ("b", b.token))]


async def test_orders_of_a_fenced_node_are_refused(enter: Nodes, a: Node, b: Node) -> None:
    await enter("a")
    for order in (
        a.store.command(a.membership, "b", b.token, Drain()),
        a.store.report(a.membership, 1, ("b",)),
        a.store.post(a.membership, [posted(b)]),
        a.store.follow(a.membership, a.positions, 0),
    ):
        with pytest.raises(Fenced):
            await order
    assert (await b.news(wait_s=0.05)).control == ()
