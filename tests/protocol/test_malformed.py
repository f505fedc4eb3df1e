"""Packets that break the standard, on a connection that was good so far: the right reason, and the end of it.

A witness on the same broker notices nothing of all this.
"""

import asyncio
import contextlib
import random

import pytest

from mqtt_broker.wire.packets import ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker
from support.frames import frame, properties, string

V3_1_1, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5

MALFORMED, PROTOCOL_ERROR = ReasonCode.MALFORMED_PACKET, ReasonCode.PROTOCOL_ERROR
NAME, FILTER = ReasonCode.TOPIC_NAME_INVALID, ReasonCode.TOPIC_FILTER_INVALID
ALIAS = ReasonCode.TOPIC_ALIAS_INVALID
ANY = (MALFORMED, PROTOCOL_ERROR)
NONE = b"\x00"  # no properties
ID = b"\x00\x05"


def publish(
    first: int, topic: str | bytes = "t", packet_id: bytes = b"", props: bytes = NONE, rest: bytes = b"x"
) -> bytes:
    return frame(first, string(topic) + packet_id + props + rest)


def subscribe(
    topic_filter: str | bytes, options: int = 0, props: bytes = NONE, first: int = 0x82, packet_id: bytes = ID
) -> bytes:
    return frame(first, packet_id + props + string(topic_filter) + bytes([options]))


# What is wrong -> (bytes of MQTT 5, the reasons that may be given)
VIOLATIONS: dict[str, tuple[bytes, tuple[ReasonCode, ...]]] = {
    # PUBLISH
    "QoS 3 [MQTT-3.3.1-4]": (publish(0x36, packet_id=ID), (MALFORMED,)),
    "DUP at QoS 0 [MQTT-3.3.1-2]": (publish(0x38), ANY),
    "packet id 0 at QoS 1 [MQTT-2.2.1-3]": (publish(0x32, packet_id=b"\x00\x00"), ANY),
    "packet id 0 at QoS 2 [MQTT-2.2.1-3]": (publish(0x34, packet_id=b"\x00\x00"), ANY),
    "plus in a topic [MQTT-3.3.2-2]": (publish(0x30, "a/+"), (MALFORMED, PROTOCOL_ERROR, NAME)),
    "hash in a topic [MQTT-3.3.2-2]": (publish(0x30, "a/#"), (MALFORMED, PROTOCOL_ERROR, NAME)),
    "empty topic without alias": (publish(0x30, ""), (PROTOCOL_ERROR, NAME, ALIAS)),
    "U+0000 in a topic [MQTT-1.5.4-2]": (publish(0x30, "a\x00b"), ANY),
    "U+0001 in a topic": (publish(0x30, "a\x01b"), ANY),
    "U+007F in a topic": (publish(0x30, "a\x7fb"), ANY),
    "U+009F in a topic": (publish(0x30, "a\x9fb"), ANY),
    "U+FFFF in a topic": (publish(0x30, "a\uffffb"), ANY),
    "surrogate in a topic [MQTT-1.5.4-1]": (publish(0x30, b"\xed\xa0\x80"), ANY),
    "overlong UTF-8 in a topic": (publish(0x30, b"\xc0\xaf"), ANY),
    "truncated UTF-8 in a topic": (publish(0x30, b"a\xc3"), ANY),
    "topic longer than the packet": (frame(0x30, b"\x00\x09t"), ANY),
    "no room for the packet id": (frame(0x32, string("t") + b"\x00"), ANY),
    "no property length": (frame(0x30, string("t")), ANY),
    "properties longer than the packet": (frame(0x30, string("t") + b"\x7f\x01\x01"), ANY),
    "unknown property": (publish(0x30, props=properties(b"\x7d\x00")), ANY),
    "property of CONNECT": (publish(0x30, props=properties(b"\x11\x00\x00\x00\x01")), ANY),
    "payload format twice": (publish(0x30, props=properties(b"\x01\x00\x01\x00")), ANY),
    "payload format 2": (publish(0x30, props=properties(b"\x01\x02")), ANY),
    "message expiry cut off": (publish(0x30, props=properties(b"\x02\x00\x00")), ANY),
    "content type twice": (publish(0x30, props=properties((b"\x03" + string("a")) * 2)), ANY),
    "response topic with wildcard [MQTT-3.3.2-14]": (publish(0x30, props=properties(b"\x08\x00\x03a/#")), (*ANY, NAME)),
    "subscription identifier from a client [MQTT-3.3.4-6]": (publish(0x30, props=properties(b"\x0b\x01")), ANY),
    "user property of no UTF-8 [MQTT-1.5.7-1]": (publish(0x30, props=properties(b"\x26\x00\x01\xff\x00\x00")), ANY),
    # acknowledgements
    "PUBACK with flags [MQTT-2.1.3-1]": (frame(0x41, ID), ANY),
    "PUBREC with flags": (frame(0x52, ID), ANY),
    "PUBREL without its flags [MQTT-3.6.1-1]": (frame(0x60, ID), ANY),
    "PUBCOMP with flags": (frame(0x72, ID), ANY),
    "PUBACK of nothing": (frame(0x40, b""), ANY),
    "PUBACK with half an id": (frame(0x40, b"\x00"), ANY),
    "PUBACK with an unknown reason [MQTT-3.4.2-1]": (frame(0x40, ID + b"\x42"), ANY),
    "PUBREL with packet id 0": (frame(0x62, b"\x00\x00"), ANY),
    "PUBREC with packet id 0": (frame(0x50, b"\x00\x00"), ANY),
    "PUBACK longer than it may be": (frame(0x40, ID + b"\x00\x00extra"), ANY),
    # SUBSCRIBE
    "SUBSCRIBE with flags 0 [MQTT-3.8.1-1]": (subscribe("t", first=0x80), ANY),
    "SUBSCRIBE without filters [MQTT-3.8.3-2]": (frame(0x82, ID + NONE), ANY),
    "SUBSCRIBE with packet id 0": (subscribe("t", packet_id=b"\x00\x00"), ANY),
    "SUBSCRIBE without options": (frame(0x82, ID + NONE + string("t")), ANY),
    "QoS 3 in a SUBSCRIBE": (subscribe("t", 3), ANY),
    "reserved option bits [MQTT-3.8.3-5]": (subscribe("t", 0x40), ANY),
    "retain handling 3": (subscribe("t", 0x30), ANY),
    "subscription identifier 0": (subscribe("t", props=properties(b"\x0b\x00")), ANY),
    "subscription identifier twice": (subscribe("t", props=properties(b"\x0b\x01\x0b\x02")), ANY),
    "subscription identifier overlong": (subscribe("t", props=properties(b"\x0b\x81\x80\x80\x80\x00")), ANY),
    "filter with U+0000": (subscribe("a\x00b"), ANY),
    "filter longer than the packet": (frame(0x82, ID + NONE + b"\x00\x20t\x00"), ANY),
    # UNSUBSCRIBE
    "UNSUBSCRIBE with flags 0 [MQTT-3.10.1-1]": (frame(0xA0, ID + NONE + string("t")), ANY),
    "UNSUBSCRIBE without filters [MQTT-3.10.3-2]": (frame(0xA2, ID + NONE), ANY),
    "UNSUBSCRIBE with packet id 0": (frame(0xA2, b"\x00\x00" + NONE + string("t")), ANY),
    # the rest
    "PINGREQ with flags": (frame(0xC1, b""), ANY),
    "PINGREQ with a body": (frame(0xC0, b"x"), ANY),
    "DISCONNECT with flags [MQTT-3.14.1-1]": (frame(0xE1, b""), ANY),
    "DISCONNECT with an unknown reason [MQTT-3.14.2-1]": (frame(0xE0, b"\x42"), ANY),
    "DISCONNECT with a server's reason": (frame(0xE0, b"\x8e"), ANY),
    "AUTH with flags [MQTT-3.15.1-1]": (frame(0xF1, b""), ANY),
    "reserved packet type 0": (frame(0x00, b""), ANY),
    "CONNACK from a client": (frame(0x20, b"\x00\x00\x00"), ANY),
    "SUBACK from a client": (frame(0x90, ID + NONE + b"\x00"), ANY),
    "UNSUBACK from a client": (frame(0xB0, ID + NONE + b"\x00"), ANY),
    "PINGRESP from a client": (frame(0xD0, b""), ANY),
    "remaining length of five bytes": (b"\x30\xff\xff\xff\xff\x01", ANY),
    "remaining length overlong [MQTT-1.5.5-1]": (b"\xc0\x80\x00", ANY),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reasons"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
async def test_a_violation_gets_its_reason_and_ends_the_connection(
    broker: Broker, unique: str, data: bytes, reasons: tuple[ReasonCode, ...]
) -> None:
    """[MQTT-4.13.1-1] [MQTT-4.13.2-1]"""
    async with await broker.dial() as witness, await broker.dial() as client:
        await witness.connect(f"{unique}-witness")
        await client.connect(unique)
        await client.send_bytes(data)
        goodbye = await client.expect_closed()
        assert goodbye is not None
        assert goodbye.reason in reasons
        await witness.ping()


VIOLATIONS_3_1_1 = {
    "QoS 3 [3.1.1 MQTT-3.3.1-4]": frame(0x36, string("t") + ID + b"x"),
    "plus in a topic [3.1.1 MQTT-3.3.2-2] [3.1.1 MQTT-4.7.1-1]": frame(0x30, string("a/+") + b"x"),
    "empty topic [3.1.1 MQTT-4.7.3-1]": frame(0x30, string("") + b"x"),
    "U+0000 in a topic [3.1.1 MQTT-1.5.3-2] [3.1.1 MQTT-4.7.3-2]": frame(0x30, string("\x00") + b"x"),
    "packet id 0 [3.1.1 MQTT-2.3.1-1]": frame(0x32, string("t") + b"\x00\x00x"),
    "PUBACK of three bytes": frame(0x40, ID + b"\x00"),
    "topic of no UTF-8 [3.1.1 MQTT-1.5.3-1] [3.1.1 MQTT-3.3.2-1]": frame(0x30, string(b"\xff") + b"x"),
    "PUBACK with flags [3.1.1 MQTT-2.2.2-2]": frame(0x41, ID),
    "PUBREL without its flags [3.1.1 MQTT-3.6.1-1]": frame(0x60, ID),
    "SUBSCRIBE with flags 0 [3.1.1 MQTT-3.8.1-1]": frame(0x80, ID + string("t") + b"\x00"),
    "SUBSCRIBE without filters [3.1.1 MQTT-3.8.3-3]": frame(0x82, ID),
    "SUBSCRIBE with an option of MQTT 5 [3.1.1 MQTT-3.8.3-4]": frame(0x82, ID + string("t") + b"\x04"),
    "UNSUBSCRIBE with flags 0 [3.1.1 MQTT-3.10.1-1]": frame(0xA0, ID + string("t")),
    "UNSUBSCRIBE without filters [3.1.1 MQTT-3.10.3-2]": frame(0xA2, ID),
    "DISCONNECT with flags [3.1.1 MQTT-3.14.1-1]": frame(0xE1, b""),
    "DISCONNECT with a body": frame(0xE0, b"\x00"),
    "AUTH": frame(0xF0, b""),
    "PINGREQ with a body": frame(0xC0, b"x"),
}


@pytest.mark.parametrize("data", VIOLATIONS_3_1_1.values(), ids=VIOLATIONS_3_1_1.keys())
async def test_a_violation_ends_a_3_1_1_connection_without_a_word(broker: Broker, unique: str, data: bytes) -> None:
    """[3.1.1 MQTT-4.8.0-1]; it has no DISCONNECT from the server."""
    async with await broker.dial(V3_1_1) as client:
        await client.connect(unique)
        await client.send_bytes(data)
        assert await client.expect_closed() is None


FILTERS = ["", "a#", "a/#/b", "a+", "+a/b", "#/", "##", "a/b+/c"]


@pytest.mark.parametrize("topic_filter", FILTERS)
async def test_an_invalid_filter_is_refused(broker: Broker, unique: str, topic_filter: str) -> None:
    """[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] In SUBACK or by ending the connection; never granted."""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.send_bytes(subscribe(topic_filter))
        answer = await client.receive()
        codes = getattr(answer, "reasons", None) or (answer.reason,)  # type: ignore[union-attr]  # SUBACK or DISCONNECT
        assert set(codes) <= {FILTER, MALFORMED, PROTOCOL_ERROR}


TRUNCATABLE = {
    "PUBLISH": publish(0x32, "topic", ID, properties(b"\x03" + string("text")), b"payload"),
    "SUBSCRIBE": subscribe("topic/#", 1, properties(b"\x0b\x05")),
    "UNSUBSCRIBE": frame(0xA2, ID + NONE + string("topic")),
    "PUBREL": frame(0x62, ID + b"\x00\x00"),
    "DISCONNECT": frame(0xE0, b"\x04\x00"),
}


@pytest.mark.parametrize("data", TRUNCATABLE.values(), ids=TRUNCATABLE.keys())
async def test_a_packet_cut_off_anywhere_ends_with_its_connection(broker: Broker, unique: str, data: bytes) -> None:
    """Every prefix, then the end of the stream: no answer to half a packet, and no harm."""
    for length in range(1, len(data)):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02" + f"c{length % 10}".encode() + data[:length])
        writer.write_eof()
        async with asyncio.timeout(5):
            said = await reader.read()
        assert said[:1] in (b"", b"\x20")
        assert b"\xe0" not in said[:1]
        writer.close()
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.ping()


@pytest.mark.parametrize("data", TRUNCATABLE.values(), ids=TRUNCATABLE.keys())
async def test_a_packet_may_arrive_byte_by_byte(broker: Broker, unique: str, data: bytes) -> None:
    async with await broker.dial() as client:
        await client.connect(unique)
        for byte in data:
            await client.send_bytes(bytes([byte]))
        if data[0] >> 4 == 14:
            await client.expect_closed()
        else:
            await client.receive()


async def test_what_follows_a_goodbye_is_discarded(broker: Broker, unique: str) -> None:
    """[MQTT-3.14.4-1]"""
    async with await broker.dial() as witness, await broker.dial() as client:
        await witness.connect(f"{unique}-witness")
        await witness.subscribe(unique)
        await client.connect(unique)
        await client.send_bytes(b"\xe0\x00" + publish(0x30, unique))
        assert await client.expect_closed() is None
        await witness.expect_silence()


@pytest.mark.parametrize("levels", [33, 1_000])
async def test_topics_and_filters_have_a_greatest_depth(broker: Broker, unique: str, levels: int) -> None:
    deep = "/".join(["a"] * levels)
    async with await broker.dial() as client:
        await client.connect(unique)
        (reason,) = await client.subscribe(deep)
        assert reason in (FILTER, ReasonCode.QUOTA_EXCEEDED)
        assert await client.publish(deep, b"x", qos=1) is NAME


async def test_subscriptions_of_a_client_are_bounded(broker: Broker, unique: str) -> None:
    """0x97 for each one beyond; those within stand."""
    async with await broker.dial() as client:
        await client.connect(unique)
        reasons: list[ReasonCode] = []
        for start in range(0, 1_010, 101):
            reasons += await client.subscribe(*(f"{unique}/{start + n}" for n in range(101)))
        assert reasons[:1_000] == [ReasonCode.GRANTED_QOS_0] * 1_000
        assert set(reasons[1_000:]) == {ReasonCode.QUOTA_EXCEEDED}


async def test_random_bytes_never_hurt(broker: Broker, unique: str) -> None:
    """Noise before and after CONNECT: connections end, the broker stays."""
    noise = random.Random(20261123)
    good = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00"
    for number in range(200):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write((good if number % 2 else b"") + noise.randbytes(noise.randrange(1, 200)))
        with contextlib.suppress(ConnectionError):
            writer.write_eof()
            async with asyncio.timeout(5):
                await reader.read()
        writer.close()
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.ping()
