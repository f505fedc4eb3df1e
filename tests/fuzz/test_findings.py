"""What random clients found in the node, each in as few steps as it takes.

A finding that is not mended yet is marked so, strictly: mending it means taking the mark away here and the word for it
out of `model.KNOWN`.
"""

from collections.abc import Iterator

import pytest

from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    Connect,
    Packet,
    Properties,
    ProtocolVersion,
    Publish,
    Subscribe,
    SubscriptionRequest,
)
from support.inprocess import InProcessClient, InProcessNode

V5 = ProtocolVersion.V5
KEPT = Properties(session_expiry_interval=100)


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


def _connect(node: InProcessNode, client_id: str, properties: Properties = NO_PROPERTIES) -> InProcessClient:
    client = node.open()
    _send(node, client, Connect(V5, client_id, clean_start=False, keep_alive=0, properties=properties))
    return client


def _send(node: InProcessNode, client: InProcessClient, *packets: Packet) -> list[Publish]:
    """Send, settle, and return the messages that came."""
    node.feed(client, b"".join(encode(packet, V5) for packet in packets))
    node.settle()
    return [packet for packet in node.output(client) if isinstance(packet, Publish)]


def _subscribe(*requests: SubscriptionRequest) -> Subscribe:
    return Subscribe(1, requests)


@pytest.mark.xfail(strict=True, reason="what waits for a group is taken as retain = 0 by every member")
def test_member_of_a_stored_group_that_asks_for_retain_as_published_gets_the_flag(node: InProcessNode) -> None:
    """[MQTT-3.3.1-13]"""
    member = _connect(node, "member", KEPT)
    _send(node, member, _subscribe(SubscriptionRequest("$share/g/a", 1, retain_as_published=True)))
    (message,) = _send(node, member, Publish("a", b"1", 1, retain=True, packet_id=1))
    assert message.retain


@pytest.mark.xfail(strict=True, reason="nobody wakes the group when a member's outlet has sent what it held")
def test_stored_group_hands_out_all_that_the_windows_have_room_for() -> None:
    """Also what comes while a member's first message waits for its mark, whenever that is."""
    for turns in range(8):
        node = InProcessNode()
        member = _connect(node, "member", KEPT)
        _send(node, member, _subscribe(SubscriptionRequest("$share/g/a", 1)))
        node.loop.executor_lag_turns = 2
        node.feed(member, encode(Publish("a", b"1", 1, packet_id=1), V5))
        node.turns(turns)
        messages = _send(node, member, Publish("a", b"2", 1, packet_id=2))
        node.close()
        assert [message.payload for message in messages] == [b"1", b"2"]


@pytest.mark.xfail(strict=True, reason="retained messages for a new subscription are not compared with No Local")
def test_own_retained_message_is_not_sent_to_a_new_subscription_with_no_local(node: InProcessNode) -> None:
    """[MQTT-3.8.3-3]"""
    client = _connect(node, "client")
    _send(node, client, Publish("a", b"own", retain=True))
    assert _send(node, client, _subscribe(SubscriptionRequest("a", 1, no_local=True))) == []


@pytest.mark.xfail(strict=True, reason="an entry of QoS 0 is sent as an exchange, which QoS 0 has not")
def test_member_with_qos_0_takes_what_waits_for_its_stored_group(node: InProcessNode) -> None:
    kept = _connect(node, "kept", KEPT)
    _send(node, kept, _subscribe(SubscriptionRequest("$share/g/a", 1)))
    node.lose(kept)
    other = _connect(node, "other")
    _send(node, other, Publish("a", b"1", 1, packet_id=1))
    (message,) = _send(node, other, _subscribe(SubscriptionRequest("$share/g/a", 0)))
    assert (message.qos, message.payload) == (0, b"1")
