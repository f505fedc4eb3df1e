"""One connection against a real server: scripts, errors, time limits, coming back."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import sha1
from pathlib import Path

import pytest

from cluster.store.servers import redis_server, valkey_server
from mqtt_broker.store.ports import Fenced, StoreFull, StoreMismatch, StoreUnavailable
from mqtt_broker.store.redis import connection as connections
from mqtt_broker.store.redis.connection import Connection
from mqtt_broker.store.redis.primary import Primary
from mqtt_broker.store.redis.script import Script, script
from support.redis_rig import WORLD, Rig, make_world, settings_for
from support.redis_server import RedisServer, ServerOptions
from support.waiting import eventually


def inline(text: str, flags: str = "") -> Script:
    """A script that stands in a test."""
    text = f"#!lua flags={flags}\n{text}" if flags else f"#!lua\n{text}"
    return Script("inline", text, sha1(text.encode()).hexdigest())


ECHO = inline("return {KEYS[1], ARGV[1], 7}")
SET = inline("redis.call('SET', KEYS[1] .. 'x', ARGV[1]) return 1")
NAMES = script("names", "names")


@pytest.fixture(params=[redis_server, valkey_server], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with request.param(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
async def rig(server: RedisServer) -> AsyncIterator[Rig]:
    rig = Rig(settings_for(server))
    yield rig
    await rig.connection.close()


async def test_a_script_gets_the_prefix_as_its_key_and_answers(rig: Rig) -> None:
    assert await rig.connection.call(ECHO, ["a\r\nb"]) == [rig.keys.data.encode(), b"a\r\nb", 7]


async def test_a_script_that_redis_forgot_is_loaded_again_within_the_call(rig: Rig, server: RedisServer) -> None:
    await rig.connection.call(ECHO, ["1"])
    server.execute("SCRIPT", "FLUSH")
    assert (await rig.connection.call(ECHO, ["2"]))[1] == b"2"


async def test_a_script_that_redis_cannot_compile_says_so(rig: Rig) -> None:
    with pytest.raises(StoreUnavailable, match="compiling"):
        await rig.connection.call(inline("this is not Lua"), [])


async def test_a_command_behind_a_forgotten_script_is_answered_too(rig: Rig, server: RedisServer) -> None:
    server.execute("SCRIPT", "FLUSH")
    answers = await rig.connection.call_and(ECHO, ["1"], "ECHO", "behind", timeout_s=1.0)
    assert answers == ([rig.keys.data.encode(), b"1", 7], b"behind")


async def test_overlapping_calls_get_their_own_answers_in_order(rig: Rig) -> None:
    answers = await asyncio.gather(*(rig.connection.call(ECHO, [number]) for number in range(200)))
    assert [answer[1] for answer in answers] == [b"%d" % number for number in range(200)]


async def test_a_cancelled_call_leaves_the_others_theirs(rig: Rig) -> None:
    await rig.connection.command("PING")
    first, second = (asyncio.ensure_future(rig.connection.call(ECHO, [number])) for number in (1, 2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)[1] == b"2"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("FENCED the token is over", Fenced),
        ("WORLD another", StoreMismatch),
        ("OOM command not allowed", StoreFull),
        ("ERR anything", StoreUnavailable),
        ("MISCONF no disk", StoreUnavailable),
        ("NOREPLICAS too few", StoreUnavailable),
        ("LOADING soon", StoreUnavailable),
        ("READONLY a replica", StoreUnavailable),
        ("NOPERM not you", StoreUnavailable),
    ],
)
async def test_each_refusal_is_the_error_that_the_port_names(rig: Rig, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        await rig.connection.call(inline(f"return redis.error_reply('{text}')"), [])
    assert type(caught.value) is kind


async def test_a_server_over_its_memory_is_full_before_the_script_began(rig: Rig, server: RedisServer) -> None:
    await rig.connection.call(SET, ["1"])
    server.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreFull):
            await rig.connection.call(SET, ["2"])
        freeing = inline("redis.call('SET', KEYS[1] .. 'x', ARGV[1]) return 1", "allow-oom")
        assert await rig.connection.call(freeing, ["3"]) == 1
    finally:
        server.execute("CONFIG", "SET", "maxmemory", "0")


async def test_a_stopped_server_is_unavailable_within_the_time_limit(
    rig: Rig, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.connection.command("PING")
    server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no answer within"):
            await rig.connection.call(ECHO, ["1"], timeout_s=0.2)
        assert time.monotonic() - began < 0.5
        monkeypatch.setattr(connections, "OPEN_S_MAX", 0.2)
        with pytest.raises(StoreUnavailable):
            await rig.connection.command("PING")  # it tries to connect
        assert time.monotonic() - began < 1.0
    finally:
        server.resume()
    await eventually(lambda: answers(rig))


async def test_calls_of_different_patience_each_end_in_time_and_one_that_was_given_up_counts_too(
    rig: Rig, server: RedisServer
) -> None:
    """One timer watches all calls of a connection: the earliest end breaks it, for no reply can pass another."""
    await rig.connection.command("PING")
    server.pause()
    try:
        began = time.monotonic()
        patient = asyncio.create_task(rig.connection.call(ECHO, ["1"], timeout_s=30.0))
        await asyncio.sleep(0)
        hasty = asyncio.create_task(rig.connection.call(ECHO, ["2"], timeout_s=0.2))
        await asyncio.sleep(0.05)
        hasty.cancel()
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.2 s"):
            await patient
        assert 0.15 < time.monotonic() - began < 1.0
        assert hasty.cancelled()
    finally:
        server.resume()
    await eventually(lambda: answers(rig))


async def test_a_call_that_was_answered_is_not_held_against_the_next(rig: Rig) -> None:
    for number in range(3):
        assert (await rig.connection.call(ECHO, [str(number)], timeout_s=0.5))[1] == str(number).encode()
        await asyncio.sleep(0.4)


async def test_calls_to_a_server_that_is_gone_fail_at_once_and_the_first_after_its_return_succeeds(
    rig: Rig, server: RedisServer
) -> None:
    await rig.connection.command("PING")
    server.kill()
    for _ in range(20):
        assert not await answers(rig)
    began = time.monotonic()
    assert not await answers(rig)
    assert time.monotonic() - began < 0.02
    server.start()
    await eventually(lambda: answers(rig), deadline_s=connections.BACK_OFF_S_MAX + 1)


async def answers(rig: Rig) -> bool:
    try:
        return bool(await rig.connection.command("PING") == b"PONG")
    except StoreUnavailable:
        return False


async def test_a_slow_server_does_not_hold_up_the_event_loop(rig: Rig, server: RedisServer) -> None:
    await rig.connection.command("PING")
    server.pause()
    try:
        call = asyncio.ensure_future(rig.connection.call(ECHO, ["x" * 1_000_000], timeout_s=0.3))
        turns = 0
        while not call.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 10
        with pytest.raises(StoreUnavailable):
            await call
    finally:
        server.resume()


async def test_what_is_no_redis_server_is_unavailable() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    stranger = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with stranger:
        address = f"127.0.0.1:{stranger.sockets[0].getsockname()[1]}"
        rig = Rig(settings_for(addresses=(address,)))
        with pytest.raises(StoreUnavailable):
            await rig.connection.command("PING")


async def test_a_closed_connection_stays_closed(rig: Rig) -> None:
    await rig.connection.command("PING")
    await rig.connection.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await rig.connection.command("PING")


async def test_the_first_address_that_is_a_primary_is_taken(server: RedisServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "replica", ServerOptions(replica_of=server), binary=server.binary) as replica:
        rig = Rig(settings_for(replica, server))
        await rig.connection.call(SET, ["1"])
        only_replica = Rig(settings_for(replica))
        with pytest.raises(StoreUnavailable, match="not the primary"):
            await only_replica.connection.command("PING")
        await rig.connection.close()


# Replication ---------------------------------------------------------------------------------------------------------


async def test_a_write_counts_only_when_enough_replicas_have_it(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WAIT_S_MAX", 0.5)
    rig = Rig(settings_for(server, durability="Replicated", replicas=1))
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        await rig.connection.call(SET, ["1"], writes=True)
    assert await rig.connection.call(ECHO, ["reads ask for no replica"])
    with RedisServer(tmp_path / "replica", ServerOptions(replica_of=server), binary=server.binary) as replica:
        server.wait_for_replicas(1)
        assert await rig.connection.call(SET, ["2"], writes=True) == 1
        assert replica.execute("GET", f"{rig.keys.data}x") == b"2"
        server.execute("SCRIPT", "FLUSH")
        assert await rig.connection.call(SET, ["3"], writes=True) == 1
        replica.pause()
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            await rig.connection.call(SET, ["4"], writes=True)
        replica.resume()
    await rig.connection.close()


async def test_a_refused_write_says_why_although_replicas_were_asked(server: RedisServer) -> None:
    rig = Rig(settings_for(server, durability="Replicated", replicas=1))
    with pytest.raises(Fenced):
        await rig.connection.call(inline("return redis.error_reply('FENCED x')"), [], writes=True)
    await rig.connection.close()


# The check of each new connection ------------------------------------------------------------------------------------


async def test_nothing_is_sent_before_the_world_is_found_to_be_ours(server: RedisServer) -> None:
    settings = settings_for(server)
    rig = Rig(settings, world=WORLD)
    with pytest.raises(StoreMismatch, match="holds no world"):
        await rig.connection.call(SET, ["1"])
    with pytest.raises(StoreMismatch, match="holds no world"):
        await rig.connection.call(SET, ["1"])  # not asked again so soon, and refused for the same reason
    keys = make_world(server, settings, "another")
    await asyncio.sleep(connections.BACK_OFF_S_FIRST)
    with pytest.raises(StoreMismatch, match="is world another"):
        await rig.connection.call(SET, ["1"])
    assert server.execute("EXISTS", f"{keys.data}x") == 0


async def test_a_server_that_was_emptied_while_the_connection_was_away_is_refused(server: RedisServer) -> None:
    settings = settings_for(server)
    keys = make_world(server, settings)
    rig = Rig(settings, world=WORLD)
    await rig.connection.call(SET, ["1"])
    server.execute("DEL", keys.world)
    server.execute("CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(StoreUnavailable, match="closed"):
        await rig.connection.call(SET, ["2"])
    with pytest.raises(StoreMismatch):
        await rig.connection.call(SET, ["3"])


async def test_a_failing_check_leaves_no_connection_behind(server: RedisServer) -> None:
    async def refuse(_: object) -> None:
        raise StoreMismatch("no")

    def clients() -> set[str]:
        with server.client() as asking:
            return {client["id"] for client in asking.client_list() if client["cmd"] != "client|list"}

    before = clients()
    refused = Connection(Primary(settings_for(server)), "x:", refuse)
    with pytest.raises(StoreMismatch):
        await refused.command("PING")
    await eventually(lambda: clients() <= before)
