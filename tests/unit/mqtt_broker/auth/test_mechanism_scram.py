"""SCRAM: whom a proof proves, and how little an unknown user can be told from a known one."""

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scramp import ScramMechanism as Library  # type: ignore[import-untyped]

from mqtt_api.policy import ClientLimits, Facts, Policy, Principal, ScramMechanism, ScramVerifier
from mqtt_api.scram import ITERATIONS
from mqtt_broker.auth.exchange import Challenge, Progress, Proved
from mqtt_broker.auth.mechanisms.scram import MESSAGE_BYTES_MAX, TRIES_PER_FAILURE, Scram, ScramExchange
from mqtt_broker.auth.principal import Identity, Refused
from mqtt_broker.wire.packets import Connect, Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support.scram import SALT_KEY, SCRAM, SHA_256, SHA_512, Prover, scram_verifiers

BAD, DENIED = ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED
BOTH = pytest.mark.parametrize("method", [SHA_256, SHA_512])
VIEWER = Principal(
    username="viewer",
    namespace="mqtt",
    client_ids=("viewer-*",),
    scram=scram_verifiers("viewer", "old", "new"),
    attributes={"line": "3"},
    limits=ClientLimits(connections_max=2),
)
POLICY = Policy(
    scram_salt_key=SALT_KEY,
    principals={
        "viewer": VIEWER,
        "hash-only": Principal(username="hash-only", passwords=("$argon2id$...",)),
        "suspended": Principal(username="suspended", scram=scram_verifiers("suspended", "old"), suspended=True),
        "a=b,c": Principal(username="a=b,c", scram=scram_verifiers("a=b,c", "old")),
    },
)


def begin(method: str = SHA_256, username: str | None = None) -> ScramExchange:
    connect = Connect(
        ProtocolVersion.V5,
        "viewer-1",
        clean_start=True,
        keep_alive=60,
        username=username,
        properties=Properties(authentication_method=method),
    )
    exchange = Scram(SCRAM).exchange(connect)
    assert isinstance(exchange, ScramExchange)
    return exchange


def challenged(exchange: ScramExchange, prover: Prover, policy: Policy = POLICY) -> bytes:
    answer = exchange.proceed(policy, prover.first)
    assert isinstance(answer, Challenge), answer
    return answer.data


def attempt(username: str, password: str, method: str = SHA_256, policy: Policy = POLICY) -> Progress:
    exchange, prover = begin(method), Prover(username, password, method)
    answer = exchange.proceed(policy, prover.answer(challenged(exchange, prover, policy)))
    if isinstance(answer, Proved):
        prover.check(answer.data)
    return answer


def reason(answer: Progress) -> ReasonCode:
    assert isinstance(answer, Refused), answer
    return answer.reason


@BOTH
def test_a_proof_gives_the_identity_of_its_mqttclient(method: str) -> None:
    answer = attempt("viewer", "new", method)
    verifier = next(each for each in scram_verifiers("viewer", "new") if each.mechanism == method)
    facts = Facts(client_id="viewer-1", username="viewer", namespace="mqtt", source="scram", attributes={"line": "3"})
    assert isinstance(answer, Proved)
    assert answer.identity == Identity(facts=facts, client_ids=("viewer-*",), limits=VIEWER.limits, scram=verifier)


def test_the_example_of_rfc_7677(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7677, 3: every message, byte by byte."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    _, stored_key, server_key, _ = Library("SCRAM-SHA-256").make_auth_info("pencil", 4096, salt)
    verifier = ScramVerifier(
        mechanism=ScramMechanism.SHA_256, salt=salt, iterations=4096, stored_key=stored_key, server_key=server_key
    )
    policy = Policy(scram_salt_key=SALT_KEY, principals={"user": Principal(username="user", scram=(verifier,))})
    monkeypatch.setattr(
        "mqtt_broker.auth.mechanisms.scram.secrets.token_urlsafe", lambda _: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    exchange = begin()
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    assert exchange.proceed(policy, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == Challenge(
        f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
    )
    answer = exchange.proceed(policy, f"c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode())
    assert isinstance(answer, Proved)
    assert answer.data == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@BOTH
@pytest.mark.parametrize("password", ["old", "new"])
def test_both_passwords_of_a_rotation_fit_one_challenge(method: str, password: str) -> None:
    answer = attempt("viewer", password, method)
    assert isinstance(answer, Proved)
    assert answer.identity.scram in scram_verifiers("viewer", password)


@BOTH
@pytest.mark.parametrize(
    ("username", "password", "detail"),
    [
        ("viewer", "older", "wrong password"),
        ("nobody", "old", "unknown user"),
        ("hash-only", "old", "wrong password"),
        ("suspended", "new", "wrong password"),
        ("VIEWER", "old", "unknown user"),
    ],
)
def test_whatever_is_wrong_is_one_answer_after_the_same_messages(
    method: str, username: str, password: str, detail: str
) -> None:
    """The log alone says which it was."""
    answer = attempt(username, password, method)
    assert reason(answer) is BAD
    assert isinstance(answer, Refused)
    assert answer.detail.startswith(f"scram: {detail}")


def test_only_who_knows_the_password_learns_that_a_client_is_suspended() -> None:
    assert reason(attempt("suspended", "old")) is DENIED


@BOTH
def test_challenges_of_known_and_unknown_users_have_the_same_form(method: str) -> None:
    """And stay the same from one attempt to the next, but for the nonce."""
    for username in ("viewer", "nobody", "hash-only"):
        parts = []
        for _ in range(2):
            data = challenged(begin(method), Prover(username, "x", method)).decode()
            parts.append(dict(part.split("=", 1) for part in data.split(",")))
        assert parts[0]["s"] == parts[1]["s"]
        assert parts[0]["r"] != parts[1]["r"]
        assert {(len(part["s"]), part["i"]) for part in parts} == {(24, str(ITERATIONS))}


def test_the_salt_of_a_name_stays_when_its_client_comes_or_goes() -> None:
    """Whoever asked before and asks again learns nothing of it."""
    without = replace(POLICY, principals={})
    salts = {challenged(begin(), Prover("viewer"), policy).decode().split(",")[1] for policy in (POLICY, without)}
    assert len(salts) == 1


@pytest.mark.parametrize("username", ["viewer", "nobody", "suspended"])
def test_a_failure_costs_the_same_number_of_proofs_whoever_it_is(
    username: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    original = ScramExchange._served

    def counting(exchange: ScramExchange, found: Any) -> Any:
        tried.append(found)
        return original(exchange, found)

    monkeypatch.setattr(ScramExchange, "_served", counting)
    assert reason(attempt(username, "wrong")) is BAD
    assert len(tried) == 1 + TRIES_PER_FAILURE


def test_a_user_name_with_the_characters_of_the_format_is_understood() -> None:
    """RFC 5802, 5.1: `=3D` and `=2C`."""
    assert isinstance(attempt("a=b,c", "old"), Proved)


def test_the_user_name_in_connect_is_the_proved_one_or_absent() -> None:
    for username, expected in [("viewer", Challenge), ("pump", Refused), ("", Refused)]:
        assert isinstance(begin(username=username).proceed(POLICY, Prover("viewer").first), expected)


def test_a_name_that_is_prepared_into_another_is_that_other() -> None:
    """RFC 4013 removes a soft hyphen: the identity is the declared one, never the name as it was typed."""
    exchange, prover = begin(), Prover("viewer", "old")
    exchange_first = prover.first.replace(b"n=viewer", "n=vie\u00adwer".encode())
    answer = exchange.proceed(POLICY, exchange_first)
    assert isinstance(answer, Challenge)
    assert exchange._username == "viewer"


def test_verifiers_are_those_of_the_moment_of_the_proof() -> None:
    exchange, prover = begin(), Prover("viewer", "old")
    proof = prover.answer(challenged(exchange, prover))
    later = replace(POLICY, principals={"viewer": replace(VIEWER, scram=scram_verifiers("viewer", "new"))})
    assert reason(exchange.proceed(later, proof)) is BAD


def test_a_verifier_of_another_salt_than_the_challenges_is_not_tried() -> None:
    old, new = (scram_verifiers("viewer", word)[0] for word in ("old", "new"))
    mixed = (old, replace(new, salt=bytes(16)))
    policy = replace(POLICY, principals={"viewer": replace(VIEWER, scram=mixed)})
    assert isinstance(attempt("viewer", "old", policy=policy), Proved)
    assert reason(attempt("viewer", "new", policy=policy)) is BAD


def test_without_a_key_for_salts_nobody_is_challenged() -> None:
    """The salt of an unknown user would have to be made up, and be told from the others."""
    answer = begin().proceed(Policy(), Prover("viewer").first)
    assert reason(answer) is ReasonCode.BAD_AUTHENTICATION_METHOD


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"\xff",
        b"x",
        b"n,,",
        b"n,,n=viewer",
        b"n,,n=,r=a",
        b"n,,n=viewer,r=",
        b"n,,n=viewer,r=\x01",
        b"n,,n=view=er,r=a",
        b"n,a=pump,n=viewer,r=a",
        b"n,,m=ext,n=viewer,r=a",
        b"p=tls-unique,,n=viewer,r=a",
        b"p=tls-exporter,,n=viewer,r=a",
        b"n,,n=viewer,r=" + b"a" * MESSAGE_BYTES_MAX,
        ("n,,n=" + "\ufdfa" * 150 + ",r=a").encode(),  # eighteen characters each, once prepared
    ],
)
def test_what_is_no_first_message_is_refused(data: bytes | None) -> None:
    assert reason(begin().proceed(POLICY, data)) is DENIED


@pytest.mark.parametrize("username", ["viewer", "nobody"])
@pytest.mark.parametrize(
    "final",
    [None, b"", b"\xff", b"c=biws", b"c=biws,r={r},p=!", b"c=biws,r=other,p=AAAA", b"c=eSws,r={r},p=AAAA", b"x" * 513],
)
def test_what_is_no_proof_is_refused_for_everybody_alike(username: str, final: bytes | None) -> None:
    exchange, prover = begin(), Prover(username)
    nonce = challenged(exchange, prover).split(b",")[0][2:]
    answer = exchange.proceed(POLICY, None if final is None else final.replace(b"{r}", nonce))
    assert reason(answer) is DENIED


@pytest.mark.parametrize("username", ["viewer", "nobody"])
@pytest.mark.parametrize("proof", [b"", b"\x00", bytes(32), bytes(64)])
def test_a_proof_of_any_length_that_does_not_fit_is_refused(username: str, proof: bytes) -> None:
    exchange, prover = begin(), Prover(username)
    nonce = challenged(exchange, prover).split(b",")[0][2:]
    answer = exchange.proceed(POLICY, b"c=biws,r=" + nonce + b",p=" + base64.b64encode(proof))
    assert reason(answer) is (BAD if proof else DENIED)


_PARTS = st.sampled_from(
    ["n", "y", "p=tls-unique", "n=viewer", "n=nobody", "r=abc", "c=biws", "p=AAAA", "p=!", "i=-1", "m=x", "", "=", "a="]
)
_MESSAGES = st.one_of(
    st.none(),
    st.binary(max_size=64),
    st.text(max_size=64).map(str.encode),
    st.lists(_PARTS, max_size=7).map(lambda parts: ",".join(parts).encode()),
    st.text(max_size=64).map(lambda name: f"n,,n={name},r=abc".encode()),
)


@given(first=_MESSAGES, second=_MESSAGES, method=st.sampled_from([SHA_256, SHA_512]))
@settings(max_examples=300, deadline=None)
def test_no_messages_whatever_do_more_than_be_refused(first: bytes | None, second: bytes | None, method: str) -> None:
    """A challenge at most, never an identity, never an error of ours."""
    exchange = begin(method)
    answer = exchange.proceed(POLICY, first)
    if isinstance(answer, Challenge):
        nonce = answer.data.split(b",")[0]
        answer = exchange.proceed(POLICY, None if second is None else second.replace(b"r=abc", nonce))
    assert isinstance(answer, Refused)


def test_no_text_of_an_attempt_holds_the_password_or_a_key() -> None:
    answer = attempt("viewer", "hunter2-secret")
    assert isinstance(answer, Refused)
    assert "hunter2" not in answer.detail
