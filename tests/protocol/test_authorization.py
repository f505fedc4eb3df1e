"""Default deny: every way in and out of the broker asks the policy, and every refusal is told and logged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mqtt_api.policy import Activity, Effect, Policy, Retained, Sharing
from mqtt_broker.wire.packets import Properties, ProtocolVersion, Publish, SubscriptionRequest, Will
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker, get
from support.client import Client
from support.policies import PASSWORD, allow, deny, open_policy, policy
from support.waiting import eventually

V3_1_1, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
SUBSCRIBE, PUBLISH = Activity.SUBSCRIBE, Activity.PUBLISH
DENIED = ReasonCode.NOT_AUTHORIZED

RULES = {
    "nobody": [],
    "admin": [allow("#")],
    "pump": [
        allow("data/${clientid}/#", activity=PUBLISH, name="own-data", qos=(0, 1), retain=Retained.NOT_RETAINED),
        allow("cmd/${username}/+", activity=SUBSCRIBE, name="commands", qos=(0, 1)),
        allow("state/${clientid}", activity=PUBLISH, name="own-state", retain=Retained.RETAINED),
    ],
    "viewer": [
        allow("data/#", activity=SUBSCRIBE, name="all-data"),
        deny("data/secret/#", activity=SUBSCRIBE, name="no-secrets"),
    ],
    "worker": [
        allow("jobs/#", activity=SUBSCRIBE, shared_subscription=Sharing.SHARED, shared_groups=("workers",)),
    ],
    "loner": [allow("jobs/#", activity=SUBSCRIBE, name="alone", shared_subscription=Sharing.NOT_SHARED)],
    "boss": [
        allow("boss/#", name="boss"),
        deny("boss/fixed", activity=PUBLISH, name="but-not", priority=1),
        deny("boss/equal", activity=PUBLISH, name="equal"),
    ],
}  # fmt: skip


def the_policy() -> Policy:
    return policy(users=RULES)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with RULES; nobody else may do anything."""
    with Broker(tmp_path_factory.mktemp("guarded"), the_policy()) as running:
        yield running
        running.assert_no_traceback()


async def log_in(
    broker: Broker, user: str, version: ProtocolVersion = V5, client_id: str | None = None, will: Will | None = None
) -> Client:
    client = await broker.dial(version)
    answer = await client.connect(client_id or user, username=user, password=PASSWORD.encode(), will=will)
    assert answer.reason is ReasonCode.SUCCESS
    return client


@pytest.mark.parametrize("qos", [1, 2])
async def test_without_a_rule_a_publish_is_refused_and_reaches_nobody(guarded: Broker, qos: int) -> None:
    async with await log_in(guarded, "nobody") as client, await log_in(guarded, "admin") as witness:
        await witness.subscribe("any/topic")
        assert await client.publish("any/topic", b"x", qos=qos) is DENIED
        await witness.expect_silence()
        entry = await guarded.logged("authz.denied", client_id="nobody", action="publish", topic="any/topic", qos=qos)
        assert entry["rule"] == "none"
        assert entry["level"] == "info"


async def test_a_refused_publish_at_qos_0_is_dropped_and_logged(guarded: Broker, version: ProtocolVersion) -> None:
    topic = f"dropped/{version}"
    async with await log_in(guarded, "nobody", version) as client, await log_in(guarded, "admin") as witness:
        await witness.subscribe(topic)
        await client.publish(topic, b"x")
        await guarded.logged("authz.denied", client_id="nobody", topic=topic, qos=0)
        await client.ping()
        await witness.expect_silence()


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_refused_publish_of_3_1_1_is_acknowledged_and_reaches_nobody(guarded: Broker, qos: int) -> None:
    """[3.1.1 MQTT-3.3.5-2]: it has no word for no."""
    topic = f"old/{qos}"
    async with await log_in(guarded, "nobody", V3_1_1) as client, await log_in(guarded, "admin") as witness:
        await witness.subscribe(topic)
        await client.publish(topic, b"x", qos=qos, retain=True)
        await witness.expect_silence()
        await witness.subscribe(topic)
        await witness.expect_silence()


async def test_without_a_rule_a_subscription_is_refused(guarded: Broker, version: ProtocolVersion) -> None:
    """[MQTT-3.8.4-7] [MQTT-3.9.3-2] [3.1.1 MQTT-3.8.4-5] [3.1.1 MQTT-3.9.3-2] 0x87, in 3.1.1 0x80."""
    async with await log_in(guarded, "nobody", version) as client:
        (reason,) = await client.subscribe("any/topic")
        assert reason is (DENIED if version is V5 else ReasonCode.UNSPECIFIED_ERROR)
        await guarded.logged("authz.denied", client_id="nobody", action="subscribe", topic="any/topic")


async def test_one_refused_filter_does_not_spoil_the_others(guarded: Broker) -> None:
    """[MQTT-3.8.4-5] [MQTT-3.9.3-1]"""
    async with await log_in(guarded, "viewer") as client:
        assert await client.subscribe("data/a", "other", "data/b") == (ReasonCode.SUCCESS, DENIED, ReasonCode.SUCCESS)


@pytest.mark.parametrize(
    ("topic", "qos", "retain", "allowed"),
    [
        ("data/pump/temp", 1, False, True),
        ("data/pump", 1, False, True),
        ("data/pump-2/temp", 1, False, False),
        ("data/other/temp", 1, False, False),
        ("data/pump/temp", 2, False, False),
        ("data/pump/temp", 1, True, False),
        ("state/pump", 2, True, True),
        ("state/pump", 2, False, False),
    ],
)
async def test_topic_quality_and_retain_decide_together(
    guarded: Broker, topic: str, qos: int, retain: bool, allowed: bool
) -> None:
    async with await log_in(guarded, "pump") as client:
        reason = await client.publish(topic, b"", qos=qos, retain=retain)
        assert (reason is not DENIED) is allowed


@pytest.mark.parametrize(
    ("topic_filter", "qos", "granted"),
    [
        ("cmd/pump/stop", 1, ReasonCode.GRANTED_QOS_1),
        ("cmd/pump/+", 2, ReasonCode.GRANTED_QOS_1),
        ("cmd/pump/+", 0, ReasonCode.GRANTED_QOS_0),
        ("cmd/pump/#", 1, DENIED),
        ("cmd/+/stop", 1, DENIED),
        ("cmd/pump", 1, DENIED),
        ("#", 0, DENIED),
        ("+/pump/stop", 0, DENIED),
        ("cmd/pump-2/stop", 0, DENIED),
        ("$SYS/#", 0, DENIED),
        ("$share/g/secret", 0, DENIED),
    ],
)
async def test_a_filter_is_granted_only_if_a_rule_covers_all_of_it(
    guarded: Broker, topic_filter: str, qos: int, granted: ReasonCode
) -> None:
    """And the quality granted is the highest allowed that is not above the one asked for."""
    async with await log_in(guarded, "pump") as client:
        assert await client.subscribe(topic_filter, qos=qos) == (granted,)


async def test_a_deny_inside_a_granted_filter_stays_as_an_exception(guarded: Broker) -> None:
    async with await log_in(guarded, "viewer") as client, await log_in(guarded, "admin") as publisher:
        assert await client.subscribe("data/#", qos=1) == (ReasonCode.GRANTED_QOS_1,)
        assert await client.subscribe("data/secret/#") == (DENIED,)
        await publisher.publish("data/secret/code", b"secret", qos=1)
        await publisher.publish("data/public", b"public", qos=1)
        assert (await client.receive_message()).payload == b"public"
        await client.expect_silence()


async def test_a_retained_message_under_a_deny_is_not_shown(guarded: Broker) -> None:
    async with await log_in(guarded, "admin") as publisher:
        await publisher.publish("data/secret/kept", b"secret", qos=1, retain=True)
        await publisher.publish("data/kept", b"public", qos=1, retain=True)
        async with await log_in(guarded, "viewer") as client:
            await client.subscribe("data/#")
            assert (await client.receive_message()).payload == b"public"
            await client.expect_silence()
        for topic in ("data/secret/kept", "data/kept"):
            await publisher.publish(topic, b"", qos=1, retain=True)


@pytest.mark.parametrize(
    ("user", "topic_filter", "allowed"),
    [
        ("worker", "$share/workers/jobs/1", True),
        ("worker", "$share/others/jobs/1", False),
        ("worker", "jobs/1", False),
        ("loner", "jobs/1", True),
        ("loner", "$share/workers/jobs/1", False),
        ("admin", "$share/any/jobs/#", True),
    ],
)
async def test_sharing_and_the_groups_name_are_rights(
    guarded: Broker, user: str, topic_filter: str, allowed: bool
) -> None:
    async with await log_in(guarded, user) as client:
        (reason,) = await client.subscribe(topic_filter)
        assert reason is (ReasonCode.SUCCESS if allowed else DENIED)


async def test_deny_wins_at_equal_priority_and_priority_wins_otherwise(guarded: Broker) -> None:
    async with await log_in(guarded, "boss") as client:
        assert await client.publish("boss/any", b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
        assert await client.publish("boss/fixed", b"x", qos=1) is DENIED
        assert await client.publish("boss/equal", b"x", qos=1) is DENIED
        entry = await guarded.logged("authz.denied", client_id="boss", topic="boss/fixed")
        assert entry["rule"].endswith("/but-not")


@pytest.mark.parametrize("retain", [False, True])
async def test_a_forbidden_will_is_refused_at_connect(guarded: Broker, retain: bool) -> None:
    """0x87, found out at once and not at death."""
    async with await guarded.dial() as client:
        will = Will("data/other/gone", b"x", 1, retain)
        answer = await client.connect("pump", username="pump", password=PASSWORD.encode(), will=will)
        assert answer.reason is DENIED
        await client.expect_closed()
        entry = await guarded.logged("connect.refused", client_id="pump", reason_code=int(DENIED))
        assert "data/other/gone" in entry["message"]
        assert "rule: none" in entry["message"]


async def test_a_will_that_needs_a_right_of_quality_is_checked_for_it(guarded: Broker) -> None:
    async with await guarded.dial() as client:
        will = Will("data/pump/gone", b"x", 2, retain=False)
        answer = await client.connect("pump", username="pump", password=PASSWORD.encode(), will=will)
        assert answer.reason is DENIED


async def test_an_alias_does_not_carry_a_right_to_another_topic(guarded: Broker) -> None:
    """Decided on the resolved name, each time."""
    async with await log_in(guarded, "pump") as client:
        alias = Properties(topic_alias=1)
        assert await client.publish("data/pump/a", b"x", qos=1, properties=alias) is not DENIED
        assert await client.publish("data/other/a", b"x", qos=1, properties=alias) is DENIED
        assert await client.publish("", b"x", qos=1, properties=alias) is DENIED


async def test_dollar_topics_are_for_nobody_who_was_not_named(guarded: Broker) -> None:
    async with await log_in(guarded, "admin") as client:
        for topic in ("$SYS/broker/version", "$anything"):
            assert await client.publish(topic, b"x", qos=1) in (DENIED, ReasonCode.TOPIC_NAME_INVALID)
        assert await client.subscribe("$SYS/#") == (DENIED,)


async def test_the_reason_of_a_refusal_holds_no_secret(guarded: Broker) -> None:
    """Text for the log stays in the log; the peer gets a code."""
    async with await log_in(guarded, "nobody") as client:
        await client.send(Publish("x", b"x", 1, packet_id=1))
        answer = await client.receive()
        assert "permission" not in str(getattr(answer, "properties", None).__repr__())


async def test_an_empty_policy_refuses_everybody(start_broker: StartBroker) -> None:
    broker = start_broker(policy())
    for username, password in ((None, None), ("admin", PASSWORD.encode())):
        async with await broker.dial() as client:
            answer = await client.connect("c", username=username, password=password)
            if answer.reason is ReasonCode.SUCCESS:
                assert await client.publish("t", b"x", qos=1) is DENIED
                assert await client.subscribe("t") == (DENIED,)
            else:
                assert answer.reason in (ReasonCode.BAD_USER_NAME_OR_PASSWORD, DENIED)


async def test_a_broker_without_a_policy_is_not_ready_and_refuses(tmp_path: Path) -> None:
    """No policy is no yes."""
    broker = Broker(tmp_path / "broker", None)
    program = broker.launch()
    try:
        await eventually(broker.answers)
        assert not broker.status()["ready"]
        with pytest.raises(AssertionError, match="503"):
            get(Path(broker.settings.admin_socket), "/readyz")
        async with await broker.dial() as client:
            assert (await client.connect("c")).reason.is_error
        broker.apply(open_policy())
        assert broker.status()["ready"]
        async with await broker.dial() as client:
            assert (await client.connect("c")).reason is ReasonCode.SUCCESS
    finally:
        program.stop()


async def test_default_allow_is_a_blocklist_for_those_who_ask_for_it(start_broker: StartBroker) -> None:
    rules = [deny("secret/#")]
    broker = start_broker(policy(users={"user": rules}, default_effect=Effect.ALLOW))
    async with await log_in(broker, "user") as client:
        assert await client.publish("public", b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
        assert await client.publish("secret/x", b"x", qos=1) is DENIED


async def test_a_client_id_that_would_widen_a_template_matches_no_allow(start_broker: StartBroker) -> None:
    """`+`, `#` and `/` in a client id are never read as wildcards of a rule."""
    broker = start_broker(policy(anonymous=[allow("data/${clientid}/#"), allow("ok")]))
    for client_id in ("+", "#", "a/b", "$x"):
        async with await broker.dial() as client:
            answer = await client.connect(client_id)
            if answer.reason is not ReasonCode.SUCCESS:
                continue
            assert await client.publish("data/other/x", b"x", qos=1) is DENIED
            assert await client.subscribe("data/+/#") == (DENIED,)
            assert await client.publish("ok", b"x", qos=1) is not DENIED


async def test_log_lines_cannot_be_forged_by_a_topic(guarded: Broker) -> None:
    async with await log_in(guarded, "nobody") as client:
        assert await client.subscribe(SubscriptionRequest('forged"} {"event": "node.ready')) == (DENIED,)
        entry = await guarded.logged("authz.denied", client_id="nobody", action="subscribe")
        assert entry["event"] == "authz.denied"
        assert len(guarded.events("node.ready")) == 1
