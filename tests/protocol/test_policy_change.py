"""A policy that changes while clients are connected: rights go at once, connections stay, and rights come back."""

import asyncio

import msgspec
import pytest

from mqtt_api.policy import Policy, Principal, Rule, encode_policy
from mqtt_broker.wire.packets import Properties, Will
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker, write
from support.client import Client
from support.policies import PASSWORD, allow, policy, verifier

DENIED = ReasonCode.NOT_AUTHORIZED
KEPT = Properties(session_expiry_interval=60)


def with_rules(revision: int, *viewer: Rule, suspended: bool = False) -> Policy:
    template = {
        "viewer": Principal(
            username="viewer",
            uid="uid-viewer",
            client_ids=("viewer",),
            passwords=(verifier(),),
            suspended=suspended,
        )
    }
    return policy(revision, users={"viewer": viewer, "admin": [allow("#")]}, principals=template)


async def log_in(broker: Broker, user: str, clean_start: bool = True, will: Will | None = None) -> Client:
    client = await broker.dial()
    answer = await client.connect(
        user, username=user, password=PASSWORD.encode(), clean_start=clean_start, properties=KEPT, will=will
    )
    assert answer.reason is ReasonCode.SUCCESS
    return client


async def test_a_lost_right_mutes_only_its_subscription_and_comes_back(start_broker: StartBroker) -> None:
    """The connection stays, other topics flow, and no new SUBSCRIBE is needed when the right returns."""
    both = (allow("a", name="a"), allow("b", name="b"))
    broker = start_broker(with_rules(1, *both))
    async with await log_in(broker, "viewer") as viewer, await log_in(broker, "admin") as admin:
        await viewer.subscribe("a", "b", qos=1)
        broker.apply(with_rules(2, both[1]))
        await admin.publish("a", b"lost", qos=1)
        await admin.publish("b", b"other", qos=1)
        assert (await viewer.receive_message()).payload == b"other"
        await viewer.expect_silence()
        broker.apply(with_rules(3, *both))
        await admin.publish("a", b"back", qos=1)
        assert (await viewer.receive_message()).payload == b"back"


async def test_a_revoked_right_is_gone_within_a_second(start_broker: StartBroker) -> None:
    broker = start_broker(with_rules(1, allow("a")))
    loop = asyncio.get_running_loop()
    async with await log_in(broker, "viewer") as viewer, await log_in(broker, "admin") as admin:
        await viewer.subscribe("a")
        write(broker.policy_file, encode_policy(with_rules(2)))
        written = loop.time()
        while await admin.publish("a", b"x", qos=1) is not ReasonCode.NO_MATCHING_SUBSCRIBERS:
            assert loop.time() - written < 1
            await asyncio.sleep(0.02)


async def test_a_publisher_loses_its_right_on_its_next_message(start_broker: StartBroker) -> None:
    broker = start_broker(with_rules(1, allow("a")))
    async with await log_in(broker, "viewer") as client:
        alias = Properties(topic_alias=1)
        assert await client.publish("a", b"x", qos=1, properties=alias) is ReasonCode.NO_MATCHING_SUBSCRIBERS
        broker.apply(with_rules(2))
        assert await client.publish("a", b"x", qos=1) is DENIED
        assert await client.publish("", b"x", qos=1, properties=alias) is DENIED


async def test_messages_waiting_for_a_revoked_subscription_are_not_delivered(start_broker: StartBroker) -> None:
    """Offline sessions are decided again as well."""
    broker = start_broker(with_rules(1, allow("a"), allow("b", name="b")))
    async with await log_in(broker, "viewer") as viewer:
        await viewer.subscribe("a", "b", qos=1)
        await viewer.disconnect()
    async with await log_in(broker, "admin") as admin:
        await admin.publish("a", b"queued before", qos=1)
        await admin.publish("b", b"still allowed", qos=1)
        broker.apply(with_rules(2, allow("b", name="b")))
        await admin.publish("a", b"after", qos=1)
    async with await log_in(broker, "viewer", clean_start=False) as viewer:
        assert (await viewer.receive_message()).payload == b"still allowed"
        await viewer.expect_silence()


async def test_muting_survives_a_restart(start_broker: StartBroker) -> None:
    broker = start_broker(with_rules(1, allow("a")))
    async with await log_in(broker, "viewer") as viewer:
        await viewer.subscribe("a", qos=1)
        await viewer.disconnect()
    broker.apply(with_rules(2))
    broker.kill()
    broker.start()
    async with await log_in(broker, "viewer", clean_start=False) as viewer, await log_in(broker, "admin") as admin:
        await admin.publish("a", b"muted", qos=1)
        await viewer.expect_silence()
        broker.apply(with_rules(3, allow("a")))
        await admin.publish("a", b"back", qos=1)
        assert (await viewer.receive_message()).payload == b"back"


async def test_a_will_is_decided_again_when_it_fires(start_broker: StartBroker) -> None:
    broker = start_broker(with_rules(1, allow("will")))
    async with await log_in(broker, "admin") as admin:
        await admin.subscribe("will")
        viewer = await log_in(broker, "viewer", will=Will("will", b"gone", 1, retain=False))
        broker.apply(with_rules(2))
        await viewer.abort()
        await admin.expect_silence()
        await broker.logged("authz.denied", client_id="viewer", action="will")


async def test_a_suspended_client_is_disconnected_and_refused(start_broker: StartBroker) -> None:
    """Its data is kept: the session is there when it may come back."""
    broker = start_broker(with_rules(1, allow("a")))
    async with await log_in(broker, "viewer") as viewer:
        await viewer.subscribe("a", qos=1)
        broker.apply(with_rules(2, allow("a"), suspended=True))
        goodbye = await viewer.expect_closed()
        assert goodbye is not None
        assert goodbye.reason in (DENIED, ReasonCode.ADMINISTRATIVE_ACTION)
    async with await broker.dial() as again:
        answer = await again.connect("viewer", username="viewer", password=PASSWORD.encode())
        assert answer.reason.is_error
    broker.apply(with_rules(3, allow("a")))
    async with await broker.dial() as again:
        answer = await again.connect(
            "viewer", username="viewer", password=PASSWORD.encode(), clean_start=False, properties=KEPT
        )
        assert answer.session_present


async def test_a_deleted_client_is_disconnected(start_broker: StartBroker) -> None:
    broker = start_broker(with_rules(1, allow("a")))
    async with await log_in(broker, "viewer") as viewer:
        broker.apply(policy(2, users={"admin": [allow("#")]}))
        goodbye = await viewer.expect_closed()
        assert goodbye is not None
        assert goodbye.reason in (DENIED, ReasonCode.ADMINISTRATIVE_ACTION)


async def test_a_changed_password_ends_the_connection_made_with_the_old_one(start_broker: StartBroker) -> None:
    broker = start_broker(with_rules(1, allow("a")))
    async with await log_in(broker, "viewer") as viewer:
        other = policy(
            2,
            users={"viewer": [allow("a")]},
            principals={
                "viewer": Principal(
                    username="viewer", uid="uid-viewer", client_ids=("viewer",), passwords=(verifier("new"),)
                )
            },
        )
        broker.apply(other)
        assert await viewer.expect_closed() is not None
    async with await broker.dial() as again:
        assert (await again.connect("viewer", username="viewer", password=b"new")).reason is ReasonCode.SUCCESS


async def test_on_revoke_disconnect_ends_the_connection_instead(start_broker: StartBroker) -> None:
    broker = start_broker(with_rules(1, allow("a")), on_revoke="Disconnect")
    async with await log_in(broker, "viewer") as viewer:
        await viewer.subscribe("a")
        broker.apply(with_rules(2))
        goodbye = await viewer.expect_closed()
        assert goodbye is not None
        assert goodbye.reason is DENIED


async def test_changes_for_others_touch_nobody(start_broker: StartBroker) -> None:
    broker = start_broker(with_rules(1, allow("a")))
    async with await log_in(broker, "viewer") as viewer, await log_in(broker, "admin") as admin:
        await viewer.subscribe("a", qos=1)
        for revision in range(2, 7):
            ours = with_rules(revision, allow("a"))
            rule = allow(f"x/{revision}", name=f"rule-{revision}", permission="test/theirs")
            principal = Principal(username="stranger", permissions=("test/theirs",))
            broker.apply(
                msgspec.structs.replace(
                    ours,
                    permissions={**ours.permissions, "test/theirs": (rule,)},
                    principals={**ours.principals, "stranger": principal},
                )
            )
            await admin.publish("a", b"%d" % revision, qos=1)
            assert (await viewer.receive_message()).payload == b"%d" % revision


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"permissions": 5}', b"\xff"], ids=["empty", "cut", "list", "type", "bytes"]
)
async def test_a_broken_policy_changes_nothing(start_broker: StartBroker, content: bytes) -> None:
    """The rules in force stay in force; the log says what is wrong with the new ones."""
    broker = start_broker(with_rules(1, allow("a")))
    async with await log_in(broker, "viewer") as viewer:
        await viewer.subscribe("a")
        write(broker.policy_file, content)
        await asyncio.sleep(0.8)
        assert broker.status()["policy_revision"] == 1
        assert await viewer.publish("a", b"x", qos=1) is ReasonCode.SUCCESS
        assert await viewer.publish("b", b"x", qos=1) is DENIED
    broker.apply(with_rules(2, allow("b")))


async def test_an_older_revision_is_not_taken_back(start_broker: StartBroker) -> None:
    broker = start_broker(with_rules(5))
    write(broker.policy_file, encode_policy(with_rules(4, allow("#"))))
    await asyncio.sleep(0.8)
    assert broker.status()["policy_revision"] == 5
    async with await log_in(broker, "viewer") as viewer:
        assert await viewer.publish("a", b"x", qos=1) is DENIED


async def test_a_deleted_policy_file_changes_nothing(start_broker: StartBroker) -> None:
    """Absence is not an order."""
    broker = start_broker(with_rules(1, allow("a")))
    async with await log_in(broker, "viewer") as viewer:
        broker.policy_file.unlink()
        await asyncio.sleep(0.8)
        assert await viewer.publish("a", b"x", qos=1) is not DENIED
        assert await viewer.publish("b", b"x", qos=1) is DENIED
