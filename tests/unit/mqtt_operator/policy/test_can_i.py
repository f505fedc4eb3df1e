"""What `can-i` answers, given a policy."""

from typing import Any

import pytest

from mqtt_api.policy import Activity, CertificateMatch, Effect, Policy, Principal, Rule
from mqtt_operator.errors import UsageError
from mqtt_operator.policy.can_i import Answer, Question, Who, can_i


def rule(name: str, effect: Effect, activity: Activity, topic: str, **more: Any) -> Rule:
    return Rule(permission=f"n/{name}", name="rule", effect=effect, activity=activity, topics=(topic,), **more)


RULES = (
    rule("own", Effect.ALLOW, Activity.PUBLISH, "own/${clientid}"),
    rule("read", Effect.ALLOW, Activity.SUBSCRIBE, "a/#", qos=(0, 1)),
    rule("not-b", Effect.DENY, Activity.SUBSCRIBE, "a/b"),
    rule("cert", Effect.ALLOW, Activity.PUBLISH, "cn/${cert.cn}"),
)
OWN, READ, NOT_B, CERT = (each.permission for each in RULES)
POLICY = Policy(
    permissions={each.permission: (each,) for each in RULES},
    principals={
        "pump": Principal(username="pump", client_ids=("${username}", "pump-*"), permissions=(OWN, READ, NOT_B, CERT)),
        "fleet": Principal(username="fleet", client_ids=("f-*",), permissions=(OWN,)),
        "exact": Principal(username="exact", permissions=(OWN,)),
        "off": Principal(username="off", suspended=True, permissions=(OWN, READ)),
        "all": Principal(username="all", client_ids=("*",), certificates=(CertificateMatch(common_name="x"),)),
    },
    authenticated=(CERT,),
    anonymous=(OWN,),
)


def publish(username: str, topic: str, *, client_id: str | None = None, certificate_cn: str = "") -> Answer:
    who = Who(username=username, certificate_cn=certificate_cn)
    question = Question(who=who, activity=Activity.PUBLISH, topic=topic, client_id=client_id)
    return can_i(POLICY, question)


def subscribe(topic: str, *, qos: int = 0, group: str | None = None) -> Answer:
    question = Question(who=Who(username="pump"), activity=Activity.SUBSCRIBE, topic=topic, qos=qos, group=group)
    return can_i(POLICY, question)


def test_an_allowed_publish_names_its_rule_and_the_walk() -> None:
    answer = publish("pump", "own/pump")
    assert (answer.allowed, answer.rule, answer.client_id) == (True, "n/own/rule", "pump")
    assert "n/own/rule" in [step.rule for step in answer.walk]


def test_no_rule_means_no() -> None:
    answer = publish("pump", "elsewhere")
    assert (answer.allowed, answer.rule) == (False, None)


def test_the_client_id_fills_templates() -> None:
    assert publish("pump", "own/pump-2", client_id="pump-2").allowed
    assert not publish("pump", "own/pump", client_id="pump-2").allowed


def test_a_client_id_that_the_client_may_not_use_is_denied_without_a_walk() -> None:
    answer = publish("pump", "own/other", client_id="other")
    assert not answer.allowed
    assert "not one it may use (clientIDs: ${username}, pump-*)" in answer.reason
    assert answer.walk == ()


def test_without_a_client_id_one_is_chosen_that_the_client_may_use() -> None:
    assert publish("fleet", "own/f-1").allowed
    assert publish("exact", "own/exact").allowed


def test_a_suspended_client_may_nothing() -> None:
    answer = publish("off", "own/off")
    assert not answer.allowed
    assert "suspended" in answer.reason


def test_a_user_name_of_nobody_may_nothing() -> None:
    answer = publish("ghost", "own/ghost")
    assert not answer.allowed
    assert "no MQTTClient has the user name 'ghost'" in answer.reason


def test_an_open_principal_has_the_rights_of_the_authenticated() -> None:
    who = Who(username="device", certificate_cn="device", open_client_ids=("${username}",))
    asked = Question(who=who, activity=Activity.PUBLISH, topic="cn/device")
    assert can_i(POLICY, asked).allowed
    assert not can_i(POLICY, Question(who=who, activity=Activity.PUBLISH, topic="own/device")).allowed
    refused = can_i(POLICY, Question(who=who, activity=Activity.PUBLISH, topic="cn/device", client_id="another"))
    assert "not one it may use" in refused.reason


def test_what_the_certificate_says_fills_templates() -> None:
    assert publish("pump", "cn/x", certificate_cn="x").allowed
    assert not publish("pump", "cn/x").allowed


def test_an_anonymous_client_has_its_own_rights() -> None:
    assert publish("", "own/walk-in", client_id="walk-in").allowed
    assert not publish("", "cn/x", client_id="walk-in").allowed


@pytest.mark.parametrize("client_id", ["pump", "pump-9", "f-1", "exact"])
def test_an_anonymous_client_takes_no_client_id_of_an_mqttclient(client_id: str) -> None:
    answer = publish("", f"own/{client_id}", client_id=client_id)
    assert not answer.allowed
    assert "belongs to the MQTTClient" in answer.reason


def test_the_granted_qos_is_told_when_it_is_lower() -> None:
    answer = subscribe("a/c", qos=2)
    assert answer.allowed
    assert "granted at QoS 1" in answer.reason


def test_denied_topics_inside_a_granted_filter_are_told() -> None:
    answer = subscribe("a/#")
    assert answer.allowed
    assert "left out at delivery" in answer.reason


def test_a_denied_filter_names_the_deny() -> None:
    answer = subscribe("a/b")
    assert (answer.allowed, answer.rule) == (False, "n/not-b/rule")


def test_a_shared_filter_may_be_written_either_way() -> None:
    assert subscribe("$share/w/a/c") == subscribe("a/c", group="w")


@pytest.mark.parametrize(
    ("activity", "topic", "extra"),
    [
        (Activity.PUBLISH, "a/+", {}),
        (Activity.PUBLISH, "", {}),
        (Activity.PUBLISH, "a", {"group": "w"}),
        (Activity.SUBSCRIBE, "a/#/b", {}),
        (Activity.SUBSCRIBE, "$share/w", {}),
        (Activity.SUBSCRIBE, "a", {"group": "w/x"}),
        (Activity.SUBSCRIBE, "a", {"group": ""}),
        (Activity.SUBSCRIBE, "a", {"retain": True}),
    ],
)
def test_a_question_without_sense_is_a_usage_error(activity: Activity, topic: str, extra: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        can_i(POLICY, Question(who=Who(username="pump"), activity=activity, topic=topic, **extra))  # type: ignore[arg-type]
