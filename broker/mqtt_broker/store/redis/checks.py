"""Whether a server is fit to be the store: version, eviction, durability, and what this node's user may not do.

Knows settings of Redis and what each would cost; does not know keys of the nodes, or sessions. What a check finds is
told in sentences that say what to do.
"""

import re
from collections.abc import Mapping

import hiredis
from msgspec import Struct

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.ports import StoreMismatch
from mqtt_broker.store.redis.errors import as_store_error, code
from mqtt_broker.store.redis.wire import Reply, Wire

VERSION_MIN = 7
NO_FIELD = "-"  # nobody writes a field of this name: to delete it changes nothing, and asks whether one may
CONFIG = ("maxmemory-policy", "appendonly", "appendfsync")


class Findings(Struct, frozen=True, kw_only=True):
    """What a server told. `config` None: it would not. `may_write`: keys that the operator alone should write."""

    version: str
    config: Mapping[str, str] | None
    may_write: tuple[str, ...] = ()


async def check_server(wire: Wire, settings: RedisSettings, timeout_s: float) -> None:
    """Raises StoreMismatch if the server will not do, StoreUnavailable if it does not answer."""
    if settings.verification == "Required":
        findings = await _find(wire, StoreKeys(settings.key_prefix), timeout_s)
    else:
        (info,) = await wire.ask(("INFO", "server"), timeout_s=timeout_s)
        findings = Findings(version=_version(info), config=None)
    found = problems(settings, findings)
    if found:
        raise StoreMismatch(f"the store at {wire.address} cannot be used: {'; '.join(found)}")


async def _find(wire: Wire, keys: StoreKeys, timeout_s: float) -> Findings:
    reserved = (keys.world, keys.policy)
    info, *replies = await wire.ask(
        ("INFO", "server"),
        *(("CONFIG", "GET", name) for name in CONFIG),
        *(("HDEL", key, NO_FIELD) for key in reserved),
        timeout_s=timeout_s,
    )
    answers = zip(reserved, replies[len(CONFIG) :], strict=True)
    return Findings(
        version=_version(info),
        config=_config(replies[: len(CONFIG)]),
        may_write=tuple(key for key, answer in answers if not _is_forbidden(answer)),
    )


def problems(settings: RedisSettings, findings: Findings) -> list[str]:
    """All that stands against it, a sentence each."""
    found = (
        [] if _major(findings.version) >= VERSION_MIN else [f"it is version {findings.version}, 7 or later is needed"]
    )
    if settings.durability == "Replicated" and settings.replicas < 1:
        found.append("durability Replicated needs the number of replicas that must have each write (`replicas`)")
    if settings.verification != "Required":
        return found
    if findings.may_write:
        names = " and ".join(findings.may_write)
        found.append(
            f"the node's user may write {names}, which is the operator's alone: give the node a user of its own with"
            " the ACL rules of docs/cluster.md, and the operator another, or set verification to Declared"
        )
    if findings.config is None:
        return [*found, "its settings cannot be read: allow +config|get, or set verification to Declared"]
    return found + _unsafe(settings, findings.config)


def _unsafe(settings: RedisSettings, config: Mapping[str, str]) -> list[str]:
    found = []
    policy = config.get("maxmemory-policy", "")
    if policy != "noeviction":
        found.append(
            f"maxmemory-policy {policy} would delete sessions and messages when memory is short: set noeviction"
        )
    if settings.durability == "Disk":
        if config.get("appendonly") != "yes":
            found.append("durability Disk needs appendonly yes, or declare durability Memory")
        elif config.get("appendfsync") != "always":
            found.append(
                f"durability Disk needs appendfsync always, it is {config.get('appendfsync')}: up to a second of"
                " acknowledged messages could be lost; or declare durability Memory"
            )
    return found


def _config(replies: list[Reply]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for reply in replies:
        match reply:
            case [bytes() as name, bytes() as value]:
                found[name.decode()] = value.decode()
            case _:
                return None
    return found


def _is_forbidden(answer: Reply) -> bool:
    return isinstance(answer, hiredis.ReplyError) and code(str(answer)) == "NOPERM"


def _version(info: Reply) -> str:
    """Valkey names the version of Redis that it is compatible with here too."""
    if isinstance(info, hiredis.ReplyError):
        raise as_store_error(str(info))
    found = re.search(rb"^redis_version:([0-9.]+)", info, re.MULTILINE) if isinstance(info, bytes) else None
    return found[1].decode() if found else ""


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0
