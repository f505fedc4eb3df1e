"""Which store a local broker uses, and the files that log in there."""

import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mqtt_api.kinds.session_store import DurabilityLevel
from mqtt_api.node_settings import RedisTLSSettings
from mqtt_operator.credentials.certificates import issue_ca
from mqtt_operator.desired.redis_settings import LogIn
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.store_place import Kind, StoreWords, choose, declared_place, named_place, own_level

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REDIS = {"redis": {"addresses": ["redis:6379"]}}


@pytest.mark.parametrize(
    ("url", "store", "nodes", "kind"),
    [
        (None, {"embedded": {}}, 1, Kind.FILE),
        (None, REDIS, 1, Kind.DECLARED),
        (None, REDIS, 3, Kind.DECLARED),
        (None, {"managed": {}}, 2, Kind.OWN),
        ("auto", {"embedded": {}}, 1, Kind.OWN),
        ("auto", REDIS, 3, Kind.OWN),
        ("redis://elsewhere", REDIS, 3, Kind.NAMED),
    ],
)
def test_the_command_line_counts_before_what_is_declared(
    folder: Any, broker: Any, url: str | None, store: dict[str, Any], nodes: int, kind: Kind
) -> None:
    folder.put("a.yaml", broker(sessionStore=store))
    assert choose(StoreWords(url=url), folder.read(), nodes) is kind


def test_several_nodes_on_a_file_are_told_what_to_type(folder: Any, broker: Any) -> None:
    folder.put("a.yaml", broker())
    with pytest.raises(ExpectedError, match="3 nodes need a store that they share") as refused:
        choose(StoreWords(), folder.read(), 3)
    assert "--store auto" in refused.value.to_do


@pytest.mark.parametrize(
    ("asked", "declared", "level"),
    [
        (None, {"level": "Disk"}, DurabilityLevel.DISK),
        (None, {"level": "Memory"}, DurabilityLevel.MEMORY),
        (None, {"level": "Replicated", "replicas": 1}, DurabilityLevel.DISK),
        (DurabilityLevel.MEMORY, {"level": "Disk"}, DurabilityLevel.MEMORY),
    ],
)
def test_a_server_of_our_own_gives_what_is_wanted_but_has_no_replicas(
    folder: Any, broker: Any, asked: DurabilityLevel | None, declared: dict[str, Any], level: DurabilityLevel
) -> None:
    folder.put("a.yaml", broker(sessionStore={**REDIS, "durability": declared}))
    assert own_level(StoreWords(durability=asked), folder.read()) is level


def test_a_named_store_keeps_the_level_of_the_command_line(tmp_path: Path) -> None:
    words = StoreWords(url="redis://a", password_file=tmp_path / "p", durability=DurabilityLevel.MEMORY)
    place = named_place(words)
    assert (place.addresses, place.durability) == (("a:6379",), DurabilityLevel.MEMORY)
    assert place.node.password_file == str(tmp_path / "p")


def test_declared_log_ins_and_cas_become_private_files(folder: Any, broker: Any, secret: Any, tmp_path: Path) -> None:
    ca = issue_ca("redis", NOW).certificate.decode()
    redis = {
        "mode": "Sentinel",
        "addresses": ["a:1", "b:2"],
        "masterName": "m",
        "credentialsRef": {"name": "r", "usernameKey": "username", "passwordKey": "word"},
        "operatorCredentialsRef": {"name": "op"},
        "sentinelCredentialsRef": {"name": "op"},
        "tls": {"caRefs": [{"kind": "Secret", "name": "op", "key": "ca.crt"}]},
    }
    folder.put(
        "a.yaml",
        broker(sessionStore={"redis": redis}),
        secret("r", {"username": "n", "word": "w1"}),
        secret("op", {"password": "w2", "ca.crt": ca}),
    )
    data = DataFolder(tmp_path / "data")
    place = declared_place(folder.read(), data, StoreWords())
    assert (place.addresses, place.master_name, place.durability) == (("a:1", "b:2"), "m", None)
    assert place.node == LogIn(username="n", password_file=str(data.shared_store / "node.password"))
    assert place.operator == LogIn(password_file=str(data.shared_store / "operator.password"))
    assert (data.shared_store / "node.password").read_text() == "w1"
    assert (data.shared_store / "sentinel.password").read_text() == "w2"
    assert place.tls == RedisTLSSettings(ca_files=(str(data.shared_store / "ca-0.pem"),))
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in data.shared_store.iterdir())


def test_without_credentials_of_its_own_the_operator_logs_in_as_the_nodes_do(
    folder: Any, broker: Any, secret: Any, tmp_path: Path
) -> None:
    redis = {"addresses": ["a:1"], "credentialsRef": {"name": "r"}}
    folder.put("a.yaml", broker(sessionStore={"redis": redis}), secret("r", {"password": "w"}))
    place = declared_place(folder.read(), DataFolder(tmp_path / "data"), StoreWords())
    assert place.operator == place.node
    assert place.tls is None


def test_a_redis_without_a_password_needs_no_file(folder: Any, broker: Any, tmp_path: Path) -> None:
    folder.put("a.yaml", broker(sessionStore={"redis": {"addresses": ["a:1"], "tls": {}}}))
    place = declared_place(folder.read(), DataFolder(tmp_path / "data"), StoreWords())
    assert place.node == place.operator == place.sentinel == LogIn()
    assert place.tls == RedisTLSSettings()
