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


def policy(versions: list[int], permissions: int = 3, revision: int = 1) -> Policy:
    """A principal for each entry; the same number there is the same principal."""
    principals = {
        f"u{place}": Principal(
            username=f"u{place}", groups=(f"g{version}",), permissions=(f"ns/p{version % permissions}",)
        )
        for place, version in enumerate(versions)
        if version >= 0
    }
    table = {f"ns/p{number}": (rule(number),) for number in range(permissions)}
    return Policy(revision=revision, permissions=table, principals=principals)


@given(st.lists(st.tuples(st.lists(st.integers(-1, 2), max_size=5), st.integers(1, 4)), max_size=6))
def test_each_of_several_documents_is_decoded_as_if_it_were_alone(told: list[tuple[list[int], int]]) -> None:
    decoder = PolicyDecoder()
    for versions, permissions in told:
        document = encode_policy(policy(versions, permissions))
        assert decoder.decode(document) == decode_policy(document) == decode_policy(document.splitlines())


def test_what_did_not_change_is_the_same_object() -> None:
    decoder = PolicyDecoder()
    first = decoder.decode(encode_policy(policy([0, 1, 2])))
    second = decoder.decode(encode_policy(policy([0, 2, 2], revision=2)))
    assert second.principals["u0"] is first.principals["u0"]
    assert second.principals["u1"] is not first.principals["u1"]
    assert all(second.permissions[name] is rules for name, rules in first.permissions.items())


def changed(document: bytes, key: str, value: Any) -> bytes:
    """With another value in the line that has this key."""
    lines = [json.loads(line) for line in document.splitlines()]
    return b"".join(json.dumps(line | ({key: value} if key in line else {})).encode() + b"\n" for line in lines)


def table(document: bytes, key: str) -> dict[str, Any]:
    lines = (json.loads(line) for line in document.splitlines())
    return {name: entry for line in lines for name, entry in line.get(key, {}).items()}


def test_unchanged_principals_are_checked_again_where_a_permission_they_name_is_gone() -> None:
    decoder = PolicyDecoder()
    document = encode_policy(policy([0, 1, 2]))
    decoder.decode(document)
    fewer = {name: rules for name, rules in table(document, "permissions").items() if name != "ns/p2"}
    with pytest.raises(ValueError, match="there is no such permission"):
        decoder.decode(changed(document, "permissions", fewer))


def test_a_line_that_stays_is_not_decoded_again() -> None:
    decoder = PolicyDecoder()
    document = encode_policy(policy([0] * 200)).splitlines()
    first = decoder.decode(document)
    second = decoder.decode(encode_policy(policy([0] * 199 + [1], revision=2)).splitlines())
    assert sum(second.principals[name] is one for name, one in first.principals.items()) == 199


@pytest.mark.parametrize("place", [1, 2], ids=["alike", "another"])
def test_a_name_that_stands_in_two_lines_is_refused(place: int) -> None:
    lines = encode_policy(policy([0])).splitlines()
    twice = lines[2] if place == 1 else lines[2].replace(b"g0", b"g1")
    with pytest.raises(ValueError, match="a name must stand in one line only"):
        decode_policy([*lines, twice])


def test_what_is_said_once_is_said_in_the_first_line_only() -> None:
    lines = encode_policy(policy([0])).splitlines()
    with pytest.raises(ValueError, match=r"malformed in line 4: .*unknown field `revision`"):
        decode_policy([*lines, b'{"revision":2}'])


def test_after_a_document_that_is_refused_the_next_is_decoded_as_ever() -> None:
    decoder = PolicyDecoder()
    document = encode_policy(policy([0, 1, 2]))
    first = decoder.decode(document)
    broken = table(document, "principals") | {"u1": {"username": "u1", "suspended": "yes"}}
    with pytest.raises(ValueError, match=r"\$\.principals\[\.\.\.\]\.suspended"):
        decoder.decode(changed(document, "principals", broken))
    again = decoder.decode(document)
    assert again == first
    assert again.principals["u1"] is first.principals["u1"]


def test_a_changed_rule_is_taken_and_its_neighbours_kept() -> None:
    decoder = PolicyDecoder()
    before = policy([0, 1])
    first = decoder.decode(encode_policy(before))
    changed_rule = {"ns/p1": (rule(1, version=7),)}
    second = decoder.decode(encode_policy(replace(before, permissions={**before.permissions, **changed_rule})))
    assert second.permissions["ns/p1"][0].topics == ("a/1/7",)
    assert second.permissions["ns/p0"] is first.permissions["ns/p0"]
