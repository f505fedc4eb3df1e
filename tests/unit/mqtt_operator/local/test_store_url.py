"""What --store says is a place, and never a password."""

from pathlib import Path

import pytest

from mqtt_api.node_settings import RedisTLSSettings
from mqtt_operator.desired.redis_settings import LogIn, RedisPlace
from mqtt_operator.errors import UsageError
from mqtt_operator.local.store_url import parse_store_url


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://localhost", RedisPlace(addresses=("localhost:6379",))),
        ("redis://10.0.0.1:7000/", RedisPlace(addresses=("10.0.0.1:7000",))),
        ("redis://[::1]:7000", RedisPlace(addresses=("[::1]:7000",))),
        ("rediss://redis.example.org", RedisPlace(addresses=("redis.example.org:6379",), tls=RedisTLSSettings())),
        ("redis+sentinel://a,b:7/main", RedisPlace(addresses=("a:26379", "b:7"), master_name="main")),
        (
            "rediss+sentinel://a/main",
            RedisPlace(addresses=("a:26379",), master_name="main", tls=RedisTLSSettings()),
        ),
    ],
)
def test_a_url_names_a_place(url: str, place: RedisPlace) -> None:
    assert parse_store_url(url) == place


def test_the_user_is_in_the_url_and_the_password_in_a_file(tmp_path: Path) -> None:
    place = parse_store_url("rediss://me@redis", tmp_path / "password", tmp_path / "ca.crt")
    assert place.node == place.operator == LogIn(username="me", password_file=str(tmp_path / "password"))
    assert place.tls == RedisTLSSettings(ca_files=(str(tmp_path / "ca.crt"),))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:6379", "not a store"),
        ("postgres://localhost", "not a store"),
        ("redis://", "host and a port"),
        ("redis://a b", "host and a port"),
        ("redis://a:port", "host and a port"),
        ("redis://a,b", "Only sentinels"),
        ("redis://a/0", "Databases by number"),
        ("redis://a?x=1", "more in it"),
        ("redis+sentinel://a", "which primary"),
        ("redis+sentinel://a/b/c", "more in it"),
    ],
)
def test_what_is_no_place_is_refused_with_the_forms_that_are(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        parse_store_url(url)
    assert "redis+sentinel://" in refused.value.to_do


@pytest.mark.parametrize("url", ["redis://me:s3cret@redis", "redis://:s3cret@redis"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="does not belong on a command line") as refused:
        parse_store_url(url)
    assert "s3cret" not in str(refused.value)
    assert "--store-password-file" in refused.value.to_do


def test_a_ca_without_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--store-ca is for TLS"):
        parse_store_url("redis://redis", ca_file=tmp_path)
