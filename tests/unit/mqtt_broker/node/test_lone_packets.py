"""A read that is one packet of a known flow: the short way through the fast lane, and how it leaves."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import pytest
from msgspec.structs import replace

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_api.policy import ClientLimits
from mqtt_broker.auth.principal import Identity
from mqtt_broker.node import client as client_module
from mqtt_broker.node.client import RECEIVERS_S_MAX, ClientConnection
from mqtt_broker.node.fastlane import FastLane
from mqtt_broker.node.live import LiveSession
from mqtt_broker.protocol.connection import KEEP_ALIVE_GRACE
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import (
    Connect,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    Publish,
    Subscribe,
    SubscriptionRequest,
)
from support.inprocess import InProcessClient, InProcessNode

V3, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
TOPIC = "t/one"
KEEP_ALIVE_S = 10


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


@pytest.fixture(params=["gathering", "plain"])
def transports(request: pytest.FixtureRequest) -> Iterator[str]:
    """Transports that gather what is written in a turn by themselves, and those that do not."""
    with mock.patch.object(client_module, "gathers_writes", return_value=request.param == "gathering"):
        yield request.param


@pytest.fixture
def gathering() -> Iterator[None]:
    with mock.patch.object(client_module, "gathers_writes", return_value=True):
        yield


def connected(
    node: InProcessNode,
    client_id: str,
    version: ProtocolVersion = V5,
    keep_alive_s: int = 0,
    **properties: Any,
) -> InProcessClient:
    client = node.open()
    connect = Connect(
        version, client_id, clean_start=True, keep_alive=keep_alive_s, properties=Properties(**properties)
    )
    node.feed(client, encode(connect, version))
    node.settle()
    return client


def receiver(node: InProcessNode, version: ProtocolVersion = V5, **properties: Any) -> InProcessClient:
    client = connected(node, "receiver", version, **properties)
    node.feed(client, encode(Subscribe(1, (SubscriptionRequest("#"),)), version))
    node.settle()
    node.output(client)
    return client


def message(payload: bytes, topic: str = TOPIC, version: ProtocolVersion = V5) -> bytes:
    return encode(Publish(topic, payload), version)


def publisher(
    node: InProcessNode, topic: str = TOPIC, version: ProtocolVersion = V5, **options: Any
) -> InProcessClient:
    """Its flow is known: the next packet may go the short way."""
    client = connected(node, "publisher", version, **options)
    for _ in range(3):
        node.feed(client, message(b"known", topic, version))
        node.settle()
    return client


def payloads(node: InProcessNode, client: InProcessClient) -> list[bytes]:
    return [packet.payload for packet in node.output(client) if isinstance(packet, Publish)]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many reads have gone the short way since it was asked last."""
    run_alone, count = FastLane.run_alone, 0

    def counted(lane: FastLane, data: bytes) -> bool:
        nonlocal count
        done = run_alone(lane, data)
        count += done
        return done

    def taken() -> int:
        nonlocal count
        count, before = 0, count
        return before

    monkeypatch.setattr(FastLane, "run_alone", counted)
    return taken


def test_to_a_transport_that_gathers_by_itself_a_lone_packet_is_written_at_once(
    node: InProcessNode, gathering: None, taken: Callable[[], int]
) -> None:
    target, source = receiver(node), publisher(node)
    node.output(target)
    taken()
    node.feed(source, message(b"now"))
    assert payloads(node, target) == [b"now"]
    assert taken() == 1


def test_what_several_publishers_send_in_one_turn_leaves_in_one_write_where_each_write_costs(
    node: InProcessNode,
) -> None:
    target, source = receiver(node), publisher(node)
    writes = target.transport.writes
    for number in range(5):
        node.feed(source, message(b"%d" % number))
    assert target.transport.writes == writes
    node.settle()
    assert target.transport.writes == writes + 1


@pytest.mark.parametrize("payload_bytes", [0, 1, 110, 119, 120, 200, 16_000])
def test_lone_packets_of_every_length_that_takes_two_bytes_at_most_go_the_short_way(
    node: InProcessNode, transports: str, taken: Callable[[], int], payload_bytes: int
) -> None:
    target, source = receiver(node), publisher(node)
    node.output(target)
    taken()
    node.feed(source, message(bytes(payload_bytes)))
    node.settle()
    assert payloads(node, target) == [bytes(payload_bytes)]
    assert taken() == 1


def test_a_packet_whose_length_takes_three_bytes_is_nothing_for_the_short_way(
    node: InProcessNode, taken: Callable[[], int]
) -> None:
    target, source = receiver(node), publisher(node)
    node.output(target)
    taken()
    node.feed(source, message(bytes(16_500)))
    node.settle()
    assert payloads(node, target) == [bytes(16_500)]
    assert taken() == 0


def test_a_length_of_three_bytes_is_not_read_as_one_of_two(node: InProcessNode, taken: Callable[[], int]) -> None:
    """All of a packet but its last byte: as long as a packet would be whose length ended with its second byte.

    Read so, its topic would be one whose flow is known.
    """
    topic = "x" * 0x174
    whole = b"\x30\x80\x81\x01" + len(topic).to_bytes(2, "big") + topic.encode()
    whole += bytes(4 + (0x81 << 7) - len(whole))
    target, source = receiver(node, V3), publisher(node, "t" + "x" * 0x100, V3)
    node.output(target)
    taken()
    node.feed(source, whole[:-1])
    node.settle()
    assert node.output(target) == []
    assert taken() == 0
    node.feed(source, whole[-1:])
    node.settle()
    (packet,) = node.output(target)
    assert isinstance(packet, Publish)
    assert packet.topic == topic


def test_a_lone_packet_stays_behind_what_waits_to_be_written(node: InProcessNode, gathering: None) -> None:
    target, source = receiver(node), publisher(node)
    node.output(target)
    node.feed(target, encode(PingReq(), V5))
    node.feed(source, message(b"after"))
    assert node.output(target) == []
    node.settle()
    answer, packet = node.output(target)
    assert isinstance(answer, PingResp)
    assert isinstance(packet, Publish)


def test_a_receiver_that_reads_nothing_gets_lone_packets_later_and_in_order(
    node: InProcessNode, transports: str
) -> None:
    target, source = receiver(node), publisher(node)
    node.output(target)
    target.transport.stall()
    target.connection.pause_writing()
    for number in range(5):
        node.feed(source, message(b"%d" % number))
        node.settle()
    assert payloads(node, target) == []
    assert target.connection.outlet.waiting == 5
    node.loop.call_soon(target.transport.resume)
    node.loop.call_soon(target.connection.resume_writing)
    node.settle()
    node.feed(source, message(b"5"))
    node.settle()
    assert payloads(node, target) == [b"%d" % number for number in range(6)]


def test_a_lone_packet_that_is_larger_than_the_receiver_takes_is_dropped(node: InProcessNode, transports: str) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    target, source = receiver(node, maximum_packet_size=100), publisher(node)
    node.output(target)
    node.feed(source, message(bytes(100)))
    node.settle()
    assert payloads(node, target) == []
    assert node.hub.counters.dropped["too_large"] == 1
    assert not target.is_closed


def test_nothing_is_written_to_a_transport_that_is_closing(node: InProcessNode, gathering: None) -> None:
    target, source = receiver(node), publisher(node)
    writes = target.transport.writes
    node.loop.call_soon(target.transport.close)
    node.loop.call_soon(source.connection.data_received, message(b"too late"))
    node.settle()
    assert target.transport.writes == writes


def test_lone_packets_count_for_keep_alive(node: InProcessNode, taken: Callable[[], int]) -> None:
    """[MQTT-3.1.2-22]"""
    receiver(node)
    source = publisher(node, keep_alive_s=KEEP_ALIVE_S)
    taken()
    for _ in range(4):
        node.advance(KEEP_ALIVE_S)
        node.feed(source, message(b"alive"))
    assert taken() == 4
    node.advance(KEEP_ALIVE_S)
    assert not source.is_closed
    node.advance(KEEP_ALIVE_GRACE * KEEP_ALIVE_S)
    assert source.is_closed


def test_a_packet_that_comes_in_pieces_is_whole_again_before_the_short_way_is_open(
    node: InProcessNode, taken: Callable[[], int]
) -> None:
    target, source = receiver(node), publisher(node)
    node.output(target)
    taken()
    looks_whole = message(b"inside")
    outside = message(b"outside:" + looks_whole)
    node.feed(source, outside[: -len(looks_whole)])
    node.feed(source, looks_whole)
    node.settle()
    assert payloads(node, target) == [b"outside:" + looks_whole]
    assert taken() == 0
    node.feed(source, looks_whole)
    node.settle()
    assert payloads(node, target) == [b"inside"]


def test_a_lone_packet_whose_length_is_longer_than_it_needs_to_be_ends_the_connection(node: InProcessNode) -> None:
    """[MQTT-1.5.5-1]"""
    receiver(node)
    source, frame = publisher(node), message(b"x")
    node.feed(source, frame[:1] + bytes((frame[1] | 0x80, 0)) + frame[2:])
    node.settle()
    assert source.is_closed


def test_a_lone_packet_that_is_larger_than_this_server_takes_ends_the_connection() -> None:
    """[MQTT-3.2.2-15]"""
    node = InProcessNode(MQTTSettings(packet_bytes_max=100))
    try:
        receiver(node)
        source = publisher(node)
        node.feed(source, message(bytes(100)))
        node.settle()
        assert source.is_closed
    finally:
        node.close()


def test_a_lone_packet_with_properties_is_nothing_for_the_short_way(
    node: InProcessNode, taken: Callable[[], int]
) -> None:
    """Its flow is another one: a lifetime, for one, runs while the message waits."""
    target, source = receiver(node), publisher(node)
    node.output(target)
    taken()
    node.feed(source, encode(Publish(TOPIC, b"x", properties=Properties(message_expiry_interval=9)), V5))
    node.settle()
    assert payloads(node, target) == [b"x"]
    assert taken() == 0


def test_a_lone_packet_waits_behind_one_that_waits_for_the_store(
    node: InProcessNode, transports: str, taken: Callable[[], int]
) -> None:
    """The read before it ended with a PUBACK of the fast lane's, and something in it still waits for the store."""
    target, source = receiver(node), publisher(node)
    node.feed(source, encode(Subscribe(1, (SubscriptionRequest("to/me", 1),)), V5))
    other = connected(node, "other")
    for _ in range(3):
        node.feed(other, encode(Publish("to/me", b"", 1, packet_id=1), V5))
        node.settle()
    owed = [packet.packet_id for packet in node.output(source) if isinstance(packet, Publish)]
    node.output(target)
    taken()
    node.loop.executor_lag_turns = 5
    kept = encode(Publish(TOPIC, b"kept", 1, retain=True, packet_id=1), V5)
    node.feed(source, kept + encode(PubAck(owed[-1]), V5))
    node.feed(source, message(b"behind"))
    node.turns(1)
    assert payloads(node, target) == []
    node.settle()
    assert payloads(node, target) == [b"kept", b"behind"]
    assert taken() == 0


def test_lone_packets_to_a_receiver_that_is_behind_pause_their_publisher(transports: str) -> None:
    queue = QueueSettings(messages_max=4)
    node = InProcessNode(MQTTSettings(queue=queue))
    try:
        target, source = receiver(node), publisher(node)
        target.transport.stall()
        target.connection.pause_writing()
        for _ in range(2):
            assert source.transport.is_reading()
            node.feed(source, message(b"x"))
        assert not source.transport.is_reading()
    finally:
        node.close()


def test_a_lone_packet_that_arrives_after_reading_was_paused_is_held(node: InProcessNode, transports: str) -> None:
    """A transport may have decrypted it already."""
    target, source = receiver(node), publisher(node)
    node.output(target)
    outlet = target.connection.outlet
    outlet._congested = True
    node.hub.congested[outlet] = None
    node.loop.call_soon(source.connection.wait_for_receivers)
    node.turns(1)
    assert not source.transport.is_reading()
    node.loop.call_soon(source.connection.data_received, message(b"held"))
    node.turns(3)
    assert payloads(node, target) == []
    node.advance(RECEIVERS_S_MAX)
    assert payloads(node, target) == [b"held"]


def test_a_lone_packet_that_arrives_after_the_end_is_discarded(node: InProcessNode, transports: str) -> None:
    target, source = receiver(node), publisher(node)
    node.output(target)
    node.loop.call_soon(partial(source.connection.detach, with_will=False))
    node.loop.call_soon(source.connection.data_received, message(b"late"))
    node.settle()
    assert payloads(node, target) == []


def test_lone_packets_count_against_the_rate_of_their_publisher(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver(node)
    attach = ClientConnection.attach

    def attach_limited(
        client: ClientConnection, session: LiveSession, identity: Identity, *others: Any, **more: Any
    ) -> None:
        attach(client, session, replace(identity, limits=ClientLimits(messages_per_s=5)), *others, **more)

    monkeypatch.setattr(ClientConnection, "attach", attach_limited)
    source = connected(node, "publisher")
    sent = 0
    while source.transport.is_reading():
        node.feed(source, message(b"x"))
        sent += 1
        assert sent <= 6
    assert sent == 6
