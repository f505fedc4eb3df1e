"""The certificates of one cluster: its authority, what its servers show and what its clients log in with.

Kubernetes takes a user's name from the common name and the groups from the organizations.
"""

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 30  # longer than any cluster here lives

_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs everything in one cluster. Made in `folder` the first time, read from there afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pair = self._paths("ca")
        folder.mkdir(parents=True, exist_ok=True)
        if not self.pair.certificate.exists():
            self._make_own()
        self._key = _load_key(self.pair.key)
        self._certificate = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())

    def client(self, user: str, groups: Sequence[str] = (), file: str = "") -> Pair:
        """What `user` logs in with."""
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(file or user.replace(":", "-"), _subject(user, groups), usage, [])

    def server(self, user: str, names: Iterable[str], groups: Sequence[str] = (), file: str = "") -> Pair:
        """What a server shows under these DNS names and addresses; it may log in as a client with it too."""
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(file or user, _subject(user, groups), usage, [_general_name(name) for name in names])

    def token_key(self) -> Path:
        """The key that tokens of service accounts are signed with; `token_check` is its public half."""
        path = self._paths("service-accounts").key
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            _write_key(path, key)
            public = serialization.PublicFormat.SubjectPublicKeyInfo
            self.token_check.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, public))
        return path

    @property
    def token_check(self) -> Path:
        return self.folder / "service-accounts.pub"

    def _issue(
        self, file: str, subject: x509.Name, usage: list[x509.ObjectIdentifier], names: list[x509.GeneralName]
    ) -> Pair:
        pair = self._paths(file)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(subject, self._certificate.subject, key.public_key())
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        _write_key(pair.key, key)
        _write_certificate(pair.certificate, builder.sign(self._key, hashes.SHA256()))
        return pair

    def _make_own(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject("kubernetes", ())
        builder = (
            _builder(subject, subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        _write_key(self.pair.key, key)
        _write_certificate(self.pair.certificate, builder.sign(key, hashes.SHA256()))

    def _paths(self, file: str) -> Pair:
        return Pair(self.folder / f"{file}.crt", self.folder / f"{file}.key")


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
    )


def _subject(user: str, groups: Sequence[str]) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, user)]
        + [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
