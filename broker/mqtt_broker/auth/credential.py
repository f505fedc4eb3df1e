"""Whether what a client showed when it connected would still prove its principal: the question of every policy change.

Knows verifiers and certificates; does not know connections or who asks. Nothing is hashed here.
"""

from msgspec import Struct

from mqtt_api.policy import Principal, ScramVerifier
from mqtt_broker.auth.certificates import agrees, is_revoked
from mqtt_broker.auth.principal import ClientCertificate


class Credential(Struct, frozen=True, kw_only=True):
    """What proved a connection. `verifiers`: those of its principal when the password fitted one of them; `scram`: the
    one that a SCRAM proof fitted.

    `had_object`: an MQTTClient stood behind it; its absence later means that it was deleted. `was_declared`: the
    principal declared certificates then, so that one which no match agrees with any more proves nothing.
    """

    had_object: bool
    was_declared: bool = False
    verifiers: tuple[str, ...] = ()
    scram: ScramVerifier | None = None
    certificate: ClientCertificate | None = None


def still_proves(credential: Credential, principal: Principal) -> bool:
    """False if the verifiers are gone, the certificate is no longer declared, or its serial number is revoked.

    Of a password's verifiers one is enough, as nobody noted which of them fitted; of a SCRAM proof it is that one. A
    password that was replaced in time is no reason to send anybody away.

    An entry that is no serial number revokes: nobody can say then what it was meant for.
    """
    if credential.scram is not None:
        return credential.scram in (*principal.scram, *principal.retired)
    if credential.verifiers:
        return not set(credential.verifiers).isdisjoint((*principal.passwords, *principal.retired))
    certificate = credential.certificate
    if certificate is None or not (credential.was_declared or principal.certificates):
        return True
    fitting = [match for match in principal.certificates if agrees(match, certificate)]
    try:
        return bool(fitting) and not any(is_revoked(match, certificate) for match in fitting)
    except ValueError:
        return False
