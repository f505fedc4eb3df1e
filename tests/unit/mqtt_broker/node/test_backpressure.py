"""Publishers wait for their receivers, for a bounded time and never in a circle; overload sheds in its fixed order."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_broker.node.client import RECEIVERS_S_MAX
from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import Packet, Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support.inprocess import InProcessClient, InProcessNode

V3, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
QUEUE_MAX = 20
READ_MESSAGES = 3  # that one read brings


class Crowd:
    """A node with a short queue, and clients that each subscribe to a topic of their own name."""

    def __init__(self, overflow: str = "DropOldest") -> None:
        queue = QueueSettings(messages_max=QUEUE_MAX, overflow=overflow)
        self.node = InProcessNode(MQTTSettings(queue=queue, keep_alive_s_max=0))
        self.numbers_sent = itertools.count(1)

    @property
    def dropped(self) -> int:
        return self.node.hub.counters.messages_dropped

    def connect(self, client_id: str, version: ProtocolVersion = V5, **properties: Any) -> InProcessClient:
        client = self.node.open()
        self.send(
            client,
            wire.Connect(version, client_id, clean_start=True, keep_alive=0, properties=Properties(**properties)),
            version=version,
        )
        return client

    def join(self, client_id: str, qos: int = 1, **properties: Any) -> InProcessClient:
        """Connected and subscribed."""
        client = self.connect(client_id, **properties)
        self.send(client, wire.Subscribe(1, (wire.SubscriptionRequest(client_id, qos),)))
        return client

    def send(self, client: InProcessClient, *packets: Packet, version: ProtocolVersion = V5) -> list[Packet]:
        self.node.feed(client, b"".join(encode(packet, version) for packet in packets))
        self.node.settle()
        return self.node.output(client)

    def publish(self, client: InProcessClient, topic: str, qos: int = 0, count: int = READ_MESSAGES) -> list[Packet]:
        """One read of messages with growing numbers. Returns the answers."""
        numbers = [next(self.numbers_sent) for _ in range(count)]
        return self.send(
            client,
            *(wire.Publish(topic, b"%05d" % n, qos, packet_id=n if qos else 0) for n in numbers),
        )

    def publish_until_paused(self, client: InProcessClient, topic: str, qos: int = 0) -> None:
        for _ in range(QUEUE_MAX):
            if not client.transport.is_reading():
                return
            self.publish(client, topic, qos)
        raise AssertionError("it was never paused")

    def stop(self, client: InProcessClient) -> None:
        """It reads nothing, and its write buffer is full at once."""
        client.transport.stall()
        client.connection.pause_writing()

    def go_on(self, client: InProcessClient) -> None:
        client.transport.resume()
        self.node.loop.call_soon(client.connection.resume_writing)
        self.node.settle()

    def numbers(self, client: InProcessClient) -> list[int]:
        """Of the messages since the last call, acknowledged until none is left."""
        numbers: list[int] = []
        while messages := [p for p in self.node.output(client) if isinstance(p, wire.Publish)]:
            numbers += [int(message.payload) for message in messages]
            acknowledgements = [encode(wire.PubAck(m.packet_id), V5) for m in messages if m.qos]
            self.node.feed(client, b"".join(acknowledgements))
            self.node.settle()
        return numbers


@pytest.fixture
def make() -> Iterator[Callable[..., Crowd]]:
    with ExitStack() as stack:

        def made(*args: Any) -> Crowd:
            crowd = Crowd(*args)
            stack.callback(crowd.node.close)
            return crowd

        yield made


Make = Callable[..., Crowd]


# Waiting -------------------------------------------------------------------------------------------------------------


def test_a_qos_1_publisher_much_faster_than_its_receiver_is_paused_and_loses_nothing(make: Make) -> None:
    crowd = make()
    receiver, publisher = crowd.join("receiver", receive_maximum=2), crowd.connect("publisher")
    sent = pauses = 0
    numbers: list[int] = []
    while sent < 200 * READ_MESSAGES:
        if publisher.transport.is_reading():
            crowd.publish(publisher, "receiver", qos=1)
            sent += READ_MESSAGES
        else:
            pauses += 1
            numbers += crowd.numbers(receiver)
    numbers += crowd.numbers(receiver)
    assert numbers == list(range(1, sent + 1))
    assert pauses > 10
    assert crowd.dropped == 0


def test_a_qos_0_flood_is_slowed_and_not_dropped_while_its_receiver_reads_now_and_then(make: Make) -> None:
    crowd = make()
    receiver, publisher = crowd.join("receiver"), crowd.connect("publisher")
    crowd.stop(receiver)
    sent = pauses = 0
    while sent < 200 * READ_MESSAGES:
        if publisher.transport.is_reading():
            crowd.publish(publisher, "receiver")
            sent += READ_MESSAGES
        else:
            pauses += 1
            crowd.node.advance(RECEIVERS_S_MAX / 2)
            crowd.go_on(receiver)
            crowd.stop(receiver)
    crowd.go_on(receiver)
    assert crowd.numbers(receiver) == list(range(1, sent + 1))
    assert pauses > 10
    assert crowd.dropped == 0


@pytest.mark.parametrize("qos", [0, 1])
def test_a_stopped_receiver_delays_its_publisher_for_a_bounded_time_and_once(make: Make, qos: int) -> None:
    crowd = make()
    receiver, publisher = crowd.join("receiver"), crowd.connect("publisher")
    crowd.stop(receiver)
    crowd.publish_until_paused(publisher, "receiver", qos)
    crowd.node.advance(RECEIVERS_S_MAX * 0.9)
    assert not publisher.transport.is_reading()
    crowd.node.advance(RECEIVERS_S_MAX * 0.2)
    for _ in range(QUEUE_MAX):
        assert publisher.transport.is_reading()
        crowd.publish(publisher, "receiver", qos)
    assert crowd.dropped > 0


def test_a_receiver_that_caught_up_is_waited_for_again(make: Make) -> None:
    crowd = make()
    receiver, publisher = crowd.join("receiver"), crowd.connect("publisher")
    for _ in range(3):
        crowd.stop(receiver)
        crowd.publish_until_paused(publisher, "receiver")
        crowd.node.advance(RECEIVERS_S_MAX * 1.1)
        assert publisher.transport.is_reading()
        crowd.go_on(receiver)
    assert crowd.dropped == 0


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [
        ("DropOldest", slice(-QUEUE_MAX, None)),
        ("DropNewest", slice(0, QUEUE_MAX)),
        ("Reject", slice(0, QUEUE_MAX)),
    ],
)
def test_when_the_wait_is_over_the_overflow_policy_decides(make: Make, overflow: str, kept: slice) -> None:
    crowd = make(overflow)
    receiver, publisher = crowd.join("receiver"), crowd.connect("publisher")
    crowd.stop(receiver)
    crowd.publish_until_paused(publisher, "receiver", qos=1)
    crowd.node.advance(RECEIVERS_S_MAX * 1.1)
    answers = [answer for _ in range(10) for answer in crowd.publish(publisher, "receiver", qos=1)]
    last = next(crowd.numbers_sent) - 1
    crowd.go_on(receiver)
    assert crowd.numbers(receiver) == list(range(1, last + 1))[kept]
    refused = sum(isinstance(a, wire.PubAck) and a.reason is ReasonCode.QUOTA_EXCEEDED for a in answers)
    assert refused == (last - QUEUE_MAX if overflow == "Reject" else 0)
    assert crowd.dropped == last - QUEUE_MAX  # refused or not: whatever did not arrive is counted


def test_others_go_on_while_one_publisher_waits(make: Make) -> None:
    crowd = make()
    stopped, busy = crowd.join("stopped"), crowd.join("busy")
    publisher, bystander = crowd.connect("publisher"), crowd.connect("bystander")
    crowd.stop(stopped)
    crowd.publish_until_paused(publisher, "stopped")
    crowd.publish(bystander, "busy")
    assert bystander.transport.is_reading()
    assert len(crowd.numbers(busy)) == READ_MESSAGES


def test_a_client_is_not_paused_for_what_another_ones_will_or_a_stored_queue_filled(make: Make) -> None:
    crowd = make()
    crowd.join("kept", session_expiry_interval=100)
    crowd.publish(crowd.connect("publisher"), "kept", qos=1, count=QUEUE_MAX)
    bystander = crowd.connect("bystander")
    back = crowd.node.open()
    kept = Properties(session_expiry_interval=100, receive_maximum=1)
    crowd.send(back, wire.Connect(V5, "kept", clean_start=False, keep_alive=0, properties=kept))
    crowd.send(bystander, wire.PingReq())
    assert bystander.transport.is_reading()


# Never in a circle ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3])
def test_clients_that_publish_to_each_other_in_a_circle_never_all_wait(make: Make, size: int) -> None:
    """With one of them: a client that publishes to itself."""
    crowd = make()
    circle = [crowd.join(f"member-{number}") for number in range(size)]
    for member in circle:
        crowd.stop(member)
    for _ in range(QUEUE_MAX):
        for number, member in enumerate(circle):
            if member.transport.is_reading():
                crowd.publish(member, f"member-{(number + 1) % size}", qos=1)
        assert any(member.transport.is_reading() for member in circle)
    for member in circle:
        crowd.go_on(member)
    crowd.node.advance(RECEIVERS_S_MAX * 1.1)
    for member in circle:
        assert member.transport.is_reading()
        assert len(crowd.numbers(member)) >= QUEUE_MAX / 2


# Ends ----------------------------------------------------------------------------------------------------------------


def _lost(crowd: Crowd, receiver: InProcessClient) -> None:
    crowd.node.lose(receiver)


def _taken_over(crowd: Crowd, receiver: InProcessClient) -> None:
    crowd.connect("receiver")


@pytest.mark.parametrize("end", [_lost, _taken_over])
def test_a_receiver_that_goes_releases_its_publishers(
    make: Make, end: Callable[[Crowd, InProcessClient], None]
) -> None:
    crowd = make()
    receiver = crowd.join("receiver")
    publishers = [crowd.connect(f"publisher-{number}") for number in range(3)]
    crowd.stop(receiver)
    for publisher in publishers:
        crowd.publish(publisher, "receiver", count=QUEUE_MAX // 2)
    assert not any(publisher.transport.is_reading() for publisher in publishers)
    end(crowd, receiver)
    crowd.node.settle()
    assert all(publisher.transport.is_reading() for publisher in publishers)
    assert crowd.node.hub.buffered_bytes == 0


def test_a_publisher_that_goes_while_it_waits_is_not_called_again(make: Make) -> None:
    crowd = make()
    receiver, publisher = crowd.join("receiver"), crowd.connect("publisher")
    crowd.stop(receiver)
    crowd.publish_until_paused(publisher, "receiver")
    crowd.node.lose(publisher)
    crowd.node.advance(RECEIVERS_S_MAX * 1.1)
    crowd.go_on(receiver)
    assert len(crowd.numbers(receiver)) >= QUEUE_MAX / 2


def test_keep_alive_does_not_run_while_a_publisher_is_not_read(make: Make) -> None:
    """[MQTT-3.1.2-22]: its silence is the node's doing."""
    crowd = make()
    receiver = crowd.join("receiver")
    publisher = crowd.node.open()
    crowd.send(publisher, wire.Connect(V5, "publisher", clean_start=True, keep_alive=1))
    crowd.stop(receiver)
    crowd.node.advance(1.2)
    crowd.publish(publisher, "receiver", count=QUEUE_MAX)
    assert not publisher.transport.is_reading()
    crowd.node.advance(RECEIVERS_S_MAX + 1.2)
    assert not publisher.is_closed
    crowd.node.advance(3.0)
    assert publisher.is_closed


# Overload ------------------------------------------------------------------------------------------------------------


def test_level_1_drops_qos_0_that_would_wait_and_keeps_the_rest(make: Make) -> None:
    crowd = make()
    receiver, publisher = crowd.join("receiver"), crowd.connect("publisher")
    crowd.node.hub.overload.level = 1
    crowd.publish(publisher, "receiver")
    assert len(crowd.numbers(receiver)) == READ_MESSAGES
    crowd.stop(receiver)
    crowd.publish(publisher, "receiver", qos=0)
    crowd.publish(publisher, "receiver", qos=1)
    crowd.go_on(receiver)
    assert len(crowd.numbers(receiver)) == READ_MESSAGES
    assert crowd.node.hub.counters.dropped["overflow"] == READ_MESSAGES


@pytest.mark.parametrize(
    ("level", "version", "reason"),
    [
        (1, V5, ReasonCode.SUCCESS),
        (2, V5, ReasonCode.SERVER_BUSY),
        (3, V5, ReasonCode.SERVER_BUSY),
        (2, V3, ReasonCode.SERVER_UNAVAILABLE),
    ],
)
def test_level_2_refuses_connections_and_says_so(
    make: Make, level: int, version: ProtocolVersion, reason: ReasonCode
) -> None:
    crowd = make()
    before = crowd.connect("before")
    crowd.node.hub.overload.level = level
    client = crowd.node.open()
    (answer,) = crowd.send(client, wire.Connect(version, "client", clean_start=True, keep_alive=0), version=version)
    assert isinstance(answer, wire.ConnAck)
    assert answer.reason is reason
    assert client.is_closed is (level >= 2)
    assert not before.is_closed


@pytest.mark.parametrize(
    ("level", "version", "reason"),
    [
        (2, V5, ReasonCode.GRANTED_QOS_1),
        (3, V5, ReasonCode.QUOTA_EXCEEDED),
        (3, V3, ReasonCode.UNSPECIFIED_ERROR),
    ],
)
def test_level_3_refuses_subscriptions_and_says_so(
    make: Make, level: int, version: ProtocolVersion, reason: ReasonCode
) -> None:
    crowd = make()
    client = crowd.connect("client", version)
    crowd.node.output(client)
    crowd.node.hub.overload.level = level
    packet = wire.Subscribe(1, (wire.SubscriptionRequest("t", 1),))
    (answer,) = crowd.send(client, packet, version=version)
    assert isinstance(answer, wire.SubAck)
    assert answer.reasons == (reason,)
    assert not client.is_closed


def test_subscriptions_that_stand_are_served_at_every_level(make: Make) -> None:
    crowd = make()
    receiver, publisher = crowd.join("receiver"), crowd.connect("publisher")
    for level in range(4):
        crowd.node.hub.overload.level = level
        for qos in (0, 1):
            crowd.publish(publisher, "receiver", qos)
            assert len(crowd.numbers(receiver)) == READ_MESSAGES
