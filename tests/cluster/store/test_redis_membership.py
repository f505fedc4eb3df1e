"""Tokens, leases and fencing on a real server; and a store that went back in time."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec.structs import replace

from cluster.store.servers import redis_server, valkey_server
from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_broker.store.cluster import FeedEntry, Lease, NodeEntered, NodeLeft, Positions
from mqtt_broker.store.ports import Done, End, Fenced, Membership, StoreMismatch, StoreUnavailable
from mqtt_broker.store.redis import membership as members
from mqtt_broker.store.redis.store import RedisStore
from support.proxy import Proxy, Way
from support.redis_rig import WORLD, make_world, settings_for
from support.redis_server import RedisServer
from support.waiting import eventually

END = End(client_id="nobody", incarnation=1)


@pytest.fixture(params=[redis_server, valkey_server], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with request.param(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def settings(server: RedisServer) -> RedisSettings:
    settings = settings_for(server)
    make_world(server, settings)
    return settings


class Node:
    """A store and the name it joined with."""

    def __init__(self, store: RedisStore, membership: Membership) -> None:
        self.store = store
        self.membership = membership

    async def feed(self) -> tuple[FeedEntry, ...]:
        return (await self.store.follow(self.membership, Positions(feed=0), 0)).feed

    async def enter(self, **facts: object) -> int:
        return await self.store.enter(self.membership, NodeFacts(**facts))  # type: ignore[arg-type]

    async def renew(self, **facts: object) -> dict[str, Lease]:
        leases = await self.store.renew(self.membership, NodeFacts(**facts))  # type: ignore[arg-type]
        return {lease.node: lease for lease in leases}


class Nodes:
    """Joins nodes, and closes them all."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.stores: list[RedisStore] = []

    async def join(self, name: str, settings: RedisSettings | None = None) -> Node:
        store = await RedisStore.open(settings or self.settings)
        self.stores.append(store)
        return Node(store, await store.join(name, WORLD))


@pytest.fixture
async def nodes(settings: RedisSettings) -> AsyncIterator[Nodes]:
    nodes = Nodes(settings)
    yield nodes
    for store in nodes.stores:
        await store.close()


# Join, enter, renew, leave -------------------------------------------------------------------------------------------


async def test_a_store_without_a_world_or_with_another_is_refused(server: RedisServer) -> None:
    store = await RedisStore.open(settings_for(server))
    with pytest.raises(StoreMismatch, match="holds no world"):
        await store.join("a", WORLD)
    await store.close()
    settings = settings_for(server)
    make_world(server, settings, "another")
    store = await RedisStore.open(settings)
    with pytest.raises(StoreMismatch, match="world another"):
        await store.join("a", WORLD)
    await store.close()


async def test_a_store_that_another_release_has_laid_out_is_refused_and_left_as_it_is(
    server: RedisServer, nodes: Nodes
) -> None:
    """Nothing of it could be read, and what is written beside it would damage it."""
    node = await nodes.join("a")
    form = f"{{{nodes.settings.key_prefix}}}:d:form"
    assert server.execute("GET", form) == b"1"
    server.execute("SET", form, "9")
    store = await RedisStore.open(nodes.settings)
    with pytest.raises(StoreMismatch, match="laid out in form 9, and this release reads form 1"):
        await store.join("a", WORLD)
    await store.close()
    await node.enter()
    server.execute("SET", form, "1")
    await nodes.join("a")


async def test_joining_again_fences_the_earlier_holder_of_the_name(nodes: Nodes) -> None:
    first = await nodes.join("a")
    await first.enter()
    second = await nodes.join("a")
    assert second.membership.token > first.membership.token
    with pytest.raises(Fenced):
        await first.renew()
    with pytest.raises(Fenced):
        await first.store.commit(first.membership, 1, (END,))
    with pytest.raises(Fenced):
        await first.store.follow(first.membership, Positions(feed=0), 0)
    with pytest.raises(Fenced):
        await first.store.report(first.membership, 1, ("a",))
    assert await second.store.commit(second.membership, 1, (END,)) == (Done(),)


async def test_entering_is_told_once_in_the_feed_and_begins_the_lease(nodes: Nodes) -> None:
    node = await nodes.join("a")
    position = await node.enter(connections=3)
    assert await node.enter() == position
    assert await node.feed() == (FeedEntry(position, "a", (NodeEntered(node="a", token=node.membership.token),)),)
    lease = (await node.renew(connections=4, totals={"bytes": 1.5}))["a"]
    assert lease == Lease(
        node="a",
        token=node.membership.token,
        renewals=1,
        facts=NodeFacts(connections=4, totals={"bytes": 1.5}),
    )


async def test_each_node_sees_the_leases_of_all(nodes: Nodes) -> None:
    one, two = await nodes.join("a"), await nodes.join("b")
    await one.enter()
    await two.enter(is_draining=True)
    await two.renew(is_draining=True)
    leases = await one.renew()
    assert {name: lease.renewals for name, lease in leases.items()} == {"a": 1, "b": 1}
    assert leases["b"].facts.is_draining


async def test_a_node_that_has_not_entered_has_no_lease_to_renew(nodes: Nodes) -> None:
    node = await nodes.join("a")
    with pytest.raises(Fenced):
        await node.renew()


async def test_leaving_ends_lease_and_token_and_says_so_once(nodes: Nodes) -> None:
    one, two = await nodes.join("a"), await nodes.join("b")
    await one.enter()
    await two.enter()
    await one.store.leave(one.membership)
    await one.store.leave(one.membership)
    assert set(await two.renew()) == {"b"}
    left = NodeLeft(node="a", token=one.membership.token)
    assert [change for entry in await two.feed() for change in entry.changes].count(left) == 1
    with pytest.raises(Fenced):
        await one.store.commit(one.membership, 1, (END,))


async def test_joining_again_after_a_crash_tells_that_the_former_self_left(nodes: Nodes) -> None:
    first = await nodes.join("a")
    await first.enter()
    second = await nodes.join("a")
    assert (await second.feed())[-1].changes == (NodeLeft(node="a", token=first.membership.token),)


@pytest.mark.parametrize("lease", ["1 2 3 no JSON", "1 2 3 {}x", '1 2 3 {"applied": "far"}'])
async def test_a_lease_that_is_not_understood_is_no_answer(nodes: Nodes, server: RedisServer, lease: str) -> None:
    node = await nodes.join("a")
    await node.enter()
    server.execute("HSET", f"{{{nodes.settings.key_prefix}}}:d:leases", "b", lease)
    with pytest.raises(StoreUnavailable, match="not understood"):
        await node.renew()


async def test_a_lease_of_a_newer_version_is_read_as_far_as_it_is_known(nodes: Nodes, server: RedisServer) -> None:
    node = await nodes.join("a")
    await node.enter()
    lease = '9 2 3 {"applied": 3, "mood": "good"}'
    server.execute("HSET", f"{{{nodes.settings.key_prefix}}}:d:leases", "b", lease)
    assert (await node.renew())["b"] == Lease(node="b", token=9, renewals=2, facts=NodeFacts(applied=3))


async def test_a_full_store_costs_nobody_the_lease(nodes: Nodes, server: RedisServer) -> None:
    node = await nodes.join("a")
    await node.enter()
    server.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        assert (await node.renew())["a"].renewals == 1
        other = await nodes.join("b")
        await other.enter()
        await node.store.leave(node.membership)
    finally:
        server.execute("CONFIG", "SET", "maxmemory", "0")


# Fence ---------------------------------------------------------------------------------------------------------------


async def test_a_lease_that_stands_still_may_be_fenced_and_one_that_moved_may_not(nodes: Nodes) -> None:
    one, two = await nodes.join("a"), await nodes.join("b")
    await one.enter()
    await two.enter()
    seen = (await two.renew())["a"]
    await one.renew()
    assert not await two.store.fence(two.membership, seen)
    seen = (await two.renew())["a"]
    assert await two.store.fence(two.membership, seen)
    with pytest.raises(Fenced):
        await one.renew()
    assert (await two.feed())[-1].changes == (NodeLeft(node="a", token=one.membership.token),)
    assert not await two.store.fence(two.membership, seen)


async def test_a_lease_of_a_former_token_fences_nobody(nodes: Nodes) -> None:
    one, two = await nodes.join("a"), await nodes.join("b")
    await one.enter()
    await two.enter()
    seen = (await two.renew())["a"]
    again = await nodes.join("a")
    await again.enter()
    assert not await two.store.fence(two.membership, seen)
    await again.renew()


async def test_who_is_fenced_fences_nobody(nodes: Nodes) -> None:
    one, two = await nodes.join("a"), await nodes.join("b")
    await one.enter()
    await two.enter()
    lease = (await two.renew())["a"]
    await nodes.join("b")
    with pytest.raises(Fenced):
        await two.store.fence(two.membership, lease)
    await one.renew()


async def test_what_was_sent_to_a_fenced_node_is_gone_with_its_token(nodes: Nodes, server: RedisServer) -> None:
    one, two = await nodes.join("a"), await nodes.join("b")
    await one.enter()
    await two.enter()
    await two.store.report(two.membership, 1, ("a",))
    key = f"{{{nodes.settings.key_prefix}}}:d:control:a:{one.membership.token}"
    assert server.execute("XLEN", key) == 1
    await two.store.fence(two.membership, (await two.renew())["a"])
    await two.store.report(two.membership, 2, ("a",))
    assert server.execute("EXISTS", key) == 0


# Batches whose replies were lost -------------------------------------------------------------------------------------


async def test_a_batch_whose_reply_was_lost_is_repeated_on_a_new_connection_with_the_same_results(
    nodes: Nodes, server: RedisServer
) -> None:
    with Proxy((server.host, server.port)) as proxy:
        node = await nodes.join("a", replace(nodes.settings, addresses=(proxy.address,)))
        first = await node.store.commit(node.membership, 1, (END,))
        proxy.stall(Way.DOWN)
        with pytest.raises(StoreUnavailable):
            await node.store.commit(node.membership, 2, (END,))
        proxy.heal()
        assert await eventually(lambda: committed(node, 2)) == first
        assert int(server.execute("HGET", f"{{{nodes.settings.key_prefix}}}:d:node:a", "number")) == 2


async def committed(node: Node, number: int) -> object:
    try:
        return await node.store.commit(node.membership, number, (END,))
    except StoreUnavailable:
        return None


# A store that went back in time --------------------------------------------------------------------------------------


async def roll_back(server: RedisServer, settings: RedisSettings) -> dict[bytes, bytes]:
    """Remember everything below the prefix, as a backup does."""
    keys = server.execute("KEYS", f"{{{settings.key_prefix}}}:*")
    return {key: server.execute("DUMP", key) for key in keys}


def restore(server: RedisServer, settings: RedisSettings, backup: dict[bytes, bytes]) -> None:
    """The backup again, and nothing else; every connection breaks, as when a server is replaced."""
    for key in server.execute("KEYS", f"{{{settings.key_prefix}}}:*"):
        server.execute("DEL", key)
    for key, value in backup.items():
        server.execute("RESTORE", key, 0, value)
    server.execute("CLIENT", "KILL", "TYPE", "normal")


async def outcome(node: Node, number: int) -> BaseException | None:
    try:
        await node.store.commit(node.membership, number, (END,))
    except StoreUnavailable:
        return None
    except (Fenced, StoreMismatch) as problem:
        return problem
    raise AssertionError("the batch was taken")


async def test_a_store_that_went_back_fences_every_node_and_waits_for_the_operator(
    nodes: Nodes, server: RedisServer
) -> None:
    one, two = await nodes.join("a"), await nodes.join("b")
    await one.enter()
    await two.enter()
    backup = await roll_back(server, nodes.settings)
    await one.store.commit(one.membership, 1, (END,))
    restore(server, nodes.settings, backup)

    problem = await eventually(lambda: outcome(one, 2))
    assert isinstance(problem, Fenced)
    assert "rolled back" in str(problem)
    with pytest.raises((Fenced, StoreUnavailable)):  # it had lost nothing, but the token is of the lost future too
        await two.renew()
    with pytest.raises(StoreMismatch, match="accepted generation 1"):
        await nodes.join("a")

    keys = make_world(server, nodes.settings)
    server.execute("HSET", keys.world, "generation", "1")  # the operator wrote the policy again, and accepts
    again = await nodes.join("a")
    assert again.membership.token > 2**40
    await again.enter()
    assert await again.store.commit(again.membership, 1, (END,)) == (Done(),)
    assert isinstance(await eventually(lambda: outcome(two, 1)), Fenced)


async def test_a_node_unknown_to_the_restored_store_finds_the_rollback_too(nodes: Nodes, server: RedisServer) -> None:
    await nodes.join("a")
    backup = await roll_back(server, nodes.settings)
    late = await nodes.join("late")
    await late.enter()
    restore(server, nodes.settings, backup)
    assert isinstance(await eventually(lambda: outcome(late, 1)), Fenced)
    assert server.execute("GET", f"{{{nodes.settings.key_prefix}}}:d:generation") == b"1"


async def test_two_nodes_that_find_the_same_rollback_begin_one_generation(nodes: Nodes, server: RedisServer) -> None:
    one, two = await nodes.join("a"), await nodes.join("b")
    backup = await roll_back(server, nodes.settings)
    await one.store.commit(one.membership, 1, (END,))
    await two.store.commit(two.membership, 1, (END,))
    restore(server, nodes.settings, backup)
    problems = await asyncio.gather(eventually(lambda: outcome(one, 2)), eventually(lambda: outcome(two, 2)))
    assert all(isinstance(problem, Fenced) for problem in problems)
    assert server.execute("GET", f"{{{nodes.settings.key_prefix}}}:d:generation") == b"1"


async def test_a_restart_that_lost_nothing_goes_on(nodes: Nodes, server: RedisServer) -> None:
    node = await nodes.join("a")
    await node.store.commit(node.membership, 1, (END,))
    server.execute("CLIENT", "KILL", "TYPE", "normal")
    assert await eventually(lambda: committed(node, 2)) == (Done(),)


# Clock ---------------------------------------------------------------------------------------------------------------


async def test_the_stores_time_is_the_servers_plus_the_offset_and_nobody_corrects_it_twice(
    nodes: Nodes, server: RedisServer
) -> None:
    node = await nodes.join("a")
    seconds, microseconds = server.execute("TIME")
    assert abs(node.store.now() - (int(seconds) + int(microseconds) / 1e6)) < 1
    connection = node.store._lease
    assert await members.set_clock(connection, "0", 100.0)
    assert not await members.set_clock(connection, "0", 100.0)
    assert server.execute("HGET", f"{{{nodes.settings.key_prefix}}}:d:clock", "offset") == b"-100.0"


async def test_a_jump_of_the_servers_clock_is_taken_out_of_the_offset(
    nodes: Nodes, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    node = await nodes.join("a")
    await node.enter()
    await node.renew()
    before = node.store.now()
    key = f"{{{nodes.settings.key_prefix}}}:d:clock"
    server.execute("HSET", key, "offset", "3600")  # as if the server's own clock had been set forward
    await node.renew()
    assert abs(float(server.execute("HGET", key, "offset"))) < 1
    assert abs(node.store.now() - before) < 2
    assert "jumped by +3600" in caplog.text


@pytest.mark.parametrize("jump_s", [3_600, -3_600])
async def test_a_node_that_comes_while_the_servers_clock_is_wrong_waits_until_another_has_corrected_it(
    nodes: Nodes, server: RedisServer, jump_s: int
) -> None:
    """It could not tell otherwise, and what it wrote would end an hour too early, or too late."""
    elder = await nodes.join("a")
    await elder.enter()
    await elder.renew()
    right = elder.store.now()
    server.execute("HSET", f"{{{nodes.settings.key_prefix}}}:d:clock", "offset", str(jump_s))
    coming = asyncio.create_task(nodes.join("b"))
    await asyncio.sleep(0.6)
    assert not coming.done()
    await elder.renew()
    node = await coming
    assert abs(node.store.now() - right) < 5


async def test_where_no_other_node_lives_the_servers_clock_is_believed_after_a_while(
    nodes: Nodes, server: RedisServer
) -> None:
    nodes.settings = replace(nodes.settings, lease_s=1.0)
    gone = await nodes.join("a")
    await gone.enter()
    await gone.renew()
    key = f"{{{nodes.settings.key_prefix}}}:d:clock"
    server.execute("HSET", key, "offset", "3600")
    node = await nodes.join("b")
    assert abs(node.store.now() - gone.store.now() - 3_600) < 10
    await node.enter()
    await node.renew()
    assert float(server.execute("HGET", key, "seen")) > gone.store.now() + 3_000


async def test_the_last_node_that_leaves_takes_its_time_along(nodes: Nodes, server: RedisServer) -> None:
    """So that whoever starts after a stop over night need not wonder where the hours went."""
    first, last = await nodes.join("a"), await nodes.join("b")
    for node in (first, last):
        await node.enter()
        await node.renew()
    key = f"{{{nodes.settings.key_prefix}}}:d:clock"
    await first.store.leave(first.membership)
    assert server.execute("HEXISTS", key, "seen")
    await last.store.leave(last.membership)
    assert not server.execute("HEXISTS", key, "seen")
