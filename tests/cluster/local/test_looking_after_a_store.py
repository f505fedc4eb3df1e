"""What the operator sees of a real store, and what it tells one while clients stay connected."""

import shutil
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import redis

from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings, RedisTLSSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.look import look
from mqtt_operator.channel.managed import reload_certificate, served_certificate, set_users
from mqtt_operator.channel.removal import remove_keys
from mqtt_operator.channel.terms import Identity, LogInRefusedError, SharedStoreError, StoreAwayError
from mqtt_operator.desired.redis_users import ADMIN_RULES, ADMIN_USER, NODE_USER
from support.certificates import Authority
from support.redis_server import RedisServer, ServerOptions, TLSFiles
from support.tools import require

PREFIX = "mqtt.plant"
KEYS = StoreKeys(PREFIX)


@pytest.fixture(autouse=True)
def needs_redis() -> None:
    require("redis-server")


def settings(server: RedisServer, folder: Path, user: str | None = None, word: str | None = None) -> RedisSettings:
    file = None
    if word is not None:
        file = str(folder / f"{user}.password")
        Path(file).write_text(word)
    return RedisSettings(addresses=(server.address,), key_prefix=PREFIX, username=user, password_file=file)


def acl(user: str, word: str, *rules: str) -> str:
    return f"{user} on >{word} {' '.join(rules)}"


def test_a_new_store_has_no_identity_and_nobody_in_it(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", ServerOptions(appendfsync="always")) as server:
        seen = look(settings(server, tmp_path))
        assert (seen.world, seen.is_rolled_back, seen.replicas) == ("", False, 0)
        assert (dict(seen.members.nodes), seen.members.policy_revision) == ({}, -1)
        assert seen.config == {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}


def test_a_look_with_the_operators_own_rights_sees_everything_and_changes_nothing(tmp_path: Path) -> None:
    operator = acl("operator", "word", *KEYS.operator_rules)
    with RedisServer(tmp_path / "redis", ServerOptions(users=(operator,))) as server:
        server.execute("HSET", KEYS.world, "id", "7d0a", "generation", "0")
        server.execute("SET", f"{KEYS.data}generation", "1")
        server.execute("HSET", KEYS.policy, "revision", "7", "fence", "3")
        facts = msgspec.json.encode(NodeFacts(ready=True, version="0.1.0", policy_revision=7))
        server.execute("HSET", KEYS.leases, "plant-0", b"5 12 0 " + facts)
        seen = look(settings(server, tmp_path, "operator", "word"))
        assert (seen.world, seen.is_rolled_back) == ("7d0a", True)
        assert seen.members.policy_revision == 7
        member = seen.members.nodes["plant-0"]
        assert (member.token, member.facts.ready, member.facts.policy_revision) == (5, True, 7)
        assert server.execute("HGET", KEYS.policy, "fence") == b"3"


def test_another_run_of_the_server_has_another_name(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        first = look(settings(server, tmp_path)).run
        assert look(settings(server, tmp_path)).run == first
        server.stop()
        server.start()
        assert look(settings(server, tmp_path)).run != first


def test_a_server_that_hides_its_settings_is_seen_without_them(tmp_path: Path) -> None:
    rules = [rule for rule in KEYS.operator_rules if rule != "+config|get"]
    with RedisServer(tmp_path / "redis", ServerOptions(users=(acl("operator", "word", *rules),))) as server:
        assert look(settings(server, tmp_path, "operator", "word")).config is None


def test_a_store_that_is_away_or_refuses_us_says_so(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", ServerOptions(users=(acl("operator", "word", "+@all"),))) as server:
        with pytest.raises(LogInRefusedError):
            look(settings(server, tmp_path, "operator", "another"))
        where = settings(server, tmp_path)
    with pytest.raises(StoreAwayError):
        look(where)


# The end of a broker's keys -------------------------------------------------------------------------------------


def fill(server: RedisServer, count: int) -> None:
    server.execute("HSET", KEYS.world, "id", "7d0a")
    with server.client() as client:
        client.mset({f"{KEYS.data}session:{number}": "x" for number in range(count)})


def test_all_keys_of_the_broker_go_and_those_of_others_stay(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        fill(server, 3_000)
        server.execute("HSET", KEYS.policy, "revision", "7")
        server.execute("SET", "{mqtt.plant2}:d:x", "theirs")
        server.execute("SET", "mqtt.plant", "theirs")
        removed = remove_keys(settings(server, tmp_path), "7d0a", 10.0)
        assert (removed.identity, removed.keys, removed.is_all) == (Identity.OURS, 3_002, True)
        assert sorted(server.execute("KEYS", "*")) == [b"mqtt.plant", b"{mqtt.plant2}:d:x"]
        assert remove_keys(settings(server, tmp_path), "7d0a", 10.0).identity is Identity.EMPTY


def test_the_keys_of_another_world_are_not_touched(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        fill(server, 10)
        assert remove_keys(settings(server, tmp_path), "other", 10.0).identity is Identity.OTHER
        assert server.execute("DBSIZE") == 11


def test_a_removal_that_ran_out_of_time_is_known_to_be_one_and_goes_on(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        fill(server, 3_000)
        removed = remove_keys(settings(server, tmp_path), "7d0a", -1.0)
        assert not removed.is_all
        assert server.execute("HGET", KEYS.world, "id") == b"7d0a"
        assert 0 < server.execute("DBSIZE") < 3_001
        assert remove_keys(settings(server, tmp_path), "7d0a", 10.0).is_all
        assert server.execute("DBSIZE") == 0


def test_a_user_that_may_not_remove_keys_is_told_so(tmp_path: Path) -> None:
    reader = acl("operator", "word", f"%R~{KEYS.tag}*", "-@all", "+@connection", "+hget")
    with RedisServer(tmp_path / "redis", ServerOptions(users=(reader,))) as server:
        fill(server, 3)
        with pytest.raises(SharedStoreError):
            remove_keys(settings(server, tmp_path, "operator", "word"), "7d0a", 10.0)
        assert server.execute("DBSIZE") == 4


# A server of our own --------------------------------------------------------------------------------------------


def test_a_new_password_is_accepted_beside_the_old_one_and_closes_no_connection(tmp_path: Path) -> None:
    users = (acl(ADMIN_USER, "admin-word", *ADMIN_RULES), acl(NODE_USER, "old", *KEYS.broker_rules))
    with RedisServer(tmp_path / "redis", ServerOptions(users=users)) as server:
        admin = settings(server, tmp_path, ADMIN_USER, "admin-word")
        with server.client(NODE_USER, "old") as node:
            node.set(f"{KEYS.data}x", "1")
            both = ("reset", "on", *(f"#{sha256(each.encode()).hexdigest()}" for each in ("old", "new")))
            set_users(admin, {NODE_USER: (*both, *KEYS.broker_rules)})
            assert node.get(f"{KEYS.data}x") == b"1"
            with server.client(NODE_USER, "new") as another:
                assert another.get(f"{KEYS.data}x") == b"1"
            set_users(admin, {NODE_USER: (*both[:2], both[3], *KEYS.broker_rules)})
            assert node.get(f"{KEYS.data}x") == b"1"
        with server.client(NODE_USER, "old") as late, pytest.raises(redis.AuthenticationError):
            late.ping()


def test_a_new_certificate_is_read_while_the_server_runs_and_closes_no_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    first, second = authority.server("first"), authority.server("second")
    tls = TLSFiles(authority.ca_file, first)
    users = (acl(ADMIN_USER, "admin-word", *ADMIN_RULES),)
    with RedisServer(tmp_path / "redis", ServerOptions(tls=tls, users=users)) as server:
        plain = settings(server, tmp_path, ADMIN_USER, "admin-word")
        admin = msgspec.structs.replace(plain, tls=RedisTLSSettings(ca_files=(str(authority.ca_file),)))
        before = served_certificate(admin)
        with server.client() as client:
            client.set("x", "1")
            shutil.copy(second.key_file, first.key_file)
            shutil.copy(second.certificate_file, first.certificate_file)
            assert served_certificate(admin) == before
            reload_certificate(admin, str(first.certificate_file))
            assert served_certificate(admin) != before
            assert client.get("x") == b"1"


def test_a_server_that_is_away_has_no_certificate(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        where = settings(server, tmp_path)
    with pytest.raises(StoreAwayError):
        served_certificate(where)
