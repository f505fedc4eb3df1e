"""Placeholders: what they stand for, and what happens when they cannot."""

import pytest

from mqtt_api.policy import Activity, Effect, Facts, Policy, Principal, Rights, Rule, resolve
from mqtt_api.templates import Filled, check_template, fill
from mqtt_api.topics import TopicError

FACTS = Facts(
    client_id="c1",
    username="u1",
    namespace="team-a",
    certificate_cn="cn1",
    certificate_san_dns="pump.example.org",
    attributes={"line": "3", "example.org/site": "north", "clientid": "forged"},
)


def resolved(effect: Effect, template: str, facts: Facts, default: Effect = Effect.DENY) -> Rights:
    rule = Rule(permission="ns/p", name="r", effect=effect, activity=Activity.ALL, topics=(template,))
    return resolve(Policy(permissions={"ns/p": (rule,)}, authenticated=("ns/p",), default_effect=default), facts)


@pytest.mark.parametrize(
    ("template", "topic"),
    [
        ("${clientid}", "c1"),
        ("${username}", "u1"),
        ("${cert.cn}", "cn1"),
        ("${cert.san.dns}", "pump.example.org"),
        ("${namespace}", "team-a"),
        ("${attr.line}", "3"),
        ("${attr.example.org/site}", "north"),
        ("${attr.clientid}", "forged"),
        ("a/x-${clientid}-${attr.line}/b", "a/x-c1-3/b"),
        ("$OWN/${clientid}", "$OWN/c1"),
        ("a$/${clientid}}", "a$/c1}"),
    ],
)
def test_placeholder_stands_for_what_is_known_of_the_client(template: str, topic: str) -> None:
    rights = resolved(Effect.ALLOW, template, FACTS)
    assert rights.may_publish(topic, 0, retain=False).allowed
    assert not rights.may_publish(topic + "x", 0, retain=False).allowed


def test_attributes_and_namespace_come_from_the_facts_also_for_a_known_principal() -> None:
    rule = Rule(
        permission="ns/p",
        name="r",
        effect=Effect.ALLOW,
        activity=Activity.ALL,
        topics=("${namespace}/${attr.line}",),
    )
    principal = Principal(username="u1", namespace="other", attributes={"line": "9"}, permissions=("ns/p",))
    rights = resolve(Policy(permissions={"ns/p": (rule,)}, principals={"u1": principal}), FACTS)
    assert rights.may_publish("team-a/3", 0, retain=False).allowed
    assert not rights.may_publish("other/9", 0, retain=False).allowed


@pytest.mark.parametrize(
    ("client_id", "problem"),
    [
        ("", "${clientid} has no value for this client"),
        ("+", "the value of ${clientid} holds '+'"),
        ("a#", "the value of ${clientid} holds '#'"),
        ("a/b", "the value of ${clientid} holds '/'"),
        ("a\0", "the value of ${clientid} holds U+0000"),
    ],
)
def test_unusable_value_never_allows_and_always_denies(client_id: str, problem: str) -> None:
    """A client id that holds a wildcard must not widen a rule, nor slip out of one."""
    facts = Facts(client_id=client_id)
    allowing = resolved(Effect.ALLOW, "dev/x${clientid}/cmd", facts)
    for topic in ("dev/x/cmd", f"dev/x{client_id}/cmd", "dev/xa/cmd", "dev/a/cmd"):
        assert not allowing.may_publish(topic, 0, retain=False).allowed
    assert allowing.may_publish("dev/a/cmd", 0, retain=False).reason == f"the rule ns/p/r does not match: {problem}"
    assert allowing.may_subscribe("dev/+/cmd", 0, None).reason == f"the rule ns/p/r does not match: {problem}"
    assert allowing.walk_publish("dev/a/cmd", 0, retain=False)[0].outcome == f"does not match: {problem}"
    denying = resolved(Effect.DENY, "dev/x${clientid}/cmd", facts, default=Effect.ALLOW)
    for topic in ("dev/x/cmd", "dev/anything/cmd", "dev//cmd"):  # the whole level is open, its literal part too
        assert not denying.may_publish(topic, 0, retain=False).allowed
    assert denying.may_publish("dev/a/b/cmd", 0, retain=False).allowed
    assert denying.may_subscribe("dev/+/cmd", 0, None).qos is None
    assert denying.walk_publish("dev/a/cmd", 0, retain=False)[0].outcome == (
        f"matches and decides: denied ({problem}, so its level is read as '+')"
    )


def test_value_that_begins_the_topic_with_a_dollar_does_not_allow() -> None:
    """[MQTT-4.7.2-1] is no way round for who may choose a client id."""
    facts = Facts(client_id="$OWN")
    allowing = resolved(Effect.ALLOW, "${clientid}/#", facts)
    problem = "the value of ${clientid} would make the topic begin with '$'"
    assert allowing.may_publish("$OWN/x", 0, retain=False).reason == f"the rule ns/p/r does not match: {problem}"
    assert not allowing.may_publish("a/x", 0, retain=False).allowed
    assert allowing.may_subscribe("$OWN/#", 0, None).qos is None


def test_value_that_begins_the_topic_with_a_dollar_is_denied_there_and_everywhere() -> None:
    denying = resolved(Effect.DENY, "${clientid}/#", Facts(client_id="$SYS"), default=Effect.ALLOW)
    assert not denying.may_publish("$SYS/x", 0, retain=False).allowed
    assert not denying.may_publish("a/x", 0, retain=False).allowed
    assert denying.may_subscribe("$SYS/#", 0, None).qos is None


def test_dollar_inside_the_topic_is_a_character_like_others() -> None:
    facts = Facts(client_id="$x")
    assert resolved(Effect.ALLOW, "a/${clientid}", facts).may_publish("a/$x", 0, retain=False).allowed
    assert resolved(Effect.ALLOW, "a${clientid}", facts).may_publish("a$x", 0, retain=False).allowed


def test_missing_attribute_and_unknown_placeholder_have_no_value() -> None:
    missing = resolved(Effect.ALLOW, "a/${attr.nothing}", FACTS).may_publish("a/3", 0, retain=False)
    assert missing.reason == "the rule ns/p/r does not match: ${attr.nothing} has no value for this client"
    unknown = resolved(Effect.ALLOW, "a/${hostname}", FACTS).may_publish("a/3", 0, retain=False)
    assert unknown.reason == "the rule ns/p/r does not match: ${hostname} is not a placeholder that this version knows"
    denying = resolved(Effect.DENY, "a/${hostname}/b", FACTS, default=Effect.ALLOW)
    assert not denying.may_publish("a/any/b", 0, retain=False).allowed


def test_value_is_never_read_as_a_template() -> None:
    facts = Facts(client_id="${username}", username="root")
    rights = resolved(Effect.ALLOW, "dev/${clientid}", facts)
    assert rights.may_publish("dev/${username}", 0, retain=False).allowed
    assert not rights.may_publish("dev/root", 0, retain=False).allowed


def test_two_problems_are_both_told() -> None:
    assert fill("${clientid}/${attr.a}", {"clientid": "#"}) == Filled(
        (("+", "+"),), "the value of ${clientid} holds '#'; ${attr.a} has no value for this client"
    )


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a/${clientid", "not closed"),
        ("a/${b/c/${clientid}", "not closed"),
        ("a/${", "not closed"),
        ("", "empty"),
        ("a/+${clientid}", r"'\+' must be"),
        ("${clientid}#", "'#' must be"),
        ("#/${clientid}", "'#' must be"),
        ("a\0/${clientid}", r"U\+0000"),
    ],
)
def test_malformed_template_is_refused_and_nothing_is_decided_by_it(template: str, words: str) -> None:
    with pytest.raises(TopicError, match=words):
        check_template(template)
    for effect in Effect:
        with pytest.raises(ValueError, match=words):
            resolved(effect, template, FACTS)


@pytest.mark.parametrize("template", ["#", "+/#", "${clientid}/#", "a/${x}", "${attr.a/b}/${}", "}", "$/{"])
def test_well_formed_template_is_accepted_also_with_unknown_placeholders(template: str) -> None:
    check_template(template)
