"""What random clients found in the node, each in as few steps as it takes."""

from collections.abc import Iterator

import pytest

from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    Connect,
    Packet,
    PingReq,
    Properties,
    ProtocolVersion,
    PubComp,
    Publish,
    PubRec,
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
    packet = Connect(V5, client_id, clean_start=False, keep_alive=0, properties=properties)
    node.feed(client, encode(packet, V5))
    return client


def _send(node: InProcessNode, client: InProcessClient, *packets: Packet) -> list[Publish]:
    """Send, settle, and return the messages that came."""
    node.feed(client, b"".join(encode(packet, V5) for packet in packets))
    node.settle()
    return _take(node, client)


def _publish(node: InProcessNode, client: InProcessClient, payload: bytes) -> None:
    """QoS 1 to `a`; what comes of it stays to be taken."""
    node.feed(client, encode(Publish("a", payload, 1, packet_id=1), V5))
    node.settle()


def _take(node: InProcessNode, client: InProcessClient) -> list[Publish]:
    return [packet for packet in node.output(client) if isinstance(packet, Publish)]


def _subscribe(*requests: SubscriptionRequest) -> Subscribe:
    return Subscribe(1, requests)


def test_member_of_a_stored_group_that_asks_for_retain_as_published_gets_the_flag(node: InProcessNode) -> None:
    """[MQTT-3.3.1-13]"""
    member = _connect(node, "member", KEPT)
    _send(node, member, _subscribe(SubscriptionRequest("$share/g/a", 1, retain_as_published=True)))
    (message,) = _send(node, member, Publish("a", b"1", 1, retain=True, packet_id=1))
    assert message.retain


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


def test_own_retained_message_is_not_sent_to_a_new_subscription_with_no_local(node: InProcessNode) -> None:
    """[MQTT-3.8.3-3]"""
    client = _connect(node, "client")
    _send(node, client, Publish("a", b"own", retain=True))
    assert _send(node, client, _subscribe(SubscriptionRequest("a", 1, no_local=True))) == []


def test_member_with_qos_0_takes_what_waits_for_its_stored_group(node: InProcessNode) -> None:
    kept = _connect(node, "kept", KEPT)
    _send(node, kept, _subscribe(SubscriptionRequest("$share/g/a", 1)))
    node.lose(kept)
    other = _connect(node, "other")
    _send(node, other, Publish("a", b"1", 1, packet_id=1))
    (message,) = _send(node, other, _subscribe(SubscriptionRequest("$share/g/a", 0)))
    assert (message.qos, message.payload) == (0, b"1")


def test_session_resumed_with_expiry_0_sends_again_under_the_same_packet_id(node: InProcessNode) -> None:
    """[MQTT-4.4.0-1]; under another id, what QoS 2 brings is taken for a new message."""
    client = _connect(node, "client", KEPT)
    _send(node, client, _subscribe(SubscriptionRequest("a", 2)))
    first, second = _send(node, client, *(Publish("a", b"x", 2, packet_id=number) for number in (1, 2)))
    _send(node, client, PubRec(first.packet_id))
    _send(node, client, PubComp(first.packet_id))
    node.lose(client)
    (again,) = _send(node, _connect(node, "client"), PingReq())
    assert again.dup
    assert again.packet_id == second.packet_id


def test_message_begun_before_its_lifetime_was_over_is_sent_again_on_the_next_connection(node: InProcessNode) -> None:
    """[MQTT-4.4.0-1]; MQTT 5.0, 3.3.2.3.3 deletes only what was not begun. Its packet id would be free too early."""
    client = _connect(node, "client", KEPT)
    _send(node, client, _subscribe(SubscriptionRequest("a", 2)))
    lives = Properties(message_expiry_interval=5)
    (message,) = _send(node, client, Publish("a", b"x", 2, packet_id=1, properties=lives))
    node.lose(client)
    node.advance(10)
    (again,) = _send(node, _connect(node, "client", KEPT), PingReq())
    assert (again.dup, again.packet_id) == (True, message.packet_id)


def test_transient_member_of_a_stored_group_is_sent_its_share_beside_its_own_messages(node: InProcessNode) -> None:
    """There is room in the window and 65,533 packet ids are free."""
    keeps, leaves = _connect(node, "keeps", KEPT), _connect(node, "leaves")
    _send(node, keeps, _subscribe(SubscriptionRequest("$share/g/a", 1)))
    _send(node, leaves, _subscribe(SubscriptionRequest("a", 1), SubscriptionRequest("$share/g/a", 1)))
    for number in (1, 2):
        _publish(node, keeps, b"%d" % number)
    messages = [packet for client in (keeps, leaves) for packet in _take(node, client)]
    assert sorted(message.payload for message in messages) == [b"1", b"1", b"2", b"2"]
