"""Which principals a certificate proves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mqtt_api.policy import CertificateMatch, Policy, Principal
from mqtt_broker.auth.certificates import CertificateIndex, agrees, is_revoked
from mqtt_broker.auth.principal import ClientCertificate

PUMP = ClientCertificate(
    subject="CN=pump-7,O=Plant",
    common_name="pump-7",
    issuer="CN=device-ca",
    serial="0a1f",
    san_dns=("pump-7.example.org", "pump-7"),
    san_uri=("spiffe://plant/pump-7",),
    san_email=("pump-7@example.org",),
)
NAMELESS = ClientCertificate(subject="", common_name="", issuer="CN=device-ca", serial="01")

FITTING = CertificateMatch(
    issuer=PUMP.issuer,
    common_name=PUMP.common_name,
    subject=PUMP.subject,
    san_dns="pump-7",
    san_uri="spiffe://plant/pump-7",
    san_email="pump-7@example.org",
)


def proofs(certificate: ClientCertificate, **matches: CertificateMatch) -> list[str]:
    principals = {name: Principal(username=name, certificates=(match,)) for name, match in matches.items()}
    return [proof.username for proof in CertificateIndex(Policy(principals=principals)).proofs(certificate)]


@pytest.mark.parametrize("field", ["issuer", "common_name", "subject", "san_dns", "san_uri", "san_email"])
def test_each_field_alone_agrees_with_its_value_and_no_other(field: str) -> None:
    right = replace(CertificateMatch(), **{field: getattr(FITTING, field)})
    wrong = replace(CertificateMatch(), **{field: "another"})
    assert agrees(right, PUMP)
    assert proofs(PUMP, me=right) == ["me"]
    assert not agrees(wrong, PUMP)
    assert proofs(PUMP, me=wrong) == []


@pytest.mark.parametrize("field", ["issuer", "common_name", "subject", "san_dns", "san_uri", "san_email"])
def test_every_field_that_is_set_must_agree(field: str) -> None:
    assert proofs(PUMP, me=FITTING) == ["me"]
    assert proofs(PUMP, me=replace(FITTING, **{field: "another"})) == []


def test_a_match_that_sets_nothing_agrees_with_nothing() -> None:
    """Read as "all fields that are set" it would be every certificate of the world."""
    for certificate in (PUMP, NAMELESS):
        assert not agrees(CertificateMatch(), certificate)
        assert proofs(certificate, me=CertificateMatch(revoked_serials=("01",))) == []


def test_an_empty_value_never_agrees_with_a_missing_one() -> None:
    assert proofs(NAMELESS, me=CertificateMatch(common_name="")) == []
    assert proofs(NAMELESS, me=CertificateMatch(subject="", issuer="CN=device-ca")) == []


def test_names_are_compared_as_they_are() -> None:
    assert proofs(PUMP, me=CertificateMatch(common_name="PUMP-7")) == []
    assert proofs(PUMP, me=CertificateMatch(common_name="pump-*")) == []


def test_all_principals_that_declare_a_certificate_are_found() -> None:
    found = proofs(PUMP, one=CertificateMatch(common_name="pump-7"), two=CertificateMatch(san_dns="pump-7"))
    assert sorted(found) == ["one", "two"]


def test_a_revoked_serial_is_recognised_however_it_is_written() -> None:
    for serial in ("0a:1f", "0A1F", "a1f"):
        assert is_revoked(CertificateMatch(common_name="pump-7", revoked_serials=("01", serial)), PUMP)
    assert not is_revoked(CertificateMatch(common_name="pump-7", revoked_serials=("0a:1e",)), PUMP)


def test_a_revoked_serial_that_is_none_is_an_error_not_a_no() -> None:
    with pytest.raises(ValueError, match="serial number"):
        is_revoked(CertificateMatch(common_name="pump-7", revoked_serials=("serial of pump 7",)), PUMP)


MATCHES = st.builds(
    CertificateMatch,
    issuer=st.none() | st.sampled_from(["CN=ca", "CN=other"]),
    common_name=st.none() | st.sampled_from(["a", "b"]),
    san_dns=st.none() | st.sampled_from(["a", "b"]),
)
FLEETS = st.dictionaries(st.sampled_from("xyz"), st.lists(MATCHES, max_size=2).map(tuple), max_size=3)


@given(st.lists(FLEETS, min_size=1, max_size=5), st.sampled_from(["a", "b"]), st.sampled_from(["CN=ca", "CN=other"]))
def test_an_index_that_follows_answers_as_one_made_anew(
    fleets: list[dict[str, tuple[CertificateMatch, ...]]], name: str, issuer: str
) -> None:
    index, known = CertificateIndex(Policy()), dict[tuple[str, tuple[CertificateMatch, ...]], Principal]()
    shown = replace(PUMP, common_name=name, san_dns=(name,), issuer=issuer)
    for fleet in fleets:
        principals = {
            username: known.setdefault((username, matches), Principal(username=username, certificates=matches))
            for username, matches in fleet.items()
        }
        policy = Policy(principals=principals)
        index.follow(policy)
        expected = CertificateIndex(policy).proofs(shown)
        assert sorted(index.proofs(shown), key=repr) == sorted(expected, key=repr)
