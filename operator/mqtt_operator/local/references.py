"""Whether the objects of a folder fit together: each reference names something that exists and is fit for its use.

Knows every reference of the three kinds; does not know how objects were read. Adds mistakes and notes, nothing else.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from typing import Any

from mqtt_api.keys import BROKER_KIND
from mqtt_api.kinds.common import BrokerRef, DataKind
from mqtt_api.kinds.common import DataRef as Ref
from mqtt_api.kinds.mqttbroker import ListenerTLS
from mqtt_api.kinds.mqttclient import PasswordSecretRef, PasswordSource
from mqtt_api.kinds.session_store import RedisCredentialsRef, RedisStore
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission
from mqtt_operator.credentials.argon2id import verifier_mistake
from mqtt_operator.credentials.certificates import (
    KeyPair,
    certificates_mistake,
    crl_mistake,
    key_pair_mistake,
    server_certificate_notes,
)
from mqtt_operator.credentials.scram import mechanisms_of, password_mistake, username_mistake
from mqtt_operator.errors import Mistake
from mqtt_operator.local.objects import Absence, DataKey, Entry, Objects
from mqtt_operator.local.subjects import check_subjects
from mqtt_operator.policy.attachment import claimed_usernames, is_attached, names_broker, why_not_attached

CERTIFICATE_KEY = "tls.crt"
PRIVATE_KEY_KEY = "tls.key"
CA_KEY = "ca.crt"
PASSWORD_KEY = "password"  # noqa: S105 - the name of an entry

Check = Callable[[bytes], str | None]


def check_references(objects: Objects, *, complete: bool) -> None:
    """Add what does not fit to `objects.mistakes`, and references to what is not there to `objects.absences`.

    `complete` false: some file could not be read, so what seems to be missing may be in it and is not reported. What is
    written down with a mistake of its own is not missing either.
    """
    checks = _Checks(objects, complete=complete)
    mistakes = [
        *checks.usernames(),
        *checks.generated_secrets(),
        *checks.passwords(),
        *checks.listeners(),
        *checks.stores(),
        *checks.broker_references(),
    ]
    objects.mistakes += mistakes
    if complete:
        check_subjects(objects)
        objects.notes += checks.clients_without_scram()


class _Checks:
    def __init__(self, objects: Objects, *, complete: bool) -> None:
        self._objects = objects
        self._complete = complete

    def broker_references(self) -> Iterator[Mistake]:
        for client in self._objects.clients:
            yield from self._broker_reference(client)
        for permission in self._objects.permissions:
            yield from self._broker_reference(permission)

    def _broker_reference(self, entry: Entry[MQTTClient] | Entry[TopicPermission]) -> Iterator[Mistake]:
        metadata, ref = entry.resource.metadata, entry.resource.spec.broker_ref
        named = [each.resource for each in self._objects.brokers if names_broker(each.resource, metadata, ref)]
        if not named:
            if self._complete and self._identity(entry, ref) not in self._objects.broken:
                yield from self._no_broker(entry, ref.namespace or metadata.namespace, ref.name)
            return
        refusal = why_not_attached(named[0], entry.resource, self._objects.namespaces)
        if refusal is not None and self._may_be_attached(named[0], entry.resource):
            message = f"needs a label on namespace {metadata.namespace}, as spec.attachments of the broker says"
            mistake = entry.document.mistake(refusal.field, f"{message}; declare that Namespace with it")
            self._objects.absences.append(Absence(mistake, entry.document.mistake(refusal.field, f"{message}.")))
        elif refusal is not None:
            yield entry.document.mistake(refusal.field, refusal.message)

    def _no_broker(
        self, entry: Entry[MQTTClient] | Entry[TopicPermission], namespace: str, name: str
    ) -> Iterator[Mistake]:
        """Where another one of that namespace is declared, it is a slip of the pen."""
        field = "spec.brokerRef.name"
        message = f"names MQTTBroker {namespace}/{name}, which no file declares{self._declared()}"
        if any(each.resource.metadata.namespace == namespace for each in self._objects.brokers):
            yield entry.document.mistake(field, message)
        else:
            self._objects.add_absence(entry.document, field, message)

    def _may_be_attached(self, broker: MQTTBroker, member: MQTTClient | TopicPermission) -> bool:
        """With labels that its namespace may have: no file says which it has."""
        namespace, known = member.metadata.namespace, self._objects.namespaces
        selectors = [each.namespaces.selector for each in broker.spec.attachments]
        asked = [each.match_labels for each in selectors if each is not None]
        return namespace not in known and any(
            is_attached(broker, member, {**known, namespace: labels}) for labels in asked
        )

    def _is_attached(self, broker: MQTTBroker, client: MQTTClient) -> bool:
        return is_attached(broker, client, self._objects.namespaces)

    @staticmethod
    def _identity(entry: Entry[MQTTClient] | Entry[TopicPermission], ref: BrokerRef) -> tuple[str, str, str]:
        return BROKER_KIND, ref.namespace or entry.resource.metadata.namespace, ref.name

    def _declared(self) -> str:
        names = ", ".join(sorted(each.resource.reference for each in self._objects.brokers))
        return f" (declared: {names})" if names else ""

    def usernames(self) -> Iterator[Mistake]:
        for broker in self._objects.brokers:
            entries = [each for each in self._objects.clients if self._is_attached(broker.resource, each.resource)]
            claims = claimed_usernames(each.resource for each in entries)
            for entry in entries:
                if len(claims[entry.resource.username]) > 1:
                    yield self._claimed_twice(entry, entries)

    @staticmethod
    def _claimed_twice(entry: Entry[MQTTClient], entries: list[Entry[MQTTClient]]) -> Mistake:
        username = entry.resource.username
        others = [each.place for each in entries if each is not entry and each.resource.username == username]
        field = "spec.username" if entry.resource.spec.username else "metadata.name"
        message = f"gives the user name {username!r}, which {', '.join(others)} claims too; each needs its own"
        return entry.document.mistake(field, message)

    def passwords(self) -> Iterator[Mistake]:
        for entry in self._objects.clients:
            for index, source in enumerate(entry.resource.spec.credentials.passwords):
                if source.secret_ref is not None:
                    field = f"spec.credentials.passwords[{index}].secretRef"
                    yield from self._password(entry, field, source.secret_ref)

    def _password(self, entry: Entry[MQTTClient], field: str, ref: PasswordSecretRef) -> Iterator[Mistake]:
        name, key = ("key", ref.key) if ref.key is not None else ("hashKey", ref.hash_key or "")
        secret = DataKey(DataKind.SECRET, entry.resource.metadata.namespace, ref.name)
        value = yield from self._value(entry, field, name, secret, key)
        if value is None:
            return
        if not value:
            yield entry.document.mistake(f"{field}.{name}", f"names an empty value: {_named(secret)}, key {key}")
        elif ref.key is None:
            wrong = verifier_mistake(value.decode("utf-8", "replace").strip())
            if wrong:
                yield entry.document.mistake(f"{field}.hashKey", f"names a value that {wrong}")
        elif value.endswith(b"\n"):
            what = f"the password in {_named(secret)}, key {key}, ends with a line break, which is part of it"
            self._objects.notes.append(f"{entry.place}: {what}.")

    def generated_secrets(self) -> Iterator[Mistake]:
        makers: defaultdict[DataKey, list[Entry[MQTTClient]]] = defaultdict(list)
        for entry in self._objects.clients:
            for index, source in enumerate(entry.resource.spec.credentials.passwords):
                if source.generate is None:
                    continue
                field = f"spec.credentials.passwords[{index}].generate.secretName"
                key = DataKey(DataKind.SECRET, entry.resource.metadata.namespace, source.generate.secret_name)
                makers[key].append(entry)
                if key in self._objects.data:
                    place = self._objects.data[key].place
                    message = f"names {_named(key)}, which is declared at {place} and never written; use secretRef"
                    yield entry.document.mistake(field, message)
                if len(makers[key]) > 1:
                    first = makers[key][0].place
                    message = f"names {_named(key)}, which {first} has made already; each password needs its own"
                    yield entry.document.mistake(field, message)

    def clients_without_scram(self) -> Iterator[str]:
        """What a client of a broker with SCRAM declares and cannot log in with that way."""
        scram = [each.resource for each in self._objects.brokers if mechanisms_of(each.resource)]
        for entry in self._objects.clients:
            if not any(self._is_attached(broker, entry.resource) for broker in scram):
                continue
            wrong = username_mistake(entry.resource.username)
            if wrong:
                yield f"{entry.place}: no log-in by SCRAM: the user name {wrong}."
            for index, source in enumerate(entry.resource.spec.credentials.passwords):
                wrong = self._without_scram(entry, source)
                if wrong:
                    yield f"{entry.place}: spec.credentials.passwords[{index}]: no log-in by SCRAM: {wrong}."

    def _without_scram(self, entry: Entry[MQTTClient], source: PasswordSource) -> str | None:
        ref = source.secret_ref
        if ref is None:
            return None
        if ref.key is None:
            return "a hash is not enough, it takes the password itself (key instead of hashKey)"
        secret = DataKey(DataKind.SECRET, entry.resource.metadata.namespace, ref.name)
        data = self._objects.data.get(secret)
        value = data.resource.data.get(ref.key) if data is not None else None
        wrong = password_mistake(value) if value else None
        return f"the password {wrong}" if wrong else None

    def listeners(self) -> Iterator[Mistake]:
        for entry in self._objects.brokers:
            for index, listener in enumerate(entry.resource.spec.listeners):
                if listener.tls is not None:
                    yield from self._tls(entry, f"spec.listeners[{index}].tls", listener.tls)

    def stores(self) -> Iterator[Mistake]:
        for entry in self._objects.brokers:
            redis = entry.resource.spec.session_store.redis
            if redis is not None:
                yield from self._redis(entry, "spec.sessionStore.redis", redis)

    def _redis(self, entry: Entry[MQTTBroker], field: str, redis: RedisStore) -> Iterator[Mistake]:
        for name, ref in redis.log_ins.items():
            yield from self._log_in(entry, f"{field}.{name}", ref)
        for index, ca in enumerate((redis.tls.ca_refs if redis.tls is not None else None) or ()):
            yield from self._pem(entry, f"{field}.tls.caRefs[{index}]", ca, certificates_mistake)

    def _log_in(self, entry: Entry[MQTTBroker], field: str, ref: RedisCredentialsRef) -> Iterator[Mistake]:
        secret = DataKey(DataKind.SECRET, entry.resource.metadata.namespace, ref.name)
        yield from self._value(entry, field, "passwordKey", secret, ref.password_key or PASSWORD_KEY)
        if ref.username_key is not None and secret in self._objects.data:
            yield from self._value(entry, field, "usernameKey", secret, ref.username_key)

    def _tls(self, entry: Entry[MQTTBroker], field: str, tls: ListenerTLS) -> Iterator[Mistake]:
        if tls.secret_ref is not None:
            yield from self._server_certificate(entry, f"{field}.secretRef", tls.secret_ref.name)
        for index, ref in enumerate(tls.client_ca_refs or ()):
            yield from self._pem(entry, f"{field}.clientCARefs[{index}]", ref, certificates_mistake)
        if tls.crl is not None:
            yield from self._pem(entry, f"{field}.crl.ref", tls.crl.ref, crl_mistake)

    def _server_certificate(self, entry: Entry[MQTTBroker], field: str, name: str) -> Iterator[Mistake]:
        secret = DataKey(DataKind.SECRET, entry.resource.metadata.namespace, name)
        certificate = yield from self._value(entry, field, None, secret, CERTIFICATE_KEY)
        key = yield from self._value(entry, field, None, secret, PRIVATE_KEY_KEY)
        if certificate is not None and key is not None:
            wrong = key_pair_mistake(KeyPair(certificate=certificate, key=key))
            if wrong:
                yield entry.document.mistake(f"{field}.name", f"names {_named(secret)}, where {wrong}")
                return
            ca = self._objects.data[secret].resource.data.get(CA_KEY)
            for note in server_certificate_notes(certificate, ca):
                message = f"names {_named(secret)}, whose certificate {note}."
                self._objects.notes.append(str(entry.document.mistake(f"{field}.name", message)))

    def _pem(self, entry: Entry[MQTTBroker], field: str, ref: Ref, check: Check) -> Iterator[Mistake]:
        key = DataKey(ref.kind, entry.resource.metadata.namespace, ref.name)
        value = yield from self._value(entry, field, "key", key, ref.key)
        wrong = None if value is None else check(value)
        if wrong:
            yield entry.document.mistake(f"{field}.key", f"names {_named(key)}, key {ref.key}, which {wrong}")

    def _value(
        self, entry: Entry[Any], field: str, key_field: str | None, data: DataKey, key: str
    ) -> Generator[Mistake, None, bytes | None]:
        """The value of `key` of a Secret or ConfigMap; None, after a mistake or an absence, if there is none.

        `field` names the reference; its `name` is at fault if the object is missing, `key_field` if the key is.
        """
        found = self._objects.data.get(data)
        if found is None:
            if self._complete and data not in self._objects.broken:
                self._objects.add_absence(
                    entry.document, f"{field}.name", f"names {_named(data)}, which no file declares"
                )
            return None
        if key not in found.resource.data and key not in found.resource.broken:
            at = f"{field}.{key_field or 'name'}"
            yield entry.document.mistake(at, f"names {_named(data)}, which has no key {key}")
        return found.resource.data.get(key)


def _named(key: DataKey) -> str:
    return f"{key.kind} {key.namespace}/{key.name}"
