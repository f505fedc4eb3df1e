"""The operator finds its store by sentinels too, after a failover as well, and believes certificates of its CA only."""

from pathlib import Path

import msgspec
import pytest

from mqtt_api.node_settings import RedisSettings, RedisTLSSettings
from mqtt_api.resources import MQTTBroker, parse_document
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import LogInRefusedError, StoreAwayError
from mqtt_operator.desired.redis_settings import LogIn, RedisPlace, build_redis_settings
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.store_users import with_users_of_our_own
from support.certificates import Authority
from support.redis_server import RedisServer, Sentinel, ServerOptions, TLSFiles
from support.tools import require
from support.up import resource
from support.waiting import wait_until

WORLD = "the-world"


def test_a_primary_is_found_by_sentinels_and_so_is_its_successor(tmp_path: Path) -> None:
    require("redis-sentinel")
    password = tmp_path / "password"
    password.write_text("secret")
    with (
        RedisServer(tmp_path / "a", ServerOptions(password="secret", appendfsync="always")) as primary,
        RedisServer(tmp_path / "b", ServerOptions(password="secret", replica_of=primary)),
        Sentinel(tmp_path / "s", primary, "main") as sentinel,
    ):
        settings = RedisSettings(
            addresses=(sentinel.address,), master_name="main", key_prefix="p", password_file=str(password)
        )
        store = SharedStore(settings)
        assert store.found(WORLD, may_be_new=True).fence == 1
        primary.wait_for_replicas(1)
        sentinel.wait_for_replicas(1)
        primary.kill()
        sentinel.wait_for_failover(primary)

        def found_again() -> int:
            try:
                return store.found(WORLD, may_be_new=False).fence
            except StoreAwayError:
                return 0

        assert wait_until(found_again, 20.0, "the operator to find the new primary") == 2
        unknown = msgspec.structs.replace(settings, master_name="nobody")
        with pytest.raises(StoreAwayError, match="No sentinel names a primary called nobody") as refused:
            SharedStore(unknown).members()
        assert "Check masterName" in refused.value.to_do


def test_a_server_is_believed_with_a_certificate_of_the_named_ca_only(tmp_path: Path) -> None:
    require("redis-server")
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other", "other-ca")
    tls = TLSFiles(ours.ca_file, ours.server())
    with RedisServer(tmp_path / "redis", ServerOptions(tls=tls)) as server:
        settings = RedisSettings(
            addresses=(server.address,),
            key_prefix="p",
            tls=RedisTLSSettings(ca_files=(str(other.ca_file), str(ours.ca_file))),
        )
        assert SharedStore(settings).found(WORLD, may_be_new=True).fence == 1
        stranger = msgspec.structs.replace(settings, tls=RedisTLSSettings(ca_files=(str(other.ca_file),)))
        with pytest.raises(StoreAwayError, match="does not answer") as refused:
            SharedStore(stranger).members()
        assert "certificate" in refused.value.where


def broker() -> MQTTBroker:
    parsed = parse_document(
        resource(
            "MQTTBroker",
            "plant",
            sessionStore={"managed": {}},
            authentication=[{"name": "anyone", "type": "Anonymous"}],
            listeners=[{"name": "mqtt", "port": 1883, "allowPlaintext": True}],
        )
    )
    assert isinstance(parsed, MQTTBroker)
    return parsed


def test_on_a_server_of_others_nodes_and_operator_get_users_of_their_own(tmp_path: Path) -> None:
    require("redis-server")
    password = tmp_path / "password"
    password.write_text("of-the-owner")
    owner = LogIn(password_file=str(password))
    with RedisServer(tmp_path / "redis", ServerOptions(password="of-the-owner")) as server:
        place = RedisPlace(addresses=(server.address,), node=owner, operator=owner)
        data = DataFolder(tmp_path / "data")
        ours = with_users_of_our_own(broker(), data, place)
        assert (ours.node.username, ours.operator.username) == (
            "mqtt.default.plant.node",
            "mqtt.default.plant.operator",
        )
        store = SharedStore(build_redis_settings(broker(), ours, ours.operator))
        assert store.found(WORLD, may_be_new=True).fence == 1
        as_node = SharedStore(build_redis_settings(broker(), ours, ours.node))
        with pytest.raises(LogInRefusedError):
            as_node.found(WORLD, may_be_new=True)
        server.execute("ACL", "DELUSER", ours.operator.username or "")
        with pytest.raises(LogInRefusedError):
            store.members()
        assert with_users_of_our_own(broker(), data, place) == ours
        assert store.found(WORLD, may_be_new=False).fence == 2


def test_whoever_may_make_no_users_logs_in_as_it_is(tmp_path: Path) -> None:
    require("redis-server")
    password = tmp_path / "password"
    password.write_text("secret")
    with RedisServer(tmp_path / "redis", ServerOptions(users=("tenant on >secret ~* +@all -@admin",))) as server:
        log_in = LogIn(username="tenant", password_file=str(password))
        place = RedisPlace(addresses=(server.address,), node=log_in, operator=log_in)
        assert with_users_of_our_own(broker(), DataFolder(tmp_path / "data"), place) == place
