"""X509: from a verified certificate to an identity, or a refusal that says what to do."""

import pytest

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import CertificateMatch, ClientLimits, Facts, Policy, Principal
from mqtt_broker.auth.mechanisms.answer import Answer, Attempt, NotMine
from mqtt_broker.auth.mechanisms.x509 import X509
from mqtt_broker.auth.principal import ClientCertificate, Identity, Peer, Refused
from mqtt_broker.wire.packets import Connect, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode

PUMP = ClientCertificate(
    subject="CN=pump-7,O=Plant",
    common_name="pump-7",
    issuer="CN=device-ca",
    serial="0a1f",
    san_dns=("pump-7.example.org",),
    san_uri=("spiffe://plant/pump-7",),
    san_email=("pump-7@example.org",),
)
DECLARED = CertificateMatch(issuer="CN=device-ca", common_name="pump-7")


async def ask(
    *principals: Principal,
    certificate: ClientCertificate | None = PUMP,
    username: str | None = None,
    username_from: str = "CommonName",
    open_to_all: bool = False,
    client_ids: tuple[str, ...] = ("${username}",),
) -> Answer:
    settings = AuthenticationSettings(
        name="devices",
        type="X509",
        username_from=username_from,
        principals="Open" if open_to_all else "RequireMQTTClient",
        client_ids=client_ids,
    )
    connect = Connect(ProtocolVersion.V5, "pump-7-a", clean_start=True, keep_alive=60, username=username)
    peer = Peer(address="192.0.2.7", listener="mqtts", certificate=certificate)
    policy = Policy(principals={principal.username: principal for principal in principals})
    return await X509(settings).authenticate(Attempt(policy, connect, peer))


def refused(answer: Answer) -> str:
    """The detail of a refusal with 0x87."""
    assert isinstance(answer, Refused)
    assert answer.reason is ReasonCode.NOT_AUTHORIZED
    return answer.detail


async def test_without_a_certificate_it_is_not_mine() -> None:
    assert isinstance(await ask(certificate=None), NotMine)
    assert isinstance(await ask(certificate=None, open_to_all=True), NotMine)


async def test_a_declared_certificate_is_its_mqtt_client() -> None:
    principal = Principal(
        username="seventh-pump",
        namespace="mqtt",
        client_ids=("pump-7-*",),
        certificates=(CertificateMatch(san_dns="no"), DECLARED),
        attributes={"line": "3"},
        limits=ClientLimits(connections_max=1),
    )
    assert await ask(principal) == Identity(
        facts=Facts(
            client_id="pump-7-a",
            username="seventh-pump",
            namespace="mqtt",
            source="devices",
            attributes={"line": "3"},
            certificate_cn="pump-7",
            certificate_san_dns="pump-7.example.org",
        ),
        client_ids=("pump-7-*",),
        limits=ClientLimits(connections_max=1),
    )


async def test_an_mqtt_client_without_client_ids_may_use_its_user_name() -> None:
    answer = await ask(Principal(username="pump-7", certificates=(DECLARED,)))
    assert isinstance(answer, Identity)
    assert answer.client_ids == ("${username}",)


async def test_an_equal_name_alone_proves_no_mqtt_client_and_the_refusal_says_what_to_add() -> None:
    detail = refused(await ask(Principal(username="pump-7", passwords=("x",))))
    assert "credentials.certificates [match: {issuer: 'CN=device-ca', commonName: 'pump-7'}]" in detail


async def test_the_suggestion_follows_username_from_and_falls_back_to_the_subject() -> None:
    assert "sanURI: 'spiffe://plant/pump-7'" in refused(await ask(username_from="SANURI"))
    nameless = ClientCertificate(subject="O=Plant", common_name="", issuer="CN=device-ca", serial="01")
    assert "subject: 'O=Plant'" in refused(await ask(certificate=nameless))


async def test_a_certificate_that_two_mqtt_clients_declare_is_neither() -> None:
    by_name = Principal(username="one", certificates=(DECLARED,))
    by_issuer = Principal(username="two", certificates=(CertificateMatch(issuer="CN=device-ca"),))
    assert "one, two" in refused(await ask(by_name, by_issuer))


async def test_two_matches_of_one_mqtt_client_are_no_conflict() -> None:
    answer = await ask(Principal(username="p", certificates=(DECLARED, CertificateMatch(san_dns=PUMP.san_dns[0]))))
    assert isinstance(answer, Identity)


@pytest.mark.parametrize("serial", ["0a:1f", "0A1F"])
@pytest.mark.parametrize("open_to_all", [True, False])
async def test_a_revoked_serial_is_refused(serial: str, open_to_all: bool) -> None:
    match = CertificateMatch(common_name="pump-7", revoked_serials=("01", serial))
    detail = refused(await ask(Principal(username="pump-7", certificates=(match,)), open_to_all=open_to_all))
    assert "revokes serial number 0a1f" in detail


async def test_a_serial_revoked_by_one_match_is_not_saved_by_another() -> None:
    revoking = CertificateMatch(san_dns=PUMP.san_dns[0], revoked_serials=("0a1f",))
    refused(await ask(Principal(username="pump-7", certificates=(DECLARED, revoking))))


async def test_another_serial_of_the_same_client_is_still_good() -> None:
    match = CertificateMatch(common_name="pump-7", revoked_serials=("0a:1e",))
    assert isinstance(await ask(Principal(username="pump-7", certificates=(match,))), Identity)


async def test_a_revoked_serial_that_cannot_be_read_refuses() -> None:
    """No answer means no."""
    match = CertificateMatch(common_name="pump-7", revoked_serials=("oops",))
    assert "'oops'" in refused(await ask(Principal(username="pump-7", certificates=(match,))))


@pytest.mark.parametrize("open_to_all", [True, False])
async def test_a_suspended_client_is_refused(open_to_all: bool) -> None:
    principal = Principal(username="pump-7", certificates=(DECLARED,), suspended=True)
    assert "suspended" in refused(await ask(principal, open_to_all=open_to_all))


@pytest.mark.parametrize("open_to_all", [True, False])
async def test_a_user_name_in_connect_must_be_the_certificates(open_to_all: bool) -> None:
    """Threat 26."""
    principal = Principal(username="pump-7", certificates=(DECLARED,))
    assert "another" in refused(await ask(principal, username="admin", open_to_all=open_to_all))
    assert "another" in refused(await ask(principal, username="", open_to_all=open_to_all))
    assert isinstance(await ask(principal, username="pump-7", open_to_all=open_to_all), Identity)


@pytest.mark.parametrize(
    ("username_from", "username"),
    [
        ("CommonName", "pump-7"),
        ("SANDNS", "pump-7.example.org"),
        ("SANURI", "spiffe://plant/pump-7"),
        ("SANEmail", "pump-7@example.org"),
        ("Subject", "CN=pump-7,O=Plant"),
    ],
)
async def test_open_takes_the_user_name_from_the_field_it_is_told(username_from: str, username: str) -> None:
    ids = ("${username}", "${username}-*")
    answer = await ask(username_from=username_from, open_to_all=True, client_ids=ids)
    assert isinstance(answer, Identity)
    assert answer.facts.username == username
    assert answer.facts.source == "devices"
    assert not answer.facts.anonymous
    assert answer.client_ids == ids


@pytest.mark.parametrize("username_from", ["CommonName", "SANDNS", "SANURI", "SANEmail", "Subject"])
async def test_open_refuses_a_certificate_without_the_name(username_from: str) -> None:
    nameless = ClientCertificate(subject="", common_name="", issuer="CN=device-ca", serial="01")
    answer = await ask(certificate=nameless, username_from=username_from, open_to_all=True)
    assert username_from in refused(answer)


async def test_open_refuses_to_choose_among_several_names() -> None:
    several = ClientCertificate(
        subject="CN=pump-7", common_name="pump-7", issuer="CN=ca", serial="01", san_dns=("pump-7", "admin")
    )
    refused(await ask(certificate=several, username_from="SANDNS", open_to_all=True))


async def test_several_dns_names_leave_the_template_value_empty() -> None:
    several = ClientCertificate(
        subject="CN=pump-7", common_name="pump-7", issuer="CN=ca", serial="01", san_dns=("pump-7", "admin")
    )
    answer = await ask(certificate=several, open_to_all=True)
    assert isinstance(answer, Identity)
    assert answer.facts.certificate_san_dns == ""


async def test_the_record_of_an_mqtt_client_applies_to_an_open_certificate_of_its_name() -> None:
    principal = Principal(
        username="pump-7",
        namespace="mqtt",
        client_ids=("fixed",),
        attributes={"line": "3"},
        limits=ClientLimits(messages_per_s=5),
    )
    answer = await ask(principal, open_to_all=True, client_ids=("*",))
    assert isinstance(answer, Identity)
    assert answer.facts.attributes == {"line": "3"}
    assert answer.facts.namespace == "mqtt"
    assert answer.client_ids == ("fixed",)
    assert answer.limits.messages_per_s == 5


async def test_an_mqtt_client_that_declares_certificates_is_not_reached_by_others_of_its_name() -> None:
    elsewhere = CertificateMatch(issuer="CN=another-ca", common_name="pump-7")
    answer = await ask(Principal(username="pump-7", certificates=(elsewhere,)), open_to_all=True)
    assert "not among them" in refused(answer)


async def test_wildcards_in_a_name_are_ordinary_characters_here() -> None:
    odd = ClientCertificate(subject="CN=a/+/#", common_name="a/+/#", issuer="CN=ca", serial="01")
    answer = await ask(certificate=odd, open_to_all=True)
    assert isinstance(answer, Identity)
    assert answer.facts.username == "a/+/#"


async def test_a_new_policy_is_seen_at_once() -> None:
    mechanism = X509(AuthenticationSettings(name="devices", type="X509"))
    connect = Connect(ProtocolVersion.V5, "pump-7", clean_start=True, keep_alive=60)
    peer = Peer(address="192.0.2.7", listener="mqtts", certificate=PUMP)
    known = Policy(principals={"pump-7": Principal(username="pump-7", certificates=(DECLARED,))})
    assert isinstance(await mechanism.authenticate(Attempt(known, connect, peer)), Identity)
    assert isinstance(await mechanism.authenticate(Attempt(Policy(), connect, peer)), Refused)


@pytest.mark.parametrize(
    "settings",
    [
        AuthenticationSettings(name="devices", type="X509", username_from="Serial"),
        AuthenticationSettings(name="devices", type="X509", principals="Everybody"),
        AuthenticationSettings(name="devices", type="X509", principals="Open", client_ids=()),
    ],
)
def test_settings_that_mean_nothing_stop_the_node_from_starting(settings: AuthenticationSettings) -> None:
    with pytest.raises(ValueError, match="devices"):
        X509(settings)
