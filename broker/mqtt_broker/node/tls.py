"""TLS of one listener: a server context made from files, and made anew when their content changes.

Knows PEM files and OpenSSL's switches; does not know sockets, handshakes, when to look again, or whom a certificate
stands for.

Practice: TLS 1.3 first, TLS 1.2 only with ECDHE and an AEAD, nothing older. A CRL that is missing, expired or of
another issuer refuses the client: no answer means no.
"""

import hashlib
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from mqtt_api.node_facts import word_of_client_cas
from mqtt_api.node_settings import TLSSettings
from mqtt_broker.auth.principal import hex_serial

_LOG = logging.getLogger("mqtt_broker.tls")

MIN_VERSIONS = {"TLS1.2": ssl.TLSVersion.TLSv1_2, "TLS1.3": ssl.TLSVersion.TLSv1_3}
CLIENT_AUTH = {"None": ssl.CERT_NONE, "Optional": ssl.CERT_OPTIONAL, "Required": ssl.CERT_REQUIRED}

# TLS 1.2 (RFC 9325, 4.2): ephemeral keys and authenticated encryption only, 256 bits first. Security level 2 refuses
# RSA keys below 2,048 bits and SHA-1 signatures, whatever the system's own configuration says. The suites of TLS 1.3
# are all good, and OpenSSL's own order begins with TLS_AES_256_GCM_SHA384.
TLS12_SUITES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
_CIPHERS = ":".join((*TLS12_SUITES, "@SECLEVEL=2"))

Read = TypeVar("Read")


class TLSConfigError(ValueError):
    """The files or settings do not make a TLS listener. The message names the file and the next step."""


class ServedCertificate(Struct, frozen=True):
    """The server's own certificate. `serial` is lower-case hexadecimal, whole bytes; `not_after` is in UTC.

    `client_cas`: as in NodeFacts.
    """

    serial: str
    not_after: datetime
    client_cas: str


class ReloadableContext:
    """The newest good context of a listener.

    New handshakes take `current`; connections that live keep the one they were made with, and need nothing of it.
    """

    def __init__(self, tls: TLSSettings) -> None:
        """Raises TLSConfigError if the files do not make a context: there is none to fall back to yet."""
        self._tls = tls
        self._digest = _digest(tls)
        self._context = build_context(tls)
        self._served = _served(tls)
        self._report_validity()

    @property
    def current(self) -> ssl.SSLContext:
        return self._context

    @property
    def serial(self) -> str:
        return self._served.serial

    @property
    def not_after(self) -> datetime:
        return self._served.not_after

    @property
    def client_cas(self) -> str:
        return self._served.client_cas

    def reload(self) -> bool:
        """Look at the files again. True if their content changed and `current` is a new context made from it.

        Reads the files: run it in a thread, one call at a time. Raises TLSConfigError if the new content is no good,
        each time until it is mended; everything stays as it was then. A file that changes while it is read is seen by
        the next call. No session and no trust is carried into a new context.
        """
        digest = _digest(self._tls)
        if digest == self._digest:
            return False
        context = build_context(self._tls)
        served = _served(self._tls)
        self._digest, self._context, self._served = digest, context, served
        self._report_validity()
        return True

    def _report_validity(self) -> None:
        """An expired certificate is served all the same: clients that do not look go on, and the others see why."""
        if self._served.not_after <= datetime.now(UTC):
            _LOG.warning("%s expired on %s: renew it", self._tls.certificate_file, self._served.not_after.isoformat())


def build_context(tls: TLSSettings) -> ssl.SSLContext:
    """A server context. With `client_auth` None no client certificate is asked for, and CA and CRL files are not read.

    Raises TLSConfigError if a file cannot be read, is not what it should be, or does not fit the others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _choice(MIN_VERSIONS, tls.min_version, "min_version")
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["mqtt"])
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _no_tickets(context)
    _load_own(context, tls)
    client_auth = _choice(CLIENT_AUTH, tls.client_auth, "client_auth")
    if client_auth != ssl.CERT_NONE:
        _load_trust(context, tls)
    context.verify_mode = client_auth
    return context


def _no_tickets(context: ssl.SSLContext) -> None:
    """A ticket would carry yesterday's check of a client certificate into today, and one ticket key undoes the forward
    secrecy of every TLS 1.2 connection it served. MQTT connections are long: a full handshake each costs little.

    TLS 1.2 may still resume by session id within one context (Python cannot switch that off); a reload forgets those.
    """
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _load_own(context: ssl.SSLContext, tls: TLSSettings) -> None:
    chain = _certificates(tls.certificate_file)
    key = _parsed(tls.key_file, "a PEM private key without a passphrase", lambda pem: load_pem_private_key(pem, None))
    if key.public_key() != chain[0].public_key():
        raise TLSConfigError(
            f"{tls.key_file} is not the key of the first certificate in {tls.certificate_file}: "
            "put the pair that was issued together in both files, the server's own certificate first"
        )
    try:
        # An empty passphrase: OpenSSL must never stop to ask for one on the terminal.
        context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
    except (OSError, ValueError) as error:
        raise TLSConfigError(f"{tls.certificate_file} or {tls.key_file} is refused by OpenSSL: {error}") from error


def _load_trust(context: ssl.SSLContext, tls: TLSSettings) -> None:
    if not tls.client_ca_files:
        raise TLSConfigError(
            f"client_auth {tls.client_auth} (listener of {tls.certificate_file}) needs client_ca_files: "
            "name the CAs that sign client certificates"
        )
    for path in tls.client_ca_files:
        _certificates(path)
        _load_locations(context, path)
    for path in tls.crl_files:
        _only_crls(path)
        _load_locations(context, path)
    if tls.crl_files:
        # From here on a client certificate without a current CRL of its issuer is refused.
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _load_locations(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise TLSConfigError(f"{path} is refused by OpenSSL: {error}") from error


def _certificates(path: str) -> list[x509.Certificate]:
    return _parsed(path, "one or more PEM certificates", x509.load_pem_x509_certificates)


def _only_crls(path: str) -> None:
    """OpenSSL reads CRLs with the call that reads CAs: a certificate in this file would be trusted by mistake."""
    pem = _read(path)
    if b"CERTIFICATE-----" in pem:
        raise TLSConfigError(f"{path} holds a certificate: a CRL file holds nothing but CRLs")
    blocks = [b"-----BEGIN X509 CRL-----" + block for block in pem.split(b"-----BEGIN X509 CRL-----")[1:]]
    if not blocks:
        raise TLSConfigError(f"{path} holds no CRL in PEM form: convert a DER file with openssl crl -inform DER")
    for block in blocks:
        try:
            x509.load_pem_x509_crl(block)
        except ValueError as error:
            raise TLSConfigError(f"{path} holds a CRL that cannot be read: {error}") from error


def _parsed(path: str, what: str, parse: Callable[[bytes], Read]) -> Read:
    try:
        return parse(_read(path))
    except TLSConfigError:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: the key has a passphrase
        raise TLSConfigError(f"{path} is not {what}: {error}") from error


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TLSConfigError(
            f"{path} cannot be read ({error.strerror}): check that it exists and that the broker's user may read it"
        ) from error


def _choice(choices: dict[str, Read], name: str, field: str) -> Read:
    if name not in choices:
        raise TLSConfigError(f"{field} {name!r} is not one of {', '.join(choices)}")
    return choices[name]


def _served(tls: TLSSettings) -> ServedCertificate:
    own = _certificates(tls.certificate_file)[0]
    cas = () if tls.client_auth == "None" else tls.client_ca_files
    return ServedCertificate(
        serial=hex_serial(own.serial_number),
        not_after=own.not_valid_after_utc,
        client_cas=word_of_client_cas(map(_read, cas)) if cas else "",
    )


def _digest(tls: TLSSettings) -> bytes:
    """One hash over the content of every file: times and inodes change without content, and content without them."""
    content = hashlib.sha256()
    trust = () if tls.client_auth == "None" else (*tls.client_ca_files, *tls.crl_files)
    for path in (tls.certificate_file, tls.key_file, *trust):
        content.update(hashlib.sha256(_read(path)).digest())
    return content.digest()
