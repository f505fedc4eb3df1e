"""What is counted: packets of every type and payloads, by living connections and those that ended, by both roads."""

from collections.abc import Iterator

import pytest

from mqtt_broker.node.counters import Counters, Packets, all_packets
from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import Packet, ProtocolVersion, Publish
from support.inprocess import InProcessClient, InProcessNode

V3 = ProtocolVersion.V3_1_1
PAYLOAD = b"12345"


class Machine:
    other_packets_received = 2
    other_packets_sent = 3


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


def send(node: InProcessNode, client: InProcessClient, *sent: Packet) -> list[Packet]:
    node.feed(client, b"".join(encode(packet, V3) for packet in sent))
    node.settle()
    return node.output(client)


def connected(node: InProcessNode, *topics: str, qos: int = 0) -> InProcessClient:
    client = node.open()
    send(node, client, wire.Connect(V3, "c", clean_start=True, keep_alive=0))
    if topics:
        requests = tuple(wire.SubscriptionRequest(topic, qos) for topic in topics)
        send(node, client, wire.Subscribe(1, requests))
    return client


def packets(node: InProcessNode) -> Packets:
    return all_packets(node.hub.counters, [client.connection for client in node.hub.all_connections])


def test_publishes_others_and_those_of_living_machines_add_up() -> None:
    counters = Counters()
    counters.messages_received, counters.messages_sent = 100, 200
    counters.other_packets_received, counters.other_packets_sent = 10, 20
    assert all_packets(counters, ()) == Packets(110, 220)
    assert all_packets(counters, (Machine(), Machine())) == Packets(114, 226)


def test_every_packet_counts_whatever_its_type(node: InProcessNode) -> None:
    client = connected(node, "t")
    assert packets(node) == Packets(2, 2)
    send(node, client, wire.PingReq())
    assert packets(node) == Packets(3, 3)
    send(node, client, wire.Unsubscribe(2, ("t",)))
    assert packets(node) == Packets(4, 4)
    send(node, client, Publish("t", PAYLOAD, 2, packet_id=3), wire.PubRel(3))
    assert packets(node) == Packets(6, 6)
    send(node, client, wire.Disconnect())
    assert packets(node) == Packets(7, 6)


def test_what_an_ended_connection_counted_stays(node: InProcessNode) -> None:
    client = connected(node, "t")
    before = packets(node)
    node.lose(client)
    node.settle()
    assert not node.hub.all_connections
    assert packets(node) == before


def test_a_refused_connect_counts_with_its_answer(node: InProcessNode) -> None:
    client = node.open()
    send(node, client, wire.Connect(V3, "", clean_start=False, keep_alive=0))
    assert packets(node) == Packets(1, 1)
    assert node.hub.counters.connects_received <= 1
    assert node.hub.counters.connections_accepted == 0


@pytest.mark.parametrize("qos", [0, 1])
def test_a_run_counts_as_its_messages_would_one_by_one(node: InProcessNode, qos: int) -> None:
    client = connected(node, "t", qos=qos)
    before = packets(node)
    messages = [Publish("t", PAYLOAD, qos, packet_id=number if qos else 0) for number in range(1, 11)]
    answers = send(node, client, *messages)
    copies = [packet for packet in answers if isinstance(packet, Publish)]
    if qos:
        send(node, client, *(wire.PubAck(packet.packet_id) for packet in copies))
    counters, after = node.hub.counters, packets(node)
    assert len(copies) == counters.messages_received == counters.messages_sent == 10
    assert counters.payload_bytes_received == counters.payload_bytes_sent == 10 * len(PAYLOAD)
    per_message = 1 + qos
    assert after.received - before.received == after.sent - before.sent == 10 * per_message


def test_payload_counts_once_for_each_receiver(node: InProcessNode) -> None:
    publisher = connected(node)
    for name in ("one", "two"):
        client = node.open()
        send(node, client, wire.Connect(V3, name, clean_start=True, keep_alive=0))
        send(node, client, wire.Subscribe(1, (wire.SubscriptionRequest("t"),)))
    for _ in range(4):
        send(node, publisher, Publish("t", PAYLOAD))
    assert node.hub.counters.payload_bytes_received == 4 * len(PAYLOAD)
    assert node.hub.counters.payload_bytes_sent == 8 * len(PAYLOAD)


def test_a_pause_for_receivers_is_counted(node: InProcessNode) -> None:
    receiver = connected(node, "t")
    publisher = node.open()
    send(node, publisher, wire.Connect(V3, "p", clean_start=True, keep_alive=0))
    receiver.transport.stall()
    receiver.connection.pause_writing()
    while publisher.transport.is_reading():
        send(node, publisher, *[Publish("t", PAYLOAD)] * 100)
    assert node.hub.counters.pauses == {"rate": 0, "receivers": 1, "order": 0, "turn": 0}
