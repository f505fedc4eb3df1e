"""A policy that changes in the store: every node decides by it within a second, for clients here, there and away."""

import asyncio
from typing import Any

from msgspec.structs import replace

from cluster.nodes.scene import Scene, StartTrio
from cluster.nodes.streams import drain
from mqtt_api.policy import Activity, Policy, Rule
from mqtt_broker.wire.packets import Properties, SubscriptionRequest, Will
from mqtt_broker.wire.reasons import ReasonCode
from support.client import Client
from support.policies import PASSWORD, allow, deny, policy

KEPT = Properties(session_expiry_interval=300)
GONE_S_MAX = 1.0


def with_rules(revision: int, *viewer: Rule, suspended: bool = False, **more: Any) -> Policy:
    """`viewer` may do this, `admin` everything. `more`: further users."""
    made = policy(revision, users={"viewer": viewer, "admin": [allow("#")], **more})
    viewer_ = replace(made.principals["viewer"], suspended=suspended)
    return replace(made, principals={**made.principals, "viewer": viewer_})


async def log_in(trio: Scene, number: int, user: str, name: str = "", **options: Any) -> Client:
    client = await trio.dial(number)
    options = {"properties": KEPT, **options}
    answer = await client.connect(f"{user}-{name or number}", username=user, password=PASSWORD.encode(), **options)
    assert answer.reason is ReasonCode.SUCCESS
    return client


async def test_a_lost_right_is_gone_on_every_node_within_a_second_and_comes_back(start_trio: StartTrio) -> None:
    """Subscribers on all nodes and one that is away; each other node's plans leave them out, and take them in again."""
    trio = start_trio(with_rules(1, allow("a")))
    viewers = [await log_in(trio, number, "viewer") for number in range(3)]
    for viewer in viewers:
        await viewer.subscribe("a", qos=1)
    away = await log_in(trio, 1, "viewer", "away")
    await away.subscribe("a", qos=1)
    await away.disconnect()
    admins = [await log_in(trio, number, "admin") for number in range(3)]
    trio.write(with_rules(2))
    loop = asyncio.get_running_loop()
    written = loop.time()
    for admin in admins:
        while await admin.publish("a", b"x", qos=1) is not ReasonCode.NO_MATCHING_SUBSCRIBERS:
            assert loop.time() - written < GONE_S_MAX
            await asyncio.sleep(0.02)
    for viewer in viewers:
        await drain(viewer, 0.1)
    for admin in admins:
        assert await admin.publish("a", b"muted", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
    for viewer in viewers:
        await viewer.expect_silence(0.1)
    trio.apply(with_rules(3, allow("a")))
    for number, admin in enumerate(admins):
        await admin.publish("a", b"back %d" % number, qos=1)
    for viewer in viewers:
        assert sorted(await viewer.receive_payloads(3)) == [b"back 0", b"back 1", b"back 2"]
    again = await log_in(trio, 2, "viewer", "away", clean_start=False)
    queued = [payload for payload in await drain(again) if payload != b"x"]
    assert sorted(queued) == [b"back 0", b"back 1", b"back 2"]
    for client in (*viewers, *admins, again):
        await client.close()


async def test_a_suspended_client_is_disconnected_from_every_node_and_refused_by_every_node(
    start_trio: StartTrio,
) -> None:
    trio = start_trio(with_rules(1, allow("#")))
    viewers = [await log_in(trio, number, "viewer") for number in range(3)]
    loop = asyncio.get_running_loop()
    trio.write(with_rules(2, allow("#"), suspended=True))
    written = loop.time()
    for viewer in viewers:
        last = await viewer.expect_closed()
        assert last is not None
        assert last.reason is ReasonCode.NOT_AUTHORIZED
        assert loop.time() - written < GONE_S_MAX
        await viewer.close()
    for number in range(3):
        async with await trio.dial(number) as client:
            answer = await client.connect("viewer-x", username="viewer", password=PASSWORD.encode())
            assert answer.reason is not ReasonCode.SUCCESS


async def test_disconnect_on_revoke_ends_connections_on_every_node(start_trio: StartTrio) -> None:
    trio = start_trio(with_rules(1, allow("a", name="a"), allow("b", name="b")), on_revoke="Disconnect")
    viewers = [await log_in(trio, number, "viewer") for number in range(3)]
    for viewer in viewers:
        await viewer.subscribe("a", "b", qos=1)
    trio.write(with_rules(2, allow("b", name="b")))
    for viewer in viewers:
        last = await viewer.expect_closed(GONE_S_MAX)
        assert last is not None
        assert last.reason is ReasonCode.NOT_AUTHORIZED
        await viewer.close()


async def test_what_waited_for_a_lost_right_is_not_delivered_on_another_node(start_trio: StartTrio) -> None:
    """Queued while the client was away, under the old policy; taken up under the new one."""
    trio = start_trio(with_rules(1, allow("a", name="a"), allow("b", name="b")))
    async with await log_in(trio, 0, "viewer", "v") as viewer:
        await viewer.subscribe("a", "b", qos=1)
    async with await log_in(trio, 1, "admin") as admin:
        for topic in ("a", "b", "a", "b"):
            await admin.publish(topic, topic.encode(), qos=1)
        trio.apply(with_rules(2, allow("b", name="b")))
        async with await log_in(trio, 2, "viewer", "v", clean_start=False) as viewer:
            assert await drain(viewer) == [b"b", b"b"]


async def test_a_publisher_and_a_will_lose_their_right_on_every_node(start_trio: StartTrio) -> None:
    """The will of a lost client is decided by the policy of when it fires, on the node that fires it."""
    trio = start_trio(with_rules(1, allow("#")))
    async with await log_in(trio, 2, "admin") as admin:
        await admin.subscribe("a", qos=1)
        will = Will("a", b"will", 1, retain=False, properties=Properties(will_delay_interval=1))
        lost = await log_in(trio, 0, "viewer", "lost", will=will)
        publishers = [await log_in(trio, number, "viewer") for number in range(3)]
        await lost.abort()
        trio.apply(with_rules(2, allow("b")))
        for publisher in publishers:
            assert await publisher.publish("a", b"x", qos=1) is ReasonCode.NOT_AUTHORIZED
        await admin.expect_silence(3.5)
        for client in (*publishers, lost):
            await client.close()


async def test_a_shared_message_goes_to_a_member_that_may_have_it_wherever_it_is(start_trio: StartTrio) -> None:
    """A deny rule for one member of the group: what waits, and what comes, is for the other, on another node."""
    trio = start_trio(with_rules(1, allow("t/#")))
    async with await log_in(trio, 2, "admin", "p") as publisher:
        narrow = Properties(session_expiry_interval=300, receive_maximum=2)
        viewer = await log_in(trio, 0, "viewer", "v", properties=narrow)
        await viewer.subscribe("$share/g/t/#", qos=1)
        for number in range(10):
            await publisher.publish("t/secret", b"%d" % number, qos=1)
        no = deny("t/secret", activity=Activity.ALL, name="no")
        trio.apply(with_rules(2, allow("t/#"), no))
        other = await log_in(trio, 1, "admin", "m")
        await other.subscribe(SubscriptionRequest("$share/g/t/#", 1))
        await publisher.publish("t/secret", b"10", qos=1)
        await publisher.publish("t/open", b"11", qos=1)
        await viewer.abort()
        received = await drain(other, 2.0)
        assert {int(payload) for payload in received} >= set(range(2, 11))
        await other.close()
        await viewer.close()


async def test_what_no_member_may_have_does_not_go_round_in_circles(start_trio: StartTrio) -> None:
    """The only member gives back what it lost the right to: it waits, and the store has its peace."""
    trio = start_trio(with_rules(1, allow("t/#")))
    async with await log_in(trio, 0, "viewer", "v") as viewer:
        await viewer.subscribe("$share/g/t/#", qos=1)
    async with await log_in(trio, 1, "admin", "p") as publisher:
        for number in range(5):
            await publisher.publish("t/secret", b"%d" % number, qos=1)
    trio.apply(with_rules(2, allow("t/#"), deny("t/secret", name="no")))

    def calls() -> int:
        stats = trio.server.execute("INFO", "commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    async with await log_in(trio, 2, "viewer", "v", clean_start=False) as viewer:
        await viewer.expect_silence(1.0)
        before = calls()
        await viewer.expect_silence(1.0)
        assert calls() - before < 60
        trio.apply(with_rules(3, allow("t/#")))
        assert sorted(await viewer.receive_payloads(5, 10.0)) == [b"%d" % number for number in range(5)]


async def test_a_right_that_goes_while_suback_waits_is_not_granted(start_trio: StartTrio) -> None:
    """SUBACK says what holds when it is sent [D9]: then nothing is delivered for what it refused."""
    trio = start_trio(with_rules(1, allow("a")))
    async with await log_in(trio, 0, "viewer") as viewer, await log_in(trio, 1, "admin") as admin:
        for revision in range(2, 22):
            may = bool(revision % 2)
            trio.write(with_rules(revision, *([allow("a")] if may else [])))
            (granted,) = await viewer.subscribe("a", qos=1)
            trio.wait_for_revision(revision)
            await admin.publish("a", b"%d" % revision, qos=1)
            heard = await drain(viewer, 0.15)
            if may and granted == 1:
                assert b"%d" % revision in heard
            if not may:
                assert b"%d" % revision not in heard
            await viewer.unsubscribe("a")
