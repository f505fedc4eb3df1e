"""What `stoa up --store` says: where the store is that nodes share.

Knows the forms of it; does not know Redis. A password has no place in it: every process of a machine can read the
command lines of the others.
"""

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from mqtt_api.node_settings import RedisTLSSettings
from mqtt_operator.desired.redis_settings import LogIn, RedisPlace
from mqtt_operator.errors import UsageError

AUTO = "auto"
REDIS_PORT = 6379
SENTINEL_PORT = 26379

_FORMS = "Write redis://HOST:PORT, rediss://HOST:PORT (TLS), redis+sentinel://HOST:PORT,HOST:PORT/NAME, or auto."
_HOST_PORT = re.compile(r"(?P<host>[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?")


class _Scheme(Struct, frozen=True):
    tls: bool
    sentinel: bool

    @property
    def port(self) -> int:
        return SENTINEL_PORT if self.sentinel else REDIS_PORT


_SCHEMES = {
    "redis": _Scheme(False, False),  # noqa: FBT003
    "rediss": _Scheme(True, False),  # noqa: FBT003
    "redis+sentinel": _Scheme(False, True),  # noqa: FBT003
    "rediss+sentinel": _Scheme(True, True),  # noqa: FBT003
}


def parse_store_url(url: str, password_file: Path | None = None, ca_file: Path | None = None) -> RedisPlace:
    """The place that a URL names; nodes and operator log in alike. Raises UsageError, which repeats no password."""
    split = urlsplit(url)
    scheme = _SCHEMES.get(split.scheme)
    if scheme is None:
        raise UsageError("This is not a store that nodes can share.", where="--store", to_do=_FORMS)
    user, _, hosts = split.netloc.rpartition("@")
    if ":" in user:
        raise UsageError(
            "A password does not belong on a command line, where every process can read it.",
            where="--store",
            to_do="Write it to a file of mode 0600 and name that with --store-password-file; change it, too.",
        )
    if ca_file is not None and not scheme.tls:
        raise UsageError("--store-ca is for TLS.", where="--store", to_do="Write rediss:// instead of redis://.")
    log_in = LogIn(
        username=user or None, password_file=None if password_file is None else str(password_file.absolute())
    )
    return RedisPlace(
        addresses=tuple(_address(each, scheme) for each in _hosts(hosts, scheme)),
        master_name=_master_name(split, scheme),
        node=log_in,
        operator=log_in,
        tls=_tls(ca_file) if scheme.tls else None,
    )


def _hosts(hosts: str, scheme: _Scheme) -> list[str]:
    found = hosts.split(",")
    if len(found) > 1 and not scheme.sentinel:
        raise UsageError("Only sentinels are several.", where="--store", to_do=_FORMS)
    return found


def _address(text: str, scheme: _Scheme) -> str:
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        raise UsageError("A host and a port are missing, or misspelt.", where="--store", to_do=_FORMS)
    return f"{found['host']}:{found['port'] or scheme.port}"


def _master_name(split: SplitResult, scheme: _Scheme) -> str | None:
    name = split.path.strip("/")
    if split.query or split.fragment or "/" in name:
        raise UsageError("There is more in it than a place.", where="--store", to_do=_FORMS)
    if scheme.sentinel and not name:
        raise UsageError("The sentinels must be told which primary.", where="--store", to_do=_FORMS)
    if name and not scheme.sentinel:
        raise UsageError("Databases by number are not used: keys have a prefix instead.", where="--store", to_do=_FORMS)
    return name or None


def _tls(ca_file: Path | None) -> RedisTLSSettings:
    return RedisTLSSettings(ca_files=() if ca_file is None else (str(ca_file.absolute()),))
