"""A connection that sends much is read once in a turn: the others have theirs, and nothing of it is lost."""

from collections.abc import Iterator

import pytest

from mqtt_broker.node.client import EFFECTS_WAITING_BYTES_HIGH, READ_BYTES_LARGE
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import (
    Connect,
    PingReq,
    PingResp,
    ProtocolVersion,
    Publish,
    Subscribe,
    SubscriptionRequest,
)
from support.inprocess import InProcessClient, InProcessNode

V3 = ProtocolVersion.V3_1_1
FRAME = encode(Publish("t", bytes(1_000)), V3)
LARGE = FRAME * (READ_BYTES_LARGE // len(FRAME) + 1)
SMALL = FRAME * 3


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


def test_large_messages_that_wait_for_the_store_stop_the_reading_by_their_bytes(node: InProcessNode) -> None:
    client = connected(node, "a")
    node.loop.executor_lag_turns = 50
    frame = encode(Publish("state", bytes(900_000), 1, retain=True, packet_id=1), V3)
    pauses = node.hub.counters.pauses
    sent = 0
    while not pauses["order"]:
        node.turns(3)
        assert client.transport.is_reading()
        node.feed(client, frame)
        sent += 1
    assert sent == EFFECTS_WAITING_BYTES_HIGH // 900_000 + 1
    node.turns(3)
    assert not client.transport.is_reading()
    node.settle()
    assert client.transport.is_reading()
    assert len(node.output(client)) == sent


def connected(node: InProcessNode, client_id: str) -> InProcessClient:
    client = node.open()
    node.feed(client, encode(Connect(V3, client_id, clean_start=True, keep_alive=0), V3))
    node.settle()
    node.output(client)
    return client


def test_after_a_large_read_a_client_is_not_read_before_its_next_turn(node: InProcessNode) -> None:
    client = connected(node, "a")
    node.feed(client, SMALL)
    assert client.transport.is_reading()
    node.feed(client, LARGE)
    assert not client.transport.is_reading()
    node.turns(2)
    assert client.transport.is_reading()


def test_those_who_send_much_have_their_turns_one_after_the_other(node: InProcessNode) -> None:
    clients = [connected(node, name) for name in "abc"]
    for client in clients:
        node.feed(client, LARGE)
    order: list[InProcessClient] = []
    for _ in range(20):
        node.turns(1)
        order += [client for client in clients if client.transport.is_reading() and client not in order]
        assert len(order) <= 3
    assert order == clients


def test_what_comes_behind_a_large_read_is_answered_in_its_order(node: InProcessNode) -> None:
    client = connected(node, "a")
    node.feed(client, encode(Subscribe(1, (SubscriptionRequest("t"),)), V3))
    node.settle()
    node.output(client)
    whole = LARGE + encode(PingReq(), V3)
    for start in range(0, len(whole), READ_BYTES_LARGE + 7):  # cut inside a packet
        node.feed(client, whole[start : start + READ_BYTES_LARGE + 7])
        node.settle()
    answers = node.output(client)
    assert isinstance(answers[-1], PingResp)
    assert len([packet for packet in answers if isinstance(packet, Publish)]) == len(LARGE) // len(FRAME)


def test_a_client_that_is_closed_for_what_a_large_read_brought_is_left_alone(node: InProcessNode) -> None:
    client = connected(node, "a")
    node.feed(client, LARGE + b"\x00\x00")  # a packet type that does not exist
    node.settle()
    assert client.is_closed


def test_a_client_that_goes_while_it_waits_for_its_turn_harms_nobody(node: InProcessNode) -> None:
    leaving, staying = connected(node, "a"), connected(node, "b")
    node.feed(leaving, LARGE)
    node.feed(staying, LARGE)
    node.lose(leaving)
    node.settle()
    assert staying.transport.is_reading()
