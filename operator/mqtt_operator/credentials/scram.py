"""SCRAM verifiers of passwords: which a broker asks for, how one is made, and which passwords allow none.

Knows SASLprep and the cost of a verifier; does not know where passwords come from, or how verifiers are kept.
"""

from collections.abc import Iterable

from scramp import ScramException  # type: ignore[import-untyped]
from scramp import ScramMechanism as Method
from scramp.utils import saslprep  # type: ignore[import-untyped]

from mqtt_api.kinds.mqttbroker import Authentication, AuthenticationType
from mqtt_api.policy import ScramMechanism, ScramVerifier
from mqtt_api.resources import MQTTBroker
from mqtt_api.scram import ITERATIONS, salt_of


def mechanisms_of(broker: MQTTBroker) -> tuple[ScramMechanism, ...]:
    """Those that some chain of the broker offers, in a fixed order; none: no verifier is made."""
    offered = {mechanism for entry in _scram_entries(broker) for mechanism in entry.mechanisms}
    return tuple(mechanism for mechanism in ScramMechanism if mechanism in offered)


def make_verifier(salt_key: bytes, mechanism: ScramMechanism, username: str, password: bytes) -> ScramVerifier:
    """About 10 ms of one ordinary core; the interpreter's lock is free meanwhile.

    Raises ValueError for a password that `password_mistake` complains of.
    """
    mistake = password_mistake(password)
    if mistake:
        raise ValueError(f"the password {mistake}")
    salt = salt_of(salt_key, mechanism, username)
    _, stored_key, server_key, _ = Method(mechanism.value).make_auth_info(password.decode(), ITERATIONS, salt)
    return ScramVerifier(
        mechanism=mechanism, salt=salt, iterations=ITERATIONS, stored_key=stored_key, server_key=server_key
    )


def password_mistake(password: bytes) -> str | None:
    """Why SCRAM cannot prove this password, or None (RFC 5802, 2.2: it is prepared by RFC 4013)."""
    try:
        prepared = saslprep(password.decode())
    except UnicodeDecodeError:
        return "is not text in UTF-8"
    except ScramException:
        return "holds a character that SASLprep (RFC 4013) forbids, such as a line break"
    return None if prepared else "is empty after SASLprep (RFC 4013)"


def username_mistake(username: str) -> str | None:
    """Why nobody can log in by SCRAM under this user name, or None."""
    try:
        unchanged = saslprep(username) == username
    except ScramException:
        unchanged = False
    return None if unchanged else "is not what SASLprep (RFC 4013) makes of it, so no client can name it"


def _scram_entries(broker: MQTTBroker) -> Iterable[Authentication]:
    chains = [broker.spec.authentication, *(listener.authentication for listener in broker.spec.listeners)]
    return (entry for chain in chains for entry in chain or () if entry.type is AuthenticationType.SCRAM)
