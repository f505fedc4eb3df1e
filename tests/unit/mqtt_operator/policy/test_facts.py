"""Rules that never decide, and rules that contradict each other: found while permissions and clients change."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_api.policy import Activity, Effect, Facts, Policy, Principal, Retained, Rule, Sharing, resolve
from mqtt_api.topics import covers, overlaps
from mqtt_operator.policy.facts import (
    EXAMPLES_MAX,
    Finding,
    RuleBook,
    RuleFacts,
    aspects,
    covers_aspects,
    outranks,
    share_aspects,
)
from mqtt_operator.policy.topic_trie import TopicTrie

LEVELS = st.sampled_from(["a", "b", "+", "$s", "${clientid}", ""])
FILTERS = st.builds(
    lambda levels, end: "/".join([*levels, *end]) or "a",
    st.lists(LEVELS, max_size=3),
    st.sampled_from([[], ["#"]]),
)


def rule(permission: str, name: str = "r", *topics: str, **terms: Any) -> Rule:
    terms = {"effect": Effect.ALLOW, "activity": Activity.ALL, **terms}
    return Rule(permission=permission, name=name, topics=topics or ("a/#",), **terms)


class World:
    """Permissions, and who they are for."""

    def __init__(self) -> None:
        self.reach: dict[str, int] = {}
        self.rules: dict[str, list[Rule]] = {}
        self.book = RuleBook(lambda reference: self.reach[reference])
        self.facts: dict[str, RuleFacts] = {}

    def put(self, reference: str, reach: int, *rules: Rule) -> None:
        self.reach[reference], self.rules[reference] = reach, list(rules)
        self.book.put(reference, rules)

    def look(self) -> dict[str, RuleFacts]:
        self.facts.update(self.book.news())
        return self.facts


def test_a_rule_that_a_higher_one_covers_is_shadowed() -> None:
    world = World()
    world.put("n/low", 0b1, rule("n/low", "r", "a/b"), rule("n/low", "other", "c"))
    world.put("n/high", 0b1, rule("n/high", "all", "a/#", effect=Effect.DENY, priority=1))
    assert world.look()["n/low"].shadowed == (Finding("r", "n/high/all"),)
    assert world.look()["n/high"] == RuleFacts()


def test_a_rule_with_a_topic_that_nobody_covers_still_decides() -> None:
    world = World()
    world.put("n/low", 0b1, rule("n/low", "r", "a/b", "c"))
    world.put("n/high", 0b1, rule("n/high", "all", "a/#", priority=1))
    assert world.look()["n/low"].shadowed == ()


def test_several_rules_together_may_shadow_one() -> None:
    world = World()
    world.put("n/low", 0b1, rule("n/low", "r", "a/b", "c"))
    world.put("n/high", 0b1, rule("n/high", "a", "a/#", priority=1), rule("n/high", "c", "c", priority=2))
    assert world.look()["n/low"].shadowed == (Finding("r", "n/high/a"), Finding("r", "n/high/c"))


@pytest.mark.parametrize(
    "other",
    [
        {"activity": Activity.SUBSCRIBE},
        {"qos": (0, 1)},
        {"retain": Retained.RETAINED},
        {"shared_subscription": Sharing.SHARED},
        {"shared_groups": ("g",)},
    ],
)
def test_a_rule_that_speaks_of_less_shadows_nothing(other: dict[str, Any]) -> None:
    world = World()
    world.put("n/low", 0b1, rule("n/low"))
    world.put("n/high", 0b1, rule("n/high", priority=1, **other))
    assert world.look()["n/low"].shadowed == ()


def test_rules_for_other_clients_shadow_and_contradict_nothing() -> None:
    world = World()
    world.put("n/low", 0b011, rule("n/low"))
    world.put("n/high", 0b001, rule("n/high", priority=1))
    world.put("n/equal", 0b100, rule("n/equal", effect=Effect.DENY))
    assert world.look()["n/low"] == RuleFacts()
    world.reach["n/high"] = 0b111
    world.book.moved("n/high")
    assert world.look()["n/low"].shadowed == (Finding("r", "n/high/r"),)


def test_equal_priority_contradicts_on_both_sides_and_the_deny_that_covers_shadows() -> None:
    world = World()
    world.put("n/allow", 0b1, rule("n/allow", "r", "a/+"))
    world.put("n/deny", 0b1, rule("n/deny", "r", "a/b", effect=Effect.DENY))
    assert world.look()["n/allow"] == RuleFacts(contradicted=(Finding("r", "n/deny/r"),))
    assert world.look()["n/deny"] == RuleFacts(contradicted=(Finding("r", "n/allow/r"),))
    world.put("n/deny", 0b1, rule("n/deny", "r", "a/#", effect=Effect.DENY))
    assert world.look()["n/allow"].shadowed == (Finding("r", "n/deny/r"),)


def test_an_exception_within_one_permission_contradicts_nothing() -> None:
    world = World()
    world.put("n/p", 0b1, rule("n/p", "all", "a/#"), rule("n/p", "but", "a/b", effect=Effect.DENY))
    assert world.look()["n/p"] == RuleFacts()


def test_a_permission_for_nobody_is_not_complained_of() -> None:
    world = World()
    world.put("n/low", 0, rule("n/low"))
    world.put("n/high", 0b1, rule("n/high", priority=1))
    assert world.look()["n/low"] == RuleFacts()


def test_what_a_dropped_permission_hid_decides_again() -> None:
    world = World()
    world.put("n/low", 0b1, rule("n/low"))
    world.put("n/high", 0b1, rule("n/high", priority=1))
    assert world.look()["n/low"].shadowed
    world.book.drop("n/high")
    world.book.drop("n/high")
    assert world.look()["n/low"] == RuleFacts()


def test_only_a_few_examples_are_kept() -> None:
    world = World()
    world.put("n/low", 0b1, *(rule("n/low", f"r{number}") for number in range(EXAMPLES_MAX + 2)))
    world.put("n/high", 0b1, rule("n/high", priority=1))
    assert len(world.look()["n/low"].shadowed) == EXAMPLES_MAX


RULES = st.builds(
    lambda topics, **terms: ("r", tuple(topics), terms),
    st.lists(FILTERS, min_size=1, max_size=2),
    effect=st.sampled_from(Effect),
    activity=st.sampled_from(Activity),
    qos=st.sampled_from([(0,), (0, 1, 2)]),
    priority=st.integers(0, 1),
    shared_subscription=st.sampled_from(Sharing),
    shared_groups=st.sampled_from([(), ("g",), ("g", "h")]),
)
PUTS = st.tuples(st.sampled_from("pqr"), st.integers(0, 3), st.lists(RULES, max_size=2))


@given(st.lists(PUTS, max_size=6), st.lists(st.tuples(st.sampled_from("pqr"), st.integers(0, 3)), max_size=2))
def test_following_changes_finds_what_looking_at_everything_does(puts: list[Any], moves: list[tuple[str, int]]) -> None:
    world = World()
    for reference, reach, made in puts:
        rules = [rule(reference, f"{name}{n}", *topics, **terms) for n, (name, topics, terms) in enumerate(made)]
        world.put(reference, reach, *rules)
        world.look()
    for reference, reach in moves:
        if reference in world.rules:
            world.reach[reference] = reach
            world.book.moved(reference)
    fresh = World()
    for reference, rules in world.rules.items():
        fresh.put(reference, world.reach[reference], *rules)
    assert world.look() == fresh.look()
    for reference, facts in fresh.facts.items():
        assert facts == _by_looking_at_everything(world, reference)


def _by_looking_at_everything(world: World, reference: str) -> RuleFacts:
    """The definition, word by word."""
    every = [(other, each) for other, rules in world.rules.items() for each in rules]
    reach = world.reach[reference]
    shadowed, contradicted = set(), set()
    for one in world.rules[reference] if reach else ():
        hiding = [
            [
                each.reference
                for other, each in every
                if outranks(each, one)
                and not reach & ~world.reach[other]
                and covers_aspects(aspects(each), aspects(one))
                and any(covers(wide, topic) for wide in each.topics)
            ]
            for topic in one.topics
        ]
        if all(hiding):
            shadowed |= {Finding(one.name, min(each)) for each in hiding}
        contradicted |= {
            Finding(one.name, each.reference)
            for other, each in every
            if other != reference
            and each.priority == one.priority
            and each.effect is not one.effect
            and reach & world.reach[other]
            and share_aspects(aspects(each), aspects(one))
            and any(overlaps(a, b) for a in each.topics for b in one.topics)
        }
    return RuleFacts(
        shadowed=tuple(sorted(shadowed)[:EXAMPLES_MAX]), contradicted=tuple(sorted(contradicted)[:EXAMPLES_MAX])
    )


@given(st.lists(FILTERS, max_size=8), st.lists(st.integers(0, 7), max_size=3), FILTERS)
def test_the_trie_knows_every_filter_that_overlaps(filters: list[str], gone: list[int], asked: str) -> None:
    trie: TopicTrie[int] = TopicTrie()
    for number, each in enumerate(filters):
        trie.add(each, number)
    for number in gone:
        if number < len(filters):
            trie.discard(filters[number], number)
            trie.discard(filters[number], number)
    left = {number for number, each in enumerate(filters) if number not in gone and overlaps(each, asked)}
    assert set(trie.overlapping(asked)) == left


TOPICS = st.sampled_from(["a", "a/b", "b", "a/a/b"])


@given(st.lists(RULES, min_size=2, max_size=4), TOPICS, st.integers(0, 2), st.sampled_from([None, "g", "h", "x"]))
def test_a_shadowed_rule_never_decides(made: list[Any], topic: str, qos: int, group: str | None) -> None:
    rules = tuple(rule("p", f"r{n}", *topics, **terms) for n, (_, topics, terms) in enumerate(made))
    world = World()
    world.put("p", 1, *rules)
    shadowed = {f"p/{finding.rule}" for finding in world.look()["p"].shadowed}
    policy = Policy(permissions={"p": rules}, principals={"u": Principal(username="u", permissions=("p",))})
    rights = resolve(policy, Facts(client_id="a", username="u"))
    assert rights.may_publish(topic, qos, retain=False).rule not in shadowed
    assert rights.may_receive(topic, qos, group).rule not in shadowed
    assert rights.may_subscribe(topic, qos, group).rule not in shadowed
