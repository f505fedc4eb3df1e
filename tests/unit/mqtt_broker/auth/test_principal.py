"""What is read from a client certificate, and what makes one unreadable."""

import datetime as dt
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mqtt_broker.auth.principal import certificate_from_der, hex_serial, normal_serial

KEY = ec.generate_private_key(ec.SECP256R1())
DAY = dt.timedelta(days=1)


def der(
    *common_names: str, issuer: str = "device-ca", serial: int = 0x0A1F, names: Sequence[x509.GeneralName] = ()
) -> bytes:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Plant")]
    subject += [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_all_fields_are_read() -> None:
    names = [
        x509.DNSName("pump-7.example.org"),
        x509.DNSName("pump-7"),
        x509.UniformResourceIdentifier("spiffe://plant/pump-7"),
        x509.RFC822Name("pump-7@example.org"),
    ]
    certificate = certificate_from_der(der("pump-7", names=names))
    assert certificate.subject == "CN=pump-7,O=Plant"
    assert certificate.common_name == "pump-7"
    assert certificate.issuer == "CN=device-ca"
    assert certificate.serial == "0a1f"
    assert certificate.san_dns == ("pump-7.example.org", "pump-7")
    assert certificate.san_uri == ("spiffe://plant/pump-7",)
    assert certificate.san_email == ("pump-7@example.org",)


def test_no_common_name_is_an_empty_one() -> None:
    assert certificate_from_der(der()).common_name == ""


def test_several_common_names_are_none() -> None:
    """Programs disagree on which one counts: a certificate must not be one client here and another there."""
    certificate = certificate_from_der(der("pump-7", "admin"))
    assert certificate.common_name == ""
    assert "CN=admin" in certificate.subject


def test_wildcards_and_slashes_in_a_name_are_ordinary_characters() -> None:
    assert certificate_from_der(der("a/+/#")).common_name == "a/+/#"


@pytest.mark.parametrize("name", ["pump-7\x00.evil", "pump\n7", "pump\x1b[2J", "pump\x7f", "pump\x85"])
def test_a_control_character_in_a_name_makes_the_certificate_unreadable(name: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        certificate_from_der(der(name))


def test_a_control_character_in_the_issuer_or_an_alternative_name_counts_too() -> None:
    with pytest.raises(ValueError, match="control character"):
        certificate_from_der(der("pump-7", issuer="ca\x00"))
    with pytest.raises(ValueError, match="control character"):
        certificate_from_der(der("pump-7", names=[x509.DNSName("pump-7\x00.evil")]))


def test_the_message_of_a_refusal_has_no_control_character_itself() -> None:
    with pytest.raises(ValueError, match="control character") as caught:
        certificate_from_der(der("pump\r\n7"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("garbage", [b"", b"\x30", b"not a certificate", der("pump-7")[:-1]])
def test_what_is_no_certificate_is_a_value_error(garbage: bytes) -> None:
    with pytest.raises(ValueError):
        certificate_from_der(garbage)


def test_an_alternative_name_extension_that_cannot_be_read_is_a_value_error() -> None:
    whole = der("pump-7", names=[x509.DNSName("pump-7-a")])
    position = whole.index(b"\x82\x08pump-7-a")
    broken = whole[: position + 1] + b"\x7f" + whole[position + 2 :]
    with pytest.raises(ValueError):
        certificate_from_der(broken)


@pytest.mark.parametrize("text", ["0a:1f", "0A:1F", "a1f", "0A1F", " 00:0a:1f ", "000a1f"])
def test_every_way_of_writing_a_serial_number_is_one_number(text: str) -> None:
    assert normal_serial(text) == hex_serial(0x0A1F) == "0a1f"


def test_zero_and_long_serial_numbers_have_whole_bytes() -> None:
    assert hex_serial(0) == "00"
    assert normal_serial("0") == "00"
    assert normal_serial("fff") == "0fff"
    assert len(hex_serial(2**159 - 1)) == 40


@pytest.mark.parametrize("text", ["", ":", "0x1f", "1_0", "-1", "0a 1f", "xyz", "\uff11"])
def test_what_is_no_serial_number_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="serial number"):
        normal_serial(text)
