"""Clauses of PUBLISH, its acknowledgements and its delivery that no other test is about, in both versions."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
)
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker
from support.client import Client
from support.policies import allow, deny, policy

V3_1_1, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
PACKET_IDS = [1, 258, 65_535]


def kept(version: ProtocolVersion) -> Properties:
    return Properties(session_expiry_interval=60) if version is V5 else NO_PROPERTIES


async def connected(broker: Broker, client_id: str, version: ProtocolVersion = V5) -> Client:
    """A client whose session outlives its connection, begun or resumed."""
    client = await broker.dial(version)
    await client.connect(client_id, clean_start=False, properties=kept(version))
    return client


async def exchange(client: Client, packet_id: int, topic: str, payload: bytes, *, dup: bool = False) -> None:
    """A whole QoS 2 exchange."""
    await client.send(Publish(topic, payload, 2, dup=dup, packet_id=packet_id))
    assert (await client.expect(PubRec)).packet_id == packet_id
    await client.send(PubRel(packet_id))
    assert (await client.expect(PubComp)).packet_id == packet_id


# What the publisher is answered


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("packet_id", PACKET_IDS)
async def test_acknowledgements_have_the_id_of_their_publish(
    broker: Broker, version: ProtocolVersion, unique: str, packet_id: int, retain: bool
) -> None:
    """[MQTT-2.2.1-5] [MQTT-3.3.4-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]
    [3.1.1 MQTT-2.3.1-6] [3.1.1 MQTT-3.3.4-1] [3.1.1 MQTT-4.3.2-2] [3.1.1 MQTT-4.3.3-2]"""
    async with await connected(broker, unique, version) as client:
        await client.send(Publish(unique, b"x", 0, retain=retain))
        await client.send(Publish(unique, b"x", 1, retain=retain, packet_id=packet_id))
        answer = await client.receive()  # nothing for QoS 0
        assert isinstance(answer, PubAck)
        assert answer.packet_id == packet_id
        await exchange(client, packet_id, unique, b"x")
        await client.expect_silence(0.1)


async def test_an_acknowledged_qos_1_id_means_a_new_message(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-4.3.2-5] [3.1.1 MQTT-4.3.2-2] Whatever DUP says."""
    async with await connected(broker, unique, version) as client:
        await client.subscribe(unique, qos=1)
        for payload, dup in ((b"one", False), (b"two", True), (b"two", True)):
            await client.send(Publish(unique, payload, 1, dup=dup, packet_id=7))
            assert (await client.expect(PubAck)).packet_id == 7
            assert (await client.receive_message()).payload == payload


async def test_a_completed_qos_2_id_means_a_new_message(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-4.3.3-12] [3.1.1 MQTT-4.3.3-2]"""
    async with await connected(broker, unique, version) as client:
        await client.subscribe(unique, qos=1)
        for payload, dup in ((b"one", False), (b"two", True), (b"two", False)):
            await exchange(client, 7, unique, payload, dup=dup)
            assert (await client.receive_message()).payload == payload


async def test_a_refused_qos_2_id_means_a_new_message(start_broker: StartBroker) -> None:
    """[MQTT-4.3.3-9]"""
    broker = start_broker(policy(anonymous=[allow("#"), deny("closed")]))
    async with await connected(broker, "c") as client:
        await client.subscribe("open", qos=1)
        await client.send(Publish("closed", b"no", 2, packet_id=7))
        assert (await client.expect(PubRec)).reason is ReasonCode.NOT_AUTHORIZED
        await exchange(client, 7, "open", b"yes")
        assert (await client.receive_message()).payload == b"yes"


async def test_an_exchange_is_finished_when_its_message_has_expired(broker: Broker, unique: str) -> None:
    """[MQTT-4.3.3-13]"""
    async with await connected(broker, unique) as client:
        await client.send(Publish(unique, b"short", 2, packet_id=7, properties=Properties(message_expiry_interval=1)))
        assert (await client.expect(PubRec)).packet_id == 7
        await asyncio.sleep(1.3)
        await client.send(PubRel(7))
        answer = await client.expect(PubComp)
        assert (answer.packet_id, answer.reason) == (7, ReasonCode.SUCCESS)


async def test_every_alias_up_to_the_maximum_is_taken(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.2-12]"""
    async with await broker.dial() as client:
        maximum = (await client.connect(unique)).properties.topic_alias_maximum
        assert maximum
        await client.subscribe(f"{unique}/#")
        topics = {alias: f"{unique}/{alias}" for alias in range(1, maximum + 1)}
        for alias, topic in topics.items():
            await client.send(Publish(topic, b"set", properties=Properties(topic_alias=alias)))
        for alias in topics:
            await client.send(Publish("", b"used", properties=Properties(topic_alias=alias)))
        received = [await client.receive_message() for _ in range(2 * maximum)]
        assert [message.topic for message in received] == [*topics.values()] * 2
        await client.ping()


# What the receiver gets


async def test_a_qos_0_message_is_never_marked_and_has_no_id(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-2.2.1-2] [MQTT-3.3.1-2] [MQTT-4.3.1-1]
    [3.1.1 MQTT-2.3.1-5] [3.1.1 MQTT-3.3.1-2] [3.1.1 MQTT-4.3.1-1] An id would be read as payload."""
    async with await connected(broker, unique, version) as client:
        await client.subscribe(unique, qos=0)
        for qos in (0, 1, 2):
            await client.publish(unique, b"payload", qos=qos)
            message = await client.expect(Publish)
            assert (message.payload, message.qos, message.dup, message.packet_id) == (b"payload", 0, False, 0)


@pytest.mark.parametrize("qos", [1, 2])
async def test_dup_of_the_publisher_is_not_passed_on(
    broker: Broker, version: ProtocolVersion, unique: str, qos: int
) -> None:
    """[MQTT-3.3.1-3] [3.1.1 MQTT-3.3.1-3]"""
    async with await connected(broker, unique, version) as client:
        await client.subscribe(unique, qos=qos)
        await client.send(Publish(unique, b"x", qos, dup=True, packet_id=9))
        assert not (await client.expect(Publish)).dup


@pytest.mark.parametrize("qos", [1, 2])
async def test_messages_in_flight_have_ids_of_their_own(
    broker: Broker, version: ProtocolVersion, unique: str, qos: int
) -> None:
    """[MQTT-2.2.1-4] [MQTT-4.3.2-1..2] [MQTT-4.3.3-1..2]
    [3.1.1 MQTT-2.3.1-4] [3.1.1 MQTT-4.3.2-1] [3.1.1 MQTT-4.3.3-1]"""
    async with await connected(broker, f"{unique}-s", version) as client:
        await client.subscribe(unique, qos=qos)
        async with await connected(broker, f"{unique}-p", version) as publisher:
            for number in range(20):
                await publisher.publish(unique, b"%d" % number, qos=qos)
        sent = [await client.expect(Publish) for _ in range(20)]
        assert len({message.packet_id for message in sent} - {0}) == 20
        assert all(message.qos == qos and not message.dup for message in sent)


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_unacknowledged_comes_again_with_dup_and_its_id(
    broker: Broker, version: ProtocolVersion, unique: str, qos: int
) -> None:
    """[MQTT-3.3.1-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.4.0-1] [MQTT-4.6.0-5]
    [3.1.1 MQTT-3.3.1-1] [3.1.1 MQTT-4.3.2-1] [3.1.1 MQTT-4.3.3-1] [3.1.1 MQTT-4.4.0-1] [3.1.1 MQTT-4.6.0-6]

    On return to the session, in the same order, and at no other time.
    """
    async with await connected(broker, unique, version) as client:
        await client.subscribe(unique, qos=qos)
        for number in range(3):
            await client.publish(unique, b"%d" % number, qos=qos)
        sent = [await client.expect(Publish) for _ in range(3)]
        await client.expect_silence(0.7)
        await client.abort()
    async with await connected(broker, unique, version) as client:
        again = [await client.expect(Publish) for _ in range(3)]
        assert [(m.packet_id, m.payload) for m in again] == [(m.packet_id, m.payload) for m in sent]
        assert all(message.dup for message in again)
        await client.expect_silence(0.1)


async def test_pubrec_is_answered_with_pubrel_until_pubcomp(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-4.3.3-4..6] [MQTT-4.4.0-1] [3.1.1 MQTT-4.3.3-1] [3.1.1 MQTT-4.4.0-1]"""
    async with await connected(broker, unique, version) as client:
        await client.subscribe(unique, qos=2)
        await client.publish(unique, b"x", qos=2)
        packet_id = (await client.expect(Publish)).packet_id
        await client.send(PubRec(packet_id))
        assert (await client.expect(PubRel)).packet_id == packet_id
        await client.abort()
    async with await connected(broker, unique, version) as client:
        packet = await client.receive()
        assert isinstance(packet, PubRel)
        assert packet.packet_id == packet_id
        await client.send(PubComp(packet_id))
        await client.ping()
    async with await connected(broker, unique, version) as client:
        await client.expect_silence()


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_refusing_acknowledgement_ends_the_delivery(broker: Broker, unique: str, qos: int) -> None:
    """[MQTT-4.4.0-2] Not sent again, in the next connection neither."""
    async with await connected(broker, unique) as client:
        await client.subscribe(unique, qos=qos)
        await client.publish(unique, b"x", qos=qos)
        packet_id = (await client.expect(Publish)).packet_id
        refusal = (PubAck if qos == 1 else PubRec)(packet_id, ReasonCode.QUOTA_EXCEEDED)
        await client.send(refusal)
        await client.ping()
        await client.abort()
    async with await connected(broker, unique) as client:
        await client.expect_silence()


async def test_a_qos_2_message_that_was_sent_does_not_expire(broker: Broker, unique: str) -> None:
    """[MQTT-4.3.3-7] Its lifetime ends before it is acknowledged: it comes again, and PUBREL follows PUBREC."""
    async with await connected(broker, unique) as client:
        await client.subscribe(unique, qos=2)
        await client.publish(unique, b"x", qos=2, properties=Properties(message_expiry_interval=1))
        packet_id = (await client.expect(Publish)).packet_id
        await client.abort()
    await asyncio.sleep(1.5)
    async with await connected(broker, unique) as client:
        again = await client.expect(Publish)
        assert (again.packet_id, again.dup, again.payload) == (packet_id, True, b"x")
        await client.send(PubRec(packet_id))
        assert (await client.expect(PubRel)).packet_id == packet_id
        await client.send(PubComp(packet_id))


async def test_a_full_window_holds_back_nothing_but_publish(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.4-10] [MQTT-4.9.0-3]"""
    async with await broker.dial() as client:
        await client.connect(unique, properties=Properties(receive_maximum=1))
        await client.subscribe(unique, qos=2)
        for payload in (b"first", b"second"):
            await client.publish(unique, payload, qos=1)
        first = await client.expect(Publish)
        await client.ping()
        await client.send(Subscribe(900, (SubscriptionRequest(f"{unique}/other", 2),)))
        assert isinstance(await client.receive(), SubAck)
        await client.send(Unsubscribe(901, (f"{unique}/other",)))
        assert isinstance(await client.receive(), UnsubAck)
        await exchange(client, 902, f"{unique}/nobody", b"x")
        await client.send(Publish(f"{unique}/nobody", b"x", 1, packet_id=903))
        assert isinstance(await client.receive(), PubAck)
        await client.send(PubAck(first.packet_id))
        assert (await client.expect(Publish)).payload == b"second"


async def test_a_message_without_the_flag_leaves_the_retained_one_alone(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.3.1-8] [3.1.1 MQTT-3.3.1-12] Not even an empty one, which would remove it."""
    async with await connected(broker, unique, version) as client:
        await client.publish(unique, b"kept", qos=1, retain=True)
        for payload in (b"live", b""):
            await client.publish(unique, payload, qos=1)
        await client.subscribe(unique)
        assert (await client.receive_message()).payload == b"kept"
        await client.publish(f"{unique}/new", b"live", qos=1)
        await client.subscribe(f"{unique}/new")
        await client.expect_silence(0.1)


async def test_an_empty_retained_message_is_delivered_like_any_other(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.3.1-6] [3.1.1 MQTT-3.3.1-10] To those who are subscribed already."""
    async with await connected(broker, unique, version) as client:
        await client.subscribe(unique, qos=1)
        await client.publish(unique, b"", qos=1, retain=True)
        message = await client.receive_message()
        assert (message.payload, message.retain) == (b"", False)


# Shared subscriptions


async def qualities(member: Client) -> list[int]:
    """The QoS of each message that comes until it is silent, acknowledged."""
    seen = []
    while True:
        try:
            seen.append((await member.receive_message(0.4)).qos)
        except TimeoutError:
            return seen


async def each_member_at_its_own_quality(broker: Broker, granted: list[int], properties: Properties) -> None:
    """A share of members to whom these were granted, and as many messages of QoS 2 as give each of them some."""
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(await broker.dial()) for _ in granted]
        for qos, member in zip(granted, members, strict=True):
            await member.connect(f"member-{qos}", properties=properties)
            await member.subscribe("$share/g/t", qos=qos)
        publisher = await stack.enter_async_context(await broker.dial())
        await publisher.connect("publisher")
        for number in range(12):
            await publisher.publish("t", b"%d" % number, qos=2)
        received = [await qualities(member) for member in members]
        assert [set(seen) for seen in received] == [{qos} for qos in granted]
        assert sum(len(seen) for seen in received) == 12


@pytest.mark.parametrize("properties", [NO_PROPERTIES, kept(V5)], ids=["in memory", "stored"])
async def test_each_member_gets_the_quality_granted_to_it(start_broker: StartBroker, properties: Properties) -> None:
    """[MQTT-4.8.2-3]"""
    await each_member_at_its_own_quality(start_broker(), [0, 1, 2], properties)


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_a_member_refuses_goes_to_nobody(broker: Broker, unique: str, qos: int) -> None:
    """[MQTT-4.8.2-6] Not when it refuses, and not when it leaves."""
    async with await connected(broker, f"{unique}-1") as one:
        await one.subscribe(f"$share/g/{unique}", qos=qos)
        await one.publish(unique, b"x", qos=qos)
        message = await one.expect(Publish)
        async with await connected(broker, f"{unique}-2") as two:
            await two.subscribe(f"$share/g/{unique}", qos=qos)
            await one.send((PubAck if qos == 1 else PubRec)(message.packet_id, ReasonCode.UNSPECIFIED_ERROR))
            await one.ping()
            await two.expect_silence()
            await one.disconnect(properties=Properties(session_expiry_interval=0))
            await two.expect_silence()


@pytest.mark.parametrize("persistent", [True, False])
async def test_a_qos_2_message_stays_with_the_member_it_was_sent_to(
    broker: Broker, unique: str, persistent: bool
) -> None:
    """[MQTT-4.8.2-4] The member comes back and finishes it. [MQTT-4.8.2-5] It does not come back: nobody gets it."""
    properties = kept(V5) if persistent else NO_PROPERTIES
    async with await broker.dial() as one, await broker.dial() as two:
        await one.connect(f"{unique}-1", properties=properties)
        await one.subscribe(f"$share/g/{unique}", qos=2)
        await one.publish(unique, b"x", qos=2)
        message = await one.expect(Publish)
        await two.connect(f"{unique}-2")
        await two.subscribe(f"$share/g/{unique}", qos=2)
        await one.abort()
        await two.expect_silence()
        async with await broker.dial() as back:
            assert (await back.connect(f"{unique}-1", clean_start=False)).session_present is persistent
            if persistent:
                again = await back.expect(Publish)
                assert (again.packet_id, again.dup) == (message.packet_id, True)
                await back.send(PubRec(again.packet_id))
                await back.expect(PubRel)
                await back.send(PubComp(again.packet_id))
            await back.ping()
        await two.expect_silence()
