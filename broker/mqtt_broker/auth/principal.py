"""Who somebody is: the certificate a peer proved, where it came from, and the identity that authentication made of it.

Knows the fields of certificates that identities are made of; does not know chains, passwords, rights or sockets. That a
certificate is valid, trusted and not revoked by a CRL was checked by TLS before it comes here.
"""

import re

from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import Struct

from mqtt_api.policy import NO_LIMITS, ClientLimits, Facts, ScramVerifier
from mqtt_broker.wire.reasons import ReasonCode

_HEX = re.compile(r"[0-9a-f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

USERNAME_EXACTLY = ("${username}",)  # the client ids of a principal that names none
ANY_CLIENT_ID = ("*",)


class ClientCertificate(Struct, frozen=True, kw_only=True):
    """What a verified client certificate says. Names are RFC 4514 strings, `serial` is `normal_serial`'s form.

    `common_name` is empty if the subject has none, or more than one: programs disagree on which of several counts, so
    none does. The subject alternative names are complete, in the certificate's order.
    """

    subject: str
    common_name: str
    issuer: str
    serial: str
    san_dns: tuple[str, ...] = ()
    san_uri: tuple[str, ...] = ()
    san_email: tuple[str, ...] = ()


class Peer(Struct, frozen=True, kw_only=True):
    """The other end of a connection. `address` is for limits and logs, never proof of identity."""

    address: str
    listener: str
    certificate: ClientCertificate | None = None


class Identity(Struct, frozen=True, kw_only=True):
    """An authenticated client. Never a suspended one: those are refused.

    `client_ids` are the patterns of the client identifiers it may use, never empty. Authentication does not compare
    them with the one it asks for: `authorize.may_connect` does. `scram` is the verifier that its proof fitted, if any.
    """

    facts: Facts
    client_ids: tuple[str, ...]
    limits: ClientLimits = NO_LIMITS
    scram: ScramVerifier | None = None


class Refused(Struct, frozen=True):
    """No. `reason` is what the peer may be told; `detail` is for the log alone and says what to do about it."""

    reason: ReasonCode
    detail: str


def normal_serial(text: str) -> str:
    """A serial number in one form: lower-case hexadecimal, whole bytes, no colons, no leading zero bytes.

    "0A:1F", "a1f" and "0a1f" are the same number. Raises ValueError if it is not hexadecimal.
    """
    digits = text.strip().lower().replace(":", "")
    if _HEX.fullmatch(digits) is None:
        raise ValueError(f"not a hexadecimal serial number: {text!r}")
    return hex_serial(int(digits, 16))


def hex_serial(number: int) -> str:
    """`normal_serial`'s form of a number that is not negative."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big").hex()


def certificate_from_der(der: bytes) -> ClientCertificate:
    """Read a certificate that TLS has verified.

    Raises ValueError if it cannot be read, or if a name in it has a control character: what one program cuts off at
    U+0000 another reads whole. The caller closes the connection then.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = _alternative_names(certificate)
        read = ClientCertificate(
            subject=certificate.subject.rfc4514_string(),
            common_name=_common_name(certificate.subject),
            issuer=certificate.issuer.rfc4514_string(),
            serial=_positive_serial(certificate),
            san_dns=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
            san_uri=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
            san_email=tuple(names.get_values_for_type(x509.RFC822Name)) if names else (),
        )
        values = [*_values(certificate.subject), *_values(certificate.issuer)]
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(f"the certificate's extensions cannot be read: {error}") from error
    for value in (*values, *read.san_dns, *read.san_uri, *read.san_email):
        if _CONTROL.search(value):
            raise ValueError(f"a name in the certificate has a control character: {value!r}")
    return read


def _positive_serial(certificate: x509.Certificate) -> str:
    if certificate.serial_number <= 0:
        raise ValueError("the certificate's serial number is not positive (RFC 5280, 4.1.2.2)")
    return hex_serial(certificate.serial_number)


def _common_name(subject: x509.Name) -> str:
    values = [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    only = values[0] if len(values) == 1 else ""
    return only if isinstance(only, str) else ""


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _values(name: x509.Name) -> list[str]:
    """The values of a name as they stand; an escape such as RFC 4514's would hide what is looked for."""
    return [attribute.value for attribute in name if isinstance(attribute.value, str)]
