"""CertificatesReady: every node serves the newest certificate of every listener; and status.certificates. Pure."""

from collections import Counter
from datetime import datetime, timedelta

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.status.observation import CertificateSeen, Observation
from mqtt_operator.status.verdict import Problem, Verdict, fails, first_of, holds, write_time

KIND = ConditionType.CERTIFICATES_READY
EXPIRES_SOON = timedelta(days=21)
EXPIRES_SOON_PART = 6  # of its life, where that is shorter: whoever renews does so when a third is left


def certificates(seen: Observation) -> Verdict:
    if not any(listener.tls is not None for listener in seen.broker.spec.listeners):
        return holds(KIND, Reason.NO_TLS, "No listener has TLS.")
    problems = [problem for each in seen.certificates for problem in _problems(seen, each)]
    if problems:
        return fails(KIND, *first_of(sorted(problems, key=lambda problem: _URGENCY.index(problem.reason))))
    if not seen.certificates:
        return fails(KIND, Reason.CERTIFICATE_PENDING, "The certificates have not been looked at yet.")
    if not seen.nodes:
        return fails(KIND, Reason.NO_NODES, "The certificates are there, and no node to serve them yet.")
    return holds(KIND, Reason.ALL_SERVED, "All nodes serve the newest certificates.")


def awaits_nodes(seen: Observation) -> bool:
    """Some node has still to take up a certificate, or a list of CAs."""
    return seen.hears_nodes and any(
        (each.serial and _nodes_serving(seen, each) < len(seen.nodes)) or _nodes_verifying_otherwise(seen, each)
        for each in seen.certificates
    )


def certificate_fields(seen: Observation) -> list[Manifest]:
    """status.certificates: the one that expires first comes first. Where the newest cannot be used: the one served."""
    found = [each if each.serial else _served(seen, each) for each in seen.certificates]
    fields = [
        {
            "listener": each.listener,
            "serial": each.serial,
            "notAfter": write_time(each.not_after),
            "nodesServing": _nodes_serving(seen, each),
            "nodesTotal": len(seen.nodes),
        }
        for each in found
        if each.not_after is not None
    ]
    return sorted(fields, key=lambda field: (str(field["notAfter"]), str(field["listener"])))


def _served(seen: Observation, certificate: CertificateSeen) -> CertificateSeen:
    """The one that most nodes serve on that listener, if any does."""
    served = [found for facts in seen.told if (found := facts.certificates.get(certificate.listener)) is not None]
    if not served:
        return certificate
    ((most, _),) = Counter((each.serial, each.not_after) for each in served).most_common(1)
    return CertificateSeen(listener=certificate.listener, serial=most[0], not_after=datetime.fromisoformat(most[1]))


def is_expired(certificate: CertificateSeen, now: datetime) -> bool:
    """Clients refuse it."""
    return certificate.not_after is not None and now >= certificate.not_after


def expires_soon(certificate: CertificateSeen, now: datetime) -> bool:
    """It should have been renewed by now."""
    if certificate.not_after is None:
        return False
    return now >= certificate.not_after - min(EXPIRES_SOON, certificate.lifetime / EXPIRES_SOON_PART)


_URGENCY = (
    Reason.CERTIFICATE_EXPIRED,
    Reason.CERTIFICATE_INVALID,
    Reason.CERT_MANAGER_NOT_INSTALLED,
    Reason.ISSUANCE_FAILED,
    Reason.CERTIFICATE_PENDING,
    Reason.ISSUER_NOT_FOUND,
    Reason.ISSUER_NOT_READY,
    Reason.CERTIFICATE_EXPIRING,
    Reason.NODES_SERVE_ANOTHER,
)


def _problems(seen: Observation, certificate: CertificateSeen) -> list[Problem]:
    found = [] if certificate.problem is None else [certificate.problem]
    about = f"The certificate of listener {certificate.listener}"
    if is_expired(certificate, seen.now):
        return [*found, Problem(Reason.CERTIFICATE_EXPIRED, f"{about} expired on {_day(certificate)}: renew it.")]
    if expires_soon(certificate, seen.now):
        sentence = f"{about} expires on {_day(certificate)} and was not renewed."
        found.append(Problem(Reason.CERTIFICATE_EXPIRING, sentence))
    serving = _nodes_serving(seen, certificate)
    if certificate.serial and seen.hears_nodes and serving < len(seen.nodes):
        sentence = f"{serving} of {len(seen.nodes)} nodes serve serial {certificate.serial} on {certificate.listener}."
        found.append(Problem(Reason.NODES_SERVE_ANOTHER, sentence))
    if others := _nodes_verifying_otherwise(seen, certificate):
        count = f"{others} of {len(seen.nodes)}"
        sentence = f"{count} nodes verify clients on {certificate.listener} by other CAs than clientCARefs names now."
        found.append(Problem(Reason.NODES_SERVE_ANOTHER, sentence))
    return found


def _nodes_serving(seen: Observation, certificate: CertificateSeen) -> int:
    served = (facts.certificates.get(certificate.listener) for facts in seen.told)
    return sum(each is not None and each.serial == certificate.serial for each in served)


def _nodes_verifying_otherwise(seen: Observation, certificate: CertificateSeen) -> int:
    """Nodes of an older release do not tell."""
    told = (facts.certificates.get(certificate.listener) for facts in seen.told)
    words = {"", certificate.client_cas}
    return sum(each is not None and each.client_cas not in words for each in told) if certificate.client_cas else 0


def _day(certificate: CertificateSeen) -> str:
    return f"{certificate.not_after:%Y-%m-%d}"
