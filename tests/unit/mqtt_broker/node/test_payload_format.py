"""Payloads that say they are UTF-8: believed, unless the broker is told to look (MQTT 5.0, 3.3.2.3.2)."""

from collections.abc import Iterator

import pytest

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.session.message import UTF_8
from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.reasons import ReasonCode
from support.conversation import V5, connack, connect, join, received, subscribe, tell
from support.inprocess import InProcessClient, InProcessNode

TEXT, NO_TEXT = "żółw".encode(), b"caf\xe9"
SURROGATE = b"\xed\xa0\x80"
SAYS_TEXT = wire.Properties(payload_format_indicator=UTF_8)
SAYS_BYTES = wire.Properties(payload_format_indicator=0)
REPEATED = 5  # more often than the fast lane needs to know a flow


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    running = InProcessNode(MQTTSettings(validate_payload_format=True))
    yield running
    running.close()


def publish(payload: bytes, qos: int = 0, properties: wire.Properties = SAYS_TEXT, packet_id: int = 1) -> bytes:
    return encode(wire.Publish("t", payload, qos, packet_id=packet_id if qos else 0, properties=properties), V5)


def reader_and_writer(node: InProcessNode) -> tuple[InProcessClient, InProcessClient]:
    reader, writer = join(node, "reader"), join(node, "writer")
    tell(node, reader, subscribe("t", qos=0))
    node.output(writer)
    return reader, writer


@pytest.mark.parametrize("payload", [NO_TEXT, SURROGATE])
@pytest.mark.parametrize(("qos", "answer"), [(1, wire.PubAck), (2, wire.PubRec)])
def test_a_payload_that_is_not_what_it_says_is_refused(
    node: InProcessNode, payload: bytes, qos: int, answer: type[wire.PubAck | wire.PubRec]
) -> None:
    reader, writer = reader_and_writer(node)
    for _ in range(2):  # the second time under the same packet id: it is free again
        node.feed(writer, publish(payload, qos))
        node.settle()
        (packet,) = node.output(writer)
        assert isinstance(packet, answer)
        assert packet.reason is ReasonCode.PAYLOAD_FORMAT_INVALID
    assert received(node, reader) == []
    assert node.hub.counters.dropped["invalid_payload"] == 2


def test_at_qos_0_it_is_dropped_and_counted_and_the_connection_lives(node: InProcessNode) -> None:
    reader, writer = reader_and_writer(node)
    for payload in (TEXT, *[NO_TEXT] * REPEATED, TEXT):
        tell(node, writer, publish(payload))
    assert received(node, reader) == [TEXT, TEXT]
    assert node.hub.counters.dropped["invalid_payload"] == REPEATED


@pytest.mark.parametrize("qos", [0, 1])
def test_a_stream_of_good_ones_hides_no_bad_one(node: InProcessNode, qos: int) -> None:
    reader, writer = reader_and_writer(node)
    stream = [TEXT] * REPEATED + [b"\xff" * len(TEXT)] + [TEXT] * REPEATED
    for number, payload in enumerate(stream, 1):
        tell(node, writer, publish(payload, qos, packet_id=number))
    tell(node, writer, b"".join(publish(payload, qos, packet_id=n) for n, payload in enumerate(stream, 1)))
    assert received(node, reader) == [TEXT] * 4 * REPEATED
    assert node.hub.counters.dropped["invalid_payload"] == 2


@pytest.mark.parametrize("properties", [SAYS_BYTES, wire.NO_PROPERTIES])
def test_a_payload_that_says_nothing_is_not_looked_at(node: InProcessNode, properties: wire.Properties) -> None:
    reader, writer = reader_and_writer(node)
    tell(node, writer, publish(NO_TEXT, properties=properties))
    assert received(node, reader) == [NO_TEXT]


@pytest.mark.parametrize(
    ("payload", "reason"), [(TEXT, ReasonCode.SUCCESS), (NO_TEXT, ReasonCode.PAYLOAD_FORMAT_INVALID)]
)
def test_a_will_is_refused_with_its_connect(node: InProcessNode, payload: bytes, reason: ReasonCode) -> None:
    client = node.open()
    client.version = V5
    node.feed(client, connect("x", will=wire.Will("t", payload, 0, retain=False, properties=SAYS_TEXT)))
    node.settle()
    assert connack(node, client) is reason


def test_a_broker_that_was_not_told_to_look_believes() -> None:
    node = InProcessNode()
    reader, writer = reader_and_writer(node)
    tell(node, writer, publish(NO_TEXT, 1))
    will = wire.Will("t", NO_TEXT, 0, retain=False, properties=SAYS_TEXT)
    assert connack(node, join(node, "x", will=will)) is ReasonCode.SUCCESS
    assert received(node, reader) == [NO_TEXT]
    node.close()
