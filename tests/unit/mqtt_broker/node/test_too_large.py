"""A message that is larger than its receiver takes: dropped for that receiver as if it had been delivered."""

import pytest

from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from support.conversation import LASTING_S, V5, join, leave, publish, received, subscribe, tell
from support.inprocess import InProcessClient, InProcessNode

LARGE = b"x" * 200


def join_with_less_room(node: InProcessNode, client_id: str) -> InProcessClient:
    client = node.open()
    properties = wire.Properties(session_expiry_interval=LASTING_S, maximum_packet_size=100)
    node.feed(client, encode(wire.Connect(V5, client_id, clean_start=False, keep_alive=0, properties=properties), V5))
    node.settle()
    return client


@pytest.mark.parametrize("qos", [1, 2])
def test_what_waits_in_the_store_counts_as_delivered_and_does_not_come_again(qos: int) -> None:
    """[MQTT-3.1.2-25]"""
    node = InProcessNode()
    receiver, publisher = join_with_less_room(node, "r"), join(node, "p")
    tell(node, receiver, subscribe("t", qos=qos))
    tell(node, publisher, publish("t", LARGE, qos=qos) + publish("t", b"small", qos=qos, packet_id=2))
    assert received(node, receiver) == [b"small"]
    assert node.hub.counters.dropped["too_large"] == 1
    leave(node, receiver)
    assert received(node, join(node, "r")) == [b"small"]  # which was not acknowledged
    node.close()
