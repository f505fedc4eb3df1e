"""The decision against a naive one: every rule looked at, every topic of a small world tried."""

import re
from collections.abc import Callable

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mqtt_api.policy import Activity, Effect, Facts, Policy, Retained, Rule, Sharing, Step, resolve
from support.topic_oracle import FILTERS, TOPICS, do_overlap, does_cover, is_matched

RULE_LEVELS = ["", "a", "$s", "+", "${clientid}", "a${attr.k}", "${attr.k}${attr.k}", "${unknown}"]
TEMPLATES = st.builds(
    lambda levels, tail: "/".join([*levels, *tail]) or "#",
    st.lists(st.sampled_from(RULE_LEVELS), max_size=3),
    st.sampled_from([[], ["#"]]),
)
GROUPS = ["g", "h"]
RULES = st.builds(
    Rule,
    permission=st.just("ns/p"),
    name=st.uuids().map(str),
    effect=st.sampled_from(Effect),
    activity=st.sampled_from(Activity),
    topics=st.lists(TEMPLATES, min_size=1, max_size=2).map(tuple),
    qos=st.sampled_from([(0,), (1,), (0, 1), (2, 0), (0, 1, 2)]),
    retain=st.sampled_from(Retained),
    shared_subscription=st.sampled_from(Sharing),
    shared_groups=st.sampled_from([(), ("g",), ("g", "h")]),
    priority=st.integers(min_value=0, max_value=2),
)
FACTS = st.builds(
    lambda client_id, attributes: Facts(client_id=client_id, attributes=attributes),
    st.sampled_from(["a", "$s", "", "+", "a/a", "#"]),
    st.sampled_from([{}, {"k": "a"}, {"k": ""}, {"k": "a\0"}]),
)
POLICIES = st.builds(
    lambda rules, default: Policy(permissions={"ns/p": tuple(rules)}, authenticated=("ns/p",), default_effect=default),
    st.lists(RULES, max_size=8),
    st.sampled_from(Effect),
)
QOS = st.sampled_from([0, 1, 2])
ASKED_GROUPS = st.sampled_from([None, "g", "h", "other"])


class Oracle:
    """No index, no order, no cleverness."""

    def __init__(self, policy: Policy, facts: Facts) -> None:
        self.default = policy.default_effect is Effect.ALLOW
        values = {"clientid": facts.client_id, "attr.k": facts.attributes.get("k", "")}
        self.rules = [(rule, [f for t in rule.topics for f in self._fill(rule, t, values)]) for rule in policy.rules]

    def _fill(self, rule: Rule, template: str, values: dict[str, str]) -> list[str]:
        filled: list[str] = []
        widened: list[str] = []
        for level in template.split("/"):
            named = [values.get(name, "") for name in re.findall(r"\$\{(.*?)\}", level)]
            usable = all(value and not set(value) & set("+#/\0") for value in named)
            text = re.sub(r"\$\{(.*?)\}", lambda found: values.get(found[1], ""), level)
            filled.append(text if usable else "+")
            breaks_out = not widened and level.startswith("${") and text.startswith("$")
            widened.append(text if usable and not breaks_out else "+")
            if not (usable and not breaks_out) and rule.effect is Effect.ALLOW:
                return []
        return list({"/".join(filled), "/".join(widened)})

    def _verdict(self, hits: list[Rule]) -> tuple[bool, set[str | None]]:
        if not hits:
            return self.default, {None}
        best = [rule for rule in hits if rule.priority == max(hit.priority for hit in hits)]
        deciding = [rule for rule in best if rule.effect is Effect.DENY] or best
        return deciding[0].effect is Effect.ALLOW, {rule.reference for rule in deciding}

    def _hits(self, fits: Callable[[Rule], bool], reaches: Callable[[str], bool]) -> list[Rule]:
        return [rule for rule, filters in self.rules if fits(rule) and any(map(reaches, filters))]

    def publish(self, topic: str, qos: int, retain: bool) -> tuple[bool, set[str | None]]:
        wanted = (Retained.ALL, Retained.RETAINED if retain else Retained.NOT_RETAINED)
        return self._verdict(
            self._hits(
                lambda rule: rule.activity is not Activity.SUBSCRIBE and qos in rule.qos and rule.retain in wanted,
                lambda topic_filter: is_matched(topic_filter, topic),
            )
        )

    def _subscribes(self, qos: int, group: str | None) -> Callable[[Rule], bool]:
        def fits(rule: Rule) -> bool:
            if rule.activity is Activity.PUBLISH or qos not in rule.qos:
                return False
            if group is None:
                return rule.shared_subscription is not Sharing.SHARED
            return rule.shared_subscription is not Sharing.NOT_SHARED and group in (rule.shared_groups or [group])

        return fits

    def receive(self, topic: str, qos: int, group: str | None) -> tuple[bool, set[str | None]]:
        return self._verdict(self._hits(self._subscribes(qos, group), lambda f: is_matched(f, topic)))

    def subscribe(self, asked: str, qos: int, group: str | None) -> tuple[int | None, set[str | None], bool]:
        for level in range(qos, -1, -1):
            fits = self._subscribes(level, group)
            hits = self._hits(fits, lambda f: does_cover(f, asked))
            allowed, deciding = self._verdict(hits)
            if allowed:
                floor = max((hit.priority for hit in hits), default=0)
                partial = self._hits(fits, lambda f: do_overlap(f, asked) and not does_cover(f, asked))
                return level, deciding, any(r.effect is Effect.DENY and r.priority >= floor for r in partial)
        return None, set(), False


@settings(max_examples=400, deadline=None)
@given(POLICIES, FACTS, st.sampled_from(TOPICS), QOS, st.booleans(), ASKED_GROUPS)
def test_decision_on_a_topic_is_the_naive_one(
    policy: Policy, facts: Facts, topic: str, qos: int, retain: bool, group: str | None
) -> None:
    rights, oracle = resolve(policy, facts), Oracle(policy, facts)
    publish = rights.may_publish(topic, qos, retain)
    allowed, deciding = oracle.publish(topic, qos, retain)
    assert publish.allowed == allowed
    assert publish.rule in deciding
    receive = rights.may_receive(topic, qos, group)
    allowed, deciding = oracle.receive(topic, qos, group)
    assert receive.allowed == allowed
    assert receive.rule in deciding


@settings(max_examples=400, deadline=None)
@given(POLICIES, FACTS, st.sampled_from(FILTERS), QOS, ASKED_GROUPS)
def test_decision_on_a_filter_is_the_naive_one(
    policy: Policy, facts: Facts, asked: str, qos: int, group: str | None
) -> None:
    grant = resolve(policy, facts).may_subscribe(asked, qos, group)
    granted, deciding, has_exceptions = Oracle(policy, facts).subscribe(asked, qos, group)
    assert (grant.qos, grant.has_exceptions) == (granted, has_exceptions)
    assert granted is None or grant.rule in deciding


@settings(max_examples=200, deadline=None)
@given(POLICIES, FACTS, st.sampled_from(FILTERS), QOS, ASKED_GROUPS)
def test_grant_without_exceptions_allows_every_topic_of_the_filter(
    policy: Policy, facts: Facts, asked: str, qos: int, group: str | None
) -> None:
    """What the plans rely on when they do not ask again at delivery."""
    rights = resolve(policy, facts)
    grant = rights.may_subscribe(asked, qos, group)
    assume(grant.qos is not None and not grant.has_exceptions)
    assert grant.qos is not None
    refused = [t for t in TOPICS if is_matched(asked, t) and not rights.may_receive(t, grant.qos, group).allowed]
    assert refused == []


@settings(max_examples=200, deadline=None)
@given(POLICIES, FACTS, st.sampled_from(FILTERS), QOS, ASKED_GROUPS)
def test_walk_of_a_filter_tells_what_was_decided(
    policy: Policy, facts: Facts, asked: str, qos: int, group: str | None
) -> None:
    rights = resolve(policy, facts)
    grant = rights.may_subscribe(asked, qos, group)
    walked = rights.walk_subscribe(asked, qos, group)
    check_order(policy, walked)
    if grant.qos is not None:
        assert deciding(walked, "allowed") == ({grant.rule} if grant.rule else set())
        assert any("decided again for each message" in step.outcome for step in walked) == grant.has_exceptions


@settings(max_examples=200, deadline=None)
@given(POLICIES, FACTS, st.sampled_from(TOPICS), QOS, st.booleans())
def test_walk_of_a_topic_tells_what_was_decided(
    policy: Policy, facts: Facts, topic: str, qos: int, retain: bool
) -> None:
    rights = resolve(policy, facts)
    decision = rights.may_publish(topic, qos, retain)
    walked = rights.walk_publish(topic, qos, retain)
    check_order(policy, walked)
    assert deciding(walked, "allowed" if decision.allowed else "denied") == (
        {decision.rule} if decision.rule else set()
    )


def deciding(walked: tuple[Step, ...], verdict: str) -> set[str]:
    return {step.rule for step in walked if step.outcome.startswith(f"matches and decides: {verdict}")}


def check_order(policy: Policy, walked: tuple[Step, ...]) -> None:
    """Every rule once, by priority, deny first."""
    ranks = {rule.reference: (-rule.priority, rule.effect is Effect.ALLOW) for rule in policy.rules}
    assert [ranks[step.rule] for step in walked] == sorted(ranks.values())
    assert len({step.rule for step in walked}) == len(ranks)
