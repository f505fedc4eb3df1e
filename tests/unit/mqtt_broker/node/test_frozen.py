"""A node whose lease has run out: what it reads, writes and refuses, and how it goes on or ends."""

from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from mqtt_broker.node import client as client_module
from mqtt_broker.node import hub as hub_module
from mqtt_broker.store.boottime import boottime
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    ProtocolVersion,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    Will,
)
from mqtt_broker.wire.reasons import ReasonCode
from support.inprocess import InProcessClient, InProcessNode

V5 = ProtocolVersion.V5
LATER_S = 1_000_000.0


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


def connected(
    node: InProcessNode, client_id: str, *, keep_alive: int = 0, will: Will | None = None, topic: str = ""
) -> InProcessClient:
    client = node.open()
    packets: list[Packet] = [
        Connect(version=V5, client_id=client_id, clean_start=True, keep_alive=keep_alive, will=will)
    ]
    if topic:
        packets.append(Subscribe(1, (SubscriptionRequest(topic, 1),)))
    send(node, client, *packets)
    node.settle()
    assert [type(packet) for packet in node.output(client)] == [ConnAck, *([SubAck] if topic else [])]
    return client


def send(node: InProcessNode, client: InProcessClient, *packets: Packet) -> None:
    node.feed(client, b"".join(encode(packet, V5) for packet in packets))


def end_lease(node: InProcessNode) -> None:
    node.hub.lease_ends_at = boottime() - 1


def renew_lease(node: InProcessNode) -> None:
    node.hub.lease_ends_at = boottime() + LATER_S
    node.hub.thaw()


def test_what_is_read_in_the_turn_that_finds_the_lease_over_is_not_answered_before_it_is_renewed(
    node: InProcessNode,
) -> None:
    device, publisher = connected(node, "device", topic="t"), connected(node, "publisher")
    end_lease(node)
    send(node, publisher, Publish("t", b"x", 1, retain=False, packet_id=1), PingReq())
    node.advance(5.0)
    assert node.output(device) == node.output(publisher) == []
    assert node.hub.is_frozen
    renew_lease(node)
    node.settle()
    assert [type(packet) for packet in node.output(publisher)] == [PubAck, PingResp]
    assert [type(packet) for packet in node.output(device)] == [Publish]


def test_a_lone_packet_of_a_known_flow_takes_no_way_around_the_lease(node: InProcessNode) -> None:
    """It is written while sockets are read, and not at the end of the turn."""
    with mock.patch.object(client_module, "gathers_writes", return_value=True):
        device, publisher = connected(node, "device", topic="t"), connected(node, "publisher")
        for _ in range(4):
            send(node, publisher, Publish("t", b"x", 0, retain=False))
            node.settle()
        assert len(node.output(device)) == 4
        end_lease(node)
        send(node, publisher, Publish("t", b"late", 0, retain=False))
        node.settle()
        assert node.output(device) == []
        renew_lease(node)
        node.settle()
        assert [packet.payload for packet in node.output(device) if isinstance(packet, Publish)] == [b"late"]


ENDS: dict[str, Callable[[InProcessNode, InProcessClient], None]] = {
    "its client says goodbye": lambda node, client: send(node, client, Disconnect(ReasonCode.NORMAL_DISCONNECTION)),
    "its client breaks the protocol": lambda node, client: node.feed(client, b"\xf0\x80\x80\x80\x80\x80"),
    "it is taken over": lambda node, client: client.connection.take_over(),
    "the node is told to stop": lambda node, client: client.connection.end(ReasonCode.SERVER_SHUTTING_DOWN),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_connection_that_ends_after_the_lease_hears_nothing_more(
    node: InProcessNode, end: Callable[[InProcessNode, InProcessClient], None]
) -> None:
    device, publisher = connected(node, "device", topic="t"), connected(node, "publisher")
    send(node, publisher, Publish("t", b"x", 0, retain=False))
    end_lease(node)
    end(node, device)
    node.settle()
    assert node.output(device) == []
    assert device.transport.is_closing()


def test_nobodys_keep_alive_is_judged_while_nobody_is_read(node: InProcessNode) -> None:
    device = connected(node, "device", keep_alive=2)
    node.hub.freeze()
    node.advance(60.0)
    assert not device.transport.is_closing()
    renew_lease(node)
    node.advance(2.0)
    assert not device.transport.is_closing()
    node.advance(3.0)
    assert device.transport.is_closing()


@pytest.mark.parametrize("version", [ProtocolVersion.V3_1_1, V5])
def test_who_wants_to_connect_meanwhile_is_told_to_come_back(node: InProcessNode, version: ProtocolVersion) -> None:
    end_lease(node)
    node.hub.freeze()
    newcomer = node.open()
    packet = Connect(version=version, client_id="newcomer", clean_start=True, keep_alive=0, will=None)
    node.feed(newcomer, encode(packet, version))
    node.settle()
    assert bytes(newcomer.transport.written[:4]) == (b"\x20\x03\x00\x88" if version is V5 else b"\x20\x02\x00\x03")
    assert newcomer.transport.is_closing()


def test_a_fenced_node_says_nothing_and_writes_nothing(node: InProcessNode) -> None:
    """Wills and sessions are for whoever reaps them: to publish here what the other nodes publish would double it."""
    device, publisher = connected(node, "device", topic="wills"), connected(node, "publisher")
    mortal = connected(node, "mortal", will=Will("wills", b"gone", qos=1, retain=False))
    send(node, publisher, Publish("wills", b"x", 1, retain=False, packet_id=1))
    with mock.patch.object(hub_module.log, "critical") as told:
        node.hub.fence("somebody else is this node")
        node.hub.fence("twice")
    written = node.hub.pump.depth
    node.settle()
    told.assert_called_once()
    assert node.hub.fenced_because == "somebody else is this node"
    for client in (device, publisher, mortal):
        assert node.output(client) == []
        assert client.transport.is_closing()
    assert node.hub.pump.depth <= written
    assert node.hub.counters.messages_sent <= 1, "the one that was published before, to nobody's eyes"
