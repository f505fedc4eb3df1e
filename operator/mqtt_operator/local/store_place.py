"""Which store a local broker uses, and how its nodes and its operator log in there.

Knows the command line's word and what the MQTTBroker declares, and writes passwords and CAs that it declares to files;
does not know Redis, or processes.
"""

from enum import Enum, auto
from pathlib import Path

from msgspec import Struct

from mqtt_api.kinds.common import DataKind
from mqtt_api.kinds.session_store import DurabilityLevel, RedisCredentialsRef, RedisStore
from mqtt_api.node_settings import RedisTLSSettings
from mqtt_operator.desired.redis_settings import LogIn, RedisPlace
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import make_private_folder, write_private_if_changed
from mqtt_operator.local.folder import Declared
from mqtt_operator.local.objects import DataKey
from mqtt_operator.local.references import PASSWORD_KEY
from mqtt_operator.local.store_url import AUTO, parse_store_url


class StoreWords(Struct, frozen=True, kw_only=True):
    """What the command line says about the store. `url` None = what the broker declares."""

    url: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    durability: DurabilityLevel | None = None


class Kind(Enum):
    """The file of a single node; a Redis that the files or the command line name; or a server of our own."""

    FILE = auto()
    DECLARED = auto()
    NAMED = auto()
    OWN = auto()


def choose(words: StoreWords, declared: Declared, nodes: int) -> Kind:
    """Raises ExpectedError if that many nodes cannot share it."""
    store = declared.broker.spec.session_store
    if words.url == AUTO:
        return Kind.OWN
    if words.url is not None:
        return Kind.NAMED
    if store.redis is not None:
        return Kind.DECLARED
    if store.managed is not None:
        return Kind.OWN
    if nodes > 1:
        raise ExpectedError(
            f"{nodes} nodes need a store that they share; this broker keeps its data in a file, for one node.",
            where="field: spec.sessionStore.embedded",
            to_do="Add --store auto (a Redis or Valkey of this machine, started and stopped along), or "
            "--store redis://HOST:PORT for one that runs.",
        )
    return Kind.FILE


def own_level(words: StoreWords, declared: Declared) -> DurabilityLevel:
    """What a single server of our own gives: what is wanted, but it has no replicas."""
    wanted = words.durability or declared.broker.spec.session_store.durability.level
    return DurabilityLevel.DISK if wanted is DurabilityLevel.REPLICATED else wanted


def named_place(words: StoreWords) -> RedisPlace:
    """What --store names. Raises UsageError."""
    place = parse_store_url(words.url or "", words.password_file, words.ca_file)
    return RedisPlace(
        addresses=place.addresses,
        master_name=place.master_name,
        node=place.node,
        operator=place.operator,
        tls=place.tls,
        durability=words.durability,
    )


def declared_place(declared: Declared, data: DataFolder, words: StoreWords) -> RedisPlace:
    """What the broker declares, with its passwords and CAs in files. Idempotent. Raises DataFolderError."""
    redis = declared.broker.spec.session_store.redis
    assert redis is not None
    folder = make_private_folder(data.shared_store)
    node = _log_in(declared, folder, "node", redis.credentials_ref)
    operator = _log_in(declared, folder, "operator", redis.operator_credentials_ref)
    return RedisPlace(
        addresses=redis.addresses,
        master_name=redis.master_name,
        node=node,
        operator=node if redis.operator_credentials_ref is None else operator,
        sentinel=_log_in(declared, folder, "sentinel", redis.sentinel_credentials_ref),
        tls=_tls(declared, folder, redis),
        durability=words.durability,
    )


def _log_in(declared: Declared, folder: Path, who: str, ref: RedisCredentialsRef | None) -> LogIn:
    if ref is None:
        return LogIn()
    secret = DataKey(DataKind.SECRET, declared.broker.metadata.namespace, ref.name)
    path = folder / f"{who}.password"
    write_private_if_changed(path, declared.value(secret, ref.password_key or PASSWORD_KEY))
    username = None if ref.username_key is None else declared.value(secret, ref.username_key).decode().strip()
    return LogIn(username=username, password_file=str(path))


def _tls(declared: Declared, folder: Path, redis: RedisStore) -> RedisTLSSettings | None:
    if redis.tls is None:
        return None
    files = []
    for number, ref in enumerate(redis.tls.ca_refs or ()):
        path = folder / f"ca-{number}.pem"
        key = DataKey(ref.kind, declared.broker.metadata.namespace, ref.name)
        write_private_if_changed(path, declared.value(key, ref.key))
        files.append(str(path))
    return RedisTLSSettings(ca_files=tuple(files))
