"""The newest certificate of each listener with TLS, and why it cannot be used.

Knows where certificates lie and what cert-manager says of them; does not know what nodes serve.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from cryptography import x509
from msgspec import Struct
from msgspec.structs import replace

from mqtt_api.conditions import Reason
from mqtt_api.kinds.certificates import CERT_MANAGER_GROUP, IssuerRef
from mqtt_api.kinds.mqttbroker import Listener, ListenerTLS
from mqtt_api.node_facts import word_of_client_cas
from mqtt_api.resources import MQTTBroker
from mqtt_operator.credentials.certificates import KeyPair, key_pair_mistake
from mqtt_operator.desired import kinds, names
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import ForbiddenError, Kube
from mqtt_operator.reconcile.observe import Found
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.reconcile.resolving import server_key_pair
from mqtt_operator.status.observation import CertificateSeen
from mqtt_operator.status.verdict import Problem

_ISSUERS: Mapping[str, Kind] = {"Issuer": kinds.ISSUER, "ClusterIssuer": kinds.CLUSTER_ISSUER}
_NOT_INSTALLED = Problem(
    Reason.CERT_MANAGER_NOT_INSTALLED, "issuerRef needs cert-manager: install that, or name secretRef instead."
)


class CertificatesView(Struct, frozen=True, kw_only=True):
    """`issuers`: what is wrong with those that a first certificate is to come from.

    `renewing`: and with those that only have to renew one, so that nodes go on meanwhile.
    """

    seen: tuple[CertificateSeen, ...] = ()
    issuers: tuple[Problem, ...] = ()
    renewing: tuple[Problem, ...] = ()

    @property
    def pending(self) -> tuple[Problem, ...]:
        """Of those that are not there at all: a pod that mounts one would hang."""
        return tuple(each.problem for each in self.seen if each.problem is not None and not each.serial)


def source_problem(broker: MQTTBroker) -> Problem | None:
    """A listener whose certificate would come from nowhere; None: there is none such."""
    lacking = [
        listener.name
        for listener in broker.spec.listeners
        if listener.tls is not None and listener.tls.issuer_ref is None and listener.tls.secret_ref is None
    ]
    if not lacking:
        return None
    sentence = f"Listener {', '.join(lacking)} has TLS and no certificate: name issuerRef or secretRef in its tls."
    return Problem(Reason.NO_CERTIFICATE_SOURCE, sentence)


async def view_certificates(
    kube: Kube, broker: MQTTBroker, registry: Registry, found: Found, client_cas: Mapping[str, str]
) -> CertificatesView:
    """`client_cas`: by listener, PEM. Raises UnseenError while nobody knows which Secrets there are; KubeError."""
    words = {listener: word_of_client_cas([pem.encode()]) for listener, pem in client_cas.items()}
    seen = tuple(
        replace(_see(broker, listener, listener.tls, registry, found), client_cas=words.get(listener.name, ""))
        for listener in _with_tls(broker)
    )
    refs = _issuers(broker)
    doubted = [refs[each.listener] for each in seen if each.listener in refs and _is_doubted(broker, each, found)]
    wrong = await _wrong(kube, broker, doubted, found)
    problems = {listener: wrong[ref] for listener, ref in refs.items() if ref in wrong}
    lacking = [problems[each.listener] for each in seen if each.listener in problems and not each.serial]
    return CertificatesView(
        seen=tuple(_with_issuer(each, problems.get(each.listener)) for each in seen),
        issuers=tuple(dict.fromkeys(lacking)),
        renewing=tuple(dict.fromkeys(problem for problem in problems.values() if problem not in lacking)),
    )


async def view_issuers(kube: Kube, broker: MQTTBroker, found: Found) -> Mapping[IssuerRef, Problem]:
    """What is wrong with the issuers of listeners. Nobody tells when one goes away. Raises KubeError."""
    return await _wrong(kube, broker, _issuers(broker).values(), found)


def _with_tls(broker: MQTTBroker) -> list[Listener]:
    return [listener for listener in broker.spec.listeners if listener.tls is not None]


def _issuers(broker: MQTTBroker) -> dict[str, IssuerRef]:
    """By listener."""
    return {
        listener.name: listener.tls.issuer_ref
        for listener in broker.spec.listeners
        if listener.tls is not None and listener.tls.issuer_ref is not None
    }


def _is_doubted(broker: MQTTBroker, certificate: CertificateSeen, found: Found) -> bool:
    """The issuer has something to do, or there was something wrong with it when all was looked at."""
    asked = found.child(kinds.CERTIFICATE, names.tls(broker.metadata.name, certificate.listener))
    has_work = asked is not None and (
        _condition(asked, "Ready").get("status") == "False" or _condition(asked, "Issuing").get("status") == "True"
    )
    return not certificate.serial or has_work or _issuers(broker)[certificate.listener] in found.issuers


def _condition(document: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """What cert-manager says there of a certificate or an issuer; empty if it has not said anything yet."""
    conditions = document.get("status", {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == kind), {})


def _with_issuer(certificate: CertificateSeen, wrong: Problem | None) -> CertificateSeen:
    """What nodes serve will end without another one to follow."""
    if wrong is None or not certificate.serial:
        return certificate
    sentence = (
        f"The certificate of listener {certificate.listener}, which nodes go on with until "
        f"{certificate.not_after:%Y-%m-%d}, cannot be renewed: make its issuer ready, or correct issuerRef. "
        f"{wrong.sentence}"
    )
    return replace(certificate, problem=Problem(wrong.reason, sentence))


def _see(
    broker: MQTTBroker, listener: Listener, tls: ListenerTLS | None, registry: Registry, found: Found
) -> CertificateSeen:
    pair = server_key_pair(broker, listener, registry)
    issued = tls is not None and tls.issuer_ref is not None
    certificate = found.child(kinds.CERTIFICATE, names.tls(broker.metadata.name, listener.name)) if issued else None
    failure = None if certificate is None else _failure(listener, certificate)
    if pair is None:
        return CertificateSeen(listener=listener.name, problem=failure or _pending(listener, found, issued=issued))
    mistake = key_pair_mistake(pair)
    if mistake is not None:
        sentence = f"Of listener {listener.name} {mistake}; nodes go on with the certificate they have."
        return CertificateSeen(listener=listener.name, problem=Problem(Reason.CERTIFICATE_INVALID, sentence))
    return _facts(listener, pair, failure or (None if certificate is None else _unserved(listener, certificate)))


def _facts(listener: Listener, pair: KeyPair, problem: Problem | None) -> CertificateSeen:
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    serial = certificate.serial_number
    return CertificateSeen(
        listener=listener.name,
        serial=serial.to_bytes(max(1, (serial.bit_length() + 7) // 8), "big").hex(),
        not_after=certificate.not_valid_after_utc,
        lifetime=certificate.not_valid_after_utc - certificate.not_valid_before_utc,
        problem=problem,
    )


def _pending(listener: Listener, found: Found, *, issued: bool) -> Problem:
    if issued and kinds.CERTIFICATE not in found.served:
        sentence = f"The certificate of listener {listener.name} comes from cert-manager: install that."
        return Problem(Reason.CERT_MANAGER_NOT_INSTALLED, sentence)
    return Problem(Reason.CERTIFICATE_PENDING, f"The certificate of listener {listener.name} is not there yet.")


def _failure(listener: Listener, certificate: Manifest) -> Problem | None:
    """cert-manager tries again by itself, an hour later and then less and less often."""
    condition = _condition(certificate, "Issuing")
    if condition.get("status") != "False" or condition.get("reason") != "Failed":
        return None
    sentence = f"cert-manager cannot issue the certificate of listener {listener.name}: {condition['message']}"
    return Problem(Reason.ISSUANCE_FAILED, sentence)


def _unserved(listener: Listener, certificate: Manifest) -> Problem | None:
    """There is one, which is not the one that is asked for now."""
    condition = _condition(certificate, "Ready")
    if condition.get("status") != "False":
        return None
    sentence = (
        f"Nodes go on with another certificate than listener {listener.name} asks for, until cert-manager has issued "
        f"it; if this stays, look at the events of Certificate {certificate['metadata']['name']}: "
        f"{condition.get('message', '')}"
    )
    return Problem(Reason.NODES_SERVE_ANOTHER, sentence)


async def _wrong(kube: Kube, broker: MQTTBroker, refs: Iterable[IssuerRef], found: Found) -> dict[IssuerRef, Problem]:
    """Each is asked for once."""
    if kinds.CERTIFICATE not in found.served:
        return dict.fromkeys(refs, _NOT_INSTALLED)
    problems = {ref: await _issuer_problem(kube, broker.metadata.namespace, ref) for ref in sorted(set(refs), key=str)}
    return {ref: problem for ref, problem in problems.items() if problem is not None}


async def _issuer_problem(kube: Kube, namespace: str, ref: IssuerRef) -> Problem | None:
    """None also where nobody lets us look, or where the issuer is of a kind that others made."""
    kind = _ISSUERS.get(ref.kind) if ref.group == CERT_MANAGER_GROUP else None
    if kind is None:
        return None
    try:
        issuer = await kube.get(kind, namespace if kind.namespaced else "", ref.name)
    except ForbiddenError:
        return None
    if issuer is None:
        return Problem(Reason.ISSUER_NOT_FOUND, f"There is no {ref.kind} {ref.name}: it is waited for.")
    ready = _condition(issuer, "Ready")
    if ready.get("status", "True") == "True":
        return None
    return Problem(Reason.ISSUER_NOT_READY, f"{ref.kind} {ref.name} is not ready: {ready.get('message', '')}")
