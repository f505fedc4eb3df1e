"""How the operator itself reaches the store of a broker: without files, with the secrets in its memory.

Knows where the store is and who logs in; does not know a client of Redis, or where the secrets were found.
"""

from collections.abc import Mapping

from msgspec import Struct

from mqtt_api.kinds.session_store import RedisCredentialsRef
from mqtt_api.node_settings import RedisSettings, RedisTLSSettings
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.node_place import managed_address
from mqtt_operator.desired.redis_settings import LogIn, RedisPlace, build_redis_settings
from mqtt_operator.desired.redis_users import ADMIN_USER, OPERATOR_USER


class StoreSecrets(Struct, frozen=True, kw_only=True):
    """What stands in files elsewhere, held in memory. `ca_pem`: all CAs in one; "" = what the system trusts."""

    password: str | None = None
    sentinel_password: str | None = None
    ca_pem: str = ""

    def __repr__(self) -> str:
        return "StoreSecrets(...)"


class StoreAccess(Struct, frozen=True, kw_only=True):
    """`settings` name no file; whoever connects takes `secrets` instead."""

    settings: RedisSettings
    secrets: StoreSecrets


class RedisSecrets(Struct, frozen=True, kw_only=True):
    """The Secrets that a broker with a Redis of the people's own refers to: their entries, decoded from base64.

    `operator` None: the operator logs in as the nodes do. `ca_pem`: the entries of all caRefs, one after the other.
    """

    node: Mapping[str, bytes] = {}
    operator: Mapping[str, bytes] | None = None
    sentinel: Mapping[str, bytes] = {}
    ca_pem: str = ""

    def __repr__(self) -> str:
        return "RedisSecrets(...)"


class MissingEntryError(ValueError):
    """A Secret has no such entry, or one that is not text: `ref` names the Secret, `key` the entry."""

    def __init__(self, ref: RedisCredentialsRef, key: str) -> None:
        super().__init__(f"Secret {ref.name} has no entry {key} with text in it.")
        self.ref = ref
        self.key = key


def managed_access(broker: MQTTBroker, operator_secret: Mapping[str, bytes]) -> StoreAccess:
    """To the managed store. `operator_secret`: the entries of `names.operator_store_credentials`, decoded."""
    return _managed(broker, OPERATOR_USER, operator_secret[names.PASSWORD_KEY], operator_secret[names.CA_KEY])


def managed_admin_access(broker: MQTTBroker, operator_secret: Mapping[str, bytes]) -> StoreAccess:
    """The same as the user that replaces passwords and certificates while the store runs, and does nothing else."""
    return _managed(broker, ADMIN_USER, operator_secret[names.ADMIN_PASSWORD_KEY], operator_secret[names.CA_KEY])


def redis_access(broker: MQTTBroker, secrets: RedisSecrets) -> StoreAccess:
    """To a Redis of the people's own. Raises MissingEntryError."""
    redis = broker.spec.session_store.redis
    assert redis is not None
    if redis.operator_credentials_ref is None or secrets.operator is None:
        username, password = log_in(redis.credentials_ref, secrets.node)
    else:
        username, password = log_in(redis.operator_credentials_ref, secrets.operator)
    sentinel_username, sentinel_password = log_in(redis.sentinel_credentials_ref, secrets.sentinel)
    place = RedisPlace(
        addresses=redis.addresses,
        master_name=redis.master_name,
        sentinel=LogIn(username=sentinel_username),
        tls=None if redis.tls is None else RedisTLSSettings(),
    )
    return StoreAccess(
        settings=build_redis_settings(broker, place, LogIn(username=username)),
        secrets=StoreSecrets(password=password, sentinel_password=sentinel_password, ca_pem=secrets.ca_pem),
    )


def log_in(ref: RedisCredentialsRef | None, secret: Mapping[str, bytes]) -> tuple[str | None, str | None]:
    """User name and password as they stand in a Secret, without the line end that editors leave.

    Raises MissingEntryError.
    """
    if ref is None:
        return None, None
    username = None if ref.username_key is None else _text(ref, ref.username_key, secret).strip()
    return username, _text(ref, ref.password_key or names.PASSWORD_KEY, secret).rstrip("\r\n")


def _text(ref: RedisCredentialsRef, key: str, secret: Mapping[str, bytes]) -> str:
    try:
        return secret[key].decode()
    except (KeyError, UnicodeDecodeError):
        raise MissingEntryError(ref, key) from None


def _managed(broker: MQTTBroker, user: str, password: bytes, ca: bytes) -> StoreAccess:
    place = RedisPlace(addresses=(managed_address(broker),), tls=RedisTLSSettings())
    return StoreAccess(
        settings=build_redis_settings(broker, place, LogIn(username=user)),
        secrets=StoreSecrets(password=password.decode(), ca_pem=ca.decode()),
    )
