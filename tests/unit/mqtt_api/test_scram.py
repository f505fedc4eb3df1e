"""SCRAM's values: the verifier in the policy document, and salts that nobody can tell the declared ones by."""

import pytest
from msgspec.structs import replace

from mqtt_api.policy import Policy, Principal, ScramMechanism, ScramVerifier, decode_policy, encode_policy
from mqtt_api.scram import HASH_BYTES, ITERATIONS, ITERATIONS_MIN, SALT_BYTES, SALT_KEY_BYTES, derived, salt_of

KEY, OTHER_KEY = bytes(SALT_KEY_BYTES), b"\x01" * SALT_KEY_BYTES
SHA_256, SHA_512 = ScramMechanism.SHA_256, ScramMechanism.SHA_512


def verifier(mechanism: ScramMechanism = SHA_256) -> ScramVerifier:
    return ScramVerifier(
        mechanism=mechanism,
        salt=bytes(SALT_BYTES),
        iterations=ITERATIONS,
        stored_key=bytes(HASH_BYTES[mechanism]),
        server_key=b"\x02" * HASH_BYTES[mechanism],
    )


def holding(*verifiers: ScramVerifier, key: bytes = KEY) -> Policy:
    return Policy(scram_salt_key=key, principals={"pump": Principal(username="pump", scram=verifiers)})


def test_the_iterations_are_more_than_the_standard_demands() -> None:
    """RFC 7677, 4."""
    assert ITERATIONS >= 15_000 > ITERATIONS_MIN >= 4_096


def test_verifiers_are_read_back_as_they_were_written() -> None:
    policy = holding(verifier(), verifier(SHA_512))
    assert decode_policy(encode_policy(policy)) == policy


@pytest.mark.parametrize(
    ("policy", "at"),
    [
        (holding(verifier(), key=b""), "scram"),
        (holding(verifier(), key=b"short"), "scram_salt_key"),
        (holding(replace(verifier(), stored_key=b"")), "scram"),
        (holding(replace(verifier(), server_key=bytes(64))), "scram"),
        (holding(verifier(SHA_512), replace(verifier(), mechanism=SHA_512)), "scram[1]"),
        (holding(replace(verifier(), iterations=ITERATIONS_MIN - 1)), "iterations"),
        (holding(replace(verifier(), iterations=10**9)), "iterations"),
        (holding(replace(verifier(), salt=b"short")), "salt"),
    ],
)
def test_a_document_with_a_verifier_that_is_none_is_refused(policy: Policy, at: str) -> None:
    with pytest.raises(ValueError, match="malformed") as refused:
        decode_policy(encode_policy(policy))
    assert at in str(refused.value)


def test_a_mechanism_that_is_not_known_is_refused() -> None:
    document = encode_policy(holding(verifier())).replace(b"SCRAM-SHA-256", b"SCRAM-SHA-1")
    with pytest.raises(ValueError, match="mechanism"):
        decode_policy(document)


def test_a_salt_depends_on_key_mechanism_and_name_and_on_nothing_else() -> None:
    salts = {
        salt_of(key, mechanism, username)
        for key in (KEY, OTHER_KEY)
        for mechanism in ScramMechanism
        for username in ("pump", "pumq", "")
    }
    assert len(salts) == 2 * 2 * 3
    assert {len(salt) for salt in salts} == {SALT_BYTES}
    assert salt_of(KEY, SHA_256, "pump") == salt_of(KEY, SHA_256, "pump")


def test_what_is_derived_for_one_purpose_tells_nothing_of_another() -> None:
    assert derived(KEY, "salt", SHA_256, "pump", 16) != derived(KEY, "decoy", SHA_256, "pump", 16)
