"""Lines of a policy document: which entries share one, and that a change stays where it is."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mqtt_api.policy import Activity, Effect, Policy, Principal, Rule, decode_policy, encode_policy
from mqtt_api.policy_lines import (
    LINE_BYTES_MAX,
    Section,
    content_digest,
    encode_entry,
    lines_of,
    parts_digest,
    parts_of,
    section_lines,
)


def rule(number: int) -> Rule:
    reference = f"ns/p{number}"
    return Rule(permission=reference, name="r", effect=Effect.ALLOW, activity=Activity.ALL, topics=("a",))


def fleet(count: int, *, longer: int = -1, without: int = -1) -> Policy:
    """One of the principals may be longer than its neighbours, or left out."""
    names = [f"user-{number:05d}" for number in range(count)]
    principals = {
        name: Principal(username=name, uid="x" * (300 + (place == longer)), permissions=(f"ns/p{place % 100}",))
        for place, name in enumerate(names)
        if place != without
    }
    permissions = {f"ns/p{number}": (rule(number),) for number in range(100)}
    return Policy(revision=1, permissions=permissions, principals=principals)


def test_a_change_leaves_nearly_all_lines_alone() -> None:
    """What did not change is neither written nor fetched nor decoded again."""
    before = lines_of(fleet(20_000))
    assert 150 < len(before) < 600
    for after in (fleet(20_000, longer=10_000), fleet(20_000, without=10_000)):
        assert len(set(lines_of(after)) - set(before)) <= 2


def test_the_digest_is_that_of_the_content_whatever_the_revision() -> None:
    one = fleet(200)
    assert content_digest(one) == content_digest(replace(one, revision=9, digest="other"))
    assert content_digest(one) != content_digest(replace(one, anonymous=("ns/p1",)))
    assert content_digest(one) != content_digest(fleet(200, longer=7))
    assert content_digest(one) != content_digest(fleet(199))


def test_parts_are_the_lines_and_their_order_has_a_name() -> None:
    parts = parts_of(encode_policy(fleet(200)))
    assert [part.line for part in parts] == lines_of(fleet(200))
    digests = [part.digest for part in parts]
    assert parts_digest(digests) != parts_digest(reversed(digests))
    assert [part.line for part in parts_of(b"")] == [b""]


def test_a_line_of_several_entries_is_bounded() -> None:
    """Names may be chosen so that no line would begin at any of them."""
    entries = [(f"{number:03d}", encode_entry("x" * (LINE_BYTES_MAX // 5))) for number in range(100)]
    lines = list(section_lines(Section.PRINCIPALS, entries))
    assert len(lines) >= 20
    assert all(len(line) < LINE_BYTES_MAX + 100 for line in lines)
    (alone,) = section_lines(Section.PRINCIPALS, [("long", encode_entry("x" * LINE_BYTES_MAX))])
    assert len(alone) > LINE_BYTES_MAX


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(st.lists(NAMES, unique=True, max_size=30))
def test_any_name_is_read_back(names: list[str]) -> None:
    """Also one with line breaks, quotes or NUL."""
    principals = {name: Principal(username=name) for name in names}
    assert decode_policy(encode_policy(Policy(principals=principals))).principals == principals
