"""One MQTTClient looked at: whether it takes part, what proves it, and what has to be made for it.

Knows every source of a credential, and reads them from the registry; does not know hashing, how a request is made, or
what the policy becomes. Whatever is wrong with one source concerns this client alone, and leaves its other ones as they
are. Passwords are in what it returns, and in no representation of it.
"""

import secrets
from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import Struct

from mqtt_api.conditions import Reason
from mqtt_api.kinds.common import DataKind
from mqtt_api.kinds.mqttclient import CertificateCredential, GeneratedPassword, PasswordSecretRef
from mqtt_api.policy import CertificateMatch
from mqtt_api.resources import MQTTClient
from mqtt_operator.credentials.argon2id import verifier_mistake
from mqtt_operator.credentials.rotation import Schedule, due_at, step
from mqtt_operator.desired import names
from mqtt_operator.desired.certificates import client_certificate
from mqtt_operator.desired.labels import MANAGED_BY, MANAGED_BY_LABEL
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.policy.attachment import Refusal, why_not_attached
from mqtt_operator.reconcile.events import Said
from mqtt_operator.reconcile.issued_secrets import ownership
from mqtt_operator.reconcile.keys import DataKey
from mqtt_operator.reconcile.member_events import certificate_news, password_news
from mqtt_operator.reconcile.policy_binding import binding_manifest, generated_of, is_ours, is_so
from mqtt_operator.reconcile.policy_frame import Frame
from mqtt_operator.reconcile.registry import Registry, UnseenError
from mqtt_operator.reconcile.seen import DataObject
from mqtt_operator.status.verdict import Problem

PASSWORD_BYTES = 32

IsAccepted = Callable[[bytes], bool | None]
"""Whether nodes accept this password of the client; None: not all of them, or nobody knows yet."""


class Wish(Struct, frozen=True, kw_only=True):
    """An object that should be so.

    `version`: of the one it replaces; "" = there must be none yet, None = it does not matter. `news`: what people are
    told when it was written. `is_ownership`: it is a Secret of cert-manager's, which gets an owner and nothing else.
    """

    manifest: Manifest
    version: str | None = None
    is_ownership: bool = False
    news: Said | None = None

    def __repr__(self) -> str:
        metadata = self.manifest["metadata"]
        return f"Wish({self.manifest['kind']} {metadata['namespace']}/{metadata['name']})"


class Examined(Struct, frozen=True, kw_only=True):
    """`passwords` are to be hashed, `brought` are hashes already, `issued` certificates that cert-manager made.

    `expired` were passwords until now, and were replaced in time; `rotates`: some of this client's are.

    `refusal`: why the client takes no part. `problems`: what it refers to and cannot be used. `reads`: the Secrets it
    depends on. `wishes`: what has to be made or changed. `due_at`: when a password has to be looked at again.
    `is_unseen`: nobody knows some of its Secrets now, so what was known before has to do. `awaits_nodes`: a new
    password waits until every node knows it, or an old one until none does. `binding`: the Secret that was made for it.
    """

    refusal: Refusal | None = None
    passwords: tuple[bytes, ...] = ()
    expired: tuple[bytes, ...] = ()
    rotates: bool = False
    brought: tuple[str, ...] = ()
    issued: tuple[CertificateMatch, ...] = ()
    problems: tuple[Problem, ...] = ()
    reads: frozenset[DataKey] = frozenset()
    wishes: tuple[Wish, ...] = ()
    due_at: datetime | None = None
    is_unseen: bool = False
    awaits_nodes: bool = False
    binding: str = ""

    def __repr__(self) -> str:
        return f"Examined(problems={self.problems!r}, wishes={self.wishes!r})"


def examine(client: MQTTClient, frame: Frame, registry: Registry, now: datetime, is_accepted: IsAccepted) -> Examined:
    """Never raises for what people wrote, or did not."""
    refusal = why_not_attached(frame.broker, client, frame.namespaces)
    if refusal is not None:
        return Examined(refusal=refusal)
    return _Examination(client, frame, registry, now, is_accepted).result()


class _Examination:
    """Gathers as it goes from source to source."""

    def __init__(
        self, client: MQTTClient, frame: Frame, registry: Registry, now: datetime, is_accepted: IsAccepted
    ) -> None:
        self._client = client
        self._frame = frame
        self._registry = registry
        self._now = now
        self._is_accepted = is_accepted
        self._passwords: list[bytes] = []
        self._expired: list[bytes] = []
        self._rotates = False
        self._brought: list[str] = []
        self._issued: list[CertificateMatch] = []
        self._problems: list[Problem] = []
        self._reads: set[DataKey] = set()
        self._wishes: list[Wish] = []
        self._moments: list[datetime] = []
        self._bindings: list[str] = []
        self._is_unseen = False
        self._awaits_nodes = False

    def result(self) -> Examined:
        credentials = self._client.spec.credentials
        for index, source in enumerate(credentials.passwords):
            field = f"spec.credentials.passwords[{index}]"
            if source.secret_ref is not None:
                self._brought_password(f"{field}.secretRef", source.secret_ref)
            elif source.generate is not None:
                self._generated_password(f"{field}.generate", source.generate)
        for index, credential in enumerate(credentials.certificates):
            if credential.issuer_ref is not None:
                self._issued_certificate(f"spec.credentials.certificates[{index}]", credential)
        return Examined(
            passwords=tuple(self._passwords),
            expired=tuple(self._expired),
            rotates=self._rotates,
            brought=tuple(self._brought),
            issued=tuple(self._issued),
            problems=tuple(self._problems),
            reads=frozenset(self._reads),
            wishes=tuple(self._wishes),
            due_at=min(self._moments, default=None),
            is_unseen=self._is_unseen,
            awaits_nodes=self._awaits_nodes,
            binding=self._bindings[0] if self._bindings else "",
        )

    # Passwords that people bring

    def _brought_password(self, field: str, ref: PasswordSecretRef) -> None:
        entry = ref.key if ref.key is not None else ref.hash_key or ""
        key = self._key(ref.name)
        found = self._read(key)
        if found is None:
            self._missing(field, key)
            return
        value = found.data.get(entry)
        if value is None:
            self._problem(Reason.KEY_NOT_FOUND, f"{field} names {key}, which has no entry {entry}.")
        elif not value:
            self._problem(Reason.INVALID_CONTENT, f"{field} names {key}, entry {entry}, which is empty.")
        elif ref.key is not None:
            self._passwords.append(value)
        else:
            self._brought_hash(field, key, entry, value.decode("utf-8", "replace").strip())

    def _brought_hash(self, field: str, key: DataKey, entry: str, verifier: str) -> None:
        wrong = verifier_mistake(verifier)
        if wrong is None:
            self._brought.append(verifier)
        else:
            self._problem(Reason.INVALID_CONTENT, f"{field} names {key}, entry {entry}, which {wrong}.")

    # Passwords that are made up

    def _generated_password(self, field: str, generate: GeneratedPassword) -> None:
        key = self._key(generate.secret_name)
        found = self._read(key)
        if found is None and self._is_unseen:
            return
        if found is not None and not is_ours(found, self._client):
            sentence = f"{field} names {key}, which exists and was not made for this client: choose another secretName."
            self._problem(Reason.SECRET_NOT_OURS, sentence)
            return
        known = None if found is None else generated_of(found, self._now)
        if known is None:
            self._problem(Reason.PENDING, f"{key} is being made.")
        else:
            self._bindings.append(generate.secret_name)
            self._expired += known.expired_at(self._now)
            self._passwords += (each for each in known.good if each not in self._expired)
        self._rotates = self._rotates or generate.every is not None
        schedule = Schedule(
            every_s=None if generate.every is None else generate.every.seconds,
            overlap_s=None if generate.overlap is None else generate.overlap.seconds,
        )
        staged = None if known is None else known.staged
        expired = () if known is None else known.expired_at(self._now)
        self._awaits_nodes = self._awaits_nodes or staged is not None or bool(expired)
        wanted = step(
            known,
            schedule,
            self._now,
            _new_password,
            is_staged_everywhere=staged is not None and self._is_accepted(staged) is True,
            is_former_nowhere=all(self._is_accepted(each) is False for each in expired),
        )
        moment = due_at(wanted, schedule)
        if moment is not None and not wanted.expired_at(self._now):
            self._moments.append(moment)
        manifest = binding_manifest(self._client, generate.secret_name, wanted, self._frame.endpoint)
        if found is None or not is_so(found, manifest):
            version, news = "" if found is None else found.resource_version, password_news(key, known, wanted)
            self._wishes.append(Wish(manifest=manifest, version=version, news=news))

    # Certificates that cert-manager issues

    def _issued_certificate(self, field: str, credential: CertificateCredential) -> None:
        key = self._key(credential.secret_name or "")
        found = self._read(key)
        if found is None and self._is_unseen:
            return
        if found is not None and found.labels.get(MANAGED_BY_LABEL) != MANAGED_BY:
            sentence = f"{field} names {key}, which exists and was not made for this client: choose another secretName."
            self._problem(Reason.SECRET_NOT_OURS, sentence)
            return
        manifest = client_certificate(self._client, credential)
        self._wishes.append(Wish(manifest=manifest, news=certificate_news(key)))
        match = None if found is None else self._match(found, credential)
        if found is None or match is None:
            self._problem(Reason.CERTIFICATE_PENDING, f"{field}: the certificate in {key} is not issued yet.")
            return
        self._issued.append(match)
        if self._client.metadata.uid not in found.owners:
            manifest = ownership(self._client, key.namespace, key.name, found.uid)
            self._wishes.append(Wish(manifest=manifest, is_ownership=True))

    def _match(self, found: DataObject, credential: CertificateCredential) -> CertificateMatch | None:
        """Issuer and common name as they stand in the certificate; None if it is not one for this client."""
        try:
            certificate = x509.load_pem_x509_certificate(found.data[names.CERTIFICATE_KEY])
        except (KeyError, ValueError):
            return None
        common_names = [each.value for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if common_names != [self._client.username]:
            return None
        return CertificateMatch(
            issuer=certificate.issuer.rfc4514_string(),
            common_name=self._client.username,
            revoked_serials=tuple(sorted(credential.revoked_serials)),
        )

    # Reading

    def _key(self, name: str) -> DataKey:
        return DataKey(DataKind.SECRET, self._client.metadata.namespace, name)

    def _read(self, key: DataKey) -> DataObject | None:
        self._reads.add(key)
        try:
            return self._registry.data(key)
        except UnseenError as problem:
            self._is_unseen = True
            self._problem(Reason.PENDING, problem.what)
            return None

    def _missing(self, field: str, key: DataKey) -> None:
        if not self._is_unseen:
            self._problem(Reason.SECRET_NOT_FOUND, f"{field} names {key}, which does not exist: it is waited for.")

    def _problem(self, reason: Reason, sentence: str) -> None:
        self._problems.append(Problem(reason, sentence))


def _new_password() -> bytes:
    return secrets.token_urlsafe(PASSWORD_BYTES).encode()
