"""The local CA: certificates that strict clients accept, renewed when names or time say so."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from mqtt_operator.credentials.certificates import (
    CA_LIFETIME,
    SERVER_LIFETIME,
    KeyPair,
    certificates_mistake,
    crl_mistake,
    facts,
    is_ca,
    is_name,
    issue_ca,
    issue_server,
    key_pair_mistake,
    server_certificate_notes,
    why_new_ca,
    why_new_server,
)
from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.authority import ensure_ca, ensure_server

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("localhost", "127.0.0.1", "::1", "plant.example.org")


@pytest.fixture(scope="module")
def ca() -> KeyPair:
    return issue_ca("default/plant", NOW)


@pytest.fixture(scope="module")
def server(ca: KeyPair) -> KeyPair:
    return issue_server(ca, NAMES, NOW)


@pytest.mark.parametrize("name", NAMES)
def test_the_server_certificate_verifies_against_the_ca_for_each_name(ca: KeyPair, server: KeyPair, name: str) -> None:
    subject: x509.DNSName | x509.IPAddress
    (subject,) = [
        each
        for each in x509.load_pem_x509_certificate(server.certificate)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
        if str(each.value) == name and isinstance(each, x509.DNSName | x509.IPAddress)
    ]
    store = Store([x509.load_pem_x509_certificate(ca.certificate)])
    verifier = PolicyBuilder().store(store).time(NOW).build_server_verifier(subject)
    assert len(verifier.verify(x509.load_pem_x509_certificate(server.certificate), [])) == 2


def test_keys_are_elliptic_curve_p256_without_passphrase(ca: KeyPair, server: KeyPair) -> None:
    for pair in (ca, server):
        key = serialization.load_pem_private_key(pair.key, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert isinstance(key.curve, ec.SECP256R1)


def test_the_server_certificate_can_only_be_a_server(server: KeyPair) -> None:
    extensions = x509.load_pem_x509_certificate(server.certificate).extensions
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_good_pair_is_kept(ca: KeyPair, server: KeyPair) -> None:
    assert why_new_ca(ca, NOW) is None
    assert why_new_server(server, ca, NAMES, NOW) is None
    assert why_new_server(server, ca, tuple(reversed(NAMES)), NOW) is None


def test_why_a_ca_is_replaced(ca: KeyPair, server: KeyPair) -> None:
    assert "expires on" in (why_new_ca(ca, NOW + CA_LIFETIME - timedelta(days=1)) or "")
    assert (
        why_new_ca(KeyPair(certificate=ca.certificate, key=server.key), NOW) == "the certificate does not fit its key"
    )


def test_why_a_server_certificate_is_replaced(ca: KeyPair, server: KeyPair) -> None:
    assert "expires on" in (why_new_server(server, ca, NAMES, NOW + SERVER_LIFETIME - timedelta(days=29)) or "")
    assert why_new_server(server, ca, (*NAMES, "more.example.org"), NOW) == "its names changed"
    assert why_new_server(server, issue_ca("default/plant", NOW), NAMES, NOW) == "it was signed by another CA"
    assert why_new_server(KeyPair(certificate=b"", key=b""), ca, NAMES, NOW) == "the certificate is not PEM"


def test_an_encrypted_key_is_told(server: KeyPair) -> None:
    key = serialization.load_pem_private_key(server.key, password=None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    mistake = key_pair_mistake(KeyPair(certificate=server.certificate, key=encrypted))
    assert mistake == "the key is encrypted; give one without a passphrase"


def test_what_is_no_certificate_or_crl_is_told(ca: KeyPair) -> None:
    assert certificates_mistake(ca.certificate) is None
    assert certificates_mistake(b"junk") == "holds no PEM certificate"
    assert crl_mistake(b"junk") == "is not a certificate revocation list in PEM"


def test_facts_for_people(ca: KeyPair) -> None:
    found = facts(ca.certificate)
    assert found.not_after == NOW + CA_LIFETIME
    assert len(found.fingerprint.split(":")) == 32


def test_a_long_broker_name_still_gives_a_ca() -> None:
    assert why_new_ca(issue_ca("n" * 63 + "/" + "b" * 40, NOW), NOW) is None


def test_names_that_a_certificate_can_carry() -> None:
    assert is_name("host")
    assert is_name("10.0.0.1")
    assert not is_name("höst")


def test_the_files_are_private_and_stay_the_same(tmp_path: Path) -> None:
    ca = ensure_ca(tmp_path / "ca", "plant", NOW)
    server = ensure_server(tmp_path / "l", ca, NAMES, NOW)
    later = NOW + timedelta(days=1)
    assert ensure_ca(tmp_path / "ca", "plant", later) == ca
    assert ensure_server(tmp_path / "l", ca, NAMES, later) == server
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_certificate_near_its_end_is_replaced_under_the_same_ca(tmp_path: Path) -> None:
    ca = ensure_ca(tmp_path / "ca", "plant", NOW)
    old = ensure_server(tmp_path / "l", ca, NAMES, NOW)
    later = NOW + SERVER_LIFETIME - timedelta(days=1)
    new = ensure_server(tmp_path / "l", ensure_ca(tmp_path / "ca", "plant", later), NAMES, later)
    assert new != old
    assert why_new_server(new, ca, NAMES, later) is None


def test_a_lost_key_is_made_again_with_its_certificate(tmp_path: Path) -> None:
    ca = ensure_ca(tmp_path / "ca", "plant", NOW)
    (tmp_path / "ca" / "ca.key").unlink()
    assert ensure_ca(tmp_path / "ca", "plant", NOW) != ca


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_of_the_ca_is_told_and_nothing_is_replaced(tmp_path: Path, content: bytes) -> None:
    """Every client trusts the CA it was given: a new one in silence would lock them all out."""
    ensure_ca(tmp_path / "ca", "plant", NOW)
    certificate = (tmp_path / "ca" / "ca.crt").read_bytes()
    (tmp_path / "ca" / "ca.key").write_bytes(content)
    with pytest.raises(DataFolderError, match="the key is not a PEM private key") as refused:
        ensure_ca(tmp_path / "ca", "plant", NOW)
    assert f"path: {tmp_path / 'ca' / 'ca.key'}" in str(refused.value)
    assert (tmp_path / "ca" / "ca.crt").read_bytes() == certificate


def test_what_clients_may_have_against_a_certificate_is_noted(ca: KeyPair, server: KeyPair) -> None:
    assert server_certificate_notes(server.certificate, ca.certificate) == []
    (lonely,) = server_certificate_notes(server.certificate, None)
    assert lonely.startswith("is no CA and comes without one (ca.crt)")
    elsewhere = issue_server(ca, ["b.example.org", "a.example.org"], NOW)
    (foreign,) = server_certificate_notes(elsewhere.certificate, ca.certificate)
    assert foreign == "names a.example.org, b.example.org, so clients that connect to localhost refuse it"
    unnamed, unmarked = server_certificate_notes(ca.certificate, None)
    assert unnamed.startswith("names no host at all")
    assert "extendedKeyUsage serverAuth" in unmarked


def test_a_ca_is_told_from_a_leaf(ca: KeyPair, server: KeyPair) -> None:
    assert is_ca(ca.certificate)
    assert not is_ca(server.certificate)
