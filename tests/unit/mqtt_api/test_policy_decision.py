"""Precedence, the permission tuple, the default, and whose rules are asked."""

import timeit
from itertools import cycle, islice
from typing import Any

import pytest

from mqtt_api.policy import (
    Activity,
    Decision,
    Effect,
    Facts,
    Grant,
    Policy,
    Principal,
    Retained,
    Rights,
    Rule,
    Sharing,
    resolve,
)

FACTS = Facts(client_id="pump-7", username="pump-7")


def allow(name: str, *topics: str, **terms: Any) -> Rule:
    return _rule(Effect.ALLOW, name, topics, terms)


def deny(name: str, *topics: str, **terms: Any) -> Rule:
    return _rule(Effect.DENY, name, topics, terms)


def _rule(effect: Effect, name: str, topics: tuple[str, ...], terms: dict[str, Any]) -> Rule:
    terms = {"activity": Activity.ALL, **terms}
    return Rule(permission="mqtt/plant", name=name, effect=effect, topics=topics, **terms)


def rights(*rules: Rule, default: Effect = Effect.DENY) -> Rights:
    policy = Policy(permissions={"mqtt/plant": rules}, authenticated=("mqtt/plant",), default_effect=default)
    return resolve(policy, FACTS)


def test_no_rule_means_no() -> None:
    nothing = rights()
    assert nothing.may_publish("a", 0, retain=False) == Decision(
        allowed=False, rule=None, reason="no rule allows it (default deny)"
    )
    assert nothing.may_receive("a", 0, None) == Decision(
        allowed=False, rule=None, reason="no rule allows it (default deny)"
    )
    assert nothing.may_subscribe("#", 2, None) == Grant(None, None, "no rule allows it (default deny)")
    assert nothing.walk_publish("a", 0, retain=False) == ()


def test_allow_rule_is_cited() -> None:
    assert rights(allow("all", "a/#")).may_publish("a/b", 1, retain=True) == Decision(
        allowed=True, rule="mqtt/plant/all", reason="allowed by mqtt/plant/all"
    )
    assert rights(allow("all", "a/#")).may_subscribe("a/+", 2, "g") == Grant(
        2, "mqtt/plant/all", "allowed by mqtt/plant/all", has_exceptions=False
    )


def test_deny_wins_at_equal_priority_and_is_cited() -> None:
    for rules in ((allow("all", "#"), deny("no-stop", "stop")), (deny("no-stop", "stop"), allow("all", "#"))):
        refused = Decision(allowed=False, rule="mqtt/plant/no-stop", reason="denied by mqtt/plant/no-stop")
        assert rights(*rules).may_publish("stop", 0, retain=False) == refused
        assert rights(*rules).may_receive("stop", 0, None) == refused
        assert rights(*rules).may_subscribe("stop", 0, None) == Grant(None, refused.rule, refused.reason)
        assert rights(*rules).may_publish("go", 0, retain=False).allowed


def test_higher_priority_wins_whatever_its_effect() -> None:
    raised = rights(allow("raised", "stop", priority=1), deny("no-stop", "stop"))
    assert raised.may_publish("stop", 0, retain=False).rule == "mqtt/plant/raised"
    lowered = rights(allow("lowered", "stop", priority=-1), deny("no-stop", "stop"))
    assert lowered.may_publish("stop", 0, retain=False).rule == "mqtt/plant/no-stop"


def test_rule_of_one_activity_says_nothing_about_the_other() -> None:
    split = rights(
        allow("send", "a", activity=Activity.PUBLISH),
        allow("hear", "b", activity=Activity.SUBSCRIBE),
        allow("both", "c"),
        deny("not-send", "c", activity=Activity.PUBLISH),
    )
    assert [split.may_publish(topic, 0, retain=False).allowed for topic in "abc"] == [True, False, False]
    assert [split.may_receive(topic, 0, None).allowed for topic in "abc"] == [False, True, True]
    assert [split.may_subscribe(topic, 0, None).qos for topic in "abc"] == [None, 0, 0]


def test_publish_at_a_qos_that_is_not_allowed_is_refused_and_not_downgraded() -> None:
    only_0 = rights(allow("own-data", "a", qos=(0,)))
    assert only_0.may_publish("a", 0, retain=False).allowed
    assert only_0.may_publish("a", 1, retain=False) == Decision(
        allowed=False, rule=None, reason="the rule mqtt/plant/own-data allows QoS 0 only"
    )


@pytest.mark.parametrize(
    ("term", "unretained", "retained"),
    [(Retained.ALL, True, True), (Retained.RETAINED, False, True), (Retained.NOT_RETAINED, True, False)],
)
def test_retain_limits_publishes_and_nothing_else(term: Retained, unretained: bool, retained: bool) -> None:
    limited = rights(allow("r", "a", retain=term))
    assert limited.may_publish("a", 0, retain=False).allowed is unretained
    assert limited.may_publish("a", 0, retain=True).allowed is retained
    assert limited.may_subscribe("a", 0, None).qos == 0
    assert limited.may_receive("a", 0, None).allowed


@pytest.mark.parametrize(
    ("term", "groups", "plain", "in_g", "in_h"),
    [
        (Sharing.ALL, (), True, True, True),
        (Sharing.ALL, ("g",), True, True, False),
        (Sharing.SHARED, (), False, True, True),
        (Sharing.SHARED, ("g",), False, True, False),
        (Sharing.SHARED, ("g", "h"), False, True, True),
        (Sharing.NOT_SHARED, (), True, False, False),
        (Sharing.NOT_SHARED, ("g",), True, False, False),
    ],
)
def test_sharing_limits_subscriptions_and_nothing_else(
    term: Sharing, groups: tuple[str, ...], plain: bool, in_g: bool, in_h: bool
) -> None:
    expected = {None: plain, "g": in_g, "h": in_h}
    for effect, fits in ((Effect.ALLOW, True), (Effect.DENY, False)):
        rule = _rule(effect, "r", ("a",), {"shared_subscription": term, "shared_groups": groups})
        limited = rights(rule, default=Effect.DENY if fits else Effect.ALLOW)
        for group, speaks in expected.items():
            assert (limited.may_subscribe("a", 0, group).qos == 0) is (speaks is fits)
            assert limited.may_receive("a", 0, group).allowed is (speaks is fits)
        assert limited.may_publish("a", 0, retain=False).allowed is fits


def test_subscription_gets_the_highest_allowed_qos_not_above_the_one_asked_for() -> None:
    low = rights(allow("low", "a", qos=(0, 1)))
    assert [low.may_subscribe("a", qos, None).qos for qos in (0, 1, 2)] == [0, 1, 1]
    assert low.may_subscribe("a", 2, None).reason == (
        "allowed by mqtt/plant/low at QoS 1, not at QoS 2: the rule mqtt/plant/low allows QoS 0 and 1 only"
    )
    high = rights(allow("high", "a", qos=(2,)))
    assert high.may_subscribe("a", 1, None) == Grant(None, None, "the rule mqtt/plant/high allows QoS 2 only")


def test_deny_of_some_qos_lowers_what_is_granted() -> None:
    lowered = rights(allow("all", "a"), deny("no-2", "a", qos=(2,)))
    assert lowered.may_subscribe("a", 2, None) == Grant(
        1, "mqtt/plant/all", "allowed by mqtt/plant/all at QoS 1, not at QoS 2: denied by mqtt/plant/no-2"
    )
    none_left = rights(allow("all", "a", qos=(0, 1)), deny("no-low", "a", qos=(0, 1)))
    assert none_left.may_subscribe("a", 2, None) == Grant(None, "mqtt/plant/no-low", "denied by mqtt/plant/no-low")


def test_filter_must_be_covered_by_one_allow_rule() -> None:
    """Threats of the kind '# with rights on a/# only': no wider filter is granted and then thinned out."""
    some = rights(allow("a", "a/#"), allow("b", "b/+"))
    for covered in ("a/#", "a", "a/+/x", "b/+", "b/c"):
        assert some.may_subscribe(covered, 0, None).qos == 0
    for wider in ("#", "+/#", "+/c", "b/#", "$share", "$SYS/#"):
        assert some.may_subscribe(wider, 0, None).qos is None
    assert some.may_subscribe("+/secret", 0, None).reason == "the rule mqtt/plant/a allows only a part of this filter"


def test_root_wildcard_grants_no_dollar_topic() -> None:
    """[MQTT-4.7.2-1] [3.1.1 MQTT-4.7.2-1]"""
    everything = rights(allow("all", "#", "+/#"))
    assert not everything.may_publish("$SYS/x", 0, retain=False).allowed
    assert not everything.may_receive("$SYS/x", 0, None).allowed
    assert everything.may_subscribe("$SYS/#", 0, None).qos is None


@pytest.mark.parametrize("default", [Effect.DENY, Effect.ALLOW])
def test_no_rule_lets_a_client_publish_what_the_broker_says_of_itself(default: Effect) -> None:
    """Reading it is a right like any other."""
    everything = rights(allow("all", "$SYS/#"), default=default)
    decision = everything.may_publish("$SYS/broker/version", 0, retain=True)
    assert (decision.allowed, decision.reason) == (False, "only the broker itself publishes below $SYS")
    assert everything.may_subscribe("$SYS/#", 0, None).qos == 0
    assert everything.may_receive("$SYS/broker/version", 0, None).allowed


def test_covering_deny_refuses_and_overlapping_deny_stays_as_exception() -> None:
    partly = rights(allow("all", "a/#"), deny("no-secret", "+/secret/#"))
    assert partly.may_subscribe("a/#", 1, None) == Grant(
        1, "mqtt/plant/all", "allowed by mqtt/plant/all", has_exceptions=True
    )
    assert not partly.may_receive("a/secret/x", 1, None).allowed
    assert partly.may_receive("a/open", 1, None).allowed
    assert partly.may_subscribe("a/secret/+", 1, None).qos is None
    assert not partly.may_subscribe("a/open/#", 1, None).has_exceptions


@pytest.mark.parametrize(
    "harmless",
    [
        deny("lower", "a/b", priority=-1),
        deny("other-qos", "a/b", qos=(0, 1)),
        deny("publish", "a/b", activity=Activity.PUBLISH),
        deny("shared", "a/b", shared_subscription=Sharing.SHARED),
        deny("elsewhere", "b/#"),
    ],
    ids=lambda rule: rule.name,
)
def test_deny_that_cannot_touch_the_grant_is_no_exception(harmless: Rule) -> None:
    assert rights(allow("all", "a/#"), harmless).may_subscribe("a/#", 2, None) == Grant(
        2, "mqtt/plant/all", "allowed by mqtt/plant/all", has_exceptions=False
    )


def test_default_allow_lets_through_what_no_rule_forbids() -> None:
    blocklist = rights(deny("no-stop", "plant/stop"), default=Effect.ALLOW)
    reason = "no rule forbids it (default allow)"
    assert blocklist.may_publish("x", 0, retain=False) == Decision(allowed=True, rule=None, reason=reason)
    assert blocklist.may_receive("x", 0, None) == Decision(allowed=True, rule=None, reason=reason)
    assert not blocklist.may_publish("plant/stop", 0, retain=False).allowed
    assert blocklist.may_subscribe("x/#", 2, None) == Grant(2, None, reason, has_exceptions=False)
    assert blocklist.may_subscribe("plant/#", 2, None) == Grant(2, None, reason, has_exceptions=True)
    assert blocklist.may_subscribe("plant/stop", 2, None).qos is None


def test_default_allow_with_a_deny_of_high_qos_grants_the_lower_one() -> None:
    blocklist = rights(deny("no-2", "a", qos=(2,)), default=Effect.ALLOW)
    assert blocklist.may_subscribe("a", 2, None) == Grant(
        1, None, "no rule forbids it (default allow) at QoS 1, not at QoS 2: denied by mqtt/plant/no-2"
    )


def test_principal_has_its_rules_beside_those_of_everybody_and_the_nameless_only_theirs() -> None:
    policy = Policy(
        permissions={name: (allow(name, name),) for name in ("known", "open", "nameless")},
        principals={"pump-7": Principal(username="pump-7", permissions=("known",))},
        authenticated=("open",),
        anonymous=("nameless",),
    )

    def allowed(facts: Facts) -> list[str]:
        asked = resolve(policy, facts)
        return [topic for topic in ("known", "open", "nameless") if asked.may_publish(topic, 0, retain=False).allowed]

    assert allowed(Facts(client_id="x", username="pump-7")) == ["known", "open"]
    assert allowed(Facts(client_id="x", username="pump-8")) == ["open"]
    assert allowed(Facts(client_id="x", anonymous=True)) == ["nameless"]
    assert allowed(Facts(client_id="x", username="pump-7", anonymous=True)) == ["nameless"]


def test_permission_that_is_listed_twice_has_its_rules_once() -> None:
    policy = Policy(permissions={"p": (allow("r", "a"),)}, authenticated=("p", "p"))
    assert [step.rule for step in resolve(policy, FACTS).walk_publish("a", 0, retain=False)] == ["mqtt/plant/r"]


def test_ten_thousand_rules_of_wildcards_decide_a_deep_topic_within_a_millisecond() -> None:
    """The bound is wide of what it takes, to hold on a busy machine; a walk that branches would take minutes."""
    pattern = cycle("+a+aa")
    rules = [allow(str(n), "/".join(islice(pattern, 127)) + "/x", qos=(n % 3,)) for n in range(9_999)]
    asked = rights(*rules, deny("last", "/".join("+" * 128)))
    topic = "/".join("a" * 127)
    for decide in (
        lambda: asked.may_publish(f"{topic}/b", 0, retain=False),
        lambda: asked.may_publish(f"{topic}/x", 1, retain=True),
        lambda: asked.may_subscribe(f"{topic}/+", 0, "g"),
    ):
        assert min(timeit.repeat(decide, number=1, repeat=20)) < 0.001
