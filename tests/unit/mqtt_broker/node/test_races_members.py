"""A member of a shared subscription that is lost between any two steps keeps nothing that it was not sent."""

from collections.abc import Iterator

import pytest

from support.conversation import join, publish, received, slow_store, subscribe, tell
from support.inprocess import InProcessNode

TURNS_MAX = 30  # more than the message takes to the first member


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


@pytest.mark.parametrize("turns", range(1, TURNS_MAX))
@pytest.mark.parametrize("qos", [1, 2])
def test_what_a_lost_member_was_not_sent_goes_to_another(node: InProcessNode, turns: int, qos: int) -> None:
    """[MQTT-4.8.2-4] [MQTT-4.8.2-5] The mark is written ahead: it alone does not say that a message was sent."""
    lost = join(node, "lost")
    tell(node, lost, subscribe("$share/g/t", qos=qos))
    publisher = join(node, "p")
    slow_store(node)
    node.feed(publisher, publish("t", b"1", qos=qos))
    node.turns(turns)
    node.lose(lost)
    node.settle()
    was_sent = node.hub.counters.messages_sent > 0  # perhaps with the bytes that were lost with the connection
    other = join(node, "other")
    node.feed(other, subscribe("$share/g/t", qos=qos))
    node.settle()
    assert received(node, other) == ([] if was_sent and qos == 2 else [b"1"])
