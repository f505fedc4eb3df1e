"""Wills: published when a connection ends badly, at the right moment, once."""

import asyncio

import pytest

from mqtt_broker.wire.packets import Connect, Properties, ProtocolVersion, Will
from mqtt_broker.wire.reasons import ReasonCode
from support import frames
from support.broker import Broker, StartBroker
from support.client import Client, ConnectionClosedError

V5 = ProtocolVersion.V5


def will(topic: str, delay: int | None = None, qos: int = 1, retain: bool = False) -> Will:
    return Will(topic, b"gone", qos, retain, Properties(will_delay_interval=delay))


async def witness_of(broker: Broker, unique: str) -> Client:
    witness = await broker.dial()
    await witness.connect(f"{unique}-witness")
    await witness.subscribe(f"{unique}/#", qos=2)
    return witness


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_lost_connection_publishes_the_will(
    broker: Broker, version: ProtocolVersion, unique: str, qos: int
) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.2-7] [3.1.1 MQTT-3.1.2-8]"""
    async with await witness_of(broker, unique) as witness, await broker.dial(version) as client:
        await client.connect(unique, will=Will(f"{unique}/will", b"gone", qos, retain=False))
        await client.abort()
        message = await witness.receive_message()
        assert (message.topic, message.payload, message.qos) == (f"{unique}/will", b"gone", qos)
        await witness.expect_silence()


async def test_a_goodbye_removes_the_will(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.1.2-10] [MQTT-3.14.4-3] [3.1.1 MQTT-3.1.2-10] [3.1.1 MQTT-3.14.4-3]"""
    async with await witness_of(broker, unique) as witness, await broker.dial(version) as client:
        await client.connect(
            unique, will=will(f"{unique}/will") if version is V5 else Will(f"{unique}/will", b"", 0, retain=False)
        )
        await client.disconnect()
        await witness.expect_silence()


async def test_a_goodbye_with_will_publishes_it(broker: Broker, unique: str) -> None:
    """DISCONNECT 0x04: MQTT 5.0, 3.14.2.1."""
    async with await witness_of(broker, unique) as witness, await broker.dial() as client:
        await client.connect(unique, will=will(f"{unique}/will"))
        await client.disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
        assert (await witness.receive_message()).payload == b"gone"


async def test_a_retained_will_is_retained(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.1.2-15] [3.1.1 MQTT-3.1.2-17]"""
    async with await witness_of(broker, unique) as witness, await broker.dial(version) as client:
        await client.connect(unique, will=Will(f"{unique}/will", b"gone", 1, retain=True))
        await client.abort()
        await witness.receive_message()
        await witness.subscribe(f"{unique}/will")
        assert (await witness.receive_message()).retain


async def test_the_will_waits_for_its_delay(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-8]"""
    loop = asyncio.get_running_loop()
    async with await witness_of(broker, unique) as witness, await broker.dial() as client:
        await client.connect(
            unique, will=will(f"{unique}/will", delay=1), properties=Properties(session_expiry_interval=60)
        )
        await client.abort()
        started = loop.time()
        assert (await witness.receive_message()).payload == b"gone"
        assert 0.9 <= loop.time() - started <= 2.5


async def test_the_end_of_the_session_ends_the_delay(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-8] MQTT 5.0, 3.1.3.2.2: the delay or the end of the session, whichever is first."""
    loop = asyncio.get_running_loop()
    async with await witness_of(broker, unique) as witness:
        for expiry, at_most in ((0, 1.0), (1, 2.5)):
            async with await broker.dial() as client:
                await client.connect(
                    f"{unique}-{expiry}",
                    will=will(f"{unique}/will", delay=60),
                    properties=Properties(session_expiry_interval=expiry),
                )
                await client.abort()
                started = loop.time()
                await witness.receive_message()
                assert loop.time() - started <= at_most


async def test_a_client_that_is_back_in_time_has_no_will_published(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.3-9]"""
    kept = Properties(session_expiry_interval=60)
    async with await witness_of(broker, unique) as witness, await broker.dial() as client:
        await client.connect(unique, will=will(f"{unique}/will", delay=1), properties=kept)
        await client.abort()
        async with await broker.dial() as again:
            assert (await again.connect(unique, clean_start=False, properties=kept)).session_present
            await witness.expect_silence(1.6)


async def test_a_new_session_ends_the_old_one_and_its_will_is_owed(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-8] Clean Start while the will is delayed: the session ended, so the will is published."""
    kept = Properties(session_expiry_interval=60)
    async with await witness_of(broker, unique) as witness, await broker.dial() as client:
        await client.connect(unique, will=will(f"{unique}/will", delay=30), properties=kept)
        await client.abort()
        await witness.expect_silence(0.2)
        async with await broker.dial() as again:
            await again.connect(unique, clean_start=True)
            assert (await witness.receive_message()).payload == b"gone"


async def test_takeover_with_expiry_0_publishes_the_will_at_once(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-8] The old session ended with its connection, so the delay does too."""
    async with await witness_of(broker, unique) as witness, await broker.dial() as client:
        await client.connect(unique, will=will(f"{unique}/will", delay=30))
        async with await broker.dial() as again:
            assert not (await again.connect(unique, clean_start=False)).session_present
            assert (await witness.receive_message()).payload == b"gone"


async def test_the_properties_of_a_will_travel_with_it(broker: Broker, unique: str) -> None:
    properties = Properties(content_type="text/plain", user_properties=(("k", "v"),), message_expiry_interval=50)
    async with await witness_of(broker, unique) as witness, await broker.dial() as client:
        await client.connect(unique, will=Will(f"{unique}/will", b"gone", 0, retain=False, properties=properties))
        await client.abort()
        received = (await witness.receive_message()).properties
        assert (received.content_type, received.user_properties) == ("text/plain", (("k", "v"),))
        assert received.message_expiry_interval in (49, 50)
        assert received.will_delay_interval is None


@pytest.mark.parametrize("topic", ["a/+", "#", "a\x00b", ""])
async def test_a_will_on_an_impossible_topic_is_refused_at_connect(broker: Broker, unique: str, topic: str) -> None:
    payload = frames.string(unique) + b"\x00" + frames.string(topic) + frames.string("gone")
    async with await broker.dial() as client:
        await client.send_bytes(frames.connect(flags=0x06, payload=payload))
        try:
            answer = await client.receive()
        except ConnectionClosedError:
            return
        assert getattr(answer, "reason", ReasonCode.SUCCESS).is_error


async def test_wills_of_a_killed_broker_are_published_after_its_restart(start_broker: StartBroker, unique: str) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.3-9] Once, and only those of clients that are not back in time."""
    kept = Properties(session_expiry_interval=60)
    broker = start_broker()
    async with await broker.dial() as witness:
        await witness.connect("witness", properties=kept)
        await witness.subscribe("will/+", qos=1)
        clients = []
        for name in ("back", "lost"):
            client = await broker.dial()
            await client.send(
                Connect(V5, name, clean_start=True, keep_alive=60, will=will(f"will/{name}", delay=1), properties=kept)
            )
            await client.receive()
            clients.append(client)
        broker.kill()
        for client in clients:
            await client.close()
    broker.start()
    async with await broker.dial() as witness, await broker.dial() as back:
        await back.connect("back", clean_start=False, properties=kept)
        await witness.connect("witness", clean_start=False, properties=kept)
        assert (await witness.receive_message()).topic == "will/lost"
        await witness.expect_silence(1.5)
