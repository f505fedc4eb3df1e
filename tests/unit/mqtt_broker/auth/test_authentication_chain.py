"""The chain, and the mechanisms that live by CONNECT alone: Password and Anonymous."""

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import CertificateMatch, ClientLimits, Facts, Policy, Principal
from mqtt_broker.auth.authenticate import Authenticator
from mqtt_broker.auth.exchange import Exchange
from mqtt_broker.auth.passwords import PasswordVerifier
from mqtt_broker.auth.principal import ClientCertificate, Identity, Peer, Refused
from mqtt_broker.wire.packets import NO_PROPERTIES, Connect, Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = AuthenticationSettings(name="passwords", type="Password")
ANONYMOUS = AuthenticationSettings(name="anyone", type="Anonymous")
DEVICES = AuthenticationSettings(name="devices", type="X509")
SCRAM = AuthenticationSettings(name="scram", type="SCRAM")
SHA_512_ALONE = AuthenticationSettings(name="strong", type="SCRAM", mechanisms=("SCRAM-SHA-512",))
VIEWER = Principal(
    username="viewer",
    namespace="mqtt",
    client_ids=("viewer-*",),
    passwords=(CHEAP.hash("secret"),),
    attributes={"line": "3"},
    limits=ClientLimits(connections_max=2),
)
POLICY = Policy(
    principals={
        "viewer": VIEWER,
        "certificate-only": Principal(username="certificate-only"),
        "suspended": Principal(username="suspended", passwords=VIEWER.passwords, suspended=True),
        "": Principal(username="", passwords=VIEWER.passwords),
    }
)
CERTIFICATE = ClientCertificate(subject="CN=x", common_name="x", issuer="CN=ca", serial="01")


@pytest.fixture
def passwords() -> Iterator[PasswordVerifier]:
    verifier = PasswordVerifier(threads=1, waiting_max=4)
    yield verifier
    verifier.close()


async def ask(
    passwords: PasswordVerifier,
    *chain: AuthenticationSettings,
    username: str | None = None,
    password: bytes | None = None,
    client_id: str = "client",
    certificate: ClientCertificate | None = None,
    properties: Properties = NO_PROPERTIES,
    policy: Policy = POLICY,
) -> Identity | Refused:
    connect = Connect(
        ProtocolVersion.V5,
        client_id,
        clean_start=True,
        keep_alive=60,
        username=username,
        password=password,
        properties=properties,
    )
    peer = Peer(address="192.0.2.7", listener="mqtts", certificate=certificate)
    return await Authenticator(chain, passwords).authenticate(policy, connect, peer)


def reason(answer: Identity | Refused) -> ReasonCode:
    assert isinstance(answer, Refused)
    return answer.reason


async def test_an_empty_chain_refuses_everybody(passwords: PasswordVerifier) -> None:
    """Threats 19 and 24."""
    for username, password in [(None, None), ("viewer", b"secret")]:
        answer = await ask(passwords, username=username, password=password)
        assert reason(answer) is ReasonCode.NOT_AUTHORIZED
    assert reason(await ask(passwords, certificate=CERTIFICATE)) is ReasonCode.NOT_AUTHORIZED


async def test_who_brings_nothing_is_nobodys(passwords: PasswordVerifier) -> None:
    answer = await ask(passwords, DEVICES, PASSWORD)
    assert reason(answer) is ReasonCode.NOT_AUTHORIZED
    assert isinstance(answer, Refused)
    assert "devices: the client showed no certificate" in answer.detail
    assert "passwords: " in answer.detail


async def test_a_password_that_nobody_judges_is_a_bad_one(passwords: PasswordVerifier) -> None:
    answer = await ask(passwords, DEVICES, username="viewer", password=b"secret")
    assert reason(answer) is ReasonCode.BAD_USER_NAME_OR_PASSWORD


async def test_a_user_with_the_right_password_is_its_mqtt_client(passwords: PasswordVerifier) -> None:
    answer = await ask(passwords, PASSWORD, username="viewer", password=b"secret", client_id="viewer-1")
    assert answer == Identity(
        facts=Facts(
            client_id="viewer-1", username="viewer", namespace="mqtt", source="passwords", attributes={"line": "3"}
        ),
        client_ids=("viewer-*",),
        limits=ClientLimits(connections_max=2),
    )


async def test_a_certificate_that_was_not_judged_gives_a_password_user_no_facts(passwords: PasswordVerifier) -> None:
    answer = await ask(passwords, PASSWORD, username="viewer", password=b"secret", certificate=CERTIFICATE)
    assert isinstance(answer, Identity)
    assert answer.facts.certificate_cn == ""


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("viewer", b"wrong"),
        ("nobody", b"secret"),
        ("certificate-only", b"secret"),
        ("viewer", b""),
        ("VIEWER", b"secret"),
    ],
)
async def test_unknown_user_and_wrong_password_are_one_answer(
    passwords: PasswordVerifier, username: str, password: bytes
) -> None:
    """Threat 21."""
    answer = await ask(passwords, PASSWORD, username=username, password=password)
    assert reason(answer) is ReasonCode.BAD_USER_NAME_OR_PASSWORD


async def test_a_blank_user_name_never_matches(passwords: PasswordVerifier) -> None:
    """Threat 20: even where the policy should hold one."""
    answer = await ask(passwords, PASSWORD, username="", password=b"secret")
    assert reason(answer) is ReasonCode.BAD_USER_NAME_OR_PASSWORD


async def test_a_suspended_client_is_told_so_only_with_the_right_password(passwords: PasswordVerifier) -> None:
    right = await ask(passwords, PASSWORD, username="suspended", password=b"secret")
    wrong = await ask(passwords, PASSWORD, username="suspended", password=b"wrong")
    assert reason(right) is ReasonCode.NOT_AUTHORIZED
    assert reason(wrong) is ReasonCode.BAD_USER_NAME_OR_PASSWORD


async def test_no_detail_holds_a_password(passwords: PasswordVerifier) -> None:
    answer = await ask(passwords, PASSWORD, username="viewer", password=b"s3cr3t-guess")
    assert "s3cr3t" not in repr(answer)


async def test_more_passwords_than_the_bound_are_refused_as_busy(passwords: PasswordVerifier) -> None:
    """Threat 17: a flood of passwords costs no more than the pool."""
    passwords.close()
    answer = await ask(passwords, PASSWORD, username="viewer", password=b"secret")
    assert reason(answer) is ReasonCode.SERVER_BUSY


@pytest.mark.parametrize(("username", "password"), [("viewer", None), (None, b"secret")])
async def test_half_a_credential_is_not_judged_and_not_anonymous(
    passwords: PasswordVerifier, username: str | None, password: bytes | None
) -> None:
    answer = await ask(passwords, PASSWORD, ANONYMOUS, username=username, password=password)
    assert reason(answer) is ReasonCode.BAD_USER_NAME_OR_PASSWORD


async def test_the_first_refusal_ends_the_chain(passwords: PasswordVerifier) -> None:
    """Threat 24: a later mechanism must not save whom an earlier one refused."""
    answer = await ask(passwords, DEVICES, PASSWORD, username="viewer", password=b"secret", certificate=CERTIFICATE)
    assert reason(answer) is ReasonCode.NOT_AUTHORIZED
    assert isinstance(answer, Refused)
    assert answer.detail.startswith("devices: ")


async def test_not_mine_passes_on_to_the_next(passwords: PasswordVerifier) -> None:
    answer = await ask(passwords, DEVICES, ANONYMOUS, PASSWORD, username="viewer", password=b"secret")
    assert isinstance(answer, Identity)
    assert answer.facts.source == "passwords"


async def test_the_order_of_the_chain_decides_who_judges_first(passwords: PasswordVerifier) -> None:
    principal = Principal(username="x", passwords=VIEWER.passwords, certificates=(CertificateMatch(common_name="x"),))
    policy = Policy(principals={"x": principal})
    for chain, source in [((DEVICES, PASSWORD), "devices"), ((PASSWORD, DEVICES), "passwords")]:
        answer = await ask(passwords, *chain, username="x", password=b"secret", certificate=CERTIFICATE, policy=policy)
        assert isinstance(answer, Identity)
        assert answer.facts.source == source


async def test_who_brings_nothing_is_anonymous_where_that_is_named(passwords: PasswordVerifier) -> None:
    answer = await ask(passwords, PASSWORD, ANONYMOUS)
    assert answer == Identity(facts=Facts(client_id="client", source="anyone", anonymous=True), client_ids=("*",))


@pytest.mark.parametrize("client_id", ["viewer-1", "certificate-only"])
async def test_anonymous_may_not_use_a_client_id_that_an_mqtt_client_claims(
    passwords: PasswordVerifier, client_id: str
) -> None:
    """Threat 30."""
    answer = await ask(passwords, ANONYMOUS, client_id=client_id)
    assert reason(answer) is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID


async def test_wildcards_in_a_client_id_are_ordinary_characters_here(passwords: PasswordVerifier) -> None:
    assert isinstance(await ask(passwords, ANONYMOUS, client_id="a/+/#"), Identity)


def begin(passwords: PasswordVerifier, method: str, *chain: AuthenticationSettings) -> Exchange | Refused:
    properties = Properties(authentication_method=method)
    connect = Connect(ProtocolVersion.V5, "client", clean_start=True, keep_alive=60, properties=properties)
    return Authenticator(chain, passwords).exchange(connect)


@pytest.mark.parametrize("chain", [(), (ANONYMOUS,), (PASSWORD, DEVICES), (SHA_512_ALONE,)])
def test_a_method_that_no_entry_offers_is_refused_by_its_own_code(
    passwords: PasswordVerifier, chain: tuple[AuthenticationSettings, ...]
) -> None:
    """[MQTT-4.12.0-1] Also where anybody may connect."""
    answer = begin(passwords, "SCRAM-SHA-256", *chain)
    assert isinstance(answer, Refused)
    assert answer.reason is ReasonCode.BAD_AUTHENTICATION_METHOD


def test_the_first_entry_that_offers_the_method_is_asked(passwords: PasswordVerifier) -> None:
    """Those in front of it are not: who names a method wants to be judged by that."""
    for method, entry in [("SCRAM-SHA-512", "strong"), ("SCRAM-SHA-256", "scram")]:
        exchange = begin(passwords, method, ANONYMOUS, PASSWORD, SHA_512_ALONE, SCRAM)
        assert not isinstance(exchange, Refused)
        answer = exchange.proceed(Policy(), b"")
        assert isinstance(answer, Refused)
        assert answer.detail.startswith(f"{entry}: ")


async def test_scram_judges_nobody_by_connect_alone(passwords: PasswordVerifier) -> None:
    answer = await ask(passwords, SCRAM, username="viewer", password=b"secret")
    assert reason(answer) is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    assert isinstance(await ask(passwords, SCRAM, PASSWORD, username="viewer", password=b"secret"), Identity)


@pytest.mark.parametrize(
    "settings",
    [
        AuthenticationSettings(name="mine", type="Magic"),
        AuthenticationSettings(name="mine", type="anonymous"),
        AuthenticationSettings(name="mine", type="Password", principals="Open"),
        AuthenticationSettings(name="mine", type="Anonymous", principals="Open"),
        AuthenticationSettings(name="mine", type="SCRAM", principals="Open"),
        AuthenticationSettings(name="mine", type="SCRAM", mechanisms=("SCRAM-SHA-1",)),
        AuthenticationSettings(name="mine", type="SCRAM", mechanisms=()),
    ],
)
def test_settings_that_mean_nothing_stop_the_node_from_starting(
    passwords: PasswordVerifier, settings: AuthenticationSettings
) -> None:
    with pytest.raises(ValueError, match="mine"):
        Authenticator([settings], passwords)
