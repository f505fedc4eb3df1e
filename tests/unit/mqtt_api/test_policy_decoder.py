"""Documents decoded one after the other: always what each alone would give, with what did not change kept."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mqtt_api.policy import Activity, Effect, Policy, PolicyDecoder, Principal, Rule, decode_policy, encode_policy


def rule(number: int, version: int = 0) -> Rule:
    return Rule(
        permission=f"ns/p{number}",
        name="r",
        effect=Effect.ALLOW,
        activity=Activity.ALL,
        topics=(f"a/{number}/{version}",),
    )


def policy(versions: list[int], rules: int = 3, revision: int = 1) -> Policy:
    """A principal for each entry; the same number there is the same principal."""
    principals = {
        f"u{place}": Principal(username=f"u{place}", groups=(f"g{version}",), rules=(version % rules,))
        for place, version in enumerate(versions)
        if version >= 0
    }
    return Policy(revision=revision, rules=tuple(rule(n) for n in range(rules)), principals=principals)


@given(st.lists(st.tuples(st.lists(st.integers(-1, 2), max_size=5), st.integers(1, 4)), max_size=6))
def test_each_of_several_documents_is_decoded_as_if_it_were_alone(told: list[tuple[list[int], int]]) -> None:
    decoder = PolicyDecoder()
    for versions, rules in told:
        document = encode_policy(policy(versions, rules))
        assert decoder.decode(document) == decode_policy(document)


def test_what_did_not_change_is_the_same_object() -> None:
    decoder = PolicyDecoder()
    first = decoder.decode(encode_policy(policy([0, 1, 2])))
    second = decoder.decode(encode_policy(policy([0, 2, 2], revision=2)))
    assert second.principals["u0"] is first.principals["u0"]
    assert second.principals["u1"] is not first.principals["u1"]
    assert all(one is other for one, other in zip(first.rules, second.rules, strict=True))


def changed(document: bytes, key: str, value: Any) -> bytes:
    return json.dumps({**json.loads(document), key: value}, separators=(",", ":")).encode()


def test_unchanged_principals_are_checked_again_where_a_rule_they_name_is_gone() -> None:
    decoder = PolicyDecoder()
    document = encode_policy(policy([0, 1, 2]))
    decoder.decode(document)
    with pytest.raises(ValueError, match="there is no rule 2"):
        decoder.decode(changed(document, "rules", json.loads(document)["rules"][:2]))


def test_after_a_document_that_is_refused_the_next_is_decoded_as_ever() -> None:
    decoder = PolicyDecoder()
    document = encode_policy(policy([0, 1, 2]))
    first = decoder.decode(document)
    broken = json.loads(document)["principals"] | {"u1": {"username": "u1", "suspended": "yes"}}
    with pytest.raises(ValueError, match=r"\$\.principals\[\.\.\.\]\.suspended"):
        decoder.decode(changed(document, "principals", broken))
    again = decoder.decode(document)
    assert again == first
    assert again.principals["u1"] is first.principals["u1"]


def test_a_changed_rule_is_taken_and_its_neighbours_kept() -> None:
    decoder = PolicyDecoder()
    before = policy([0, 1])
    first = decoder.decode(encode_policy(before))
    second = decoder.decode(
        encode_policy(replace(before, rules=(before.rules[0], rule(1, version=7), before.rules[2])))
    )
    assert second.rules[1].topics == ("a/1/7",)
    assert second.rules[0] is first.rules[0]
