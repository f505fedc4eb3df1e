"""Who gets in and what they may do: TLS, passwords that change, and the two users of a store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace

from cluster.store.servers import redis_server, valkey_server
from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings, RedisTLSSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.cluster import Positions
from mqtt_broker.store.ports import Done, End, StoreMismatch, StoreUnavailable
from mqtt_broker.store.redis import connection as connections
from mqtt_broker.store.redis.store import RedisStore
from support.certificates import Authority
from support.redis_rig import WORLD, Rig, make_world, password_file, settings_for
from support.redis_server import RedisServer, ServerOptions, TLSFiles
from support.waiting import eventually

BROKER = "broker"
OPERATOR = "operator"
PASSWORD = "first"


@pytest.fixture(params=[redis_server, valkey_server], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with request.param(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BACK_OFF_S_FIRST", 0.0)


@pytest.fixture
def settings(server: RedisServer, tmp_path: Path) -> Iterator[RedisSettings]:
    """A world with its two users; the nodes' one is in the settings."""
    settings = settings_for(server, username=BROKER, password_file=password_file(tmp_path, PASSWORD))
    keys = make_world(server, settings)
    for user, rules in ((BROKER, keys.broker_rules), (OPERATOR, keys.operator_rules)):
        server.execute("ACL", "SETUSER", user, "reset", "on", f">{PASSWORD}", *rules)
    yield settings
    server.execute("ACL", "DELUSER", BROKER, OPERATOR)


@pytest.fixture
async def rig(settings: RedisSettings) -> AsyncIterator[Rig]:
    rig = Rig(settings, world=WORLD)
    yield rig
    await rig.connection.close()


# Passwords -----------------------------------------------------------------------------------------------------------


async def test_a_rotated_password_is_read_for_the_next_connection_and_the_living_one_stays(
    rig: Rig, settings: RedisSettings, server: RedisServer, tmp_path: Path
) -> None:
    await rig.connection.command("PING")
    server.execute("ACL", "SETUSER", BROKER, ">second")  # both are valid for a while
    password_file(tmp_path, "second")
    server.execute("ACL", "SETUSER", BROKER, f"<{PASSWORD}")  # ends no connection
    assert await rig.connection.command("PING") == b"PONG"
    server.execute("CLIENT", "KILL", "USER", BROKER)
    await eventually(lambda: answers(rig))


async def test_while_two_passwords_overlap_either_will_do(
    rig: Rig, settings: RedisSettings, server: RedisServer, tmp_path: Path
) -> None:
    server.execute("ACL", "SETUSER", BROKER, ">second")
    for password in ("second", PASSWORD):
        password_file(tmp_path, password)
        server.execute("CLIENT", "KILL", "USER", BROKER)
        await eventually(lambda: answers(rig))


async def test_a_wrong_password_is_said_and_the_right_one_heals_it(rig: Rig, tmp_path: Path) -> None:
    password_file(tmp_path, "wrong")
    with pytest.raises(StoreUnavailable, match="check the user's ACL entry and the password file") as caught:
        await rig.connection.command("PING")
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")
    password_file(tmp_path, PASSWORD)
    assert await answers(rig)


async def test_a_missing_password_file_is_said(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "password").unlink()
    with pytest.raises(StoreUnavailable, match="password file cannot be read"):
        await rig.connection.command("PING")


async def test_a_server_that_asks_for_a_password_says_so_to_who_has_none(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "locked", ServerOptions(password="secret")) as locked:
        rig = Rig(settings_for(locked))
        with pytest.raises(StoreUnavailable, match="asks for a password"):
            await rig.connection.command("PING")
        rig = Rig(settings_for(locked, password_file=password_file(tmp_path, "secret")))
        assert await rig.connection.command("PING") == b"PONG"
        await rig.connection.close()


async def answers(rig: Rig) -> bool:
    try:
        return bool(await rig.connection.command("PING") == b"PONG")
    except StoreUnavailable:
        return False


# Users ---------------------------------------------------------------------------------------------------------------


async def test_the_nodes_user_can_do_all_that_a_node_does(settings: RedisSettings) -> None:
    store = await RedisStore.open(settings)
    membership = await store.join("a", WORLD)
    await store.load()
    position = await store.enter(membership, NodeFacts())
    await store.renew(membership, NodeFacts(applied=position))
    assert await store.commit(membership, 1, (End(client_id="nobody", incarnation=1),)) == (Done(),)
    await store.report(membership, position, ("a",))
    news = await store.follow(membership, Positions(feed=0), 0.1)
    await store.follow(membership, Positions(feed=position, control=news.control[0].position), 0.01)
    assert await store.read_policy(-1) is None
    assert await store.reap(membership, 10) == 0
    await store.due()
    await store.kept()
    await store.leave(membership)
    await store.close()


def forbidden_to_a_node(keys: StoreKeys) -> list[tuple[str | int, ...]]:
    return [
        ("SET", keys.policy_part("0" * 64), "x"),
        ("HSET", keys.policy, "revision", 99),
        ("DEL", keys.policy),
        ("HSET", keys.world, "id", "mine"),
        ("UNLINK", keys.world),
        ("HGET", "{mqtt.other}:d:node:a", "token"),
        ("SET", "anything", "x"),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("SWAPDB", 0, 1),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("CONFIG", "REWRITE"),
        ("ACL", "SETUSER", BROKER, "+@all"),
        ("ACL", "LIST"),
        ("KEYS", "*"),
        ("SCAN", 0),
        ("RANDOMKEY",),
        ("DBSIZE",),
        ("SCRIPT", "FLUSH"),
        ("SCRIPT", "KILL"),
        ("EVAL", "return 1", 0),
        ("FUNCTION", "LIST"),
        ("FCALL", "f", 0),
        ("SHUTDOWN",),
        ("REPLICAOF", "NO", "ONE"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("CLIENT", "LIST"),
        ("MONITOR",),
        ("SAVE",),
        ("PUBLISH", "channel", "x"),
        ("SUBSCRIBE", "channel"),
        ("MIGRATE", "127.0.0.1", 1, "x", 0, 1),
        ("SORT", f"{keys.data}feed"),
        ("RENAME", f"{keys.data}feed", keys.policy),
        ("COPY", keys.policy, f"{keys.data}x"),
        ("BITOP", "NOT", keys.policy, f"{keys.data}x"),
        ("SELECT", 1),
    ]


def test_all_else_is_refused_to_a_node(settings: RedisSettings, server: RedisServer) -> None:
    keys = StoreKeys(settings.key_prefix)
    assert allowed(server, BROKER, forbidden_to_a_node(keys)) == []


def test_a_script_of_a_node_may_no_more_than_the_node(settings: RedisSettings, server: RedisServer) -> None:
    keys = StoreKeys(settings.key_prefix)
    with server.client(BROKER, PASSWORD) as client:
        for command in (("HSET", keys.policy, "revision", "99"), ("FLUSHALL",), ("SET", "anything", "x")):
            text = "#!lua\nreturn redis.call(unpack(ARGV))"
            with pytest.raises(redis.ResponseError, match=r"(?i)permission|can't access|can't run"):
                client.evalsha(client.script_load(text), 0, *command)


def test_the_operators_user_writes_world_policy_and_announcements_and_reads_the_rest(
    settings: RedisSettings, server: RedisServer
) -> None:
    keys = StoreKeys(settings.key_prefix)
    with server.client(OPERATOR, PASSWORD) as client:
        client.hset(keys.world, "generation", "1")
        client.set(keys.policy_part("0" * 64), b"part")
        with client.pipeline(transaction=True) as together:
            together.hset(keys.policy, "revision", "1")
            together.hgetall(keys.leases)
            together.execute()
        client.evalsha(client.script_load("#!lua\nreturn redis.call('INCR', KEYS[1])"), 1, f"{keys.feed}_end")
        client.xadd(keys.control("a", 1), {"drain": b""})
        client.hget(f"{keys.data}node:a", "token")


def test_the_operators_user_finds_and_removes_what_nodes_wrote(settings: RedisSettings, server: RedisServer) -> None:
    """For the end of a broker; to write it is refused below."""
    keys = StoreKeys(settings.key_prefix)
    mine = [f"{keys.data}s:client", f"{keys.data}node:a", keys.leases]
    for key in mine:
        server.execute("HSET", key, "a", "x")
    server.execute("SET", "anything", "theirs")
    with server.client(OPERATOR, PASSWORD) as client:
        assert set(mine) <= {key.decode() for key in client.scan_iter(f"{keys.tag}*")}
        assert client.unlink(*mine) == len(mine)
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.unlink("anything")
    server.execute("DEL", "anything")


def test_all_else_is_refused_to_the_operator(settings: RedisSettings, server: RedisServer) -> None:
    keys = StoreKeys(settings.key_prefix)
    commands: list[tuple[str | int, ...]] = [
        ("HSET", f"{keys.data}node:a", "token", 1),
        ("DEL", f"{keys.data}s:client"),
        ("HSET", keys.leases, "a", "x"),
        ("SET", "anything", "x"),
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("ACL", "LIST"),
        ("SCRIPT", "FLUSH"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("SHUTDOWN",),
    ]
    assert allowed(server, OPERATOR, commands) == []


def allowed(server: RedisServer, user: str, commands: list[tuple[str | int, ...]]) -> list[tuple[str | int, ...]]:
    """Those of the commands that are not refused for want of permission."""
    done = []
    with server.client(user, PASSWORD) as client:
        for command in commands:
            try:
                client.execute_command(*command)
            except redis.exceptions.NoPermissionError:
                continue
            except redis.RedisError:
                pass
            done.append(command)
    return done


async def test_a_node_that_could_write_the_policy_is_refused_at_its_start(
    settings: RedisSettings, server: RedisServer
) -> None:
    keys = StoreKeys(settings.key_prefix)
    server.execute("ACL", "SETUSER", BROKER, f"~{keys.tag}policy*")
    with pytest.raises(StoreMismatch, match="policy, which is the operator's alone"):
        await RedisStore.open(replace(settings, verification="Required"))


# TLS -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def private(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Speaks TLS only, and asks clients for a certificate."""
    files = TLSFiles(authority.ca_file, authority.server(), authority.client("node"))
    with RedisServer(tmp_path_factory.mktemp("private"), ServerOptions(tls=files)) as server:
        yield server


def over_tls(server: RedisServer, authority: Authority, **changes: str | None) -> RedisSettings:
    assert server.options.tls is not None
    identity = server.options.tls.client
    assert identity is not None
    files: dict[str, str | None] = {
        "certificate_file": str(identity.certificate_file),
        "key_file": str(identity.key_file),
        **changes,
    }
    return settings_for(server, tls=RedisTLSSettings(ca_files=(str(authority.ca_file),), **files))


async def test_both_sides_prove_who_they_are(private: RedisServer, authority: Authority) -> None:
    rig = Rig(over_tls(private, authority))
    assert await rig.connection.command("PING") == b"PONG"
    await rig.connection.close()


async def test_without_a_certificate_of_its_own_a_node_does_not_get_in(
    private: RedisServer, authority: Authority
) -> None:
    rig = Rig(over_tls(private, authority, certificate_file=None, key_file=None))
    with pytest.raises(StoreUnavailable):
        await rig.connection.command("PING")
    await rig.connection.close()


async def test_a_server_of_another_authority_is_not_trusted(
    private: RedisServer, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    settings = over_tls(private, authority)
    assert settings.tls is not None
    rig = Rig(settings_for(private, tls=RedisTLSSettings(ca_files=(str(other.ca_file),))))
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        await rig.connection.command("PING")


async def test_a_server_of_another_name_is_not_trusted(private: RedisServer, authority: Authority) -> None:
    rig = Rig(over_tls(private, authority, server_name="store.example"))
    with pytest.raises(StoreUnavailable, match="Hostname mismatch"):
        await rig.connection.command("PING")
    rig = Rig(over_tls(private, authority, server_name="localhost"))
    assert await rig.connection.command("PING") == b"PONG"
    await rig.connection.close()


async def test_tls_files_that_cannot_be_used_are_said(private: RedisServer, authority: Authority) -> None:
    rig = Rig(over_tls(private, authority, key_file="/nowhere"))
    with pytest.raises(StoreUnavailable, match="TLS files of the store cannot be used"):
        await rig.connection.command("PING")


async def test_a_server_without_tls_is_not_spoken_to_in_the_clear(server: RedisServer, authority: Authority) -> None:
    rig = Rig(settings_for(server, tls=RedisTLSSettings(ca_files=(str(authority.ca_file),))))
    with pytest.raises(StoreUnavailable):
        await rig.connection.command("PING")
