"""Blocks hold what single frames would, for any part of a stream; the handshake's frames are what MQTT says."""

import pytest

from bench.driver import frames
from bench.workloads.base import TopicsOf
from mqtt_broker.wire.codec import decode
from mqtt_broker.wire.packets import Connect, ProtocolVersion, Publish, Subscribe, Unsubscribe

PACKET_BYTES_MAX = 1_000


@pytest.mark.parametrize("version", [frames.V311, frames.V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("topics", [1, 10])
@pytest.mark.parametrize("first", [0, 3, 255, 256, 65_530, 1_000_000])
def test_a_block_holds_the_frames_of_its_messages(first: int, topics: int, qos: int, version: int) -> None:
    names = TopicsOf(topics).names(4)
    block = frames.Block(4, names, qos, version)
    data = bytes(block.frames(first, 20))
    width = block.frame_bytes
    assert 0 < len(data) <= 20 * width
    for place in range(len(data) // width):
        number = first + place
        topic = names[number % block.count % topics]
        wanted = frames.publish(topic, qos, version, frames.payload(4, number), frames.packet_id_of(number))
        assert data[place * width : (place + 1) * width] == wanted


def test_topics_follow_the_sequence_across_blocks() -> None:
    """Or the receiver would call every message after the first block corrupt."""
    topics = TopicsOf(10)
    block = frames.Block(0, topics.names(0), 0, frames.V311)
    for first in (0, block.count - 1, block.count, 7 * block.count + 3):
        assert topics.of(0, first) in bytes(block.frames(first, 1))


def test_an_aliased_block_carries_no_topic_and_keeps_its_properties() -> None:
    properties = frames.topic_alias(1) + frames.user_property("a", "b")
    block = frames.Block(0, ["t"], 1, frames.V5, properties, aliased=True)
    decoded = decode(bytes(block.frames(300, 1)), 0, ProtocolVersion.V5, PACKET_BYTES_MAX)
    assert decoded is not None
    packet = decoded[0]
    assert isinstance(packet, Publish)
    assert (packet.topic, packet.packet_id, packet.properties.topic_alias) == ("", frames.packet_id_of(300), 1)
    assert packet.properties.user_properties == (("a", "b"),)
    assert packet.payload == frames.payload(0, 300)


@pytest.mark.parametrize("version", [ProtocolVersion.V3_1_1, ProtocolVersion.V5])
def test_the_brokers_codec_reads_the_handshake(version: ProtocolVersion) -> None:
    made = {
        Connect: frames.connect("c", "u", "p", int(version)),
        Subscribe: frames.subscribe(1, "a/#", 1, int(version)),
        Unsubscribe: frames.unsubscribe(2, "a/#", int(version)),
    }
    for kind, data in made.items():
        decoded = decode(data, 0, version, PACKET_BYTES_MAX)
        assert decoded is not None
        assert isinstance(decoded[0], kind)


@pytest.mark.parametrize(
    ("connack", "maximum"),
    [
        (b"\x20\x02\x00\x00", 65_535),
        (b"\x20\x03\x00\x00\x00", 65_535),
        (b"\x20\x06\x00\x00\x03\x21\x00\x64", 100),
        (b"\x20\x0b\x00\x00\x08\x13\x02\x58\x25\x01\x21\x00\x0a", 10),
        (b"\x20\x0a\x00\x00\x07\x12\x00\x01x\x21\x00\x05", 5),
    ],
)
def test_the_receive_maximum_is_found_among_other_properties(connack: bytes, maximum: int) -> None:
    assert frames.receive_maximum(connack) == maximum


def test_packet_ids_are_never_zero() -> None:
    assert {frames.packet_id_of(n) for n in range(70_000)} == set(range(1, 65_536))


@pytest.mark.parametrize("version", [ProtocolVersion.V3_1_1, ProtocolVersion.V5])
def test_one_subscribe_may_hold_many_filters(version: ProtocolVersion) -> None:
    decoded = decode(frames.subscribe_all(7, ["a/+", "b"], version), 0, version, 1_000)
    assert decoded is not None
    packet = decoded[0]
    assert isinstance(packet, Subscribe)
    assert (packet.packet_id, [(s.filter, s.qos) for s in packet.subscriptions]) == (7, [("a/+", 0), ("b", 0)])
