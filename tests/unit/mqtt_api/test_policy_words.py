"""The sentences of refusals and walks."""

from typing import Any

import pytest

from mqtt_api.policy import Activity, Effect, Facts, Policy, Retained, Rights, Rule, Sharing, resolve


def rule(name: str, *topics: str, effect: Effect = Effect.ALLOW, **terms: Any) -> Rule:
    terms = {"activity": Activity.ALL, **terms}
    return Rule(permission="ns/p", name=name, effect=effect, topics=topics, **terms)


def rights(*rules: Rule, default: Effect = Effect.DENY) -> Rights:
    policy = Policy(permissions={"ns/p": rules}, authenticated=("ns/p",), default_effect=default)
    return resolve(policy, Facts(client_id="c"))


def walked_publish(asked: Rights, topic: str = "a", qos: int = 0, *, retain: bool = False) -> dict[str, str]:
    return {step.rule.removeprefix("ns/p/"): step.outcome for step in asked.walk_publish(topic, qos, retain)}


def walked_subscribe(
    asked: Rights, topic_filter: str = "a/#", qos: int = 0, group: str | None = None
) -> dict[str, str]:
    return {step.rule.removeprefix("ns/p/"): step.outcome for step in asked.walk_subscribe(topic_filter, qos, group)}


@pytest.mark.parametrize(
    ("terms", "qos", "retain", "limit"),
    [
        ({"activity": Activity.SUBSCRIBE}, 0, False, "subscribing only"),
        ({"qos": (0,)}, 1, False, "QoS 0 only"),
        ({"qos": (2, 0)}, 1, False, "QoS 0 and 2 only"),
        ({"retain": Retained.NOT_RETAINED}, 0, True, "messages without the retain flag only"),
        ({"retain": Retained.RETAINED}, 0, False, "retained messages only"),
    ],
)
def test_refused_publish_names_the_limit_of_the_nearest_rule(
    terms: dict[str, Any], qos: int, retain: bool, limit: str
) -> None:
    asked = rights(rule("r", "a", **terms))
    assert asked.may_publish("a", qos, retain).reason == f"the rule ns/p/r allows {limit}"
    assert walked_publish(asked, "a", qos, retain=retain) == {"r": f"does not match: it is for {limit}"}
    assert asked.may_publish("b", qos, retain).reason == "no rule allows it (default deny)"
    assert walked_publish(asked, "b", qos, retain=retain) == {"r": "does not match the topic"}


@pytest.mark.parametrize(
    ("terms", "qos", "group", "limit"),
    [
        ({"activity": Activity.PUBLISH}, 0, None, "publishing only"),
        ({"qos": (1, 2)}, 0, None, "QoS 1 and 2 only"),
        ({"shared_subscription": Sharing.SHARED}, 0, None, "shared subscriptions only"),
        ({"shared_subscription": Sharing.NOT_SHARED}, 0, "g", "subscriptions that are not shared only"),
        ({"shared_groups": ("w",)}, 0, "g", "the shared group w only"),
        ({"shared_groups": ("u", "v", "w")}, 0, "g", "the shared groups u, v and w only"),
    ],
)
def test_refused_subscription_names_the_limit_of_the_nearest_rule(
    terms: dict[str, Any], qos: int, group: str | None, limit: str
) -> None:
    asked = rights(rule("r", "a/#", **terms))
    assert asked.may_subscribe("a/+", qos, group).reason == f"the rule ns/p/r allows {limit}"
    assert asked.may_receive("a/x", qos, group).reason == f"the rule ns/p/r allows {limit}"
    assert walked_subscribe(asked, "a/+", qos, group) == {"r": f"does not match: it is for {limit}"}


def test_rule_that_lacks_only_its_template_is_named_after_one_that_is_sound() -> None:
    broken = rule("broken", "${attr.line}", priority=1)
    missing = "${attr.line} has no value for this client"
    assert rights(broken).may_publish("a", 0, retain=False).reason == f"the rule ns/p/broken does not match: {missing}"
    both = rights(broken, rule("sound", "a", qos=(2,)))
    assert both.may_publish("a", 0, retain=False).reason == "the rule ns/p/sound allows QoS 2 only"


def test_rule_of_the_right_activity_is_nearer_than_one_of_the_other() -> None:
    asked = rights(rule("other", "a", activity=Activity.SUBSCRIBE, priority=1), rule("near", "a", qos=(2,)))
    assert asked.may_publish("a", 0, retain=False).reason == "the rule ns/p/near allows QoS 2 only"


def test_walk_of_a_publish_tells_what_decides_and_what_is_outranked() -> None:
    asked = rights(
        rule("second", "a"),
        rule("first", "+", effect=Effect.DENY),
        rule("last", "#", effect=Effect.DENY, priority=-1),
        rule("elsewhere", "b", priority=5),
    )
    assert list(walked_publish(asked).items()) == [
        ("elsewhere", "does not match the topic"),
        ("first", "matches and decides: denied"),
        ("second", "matches, but is outranked by ns/p/first"),
        ("last", "matches, but is outranked by ns/p/first"),
    ]


def test_walk_of_a_filter_tells_parts_and_exceptions() -> None:
    asked = rights(
        rule("exception", "a/secret", effect=Effect.DENY, priority=1),
        rule("granting", "a/#"),
        rule("part", "a/b"),
        rule("harmless", "a/b", effect=Effect.DENY, priority=-1),
    )
    assert walked_subscribe(asked) == {
        "exception": "denies a part of this filter: decided again for each message",
        "granting": "matches and decides: allowed",
        "part": "does not match: it allows only a part of this filter",
        "harmless": "denies a part of this filter, but is outranked by ns/p/granting",
    }
    assert walked_subscribe(asked, "#") == {
        "exception": "does not match: it denies only a part of this filter",
        "granting": "does not match: it allows only a part of this filter",
        "part": "does not match: it allows only a part of this filter",
        "harmless": "does not match: it denies only a part of this filter",
    }


def test_walk_of_a_filter_shows_the_rules_at_the_qos_that_is_granted() -> None:
    asked = rights(rule("granting", "a/#", qos=(0,)), rule("no-2", "a/#", effect=Effect.DENY, qos=(2,)))
    assert walked_subscribe(asked, "a/#", 2) == {
        "no-2": "does not match: it is for QoS 2 only",
        "granting": "matches and decides: allowed",
    }


def test_walk_explains_templates_of_parts() -> None:
    missing = "${attr.line} has no value for this client"
    asked = rights(
        rule("granting", "a/#"),
        rule("broken", "a/${attr.line}"),
        rule("wider", "a/${attr.line}/x", effect=Effect.DENY),
    )
    assert walked_subscribe(asked) == {
        "granting": "matches and decides: allowed",
        "broken": f"does not match: {missing}",
        "wider": "denies a part of this filter: decided again for each message "
        f"({missing}, so its level is read as '+')",
    }


def test_walk_under_default_allow_tells_exceptions_too() -> None:
    asked = rights(rule("no", "a/b", effect=Effect.DENY), default=Effect.ALLOW)
    assert walked_subscribe(asked) == {"no": "denies a part of this filter: decided again for each message"}
    assert walked_publish(asked, "a/c") == {"no": "does not match the topic"}
