"""X509: the client certificate of a mutual TLS connection.

Knows how a certificate becomes a principal; does not know TLS: that it is trusted, valid and not revoked by a CRL was
checked in the handshake.

With `principals: RequireMQTTClient` the certificate must agree with a match that one MQTTClient declares. A user name
that merely equals a name in the certificate is not enough: whoever signs certificates would then choose among
principals that never meant to be reached by one. With `Open` the name that `username_from` points at is the user name;
where an MQTTClient of that name exists its record applies as well.
"""

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import Facts, Policy, Principal
from mqtt_broker.auth.certificates import CertificateIndex, Proof, agrees, is_revoked
from mqtt_broker.auth.mechanisms.answer import Answer, Attempt, NotMine, identity_of
from mqtt_broker.auth.principal import ClientCertificate, Identity, Refused
from mqtt_broker.wire.packets import Connect
from mqtt_broker.wire.reasons import ReasonCode

# `usernameFrom`: the certificate's field, and the field of a match that names the same thing.
USERNAME_FIELDS = {
    "CommonName": ("common_name", "commonName"),
    "SANDNS": ("san_dns", "sanDNS"),
    "SANURI": ("san_uri", "sanURI"),
    "SANEmail": ("san_email", "sanEmail"),
    "Subject": ("subject", "subject"),
}


class X509:
    """Everything a certificate cannot prove is refused with 0x87; without one the next mechanism is asked."""

    def __init__(self, settings: AuthenticationSettings) -> None:
        """Raises ValueError for a `username_from` or `principals` that does not exist, and without `client_ids`."""
        if settings.username_from not in USERNAME_FIELDS:
            raise ValueError(f"authentication {settings.name}: unknown username_from {settings.username_from!r}")
        if settings.principals not in ("RequireMQTTClient", "Open"):
            raise ValueError(f"authentication {settings.name}: unknown principals {settings.principals!r}")
        if not settings.client_ids:
            raise ValueError(f"authentication {settings.name}: client_ids is empty, nobody could connect")
        self._settings = settings
        self._index = CertificateIndex(Policy())

    async def authenticate(self, attempt: Attempt) -> Answer:
        policy, connect, certificate = attempt.policy, attempt.connect, attempt.peer.certificate
        if certificate is None:
            return NotMine("the client showed no certificate")
        self._index.follow(policy)
        proofs = self._index.proofs(certificate)
        revoked = _revoked(proofs, certificate)
        if revoked is not None:
            return revoked
        if self._settings.principals == "Open":
            username = self._extracted(certificate)
        else:
            username = self._declared(proofs, certificate)
        if isinstance(username, Refused):
            return username
        if connect.username is not None and connect.username != username:
            return _refused(f"the certificate is that of {username!r}, the user name in CONNECT is another")
        return self._accepted(policy.principals.get(username), username, connect, certificate)

    def _declared(self, proofs: list[Proof], certificate: ClientCertificate) -> str | Refused:
        """The one MQTTClient that declares this certificate."""
        usernames = sorted({proof.username for proof in proofs})
        if len(usernames) == 1:
            return usernames[0]
        if usernames:
            named = ", ".join(usernames)
            return _refused(f"several MQTTClients declare this certificate ({named}): make their matches differ")
        return _refused(f"no MQTTClient declares this certificate: add {self._suggestion(certificate)} to one")

    def _suggestion(self, certificate: ClientCertificate) -> str:
        field, key = USERNAME_FIELDS[self._settings.username_from]
        value = _sole(certificate, field)
        own = f"{key}: {value!r}" if value else f"subject: {certificate.subject!r}"
        return f"credentials.certificates [match: {{issuer: {certificate.issuer!r}, {own}}}]"

    def _extracted(self, certificate: ClientCertificate) -> str | Refused:
        """The name the certificate carries. Several of the asked kind are none: which one counts would be a guess."""
        field, _ = USERNAME_FIELDS[self._settings.username_from]
        return _sole(certificate, field) or _refused(
            f"the certificate does not carry exactly one {self._settings.username_from} to take the user name from"
        )

    def _accepted(
        self, principal: Principal | None, username: str, connect: Connect, certificate: ClientCertificate
    ) -> Identity | Refused:
        facts = Facts(
            client_id=connect.client_id,
            username=username,
            namespace=principal.namespace if principal else "",
            source=self._settings.name,
            attributes=principal.attributes if principal else {},
            certificate_cn=certificate.common_name,
            certificate_san_dns=_sole(certificate, "san_dns"),
        )
        if principal is None:
            return Identity(facts=facts, client_ids=self._settings.client_ids)
        if principal.suspended:
            return _refused("the MQTTClient is suspended")
        if principal.certificates and not any(agrees(match, certificate) for match in principal.certificates):
            return _refused(f"the MQTTClient {username!r} declares certificates, and this one is not among them")
        return identity_of(principal, facts)


def _revoked(proofs: list[Proof], certificate: ClientCertificate) -> Refused | None:
    """A serial number that any agreeing match revokes is revoked, whoever the certificate would prove."""
    for proof in proofs:
        try:
            if is_revoked(proof.match, certificate):
                return _refused(f"the MQTTClient {proof.username!r} revokes serial number {certificate.serial}")
        except ValueError as error:
            return _refused(f"the MQTTClient {proof.username!r} revokes something that is {error}")
    return None


def _sole(certificate: ClientCertificate, field: str) -> str:
    """The only value of a field, or nothing."""
    value: str | tuple[str, ...] = getattr(certificate, field)
    if isinstance(value, str):
        return value
    return value[0] if len(value) == 1 else ""


def _refused(detail: str) -> Refused:
    return Refused(ReasonCode.NOT_AUTHORIZED, detail)
