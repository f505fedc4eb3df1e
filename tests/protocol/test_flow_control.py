"""Receive Maximum, topic aliases, packet sizes, and receivers that do not read."""

import asyncio
from pathlib import Path

import pytest

from mqtt_broker.wire.packets import Properties, PubAck, Publish
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker
from support.client import Client, ConnectionClosedError


async def closed_with(client: Client) -> ReasonCode | None:
    goodbye = await client.expect_closed()
    return None if goodbye is None else goodbye.reason


async def test_no_more_messages_than_the_receiver_allows_are_in_flight(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]"""
    async with await broker.dial() as client, await broker.dial() as publisher:
        await client.connect(unique, properties=Properties(receive_maximum=2))
        await client.subscribe(unique, qos=1)
        await publisher.connect(f"{unique}-p")
        for number in range(5):
            await publisher.publish(unique, b"%d" % number, qos=1)
        first = await client.expect(Publish)
        await client.expect(Publish)
        await client.expect_silence()
        await client.send(PubAck(first.packet_id))
        assert (await client.expect(Publish)).payload == b"2"
        await client.expect_silence()


async def test_qos_0_does_not_wait_for_the_window(broker: Broker, unique: str) -> None:
    """MQTT 5.0, 4.9: QoS 0 is not counted."""
    async with await broker.dial() as client, await broker.dial() as publisher:
        await client.connect(unique, properties=Properties(receive_maximum=1))
        await client.subscribe(unique, qos=1)
        await publisher.connect(f"{unique}-p")
        await publisher.publish(unique, b"1", qos=1)
        await client.expect(Publish)
        await publisher.publish(unique, b"0", qos=0)
        assert (await client.expect(Publish)).payload == b"0"


async def test_a_publisher_beyond_our_receive_maximum_is_disconnected(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.4-7] 0x93. Counted are QoS 2 messages that were not released."""
    async with await broker.dial() as client:
        await client.connect(unique)
        for packet_id in range(1, 103):
            await client.send(Publish(unique, b"x", 2, packet_id=packet_id))
        assert await closed_with(client) is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


async def test_a_topic_alias_stands_for_its_topic(broker: Broker, unique: str) -> None:
    """MQTT 5.0, 3.3.2.3.4"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(f"{unique}/#")
        alias = Properties(topic_alias=32)
        await client.publish(f"{unique}/a", b"1", properties=alias)
        await client.publish("", b"2", properties=alias)
        await client.publish(f"{unique}/b", b"3", properties=alias)
        await client.publish("", b"4", properties=alias)
        topics = [(await client.receive_message()).topic for _ in range(4)]
        assert topics == [f"{unique}/a", f"{unique}/a", f"{unique}/b", f"{unique}/b"]


@pytest.mark.parametrize("alias", [0, 33, 65_535])
async def test_an_alias_out_of_range_is_invalid(broker: Broker, unique: str, alias: int) -> None:
    """[MQTT-3.3.2-8] [MQTT-3.3.2-9]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        properties = b"\x03\x23" + alias.to_bytes(2, "big")
        await client.send_bytes(b"\x30" + bytes([3 + len(properties) + 0]) + b"\x00\x01t" + properties)
        assert await closed_with(client) in (ReasonCode.TOPIC_ALIAS_INVALID, ReasonCode.PROTOCOL_ERROR)


async def test_an_unknown_alias_is_invalid(broker: Broker, unique: str) -> None:
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.publish("", b"x", properties=Properties(topic_alias=1))
        assert await closed_with(client) in (ReasonCode.TOPIC_ALIAS_INVALID, ReasonCode.PROTOCOL_ERROR)


async def test_aliases_end_with_their_connection(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.2-7]"""
    kept = Properties(session_expiry_interval=60)
    async with await broker.dial() as first:
        await first.connect(unique, properties=kept)
        await first.publish(unique, b"x", properties=Properties(topic_alias=1))
        await first.disconnect()
    async with await broker.dial() as second:
        await second.connect(unique, clean_start=False, properties=kept)
        await second.publish("", b"x", properties=Properties(topic_alias=1))
        assert await closed_with(second) in (ReasonCode.TOPIC_ALIAS_INVALID, ReasonCode.PROTOCOL_ERROR)


async def test_our_aliases_stay_within_what_the_receiver_allows(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-26] Whatever alias we use, the receiver can always tell the topic."""
    async with await broker.dial() as client:
        await client.connect(unique, properties=Properties(topic_alias_maximum=2))
        await client.subscribe(f"{unique}/#")
        known: dict[int, str] = {}
        for number in range(12):
            topic = f"{unique}/{number % 4}"
            await client.publish(topic, b"x")
            message = await client.expect(Publish)
            alias = message.properties.topic_alias
            if alias is not None:
                assert 1 <= alias <= 2
                known[alias] = message.topic or known[alias]
            assert (message.topic or known[alias or 0]) == topic


async def test_no_alias_is_sent_to_a_receiver_that_wants_none(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-27]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(unique)
        for _ in range(3):
            await client.publish(unique, b"x")
            message = await client.expect(Publish)
            assert message.topic == unique
            assert message.properties.topic_alias is None


async def test_a_packet_above_our_maximum_ends_the_connection(broker: Broker, unique: str) -> None:
    """[MQTT-3.2.2-15] Known from the header; the body is never read."""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.send_bytes(b"\x30\x81\x80\x40")  # 1 MiB and one byte
        assert await closed_with(client) is ReasonCode.PACKET_TOO_LARGE


async def test_a_packet_above_the_receivers_maximum_is_not_sent(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25] Dropped as if it had been delivered; the next one arrives."""
    async with await broker.dial() as client, await broker.dial() as publisher:
        await client.connect(unique, properties=Properties(maximum_packet_size=200))
        await client.subscribe(unique, qos=1)
        await publisher.connect(f"{unique}-p")
        await publisher.publish(unique, b"x" * 500, qos=1)
        await publisher.publish(unique, b"small", qos=1)
        assert (await client.receive_message()).payload == b"small"


async def test_a_reason_string_is_left_out_where_it_does_not_fit_or_is_not_wanted(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-29]"""
    async with await broker.dial() as client:
        await client.connect(unique, properties=Properties(request_problem_information=0))
        await client.send(Publish(unique, b"x", 1, packet_id=1))
        answer = await client.expect(PubAck)
        assert answer.properties.reason_string is None
        assert answer.properties.user_properties == ()


async def test_a_client_that_never_reads_costs_bounded_memory_and_nobody_else(
    start_broker: StartBroker, unique: str
) -> None:
    broker = start_broker()
    async with await broker.dial() as deaf, await broker.dial() as hearing, await broker.dial() as publisher:
        await deaf.connect("deaf")
        await deaf.subscribe("flood")
        await hearing.connect("hearing")
        await hearing.subscribe("quiet", qos=1)
        await publisher.connect("publisher")
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]  # of every transport of a socket
        before = resident_bytes(broker.program.pid)
        payload = b"x" * 50_000
        for number in range(1_600):
            try:
                await publisher.publish("flood", payload)
                if number % 100 == 0:
                    await publisher.publish("quiet", b"%d" % number, qos=1)
                    assert (await hearing.receive_message()).payload == b"%d" % number
            except ConnectionClosedError as error:
                raise AssertionError("the publisher was closed for another's sake") from error
        assert resident_bytes(broker.program.pid) - before < 40 * 1024 * 1024


def resident_bytes(pid: int) -> int:
    with Path(f"/proc/{pid}/status").open(encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


async def test_hundreds_of_promises_of_huge_packets_cost_nothing(broker: Broker, unique: str) -> None:
    before = resident_bytes(broker.program.pid)
    writers = []
    for _ in range(300):
        _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(b"\x30\xff\xff\xff\x7f")
        writers.append(writer)
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.ping()
    assert resident_bytes(broker.program.pid) - before < 10 * 1024 * 1024
    for writer in writers:
        writer.close()
