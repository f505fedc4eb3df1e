"""Clauses of CONNECT, CONNACK, DISCONNECT and the session that no other test is about, in both versions."""

import asyncio

import pytest

from mqtt_api.policy import Principal
from mqtt_broker.wire.packets import NO_PROPERTIES, Properties, ProtocolVersion, Will
from mqtt_broker.wire.reasons import ReasonCode
from support import frames
from support.broker import Broker, StartBroker
from support.policies import PASSWORD, allow, policy, verifier

V3_1_1, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5


def kept(version: ProtocolVersion, seconds: int = 60) -> Properties:
    """What asks for a session that outlives its connection; in 3.1.1 the absence of clean session does."""
    return Properties(session_expiry_interval=seconds) if version is V5 else NO_PROPERTIES


# The client identifier


@pytest.mark.parametrize(
    "client_id", ["a", "Z", "0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"]
)
async def test_letters_and_digits_make_a_client_id(broker: Broker, version: ProtocolVersion, client_id: str) -> None:
    """[MQTT-3.1.3-5] [MQTT-3.1.4-5] [3.1.1 MQTT-3.1.3-5] [3.1.1 MQTT-3.1.4-4] Up to 23 bytes of them."""
    async with await broker.dial(version) as client:
        answer = await client.connect(client_id)
        assert answer.reason is ReasonCode.SUCCESS
        assert answer.properties.assigned_client_identifier is None
        await client.ping()


async def test_the_client_id_finds_the_session(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.1.3-2] [3.1.1 MQTT-3.1.3-2]"""
    async with await broker.dial(version) as client:
        await client.connect(unique, clean_start=False, properties=kept(version))
        await client.disconnect()
    for client_id, present in ((f"{unique}x", False), (unique.upper(), False), (unique, True)):
        async with await broker.dial(version) as client:
            answer = await client.connect(client_id, clean_start=False, properties=kept(version))
            assert answer.session_present is present


async def test_a_given_client_id_counts_as_if_the_client_had_sent_it(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.3-7] The session is found by the name that CONNACK told."""
    async with await broker.dial() as client:
        name = (await client.connect("", properties=kept(V5))).properties.assigned_client_identifier
        assert name
        await client.subscribe(unique, qos=1)
        await client.disconnect()
    async with await broker.dial() as client:
        assert (await client.connect(name, clean_start=False)).session_present
        await client.publish(unique, b"x", qos=1)
        assert (await client.receive_message()).payload == b"x"


async def test_an_unnamed_client_of_a_user_with_one_client_id_gets_that_one(start_broker: StartBroker) -> None:
    """[MQTT-3.1.3-6..7] [MQTT-3.2.2-16]"""
    owner = {"user": Principal(username="user", client_ids=("only",), passwords=(verifier(),))}
    broker = start_broker(policy(users={"user": [allow("#")]}, principals=owner))
    for client_id, assigned in (("", "only"), ("only", None)):
        async with await broker.dial() as client:
            answer = await client.connect(
                client_id, username="user", password=PASSWORD.encode(), clean_start=False, properties=kept(V5)
            )
            assert answer.properties.assigned_client_identifier == assigned
            assert answer.session_present is not bool(assigned)
            await client.disconnect()


async def test_unnamed_clients_of_3_1_1_have_names_of_their_own(broker: Broker, unique: str) -> None:
    """[3.1.1 MQTT-3.1.3-6] Neither takes the other's session over, and both are served."""
    async with await broker.dial(V3_1_1) as one, await broker.dial(V3_1_1) as two:
        for client in (one, two):
            assert (await client.connect("")).reason is ReasonCode.SUCCESS
            await client.subscribe(unique, qos=1)
        await one.publish(unique, b"x", qos=1)
        for client in (one, two):
            assert (await client.receive_message()).payload == b"x"


async def test_a_refused_client_id_is_told_and_closed(start_broker: StartBroker, version: ProtocolVersion) -> None:
    """[MQTT-3.1.3-8] [MQTT-3.2.2-7] [3.1.1 MQTT-3.1.3-9] [3.1.1 MQTT-3.2.2-5] 0x85, in 3.1.1 return code 2."""
    shared = {name: Principal(username=name, client_ids=("one",), passwords=(verifier(),)) for name in ("a", "b")}
    broker = start_broker(policy(users={"a": [allow("#")], "b": [allow("#")]}, principals=shared))
    async with await broker.dial(version) as owner, await broker.dial(version) as other:
        await owner.connect(
            "one", username="a", password=PASSWORD.encode(), clean_start=False, properties=kept(version)
        )
        answer = await other.connect("one", username="b", password=PASSWORD.encode())
        assert answer.reason is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
        assert await other.expect_closed() is None
        await owner.ping()


# The will


async def test_a_will_without_the_flag_is_not_retained(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.1.2-14] [3.1.1 MQTT-3.1.2-16]"""
    async with await broker.dial() as witness, await broker.dial(version) as client:
        await witness.connect(f"{unique}-witness")
        await witness.subscribe(unique)
        await client.connect(unique, will=Will(unique, b"gone", 1, retain=False))
        await client.abort()
        assert (await witness.receive_message()).payload == b"gone"
        await witness.subscribe(unique)
        await witness.expect_silence()


async def test_a_client_without_a_will_leaves_without_a_word(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[3.1.1 MQTT-3.1.2-12] Nor does the will of an earlier connection count for a later one [MQTT-3.1.2-10]."""
    async with await broker.dial() as witness:
        await witness.connect(f"{unique}-witness")
        await witness.subscribe("#")
        async with await broker.dial(version) as client:
            await client.connect(
                unique, clean_start=False, will=Will(unique, b"gone", 1, retain=False), properties=kept(version)
            )
            await client.disconnect()
        async with await broker.dial(version) as client:
            await client.connect(unique, clean_start=False, properties=kept(version))
            await client.abort()
            await witness.expect_silence()


async def test_the_user_properties_of_a_will_keep_their_order(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.3-10]"""
    properties = Properties(user_properties=(("b", "1"), ("a", "2"), ("b", "1"), ("", "")))
    async with await broker.dial() as witness, await broker.dial() as client:
        await witness.connect(f"{unique}-witness")
        await witness.subscribe(unique)
        await client.connect(unique, will=Will(unique, b"gone", 0, retain=False, properties=properties))
        await client.abort()
        assert (await witness.receive_message()).properties.user_properties == properties.user_properties


# The packet


@pytest.mark.parametrize("level", [4, 5])
async def test_the_reserved_connect_flag_ends_the_connection(broker: Broker, level: int) -> None:
    """[MQTT-3.1.2-3] [3.1.1 MQTT-3.1.2-3] [3.1.1 MQTT-3.1.4-1] In 3.1.1 without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    try:
        writer.write(frames.connect(level=level, flags=0x03))
        async with asyncio.timeout(5):
            said = await reader.read()
    finally:
        writer.close()
    assert said == (b"\x20\x03\x00\x81\x00" if level == 5 else b"")


# The session


async def test_a_session_lasts_as_long_as_its_connection(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-4.1.0-1] [3.1.1 MQTT-4.1.0-2] An expiry counts from the end of the connection."""
    async with await broker.dial(version) as client:
        await client.connect(unique, clean_start=True, properties=kept(version, seconds=1))
        await client.subscribe(unique, qos=1)
        await asyncio.sleep(1.6)
        await client.publish(unique, b"x", qos=1)
        assert (await client.receive_message()).payload == b"x"


async def test_retained_messages_are_no_part_of_a_session(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[3.1.1 MQTT-3.1.2-7]"""
    async with await broker.dial(version) as publisher:
        await publisher.connect(unique, clean_start=True)
        await publisher.publish(unique, b"stays", qos=1, retain=True)
        await publisher.disconnect()
    async with await broker.dial(version) as client:
        assert not (await client.connect(unique, clean_start=True)).session_present
        await client.subscribe(unique, qos=1)
        assert (await client.receive_message()).payload == b"stays"


async def test_a_goodbye_of_the_server_says_nothing_of_the_session(broker: Broker, unique: str) -> None:
    """[MQTT-3.14.2-2] [MQTT-3.14.4-2] [MQTT-4.13.2-1] It has no session expiry; and the connection ends."""
    async with await broker.dial() as first, await broker.dial() as second:
        await first.connect(unique, properties=kept(V5))
        await second.connect(unique, clean_start=False, properties=kept(V5))
        goodbye = await first.expect_closed(deadline_s=2)
        assert goodbye is not None
        assert goodbye.reason is ReasonCode.SESSION_TAKEN_OVER
        assert goodbye.properties.session_expiry_interval is None
