"""build_context: what a client and a server agree on, who is let in, and what a mistake in the files says.

Both ends shake hands in memory: no sockets.
"""

import datetime as dt
import ssl
import warnings
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from mqtt_api.node_settings import TLSSettings
from mqtt_broker.auth.principal import certificate_from_der
from mqtt_broker.node.tls import TLS12_SUITES, TLSConfigError, build_context
from support.certificates import Authority, Issued, trusting
from support.handshake import shake_hands

SERVER_NAME = "localhost"


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def tls(ca: Authority) -> TLSSettings:
    server = ca.server()
    return TLSSettings(certificate_file=str(server.certificate_file), key_file=str(server.key_file))


def mutual(tls: TLSSettings, ca: Authority, client_auth: str = "Required", *crls: Path) -> TLSSettings:
    return replace(
        tls, client_auth=client_auth, client_ca_files=(str(ca.ca_file),), crl_files=tuple(str(crl) for crl in crls)
    )


def old_client(ca: Authority, version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """A client as it should not be any more; only this test asks OpenSSL for such a thing."""
    context = trusting(ca.ca_file)
    context.set_ciphers(ciphers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    return context


# Versions and suites -------------------------------------------------------------------------------------------------


def test_tls_1_3_with_aes_256_is_what_a_modern_client_gets(tls: TLSSettings, ca: Authority) -> None:
    """Pillar C3, also for a client that would rather have another suite of TLS 1.3."""
    end = shake_hands(build_context(tls), trusting(ca.ca_file)).server
    assert end.version() == "TLSv1.3"
    cipher = end.cipher()
    assert cipher is not None
    assert cipher[0] == "TLS_AES_256_GCM_SHA384"


def test_tls_1_2_has_ephemeral_keys_and_the_servers_order(tls: TLSSettings, ca: Authority) -> None:
    client = old_client(ca, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    cipher = shake_hands(build_context(tls), client).server.cipher()
    assert cipher is not None
    assert cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_an_rsa_server_serves_tls_1_2_as_well(tmp_path: Path) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    issued = authority.issue_cert(SERVER_NAME, key_type=trustme.KeyType.RSA)
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    both = str(tmp_path / "both.pem")
    client = ssl.create_default_context()
    authority.configure_trust(client)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    cipher = shake_hands(build_context(TLSSettings(certificate_file=both, key_file=both)), client).server.cipher()
    assert cipher is not None
    assert cipher[0] == "ECDHE-RSA-AES256-GCM-SHA384"


def test_no_suite_without_forward_secrecy_and_authenticated_encryption_is_offered(tls: TLSSettings) -> None:
    offered = [cipher["name"] for cipher in build_context(tls).get_ciphers()]
    old = [name for name in offered if not name.startswith("TLS_")]
    assert old == list(TLS12_SUITES)
    assert offered[0] == "TLS_AES_256_GCM_SHA384"


@pytest.mark.parametrize(
    "ciphers", ["ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0", "AES256-GCM-SHA384", "DHE-RSA-AES256-GCM-SHA384"]
)
def test_a_client_that_offers_only_what_is_not_safe_is_refused(tls: TLSSettings, ca: Authority, ciphers: str) -> None:
    """Threat 76."""
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        shake_hands(build_context(tls), old_client(ca, ssl.TLSVersion.TLSv1_2, ciphers))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_1_0_and_1_1_are_refused(tls: TLSSettings, ca: Authority, version: ssl.TLSVersion) -> None:
    """Threat 76."""
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake_hands(build_context(tls), old_client(ca, version, "ALL:@SECLEVEL=0"))


def test_min_version_1_3_refuses_tls_1_2(tls: TLSSettings, ca: Authority) -> None:
    client = trusting(ca.ca_file)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake_hands(build_context(replace(tls, min_version="TLS1.3")), client)


def test_neither_renegotiation_nor_compression_nor_tickets(tls: TLSSettings) -> None:
    context = build_context(tls)
    for option in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION, ssl.OP_NO_TICKET, ssl.OP_CIPHER_SERVER_PREFERENCE):
        assert option in context.options
    assert context.num_tickets == 0


def test_a_tls_1_3_session_is_never_resumed(tls: TLSSettings, ca: Authority) -> None:
    """Each connection's certificate is checked anew."""
    context, client = build_context(tls), trusting(ca.ca_file)
    session = shake_hands(context, client).client.session
    assert session is None or not session.has_ticket
    assert not shake_hands(context, client, session=session).server.session_reused


def test_the_protocol_name_is_negotiated(tls: TLSSettings, ca: Authority) -> None:
    client = trusting(ca.ca_file)
    client.set_alpn_protocols(["mqtt"])
    assert shake_hands(build_context(tls), client).server.selected_alpn_protocol() == "mqtt"


# Client certificates -------------------------------------------------------------------------------------------------


def test_client_auth_none_asks_for_no_certificate(tls: TLSSettings, ca: Authority) -> None:
    client = trusting(ca.ca_file, ca.client("pump-7"))
    end = shake_hands(build_context(mutual(tls, ca, "None")), client).server
    assert end.getpeercert(binary_form=True) is None


def test_client_auth_none_reads_no_trust_files(tls: TLSSettings) -> None:
    build_context(replace(tls, client_ca_files=("/absent/ca.crt",), crl_files=("/absent/ca.crl",)))


def test_client_auth_optional_takes_a_good_certificate_or_none(tls: TLSSettings, ca: Authority) -> None:
    context = build_context(mutual(tls, ca, "Optional"))
    assert shake_hands(context, trusting(ca.ca_file)).server.getpeercert(binary_form=True) is None
    der = shake_hands(context, trusting(ca.ca_file, ca.client("pump-7"))).server.getpeercert(binary_form=True)
    assert der is not None
    assert certificate_from_der(der).common_name == "pump-7"


def test_client_auth_required_refuses_a_client_without_certificate(tls: TLSSettings, ca: Authority) -> None:
    context = build_context(mutual(tls, ca, "Required"))
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(context, trusting(ca.ca_file))
    shake_hands(context, trusting(ca.ca_file, ca.client("pump-7")))


def bad_certificates(ca: Authority, folder: Path) -> dict[str, Issued]:
    return {
        "of another CA": Authority(folder / "foreign", name="test-ca").client("pump-7"),
        "expired": ca.client("old", expired=True),
        "not for clients": ca.client("server-only", for_servers=True),
    }


@pytest.mark.parametrize("what", ["of another CA", "expired", "not for clients"])
@pytest.mark.parametrize("client_auth", ["Optional", "Required"])
def test_a_bad_client_certificate_is_refused(
    tls: TLSSettings, ca: Authority, tmp_path: Path, client_auth: str, what: str
) -> None:
    """Threat 26; Optional means that there may be none, never that it may be bad."""
    client = trusting(ca.ca_file, bad_certificates(ca, tmp_path)[what])
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(build_context(mutual(tls, ca, client_auth)), client)


def test_every_ca_of_the_list_is_trusted(tls: TLSSettings, ca: Authority, tmp_path: Path) -> None:
    """A rotation needs two at a time."""
    other = Authority(tmp_path / "other", name="other-ca")
    context = build_context(replace(tls, client_auth="Required", client_ca_files=(str(ca.ca_file), str(other.ca_file))))
    for authority in (ca, other):
        shake_hands(context, trusting(ca.ca_file, authority.client("pump-7")))


# Revocation ----------------------------------------------------------------------------------------------------------


def test_a_revoked_certificate_is_refused_and_another_is_not(tls: TLSSettings, ca: Authority) -> None:
    revoked, good = ca.client("stolen"), ca.client("pump-7")
    context = build_context(mutual(tls, ca, "Required", ca.crl([revoked.serial])))
    shake_hands(context, trusting(ca.ca_file, good))
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        shake_hands(context, trusting(ca.ca_file, revoked))


def test_an_expired_crl_refuses_every_client(tls: TLSSettings, ca: Authority) -> None:
    """Threat 26: past its next update it says nothing any more, and no answer means no."""
    context = build_context(mutual(tls, ca, "Required", ca.crl(stale=True)))
    with pytest.raises(ssl.SSLError, match="CRL has expired"):
        shake_hands(context, trusting(ca.ca_file, ca.client("pump-7")))


def test_a_ca_without_a_crl_among_those_with_one_is_refused(tls: TLSSettings, ca: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", name="other-ca")
    settings = mutual(tls, ca, "Required", ca.crl())
    context = build_context(replace(settings, client_ca_files=(str(ca.ca_file), str(other.ca_file))))
    with pytest.raises(ssl.SSLError, match="unable to get certificate CRL"):
        shake_hands(context, trusting(ca.ca_file, other.client("pump-7")))


def test_a_crl_signed_by_somebody_else_is_worth_nothing(tls: TLSSettings, ca: Authority, tmp_path: Path) -> None:
    forged = Authority(tmp_path / "forger", name=ca.name).crl()
    context = build_context(mutual(tls, ca, "Required", forged))
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(context, trusting(ca.ca_file, ca.client("pump-7")))


def test_several_crls_may_be_in_one_file(tls: TLSSettings, ca: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", name="other-ca")
    revoked = other.client("stolen")
    both = tmp_path / "all.crl"
    both.write_bytes(ca.crl().read_bytes() + other.crl([revoked.serial]).read_bytes())
    settings = mutual(tls, ca, "Required", both)
    context = build_context(replace(settings, client_ca_files=(str(ca.ca_file), str(other.ca_file))))
    shake_hands(context, trusting(ca.ca_file, ca.client("pump-7")))
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        shake_hands(context, trusting(ca.ca_file, revoked))


def test_a_certificate_in_a_crl_file_would_be_trusted_and_is_a_mistake(
    tls: TLSSettings, ca: Authority, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.crl"
    mixed.write_bytes(ca.crl().read_bytes() + Authority(tmp_path / "foreign", name="foreign").ca_file.read_bytes())
    with pytest.raises(TLSConfigError, match=r"mixed\.crl holds a certificate"):
        build_context(mutual(tls, ca, "Required", mixed))


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["certificate_file", "key_file"])
def test_a_missing_file_is_named_with_what_to_do(tls: TLSSettings, tmp_path: Path, field: str) -> None:
    absent = str(tmp_path / "absent.pem")
    with pytest.raises(TLSConfigError, match=r"absent\.pem cannot be read .*: check that it exists"):
        build_context(replace(tls, **{field: absent}))


def test_a_missing_ca_or_crl_is_named(tls: TLSSettings, ca: Authority, tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"
    with pytest.raises(TLSConfigError, match=r"absent\.pem cannot be read"):
        build_context(mutual(tls, ca, "Required", absent))
    with pytest.raises(TLSConfigError, match=r"absent\.pem cannot be read"):
        build_context(replace(tls, client_auth="Required", client_ca_files=(str(absent),)))


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\ngarbage\n-----END CERTIFICATE-----\n", b"\x30\x82\x01\x00"],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    tls: TLSSettings, ca: Authority, tmp_path: Path, content: bytes
) -> None:
    odd = tmp_path / "odd.pem"
    odd.write_bytes(content)
    for settings in (
        replace(tls, certificate_file=str(odd)),
        replace(tls, key_file=str(odd)),
        replace(tls, client_auth="Required", client_ca_files=(str(odd),)),
        mutual(tls, ca, "Required", odd),
    ):
        with pytest.raises(TLSConfigError, match=r"odd\.pem"):
            build_context(settings)


def test_a_crl_that_cannot_be_read_is_named(tls: TLSSettings, ca: Authority, tmp_path: Path) -> None:
    odd = tmp_path / "odd.crl"
    odd.write_bytes(ca.crl().read_bytes() + b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    with pytest.raises(TLSConfigError, match=r"odd\.crl holds a CRL that cannot be read"):
        build_context(mutual(tls, ca, "Required", odd))


def test_a_key_of_another_certificate_is_a_mistake_that_names_both(tls: TLSSettings, ca: Authority) -> None:
    other = ca.server("other")
    with pytest.raises(TLSConfigError, match=r"other\.key is not the key of .*server\.crt"):
        build_context(replace(tls, key_file=str(other.key_file)))


def test_a_key_with_a_passphrase_is_a_mistake_and_nobody_is_asked_for_it(tls: TLSSettings, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    with pytest.raises(TLSConfigError, match=r"locked\.key is not a PEM private key without a passphrase"):
        build_context(replace(tls, key_file=str(locked)))


def test_a_weak_key_is_refused_with_openssls_reason(tmp_path: Path) -> None:
    weak = tmp_path / "weak.pem"
    weak.write_bytes(weak_pair())
    with pytest.raises(TLSConfigError, match=r"weak\.pem .* is refused by OpenSSL: .*KEY_TOO_SMALL"):
        build_context(TLSSettings(certificate_file=str(weak), key_file=str(weak)))


def weak_pair() -> bytes:
    """A self-signed certificate with an RSA key of 1,024 bits."""
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
    now = dt.datetime.now(dt.UTC)
    certificate = (x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))).sign(
        key, hashes.SHA256()
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("client_auth", ["Optional", "Required"])
def test_client_certificates_without_a_ca_are_a_mistake(tls: TLSSettings, client_auth: str) -> None:
    with pytest.raises(TLSConfigError, match="needs client_ca_files"):
        build_context(replace(tls, client_auth=client_auth))


@pytest.mark.parametrize("wrong", [{"min_version": "TLS1.1"}, {"client_auth": "Maybe"}, {"client_auth": "none"}])
def test_a_setting_that_does_not_exist_is_named_with_its_choices(tls: TLSSettings, wrong: dict[str, str]) -> None:
    with pytest.raises(TLSConfigError, match="is not one of"):
        build_context(replace(tls, **wrong))
