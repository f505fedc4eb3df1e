"""Which principal a client certificate proves: the policy's certificate matches, found without a search through all.

Knows matches and certificates; does not know chains, names taken from certificates, or what a principal may do.
"""

from msgspec import Struct

from mqtt_api.policy import CertificateMatch, Policy, Principal
from mqtt_broker.auth.principal import ClientCertificate, normal_serial

# A match is filed under the first of these that it sets: the most telling first, so that the drawers stay small.
_FIELDS = ("common_name", "san_dns", "san_uri", "san_email", "subject", "issuer")


class Proof(Struct, frozen=True):
    """One match that agrees with a certificate, and the user name of the principal that declares it."""

    username: str
    match: CertificateMatch


class CertificateIndex:
    """The certificate matches of one policy, and of the next: what did not change stays filed."""

    def __init__(self, policy: Policy) -> None:
        self._drawers: dict[tuple[str, str], list[Proof]] = {}
        self._policy = Policy()
        self.follow(policy)

    def follow(self, policy: Policy) -> None:
        """From now on it answers for this policy. Principals that are the same objects as before cost nothing."""
        before, now = self._policy.principals, policy.principals
        if before is now:
            return
        self._policy = policy
        for username in before.keys() - now.keys():
            self._unfile(before[username])
        for username, principal in now.items():
            known = before.get(username)
            if known is not principal:
                if known is not None:
                    self._unfile(known)
                for match in principal.certificates:
                    self._file(Proof(username, match))

    def proofs(self, certificate: ClientCertificate) -> list[Proof]:
        """Every match that agrees, whatever serials it revokes."""
        return [
            proof
            for field in _FIELDS
            for value in _values(certificate, field)
            for proof in self._drawers.get((field, value), ())
            if agrees(proof.match, certificate)
        ]

    def _file(self, proof: Proof) -> None:
        drawer = _drawer(proof.match)
        if drawer is not None:
            self._drawers.setdefault(drawer, []).append(proof)

    def _unfile(self, principal: Principal) -> None:
        for match in principal.certificates:
            drawer = _drawer(match)
            if drawer is not None:
                self._drawers[drawer].remove(Proof(principal.username, match))
                if not self._drawers[drawer]:
                    del self._drawers[drawer]


def _drawer(match: CertificateMatch) -> tuple[str, str] | None:
    """None: a match that sets nothing proves nothing; it must not be read as "any certificate"."""
    return next(((field, wanted) for field in _FIELDS if (wanted := getattr(match, field)) is not None), None)


def agrees(match: CertificateMatch, certificate: ClientCertificate) -> bool:
    """True if every field the match sets equals the certificate's (one of them, for alternative names).

    A match that sets no field, or an empty one, agrees with nothing.
    """
    wanted = {field: value for field in _FIELDS if (value := getattr(match, field)) is not None}
    return bool(wanted) and all(value and value in _values(certificate, field) for field, value in wanted.items())


def is_revoked(match: CertificateMatch, certificate: ClientCertificate) -> bool:
    """True if the match lists the certificate's serial number.

    Raises ValueError if an entry is no serial number: nobody can say then what it was meant to revoke.
    """
    return certificate.serial in {normal_serial(serial) for serial in match.revoked_serials}


def _values(certificate: ClientCertificate, field: str) -> tuple[str, ...]:
    value: str | tuple[str, ...] = getattr(certificate, field)
    return (value,) if isinstance(value, str) else value
