"""A CONNECT that is under way when the lease runs out."""

from collections.abc import Iterator

import pytest

from mqtt_broker.wire.packets import ConnAck
from support.conversation import connect, publish, slow_store
from support.inprocess import InProcessNode

TURNS_MAX = 20  # more than a CONNECT takes with a slow store


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


@pytest.mark.parametrize("turns", range(1, TURNS_MAX))
def test_who_connects_while_the_node_freezes_is_not_read_before_it_thaws(node: InProcessNode, turns: int) -> None:
    client = node.open()
    slow_store(node)
    node.feed(client, connect("c"))
    node.turns(turns)
    node._in_loop(node.hub.freeze)
    node.settle()
    node.output(client)
    node.feed(client, publish("t", b"1", qos=0))
    node.settle()
    assert node.hub.counters.messages_received == 0
    node._in_loop(node.hub.thaw)
    node.settle()
    assert client.is_closed or node.hub.counters.messages_received == 1
    assert all(isinstance(packet, ConnAck) for packet in node.output(client))
