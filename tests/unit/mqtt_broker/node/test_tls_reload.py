"""ReloadableContext: certificates, CAs and CRLs change under a running listener; a mistake changes nothing."""

import datetime as dt
import logging
import os
import ssl
from pathlib import Path

import pytest

from mqtt_api.node_facts import word_of_client_cas
from mqtt_api.node_settings import TLSSettings
from mqtt_broker.auth.principal import hex_serial
from mqtt_broker.node.tls import ReloadableContext, TLSConfigError
from support.certificates import Authority, trusting
from support.handshake import shake_hands


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def tls(ca: Authority) -> TLSSettings:
    """A mutual TLS listener with a CRL. Issuing a server or CRL again replaces the files."""
    server = ca.server()
    return TLSSettings(
        certificate_file=str(server.certificate_file),
        key_file=str(server.key_file),
        client_auth="Required",
        client_ca_files=(str(ca.ca_file),),
        crl_files=(str(ca.crl()),),
    )


def test_unchanged_files_keep_the_context(tls: TLSSettings) -> None:
    served = ReloadableContext(tls)
    before = served.current
    os.utime(tls.certificate_file, (0, 0))
    assert not served.reload()
    assert served.current is before


def test_a_renewed_certificate_is_served_to_new_connections_and_old_ones_live_on(
    tls: TLSSettings, ca: Authority
) -> None:
    """Threat 77, design D10."""
    served, client = ReloadableContext(tls), trusting(ca.ca_file, ca.client("pump-7"))
    living = shake_hands(served.current, client)
    renewed = ca.server()
    assert served.serial != hex_serial(renewed.serial)
    assert served.reload()
    assert served.serial == hex_serial(renewed.serial)
    assert served.not_after == renewed.certificate.not_valid_after_utc
    assert served.not_after.tzinfo is dt.UTC
    seen = shake_hands(served.current, client).client.getpeercert()
    assert seen is not None
    assert int(str(seen["serialNumber"]), 16) == renewed.serial
    living.exchange()
    assert not served.reload()


def test_a_rotated_ca_takes_the_old_cas_clients_out(tls: TLSSettings, ca: Authority, tmp_path: Path) -> None:
    served = ReloadableContext(tls)
    old_client = trusting(ca.ca_file, ca.client("old"))
    shake_hands(served.current, old_client)
    new_ca, told = Authority(tmp_path / "new", name="new-ca"), served.client_cas
    ca.ca_file.with_name("trusted.crt").write_bytes(ca.ca_file.read_bytes())
    ca.ca_file.write_bytes(new_ca.ca_file.read_bytes())
    Path(tls.crl_files[0]).write_bytes(new_ca.crl().read_bytes())
    assert served.reload()
    assert told == word_of_client_cas([ca.ca_file.with_name("trusted.crt").read_bytes()])
    assert served.client_cas == word_of_client_cas([new_ca.ca_file.read_bytes()])
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(served.current, old_client)
    shake_hands(served.current, trusting(ca.ca_file.with_name("trusted.crt"), new_ca.client("new")))


def test_cas_that_are_both_trusted_let_both_in(tls: TLSSettings, ca: Authority, tmp_path: Path) -> None:
    served, new_ca = ReloadableContext(tls), Authority(tmp_path / "new", name="new-ca")
    trust = ca.ca_file.with_name("trusted.crt")
    trust.write_bytes(ca.ca_file.read_bytes())
    with ca.ca_file.open("ab") as bundle:
        bundle.write(new_ca.ca_file.read_bytes())
    with Path(tls.crl_files[0]).open("ab") as crls:
        crls.write(new_ca.crl().read_bytes())
    assert served.reload()
    for each in (ca, new_ca):
        shake_hands(served.current, trusting(trust, each.client("pump-7")))


def test_who_verifies_no_clients_has_no_word_for_cas(ca: Authority) -> None:
    server = ca.server()
    tls = TLSSettings(
        certificate_file=str(server.certificate_file),
        key_file=str(server.key_file),
        client_ca_files=(str(ca.ca_file),),
    )
    assert ReloadableContext(tls).client_cas == ""


def test_a_new_crl_takes_the_revoked_client_out(tls: TLSSettings, ca: Authority) -> None:
    served, stolen, good = ReloadableContext(tls), ca.client("stolen"), ca.client("pump-7")
    shake_hands(served.current, trusting(ca.ca_file, stolen))
    ca.crl([stolen.serial])
    assert served.reload()
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        shake_hands(served.current, trusting(ca.ca_file, stolen))
    shake_hands(served.current, trusting(ca.ca_file, good))


def test_a_new_crl_is_not_evaded_by_resuming_an_old_session(tls: TLSSettings, ca: Authority) -> None:
    """TLS 1.2 resumes by session id within one context; a new context knows no session of the old one."""
    served, stolen = ReloadableContext(tls), ca.client("stolen")
    client = trusting(ca.ca_file, stolen)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    session = shake_hands(served.current, client).client.session
    ca.crl([stolen.serial])
    assert served.reload()
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        shake_hands(served.current, client, session=session)


def test_a_key_that_does_not_fit_keeps_the_old_pair_until_it_is_mended(tls: TLSSettings, ca: Authority) -> None:
    """Threat 77: half of a renewal is there, the other half is not yet."""
    served = ReloadableContext(tls)
    before, serial, not_after = served.current, served.serial, served.not_after
    key = Path(tls.key_file)
    good, foreign = key.read_bytes(), ca.server("other").key_file.read_bytes()
    key.write_bytes(foreign)
    for _ in range(2):
        with pytest.raises(TLSConfigError, match="is not the key of"):
            served.reload()
        assert (served.current, served.serial, served.not_after) == (before, serial, not_after)
    shake_hands(served.current, trusting(ca.ca_file, ca.client("pump-7")))
    key.write_bytes(good)
    assert not served.reload()
    renewed = ca.server()
    assert served.reload()
    assert served.serial == hex_serial(renewed.serial)


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_file_that_vanishes_or_breaks_keeps_the_old_context(
    tls: TLSSettings, ca: Authority, content: bytes | None
) -> None:
    served = ReloadableContext(tls)
    before = served.current
    for path in map(Path, (tls.certificate_file, tls.key_file, *tls.client_ca_files, *tls.crl_files)):
        good = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TLSConfigError, match=path.name):
            served.reload()
        assert served.current is before
        path.write_bytes(good)
    shake_hands(served.current, trusting(ca.ca_file, ca.client("pump-7")))


def test_a_mistake_at_the_start_is_an_error_at_once(tls: TLSSettings) -> None:
    Path(tls.key_file).unlink()
    with pytest.raises(TLSConfigError, match="cannot be read"):
        ReloadableContext(tls)


def test_an_expired_certificate_is_served_and_reported(
    tls: TLSSettings, ca: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Refusing to start would turn a lapse that some clients tolerate into an outage for all."""
    served = ReloadableContext(tls)
    assert not caplog.records
    expired = ca.client("server", expired=True)
    Path(tls.certificate_file).write_bytes(expired.certificate_file.read_bytes())
    Path(tls.key_file).write_bytes(expired.key_file.read_bytes())
    assert served.reload()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{tls.certificate_file} expired on {served.not_after.isoformat()}" in record.getMessage()
