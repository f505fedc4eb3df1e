"""What the store refuses reaches people as a sentence with the place and the next step, and never with a password."""

from pathlib import Path

import pytest
import redis
from redis.sentinel import MasterNotFoundError

from mqtt_api.node_settings import RedisSettings, RedisTLSSettings
from mqtt_operator.channel.connection import (
    connect,
    explain,
    explained,
    split_address,
)
from mqtt_operator.channel.terms import SharedStoreError, StoreAwayError

SETTINGS = RedisSettings(addresses=("redis:6379",), key_prefix="p")


@pytest.mark.parametrize(
    ("error", "words", "passes_by_itself"),
    [
        (redis.ConnectionError("refused"), "does not answer", True),
        (redis.TimeoutError("slow"), "does not answer", True),
        (OSError("no route"), "does not answer", True),
        (redis.AuthenticationError("WRONGPASS"), "does not let us in", False),
        (redis.exceptions.NoPermissionError("NOPERM"), "does not let us in", False),
        (redis.exceptions.OutOfMemoryError("OOM"), "is full", True),
        (redis.ReadOnlyError("READONLY"), "is a replica", True),
        (redis.ResponseError("ERR what"), "answered with an error", True),
    ],
)
def test_each_refusal_has_its_words(error: Exception, words: str, passes_by_itself: bool) -> None:
    told = explain(error, SETTINGS)
    assert words in told.what
    assert "redis:6379" in told.where
    assert told.to_do
    assert isinstance(told, StoreAwayError) is passes_by_itself


SENTINELS = RedisSettings(addresses=("a:26379", "b:26379"), key_prefix="p", master_name="plant")
SILENT = "<redis.client.Redis(<ConnectionPool(<SSLConnection(ssl_ca_data=-----BEGIN {}, self=<object at {}>)>)>)> - {}"


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ((), "though they answer"),
        (("ConnectionError('Error 111')",), "some do not answer"),
        (("ConnectionError('x')", "AuthenticationError('invalid')"), "some do not let us in"),
    ],
)
def test_a_missing_primary_is_told_in_the_same_words_each_time(raised: tuple[str, ...], words: str) -> None:
    def told(address: str) -> str:
        silent = ", ".join(SILENT.format("CERTIFICATE" * 99, address, each) for each in raised)
        return str(explain(MasterNotFoundError(f"No master found for 'plant' : {silent}"), SENTINELS))

    assert told("0x7f01") == told("0x7f02")
    assert "a primary called plant, " in told("")
    assert "a:26379, b:26379" in told("")
    assert words in told("")
    assert "CERTIFICATE" not in told("")


def test_a_missing_primary_comes_back_by_itself() -> None:
    assert isinstance(explain(MasterNotFoundError("No master found for 'plant'"), SENTINELS), StoreAwayError)


def test_what_a_server_says_is_cut_short() -> None:
    assert len(str(explain(redis.ResponseError("ERR " + "x" * 9_000), SETTINGS))) < 1_000


def test_what_a_server_says_cannot_steer_a_terminal() -> None:
    assert "\x1b" not in str(explain(redis.ResponseError("\x1b[2J"), SETTINGS))


def test_our_own_bugs_are_not_explained_away() -> None:
    with pytest.raises(ZeroDivisionError), explained(SETTINGS):
        raise ZeroDivisionError


@pytest.mark.parametrize("field", ["password", "ca"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, field: str) -> None:
    missing = str(tmp_path / "missing")
    settings = RedisSettings(
        addresses=("redis:6379",),
        key_prefix="p",
        password_file=missing if field == "password" else None,
        tls=RedisTLSSettings(ca_files=(missing,)) if field == "ca" else None,
    )
    with pytest.raises(SharedStoreError) as refused:
        connect(settings)
    assert missing in refused.value.where


@pytest.mark.parametrize(
    ("address", "expected"), [("redis:6379", ("redis", 6379)), ("[::1]:7", ("::1", 7)), ("10.0.0.1:8", ("10.0.0.1", 8))]
)
def test_an_address_is_a_host_and_a_port(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected
