"""A primary that is found through sentinels, lost, and replaced."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cluster.store.servers import redis_server
from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.cluster import Positions
from mqtt_broker.store.ports import End, Fenced, StoreUnavailable
from mqtt_broker.store.redis import connection as connections
from mqtt_broker.store.redis.connection import Connection
from mqtt_broker.store.redis.primary import Primary
from mqtt_broker.store.redis.standing import Standing
from mqtt_broker.store.redis.store import RedisStore
from support.redis_rig import WORLD, Rig, make_world, password_file, settings_for
from support.redis_server import Sentinel, ServerOptions
from support.waiting import eventually
from unit.mqtt_broker.store.harness import Node, claim, join

PASSWORD = "secret"
SENTINEL_PASSWORD = "watchful"
FAILOVER_S_MAX = 20.0


class Trio:
    """A primary, its replica, and the sentinel that watches both."""

    def __init__(self, folder: Path) -> None:
        self.primary = redis_server(folder / "primary", ServerOptions(password=PASSWORD))
        replica = ServerOptions(password=PASSWORD, replica_of=self.primary)
        self.replica = redis_server(folder / "replica", replica)
        self.sentinel = Sentinel(folder / "sentinel", self.primary, password=SENTINEL_PASSWORD)
        self.settings = replace(
            settings_for(self.primary),
            addresses=("127.0.0.1:1", self.sentinel.address),  # the first one is not there
            master_name=self.sentinel.master_name,
            password_file=password_file(folder, PASSWORD),
            sentinel_password_file=password_file(folder, SENTINEL_PASSWORD, "sentinel-password"),
        )


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    if shutil.which("redis-sentinel") is None:
        pytest.skip("no redis-sentinel on the path")
    trio = Trio(tmp_path)
    with trio.primary, trio.replica, trio.sentinel:
        trio.primary.wait_for_replicas(1)
        trio.sentinel.wait_for_replicas(1)
        make_world(trio.primary, trio.settings)
        yield trio


@pytest.fixture
async def store(trio: Trio) -> AsyncIterator[RedisStore]:
    store = await RedisStore.open(trio.settings)
    yield store
    await store.close()


async def test_a_new_primary_is_found_and_nothing_that_it_holds_is_lost(trio: Trio, store: RedisStore) -> None:
    node = await join(store, "a")
    await store.enter(node.membership, NodeFacts())
    record = await node.claim("c")
    await node.publish(record, b"before")
    trio.primary.wait_for_replicas(1)
    trio.primary.kill()
    await eventually(lambda: done(node), FAILOVER_S_MAX)
    assert trio.replica.role() == "master"
    assert [entry.message.payload for entry in await node.queue(record)] == [b"before"]
    assert await eventually(lambda: renewed(node))
    assert (await store.follow(node.membership, Positions(feed=0), 0)).feed


async def done(node: Node) -> bool:
    """Repeats one batch under its number until the store has taken it."""
    number = node.number + 1
    try:
        await node.store.commit(node.membership, number, (End(client_id="nobody", incarnation=1),))
    except StoreUnavailable:
        return False
    node.number = number
    return True


async def renewed(node: Node) -> bool:
    assert isinstance(node.store, RedisStore)
    try:
        return bool(await node.store.renew(node.membership, NodeFacts()))
    except StoreUnavailable:
        return False


async def test_a_new_primary_that_lacks_a_confirmed_batch_is_a_store_that_went_back(
    trio: Trio, store: RedisStore
) -> None:
    """Asynchronous replication lost an acknowledged write: nobody goes on as if nothing had been."""
    node = await join(store, "a")
    await node.claim("c")
    trio.primary.wait_for_replicas(1)
    trio.replica.pause()
    trio.primary.execute("CLIENT", "KILL", "TYPE", "replica")  # what comes now does not even wait for it in a buffer
    await node.do(claim("d"))
    trio.primary.kill()
    trio.replica.resume()
    with pytest.raises(Fenced, match="rolled back"):
        await eventually(lambda: done(node), FAILOVER_S_MAX)


async def test_a_primary_that_comes_back_as_a_replica_is_not_written_to(trio: Trio, store: RedisStore) -> None:
    node = await join(store, "a")
    trio.primary.wait_for_replicas(1)
    trio.primary.kill()
    await eventually(lambda: done(node), FAILOVER_S_MAX)
    trio.primary.start()
    trio.primary.execute("REPLICAOF", trio.replica.host, trio.replica.port)  # the sentinel would, in ten seconds
    assert await eventually(lambda: done(node))
    direct = RedisSettings(
        addresses=(trio.primary.address,),
        key_prefix=trio.settings.key_prefix,
        password_file=trio.settings.password_file,
        verification="Declared",
    )
    rig = Rig(direct, world=WORLD)
    with pytest.raises(StoreUnavailable, match="not the primary"):
        await rig.connection.command("PING")


async def test_a_primary_that_was_demoted_under_a_living_connection_is_left(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BACK_OFF_S_FIRST", 0.0)
    direct = Rig(replace(trio.settings, addresses=(trio.primary.address, trio.replica.address), master_name=None))
    key = f"{direct.keys.data}x"
    await direct.connection.command("SET", key, "1")
    trio.sentinel.kill()
    trio.replica.execute("REPLICAOF", "NO", "ONE")
    trio.primary.execute("REPLICAOF", trio.replica.host, trio.replica.port)
    with pytest.raises(StoreUnavailable, match="writes go to the primary"):
        await direct.connection.command("SET", key, "2")
    await eventually(lambda: is_done(direct.connection, "SET", key, "3"))
    assert trio.replica.execute("GET", key) == b"3"
    await direct.connection.close()


async def test_once_one_connection_has_found_another_primary_all_go_there(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica answers reads, with what was: nobody may go on asking it."""
    monkeypatch.setattr(connections, "BACK_OFF_S_FIRST", 0.0)
    settings = replace(trio.settings, addresses=(trio.primary.address, trio.replica.address), master_name=None)
    primary, key = Primary(settings), f"{StoreKeys(settings.key_prefix).data}x"
    writing, reading = (Connection(primary, key, Standing(settings).check) for _ in range(2))
    await writing.command("SET", key, "1")
    assert await reading.command("GET", key) == b"1"
    trio.sentinel.kill()
    trio.replica.execute("REPLICAOF", "NO", "ONE")
    trio.primary.execute("REPLICAOF", "127.0.0.1", "1")
    await eventually(lambda: is_done(writing, "SET", key, "2"))
    assert await reading.command("GET", key) == b"2"
    await writing.close()
    await reading.close()


async def is_done(connection: Connection, *command: str) -> bool:
    try:
        return bool(await connection.command(*command))
    except StoreUnavailable:
        return False


async def test_what_sentinels_do_not_know_or_do_not_tell_is_said(trio: Trio, tmp_path: Path) -> None:
    rig = Rig(replace(trio.settings, master_name="nobody"))
    with pytest.raises(StoreUnavailable, match="knows no primary named 'nobody'"):
        await rig.connection.command("PING")
    rig = Rig(replace(trio.settings, sentinel_password_file=None))
    with pytest.raises(StoreUnavailable, match="NOAUTH"):
        await rig.connection.command("PING")
    rig = Rig(replace(trio.settings, addresses=("127.0.0.1:1",)))
    with pytest.raises(StoreUnavailable, match="no sentinel names a primary"):
        await rig.connection.command("PING")
