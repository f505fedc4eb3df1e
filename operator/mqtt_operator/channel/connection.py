"""The connection to the store that nodes share, and what its refusals mean to a person.

Knows redis-py and how to log in; does not know keys or what is written. Nothing is repeated behind the caller's back.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.terms import LogInRefusedError, SharedStoreError, StoreAwayError

CONNECT_S_MAX = 5.0
ANSWER_S_MAX = 10.0
DETAIL_CHARACTERS_MAX = 400

_UNREACHABLE = "Start it, or correct the address; what it holds is kept while it is away."
# How the client tells of a sentinel that did not say anything of use: its object, a dash, what was raised.
_SENTINEL_TROUBLE = re.compile(r"> - (\w+)\(")
_LOG_IN_TROUBLE = redis.AuthenticationError.__name__
_LOG_IN = "Check user name and password, and that this user has the rights listed in docs/cluster.md."


def connect(settings: RedisSettings) -> redis.Redis:
    """A client that connects with its first command. Raises SharedStoreError if a password file cannot be read."""
    options = _options(settings)
    if settings.master_name is None:
        host, port = split_address(settings.addresses[0])
        return redis.Redis(host=host, port=port, **options)
    sentinels = [split_address(each) for each in settings.addresses]
    kwargs = _sentinel_options(settings, options)
    watchers = Sentinel(sentinels, sentinel_kwargs=kwargs, **options)  # type: ignore[no-untyped-call]
    primary: redis.Redis = watchers.master_for(settings.master_name)  # type: ignore[no-untyped-call]
    return primary


def split_address(address: str) -> tuple[str, int]:
    """host:port or [host]:port, as it stands in the settings."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def explained(settings: RedisSettings) -> Iterator[None]:
    """Turn what the client raises into a SharedStoreError that names the place and the next step."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise explain(error, settings) from error


def explain(error: Exception, settings: RedisSettings) -> SharedStoreError:
    """The refusal in words."""
    if isinstance(error, MasterNotFoundError):
        return _no_primary(error, settings)
    where = f"store: {', '.join(settings.addresses)} ({_detail(error)})"
    match error:
        case redis.AuthenticationError() | redis.exceptions.NoPermissionError():
            return LogInRefusedError("The store does not let us in, or not far enough.", where=where, to_do=_LOG_IN)
        case redis.exceptions.OutOfMemoryError():
            to_do = "Let clients fetch what waits for them, or raise maxmemory."
            return StoreAwayError("The store is full.", where=where, to_do=to_do)
        case redis.ReadOnlyError():
            to_do = "Name the primary, or let sentinels find it (mode: Sentinel)."
            return StoreAwayError("The store is a replica, which takes no writes.", where=where, to_do=to_do)
        case redis.ConnectionError() | redis.TimeoutError() | OSError():
            return StoreAwayError("The store does not answer.", where=where, to_do=_UNREACHABLE)
    to_do = "Look into its log; Redis 7 and Valkey 8 are known to work."
    return StoreAwayError("The store answered with an error.", where=where, to_do=to_do)


def _no_primary(error: MasterNotFoundError, settings: RedisSettings) -> StoreAwayError:
    """In our own words: those of the client describe its objects, TLS files and all, another way each time."""
    troubles = set(_SENTINEL_TROUBLE.findall(str(error)))
    if _LOG_IN_TROUBLE in troubles:
        found, check = "and some do not let us in", "the log-in for the sentinels"
    elif troubles:
        found, check = "and some do not answer", "the addresses of the sentinels, and TLS if they speak it"
    else:
        found, check = "though they answer", "that the primary lives and the sentinels agree on it"
    return StoreAwayError(
        f"No sentinel names a primary called {settings.master_name}, {found}.",
        where=f"sentinels: {', '.join(settings.addresses)}",
        to_do=f"Check masterName, and {check}.",
    )


def _detail(error: Exception) -> str:
    """One line; what a server says may be anything."""
    text = str(error) or type(error).__name__
    return "".join(character if character.isprintable() else " " for character in text[:DETAIL_CHARACTERS_MAX])


def _options(settings: RedisSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": settings.username,
        "password": _password(settings.password_file),
        "socket_connect_timeout": CONNECT_S_MAX,
        "socket_timeout": ANSWER_S_MAX,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "stoa-operator",
    }
    if settings.tls is not None:
        options |= _tls(settings)
    return options


def _sentinel_options(settings: RedisSettings, options: dict[str, Any]) -> dict[str, Any]:
    return {
        **options,
        "username": settings.sentinel_username,
        "password": _password(settings.sentinel_password_file),
    }


def _tls(settings: RedisSettings) -> dict[str, Any]:
    tls = settings.tls
    assert tls is not None
    options: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    if tls.ca_files:
        options["ssl_ca_data"] = "\n".join(_read(file) for file in tls.ca_files)
    if tls.certificate_file is not None:
        options |= {"ssl_certfile": tls.certificate_file, "ssl_keyfile": tls.key_file}
    return options


def _password(file: str | None) -> str | None:
    return None if file is None else _read(file).rstrip("\r\n")


def _read(file: str) -> str:
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SharedStoreError(
            "What is needed to log in to the store cannot be read.",
            where=f"path: {file} ({_detail(error)})",
            to_do="Give your user the right to read that file, or name another.",
        ) from error
