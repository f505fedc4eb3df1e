"""Whether what a broker refers to is there and fit for its use, and what it holds.

Knows every reference of an MQTTBroker to Secrets and ConfigMaps; does not know what becomes of it. Reads the registry.
What is wrong is told by name of object and entry, never with what stands there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct

from mqtt_api.conditions import Reason
from mqtt_api.kinds.common import DataKind, DataRef
from mqtt_api.kinds.mqttbroker import Listener
from mqtt_api.kinds.session_store import RedisCredentialsRef, RedisStore
from mqtt_api.resources import MQTTBroker
from mqtt_operator.credentials.certificates import (
    KeyPair,
    certificates_in,
    certificates_mistake,
    crl_mistake,
    key_pair_mistake,
)
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import StoreUsers
from mqtt_operator.desired.store_access import MissingEntryError, RedisSecrets, log_in
from mqtt_operator.reconcile.keys import DataKey
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.reconcile.seen import DataObject
from mqtt_operator.status.verdict import Problem

Check = Callable[[bytes], str | None]

_NOT_FOUND = {DataKind.SECRET: Reason.SECRET_NOT_FOUND, DataKind.CONFIG_MAP: Reason.CONFIG_MAP_NOT_FOUND}


class Resolved(Struct, frozen=True, kw_only=True):
    """`secrets` and `users` are for a Redis of the people's own; None: nobody can log in there now.

    `client_cas`: by listener, the CAs that certificates of clients are verified by, PEM.
    """

    problems: tuple[Problem, ...] = ()
    client_cas: Mapping[str, str] = {}
    secrets: RedisSecrets | None = None
    users: StoreUsers = StoreUsers()

    def __repr__(self) -> str:
        return f"Resolved(problems={self.problems!r}, ...)"


class _Entry(NamedTuple):
    """An entry that must be there. `check`: what may be wrong with it, in words that continue "which"."""

    field: str
    key: DataKey
    entry: str
    check: Check | None = None


def resolve(broker: MQTTBroker, registry: Registry) -> Resolved:
    """Raises UnseenError while nobody knows what there is."""
    of_store = _missing_of(_wanted_by_store(broker), registry)
    others = (
        *_missing_of(_wanted_client_cas(broker), registry),
        *_missing_of(_crls(broker), registry),
        *_key_pair_problems(broker, registry),
        *_pull_secret_problems(broker, registry),
    )
    redis, client_cas = broker.spec.session_store.redis, {} if others else _client_cas(broker, registry)
    if redis is None or of_store:
        return Resolved(problems=(*others, *of_store), client_cas=client_cas)
    try:
        secrets, users = _resolve_redis(broker, redis, registry)
    except MissingEntryError as error:
        return Resolved(problems=(*others, Problem(Reason.KEY_NOT_FOUND, str(error))), client_cas=client_cas)
    return Resolved(problems=others, client_cas=client_cas, secrets=secrets, users=users)


def server_key_pair(broker: MQTTBroker, listener: Listener, registry: Registry) -> KeyPair | None:
    """Certificate and key of a listener with TLS, wherever they come from; None if they are not there."""
    found = registry.data(_tls_key(broker, listener))
    if found is None:
        return None
    certificate, key = found.data.get(names.CERTIFICATE_KEY), found.data.get(names.PRIVATE_KEY_KEY)
    return None if certificate is None or key is None else KeyPair(certificate=certificate, key=key)


def mounted(broker: MQTTBroker, registry: Registry) -> list[DataObject]:
    """Every Secret and ConfigMap that lies in the pods of the nodes, as far as it is there.

    Raises UnseenError while nobody knows what there is.
    """
    namespace, name = broker.metadata.namespace, broker.metadata.name
    keys = {wanted.key for wanted in (*_crls(broker), *_wanted_by_store(broker))}
    keys |= {_tls_key(broker, listener) for listener in broker.spec.listeners if listener.tls is not None}
    keys |= {
        DataKey(DataKind.CONFIG_MAP, namespace, each)
        for each in (names.settings_config_map(name), names.client_cas(name))
    }
    if broker.spec.session_store.managed is not None:
        keys.add(DataKey(DataKind.SECRET, namespace, names.store_credentials(name)))
    if broker.spec.session_store.embedded is not None:
        keys.add(DataKey(DataKind.SECRET, namespace, names.policy_secret(name)))
    return [found for key in sorted(keys) if (found := registry.data(key)) is not None]


def _wanted_client_cas(broker: MQTTBroker) -> Iterator[_Entry]:
    for index, listener in enumerate(broker.spec.listeners):
        for number, ref in enumerate(_client_ca_refs(listener)):
            field = f"spec.listeners[{index}].tls.clientCARefs[{number}]"
            yield _entry(field, broker.metadata.namespace, ref, certificates_mistake)


def _crls(broker: MQTTBroker) -> Iterator[_Entry]:
    for index, listener in enumerate(broker.spec.listeners):
        if listener.tls is not None and listener.tls.crl is not None:
            field = f"spec.listeners[{index}].tls.crl.ref"
            yield _entry(field, broker.metadata.namespace, listener.tls.crl.ref, crl_mistake)


def _client_ca_refs(listener: Listener) -> Iterable[DataRef]:
    return () if listener.tls is None else listener.tls.client_ca_refs or ()


def _wanted_by_store(broker: MQTTBroker) -> Iterator[_Entry]:
    redis, namespace, field = broker.spec.session_store.redis, broker.metadata.namespace, "spec.sessionStore.redis"
    if redis is None:
        return
    for name, ref in redis.log_ins.items():
        key = DataKey(DataKind.SECRET, namespace, ref.name)
        yield _Entry(f"{field}.{name}", key, ref.password_key or names.PASSWORD_KEY)
        if ref.username_key is not None:
            yield _Entry(f"{field}.{name}", key, ref.username_key)
    for number, ca in enumerate((redis.tls.ca_refs if redis.tls is not None else None) or ()):
        yield _entry(f"{field}.tls.caRefs[{number}]", namespace, ca, certificates_mistake)


def _entry(field: str, namespace: str, ref: DataRef, check: Check) -> _Entry:
    return _Entry(field, DataKey(ref.kind, namespace, ref.name), ref.key, check)


def _missing_of(wanted: Iterable[_Entry], registry: Registry) -> tuple[Problem, ...]:
    return tuple(problem for each in wanted if (problem := _missing(each, registry)) is not None)


def _missing(wanted: _Entry, registry: Registry) -> Problem | None:
    found = registry.data(wanted.key)
    if found is None:
        return _not_found(wanted.field, wanted.key)
    value = found.data.get(wanted.entry)
    if value is None:
        sentence = f"{wanted.field} names {wanted.key}, which has no entry {wanted.entry}."
        return Problem(Reason.KEY_NOT_FOUND, sentence)
    wrong = None if wanted.check is None else wanted.check(value)
    if wrong is None:
        return None
    return Problem(Reason.INVALID_CONTENT, f"{wanted.field} names {wanted.key}, entry {wanted.entry}, which {wrong}.")


def _not_found(field: str, key: DataKey) -> Problem:
    return Problem(_NOT_FOUND[key.kind], f"{field} names {key}, which does not exist: it is waited for.")


def _key_pair_problems(broker: MQTTBroker, registry: Registry) -> Iterator[Problem]:
    """Of Secrets that people bring; those that are issued for us come about by themselves."""
    for index, listener in enumerate(broker.spec.listeners):
        if listener.tls is None or listener.tls.secret_ref is None:
            continue
        field, key = f"spec.listeners[{index}].tls.secretRef", _tls_key(broker, listener)
        if registry.data(key) is None:
            yield _not_found(field, key)
            continue
        pair = server_key_pair(broker, listener, registry)
        if pair is None:
            entries = f"{names.CERTIFICATE_KEY} and {names.PRIVATE_KEY_KEY}"
            yield Problem(Reason.KEY_NOT_FOUND, f"{field} names {key}, which needs the entries {entries}.")
        elif wrong := key_pair_mistake(pair):
            sentence = f"{field} names {key}, where {wrong}; nodes go on with the one they have."
            yield Problem(Reason.INVALID_CONTENT, sentence)


def _pull_secret_problems(broker: MQTTBroker, registry: Registry) -> Iterator[Problem]:
    for index, ref in enumerate(broker.spec.image_pull_secrets):
        key = DataKey(DataKind.SECRET, broker.metadata.namespace, ref.name)
        if registry.data(key) is None:
            yield _not_found(f"spec.imagePullSecrets[{index}]", key)


def _tls_key(broker: MQTTBroker, listener: Listener) -> DataKey:
    ref = None if listener.tls is None else listener.tls.secret_ref
    name = names.tls(broker.metadata.name, listener.name) if ref is None else ref.name
    return DataKey(DataKind.SECRET, broker.metadata.namespace, name)


def _resolve_redis(broker: MQTTBroker, redis: RedisStore, registry: Registry) -> tuple[RedisSecrets, StoreUsers]:
    """Raises MissingEntryError if an entry is not text."""
    namespace = broker.metadata.namespace

    def secret(ref: RedisCredentialsRef | None) -> Mapping[str, bytes]:
        found = None if ref is None else registry.data(DataKey(DataKind.SECRET, namespace, ref.name))
        return {} if found is None else found.data

    secrets = RedisSecrets(
        node=secret(redis.credentials_ref),
        operator=None if redis.operator_credentials_ref is None else secret(redis.operator_credentials_ref),
        sentinel=secret(redis.sentinel_credentials_ref),
        ca_pem="\n".join(_cas(namespace, redis, registry)),
    )
    operator_ref = redis.operator_credentials_ref or redis.credentials_ref
    users = StoreUsers(
        node=log_in(redis.credentials_ref, secrets.node)[0],
        operator=log_in(operator_ref, secret(operator_ref))[0],
        sentinel=log_in(redis.sentinel_credentials_ref, secrets.sentinel)[0],
    )
    return secrets, users


def _client_cas(broker: MQTTBroker, registry: Registry) -> dict[str, str]:
    """Certificates alone: whatever else stands in an entry is nobody's business."""
    found: dict[str, str] = {}
    for listener in broker.spec.listeners:
        entries = (
            content.data[ref.key]
            for ref in _client_ca_refs(listener)
            if (content := registry.data(DataKey(ref.kind, broker.metadata.namespace, ref.name))) is not None
        )
        if pems := dict.fromkeys(pem for entry in entries for pem in certificates_in(entry)):
            found[listener.name] = "".join(pems)
    return found


def _cas(namespace: str, redis: RedisStore, registry: Registry) -> Iterator[str]:
    for ref in (redis.tls.ca_refs if redis.tls is not None else None) or ():
        found = registry.data(DataKey(ref.kind, namespace, ref.name))
        if found is not None:
            yield found.data[ref.key].decode("utf-8", "replace")
