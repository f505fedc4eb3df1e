"""Sessions: kept, resumed, taken over, ended; and what waits in them."""

import asyncio

import pytest

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_api.policy import Principal
from mqtt_broker.wire.packets import Disconnect, Properties, ProtocolVersion, PubComp, Publish, PubRec, PubRel
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker
from support.client import Client
from support.policies import PASSWORD, allow, policy, verifier

V3_1_1, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
KEPT = Properties(session_expiry_interval=60)


async def resume(broker: Broker, client_id: str, version: ProtocolVersion = V5) -> Client:
    """Connect to a session that is expected to be there."""
    client = await broker.dial(version)
    answer = await client.connect(client_id, clean_start=False, properties=KEPT if version is V5 else Properties())
    assert answer.session_present
    return client


async def leave_session(
    broker: Broker, client_id: str, topic: str, version: ProtocolVersion = V5, qos: int = 2
) -> None:
    """A persistent session subscribed to `topic`, its client gone."""
    async with await broker.dial(version) as client:
        await client.connect(client_id, clean_start=version is V5, properties=KEPT if version is V5 else Properties())
        await client.subscribe(topic, qos=qos)
        await client.disconnect()


async def test_a_persistent_session_keeps_subscriptions_and_messages(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.1.2-5] [MQTT-4.5.0-1] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [3.1.1 MQTT-3.1.2-4] [3.1.1 MQTT-3.1.2-5]
    [3.1.1 MQTT-3.2.2-2] [3.1.1 MQTT-4.5.0-1] [3.1.1 MQTT-4.1.0-1]
    """
    await leave_session(broker, unique, unique, version)
    async with await broker.dial(version) as publisher:
        await publisher.connect(f"{unique}-p")
        for qos in (0, 1, 2):
            await publisher.publish(unique, b"%d" % qos, qos=qos)
    async with await resume(broker, unique, version) as client:
        assert await client.receive_payloads(2) == [b"1", b"2"]
        await client.expect_silence()


async def test_clean_start_forgets_the_session(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.1.2-4] [MQTT-3.2.2-2..3] [MQTT-3.1.4-4]
    [3.1.1 MQTT-3.1.2-6] [3.1.1 MQTT-3.1.4-3] [3.1.1 MQTT-3.2.2-1] [3.1.1 MQTT-3.2.2-3]"""
    await leave_session(broker, unique, unique, version)
    async with await broker.dial(version) as client:
        assert not (await client.connect(unique, clean_start=True)).session_present
        await client.publish(unique, b"x", qos=1)
        await client.expect_silence()


async def test_a_session_ends_when_its_expiry_has_passed(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-23] [MQTT-4.1.0-2]"""
    async with await broker.dial() as client:
        await client.connect(unique, properties=Properties(session_expiry_interval=1))
        await client.disconnect()
    await asyncio.sleep(1.6)
    async with await broker.dial() as client:
        assert not (await client.connect(unique, clean_start=False)).session_present


async def test_disconnect_may_change_the_expiry(broker: Broker, unique: str) -> None:
    """MQTT 5.0, 3.14.2.2.2"""
    async with await broker.dial() as client:
        await client.connect(unique, properties=KEPT)
        await client.disconnect(properties=Properties(session_expiry_interval=0))
    async with await broker.dial() as client:
        assert not (await client.connect(unique, clean_start=False)).session_present


async def test_disconnect_may_not_raise_the_expiry_from_zero(broker: Broker, unique: str) -> None:
    """MQTT 5.0, 3.14.2.2.2: a protocol error."""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.send(Disconnect(properties=KEPT))
        goodbye = await client.expect_closed()
        assert goodbye is not None
        assert goodbye.reason is ReasonCode.PROTOCOL_ERROR


async def test_a_second_connection_takes_the_session_over(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.1.4-3] [3.1.1 MQTT-3.1.4-2]"""
    async with await broker.dial(version) as first, await broker.dial(version) as second:
        await first.connect(unique)
        await second.connect(unique)
        goodbye = await first.expect_closed()
        if version is V5:
            assert goodbye is not None
            assert goodbye.reason is ReasonCode.SESSION_TAKEN_OVER
        await second.ping()


async def test_takeover_loses_no_message_in_flight(broker: Broker, unique: str) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.3.2-3]

    What was sent and not acknowledged comes again with DUP and its packet id.
    """
    async with await broker.dial() as first, await broker.dial() as publisher:
        await first.connect(unique, properties=KEPT)
        await first.subscribe(unique, qos=1)
        await publisher.connect(f"{unique}-p")
        for number in range(3):
            await publisher.publish(unique, b"%d" % number, qos=1)
        sent = [await first.expect(Publish) for _ in range(3)]
        async with await resume(broker, unique) as second:
            again = [await second.receive_message() for _ in range(3)]
        assert [message.packet_id for message in again] == [message.packet_id for message in sent]
        assert all(message.dup for message in again)
        assert [message.payload for message in again] == [b"0", b"1", b"2"]


async def test_a_qos_2_message_that_was_received_is_only_released(broker: Broker, unique: str) -> None:
    """[MQTT-4.3.3-6] [MQTT-4.3.3-5] [MQTT-4.4.0-1]

    After PUBREC comes PUBREL, in the next connection too, never PUBLISH.
    """
    async with await broker.dial() as first:
        await first.connect(unique, properties=KEPT)
        await first.subscribe(unique, qos=2)
        await first.publish(unique, b"x", qos=2)
        message = await first.expect(Publish)
        await first.send(PubRec(message.packet_id))
        assert (await first.expect(PubRel)).packet_id == message.packet_id
        await first.abort()
    async with await resume(broker, unique) as second:
        packet = await second.receive()
        assert isinstance(packet, PubRel)
        assert packet.packet_id == message.packet_id
        await second.send(PubComp(message.packet_id))
        await second.expect_silence()


async def test_a_qos_2_publish_is_not_taken_twice_across_connections(broker: Broker, unique: str) -> None:
    """[MQTT-4.3.3-10] The packet id is remembered by the session, not by the connection."""
    async with await broker.dial() as subscriber:
        await subscriber.connect(f"{unique}-s")
        await subscriber.subscribe(unique, qos=2)
        async with await broker.dial() as first:
            await first.connect(unique, properties=KEPT)
            await first.send(Publish(unique, b"once", 2, packet_id=5))
            await first.expect(PubRec)
            await first.abort()
        async with await resume(broker, unique) as second:
            await second.send(Publish(unique, b"once", 2, dup=True, packet_id=5))
            await second.expect(PubRec)
            await second.send(PubRel(5))
            await second.expect(PubComp)
        assert (await subscriber.receive_message()).payload == b"once"
        await subscriber.expect_silence()


async def test_another_user_may_not_resume_a_session(start_broker: StartBroker, unique: str) -> None:
    """No takeover across identities: the living session is not touched."""
    shared = {
        name: Principal(username=name, client_ids=("shared",), passwords=(verifier(),)) for name in ("alice", "bob")
    }
    broker = start_broker(policy(users={"alice": [allow("#")], "bob": [allow("#")]}, principals=shared))
    async with await broker.dial() as alice, await broker.dial() as bob:
        await alice.connect("shared", username="alice", password=PASSWORD.encode(), properties=KEPT)
        answer = await bob.connect("shared", username="bob", password=PASSWORD.encode(), clean_start=False)
        assert answer.reason is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
        await bob.expect_closed()
        await alice.ping()


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_session_survives_the_broker(start_broker: StartBroker, version: ProtocolVersion, how: str) -> None:
    """[MQTT-3.1.2-23] [3.1.1 MQTT-4.1.0-1]"""
    broker = start_broker()
    await leave_session(broker, "keeper", "t", version)
    async with await broker.dial(version) as publisher:
        await publisher.connect("publisher")
        for number in range(20):
            await publisher.publish("t", b"%d" % number, qos=1 + number % 2)
    getattr(broker, how)()
    broker.start()
    async with await resume(broker, "keeper", version) as client:
        assert await client.receive_payloads(20) == [b"%d" % number for number in range(20)]
        await client.publish("t", b"subscription lives", qos=1)
        assert (await client.receive_message()).payload == b"subscription lives"


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [("DropOldest", [b"2", b"3", b"4"]), ("DropNewest", [b"0", b"1", b"2"]), ("Reject", [b"0", b"1", b"2"])],
)
async def test_a_full_queue_obeys_its_policy(start_broker: StartBroker, overflow: str, kept: list[bytes]) -> None:
    """Under Reject the publisher is told 0x97 and nothing is lost in silence."""
    broker = start_broker(mqtt=MQTTSettings(queue=QueueSettings(messages_max=3, overflow=overflow)))
    await leave_session(broker, "keeper", "t", qos=1)
    async with await broker.dial() as publisher:
        await publisher.connect("publisher")
        reasons = [await publisher.publish("t", b"%d" % number, qos=1) for number in range(5)]
    last = ReasonCode.QUOTA_EXCEEDED if overflow == "Reject" else ReasonCode.SUCCESS
    assert reasons == [ReasonCode.SUCCESS] * 3 + [last] * 2
    async with await resume(broker, "keeper") as client:
        assert await client.receive_payloads(3) == kept
        await client.expect_silence()


async def test_waiting_messages_expire(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]"""
    await leave_session(broker, unique, unique)
    async with await broker.dial() as publisher:
        await publisher.connect(f"{unique}-p")
        for payload, lifetime in ((b"short", 1), (b"long", 100)):
            await publisher.publish(unique, payload, qos=1, properties=Properties(message_expiry_interval=lifetime))
    await asyncio.sleep(1.5)
    async with await resume(broker, unique) as client:
        message = await client.receive_message()
        assert message.payload == b"long"
        assert message.properties.message_expiry_interval in (98, 99)
        await client.expect_silence()


async def test_ten_takeovers_a_second_leave_one_owner(broker: Broker, unique: str) -> None:
    """Clients that fight for one client id: the last to connect has it, and nothing is left behind."""
    clients = []
    for _ in range(10):
        client = await broker.dial()
        await client.connect(unique, clean_start=False, properties=KEPT)
        clients.append(client)
    for client in clients[:-1]:
        goodbye = await client.expect_closed()
        assert goodbye is not None
        assert goodbye.reason is ReasonCode.SESSION_TAKEN_OVER
        await client.close()
    await clients[-1].ping()
    await clients[-1].disconnect()
