"""Certificates that we issue ourselves where nobody names one, and what is wrong with those that people bring.

Knows X.509 lifetimes, names and what fits what; does not know listeners, files or when it is asked. Time comes in.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=90)
# A third of the life is left: time enough to notice that renewal fails.
CA_RENEW_BEFORE = timedelta(days=365)
SERVER_RENEW_BEFORE = timedelta(days=30)
# Clocks of devices lag; a certificate that is not yet valid there is refused.
BACKDATE = timedelta(hours=1)
# The bound of X.520 for common names; longer broker names are cut, the CA is told apart by its key anyway.
COMMON_NAME_CHARACTERS_MAX = 64

E = TypeVar("E", bound=x509.ExtensionType)

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class KeyPair(Struct, frozen=True, kw_only=True):
    """PEM. `certificate` may be a chain, the server's own first."""

    certificate: bytes
    key: bytes


class CertificateFacts(Struct, frozen=True, kw_only=True):
    """What people are shown of a certificate. The fingerprint is SHA-256 in pairs of hex digits."""

    fingerprint: str
    not_after: datetime


def issue_ca(broker: str, now: datetime) -> KeyPair:
    """A new self-signed CA that may sign server and client certificates, and no further CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Stoa local CA {broker}"[:COMMON_NAME_CHARACTERS_MAX])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key, now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _key_pair(certificate, key)


def issue_server(ca: KeyPair, names: Sequence[str], now: datetime) -> KeyPair:
    """A server certificate for these DNS names and addresses, with a new key. `names` must not be empty."""
    ca_key = _load_key(ca.key)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the local CA's key is always an elliptic-curve key")
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:COMMON_NAME_CHARACTERS_MAX])])
    authority = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(subject, issuer.subject, key, now, SERVER_LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return _key_pair(certificate, key)


def why_new_ca(ca: KeyPair, now: datetime) -> str | None:
    """Why this CA must be replaced, or None."""
    if mistake := key_pair_mistake(ca):
        return mistake
    certificate = x509.load_pem_x509_certificate(ca.certificate)
    if now >= certificate.not_valid_after_utc - CA_RENEW_BEFORE:
        return f"it expires on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return None


def why_new_server(server: KeyPair, ca: KeyPair, names: Sequence[str], now: datetime) -> str | None:
    """Why this server certificate must be replaced, or None."""
    if mistake := key_pair_mistake(server):
        return mistake
    certificate = x509.load_pem_x509_certificate(server.certificate)
    if now >= certificate.not_valid_after_utc - SERVER_RENEW_BEFORE:
        return f"it expires on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if _names_of(certificate) != {_spelling(_general_name(name)) for name in names}:
        return "its names changed"
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.certificate))
    except (InvalidSignature, ValueError, TypeError):
        return "it was signed by another CA"
    return None


def key_pair_mistake(pair: KeyPair) -> str | None:
    """What is wrong with a certificate and its key, in words for a person, or None."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
    except ValueError:
        return "the certificate is not PEM"
    if wrong := key_mistake(pair.key):
        return wrong
    if _public_bytes(_load_key(pair.key).public_key()) != _public_bytes(certificate.public_key()):
        return "the certificate does not fit its key"
    return None


def key_mistake(pem: bytes) -> str | None:
    """What is wrong with a private key, in words for a person, or None."""
    try:
        _load_key(pem)
    except TypeError:
        return "the key is encrypted; give one without a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        return "the key is not a PEM private key"
    return None


def server_certificate_notes(pem: bytes, ca: bytes | None) -> list[str]:
    """Why clients may refuse a server certificate that fits its key; `ca` is what came along to verify it by."""
    certificate = x509.load_pem_x509_certificate(pem)
    notes = []
    names = _names_of(certificate)
    if "localhost" not in names and "127.0.0.1" not in names:
        named = ", ".join(sorted(names)) or "no host at all"
        notes.append(f"names {named}, so clients that connect to localhost refuse it")
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    if usage is None or not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {*usage}:
        notes.append("is not marked for servers (extendedKeyUsage serverAuth), so many clients refuse it")
    if ca is None and not is_ca(pem):
        notes.append("is no CA and comes without one (ca.crt): clients need the CA that signed it from elsewhere")
    return notes


def is_ca(pem: bytes) -> bool:
    """True if the first certificate may sign others, which makes it one to verify by."""
    constraints = _extension(x509.load_pem_x509_certificate(pem), x509.BasicConstraints)
    return constraints is not None and constraints.ca


def certificates_mistake(pem: bytes) -> str | None:
    """What is wrong with a PEM file of one or more CA certificates, or None."""
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError:
        return "holds no PEM certificate"
    return None


def certificates_in(pem: bytes) -> list[str]:
    """Each certificate of a PEM file, and nothing else that stands there. Raises ValueError if there is none."""
    found = x509.load_pem_x509_certificates(pem)
    return [each.public_bytes(serialization.Encoding.PEM).decode("ascii") for each in found]


def crl_mistake(pem: bytes) -> str | None:
    """What is wrong with a certificate revocation list in PEM, or None."""
    try:
        x509.load_pem_x509_crl(pem)
    except ValueError:
        return "is not a certificate revocation list in PEM"
    return None


def is_name(name: str) -> bool:
    """True if a certificate can carry it: a DNS name (`*.` in front is fine) or an IP address."""
    try:
        _general_name(name)
    except ValueError:
        return False
    return True


def facts(pem: bytes) -> CertificateFacts:
    """The first certificate of a PEM file. Raises ValueError if there is none."""
    certificate = x509.load_pem_x509_certificate(pem)
    return CertificateFacts(
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        not_after=certificate.not_valid_after_utc,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names_of(certificate: x509.Certificate) -> set[str]:
    return {_spelling(name) for name in _extension(certificate, x509.SubjectAlternativeName) or ()}


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _spelling(name: x509.GeneralName) -> str:
    return str(name.value)


def _load_key(pem: bytes) -> PrivateKeyTypes:
    return serialization.load_pem_private_key(pem, password=None)


def _key_pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def _public_bytes(key: object) -> bytes:
    encode = getattr(key, "public_bytes")  # noqa: B009  every public key has it; the union of types has no common base
    return encode(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]
