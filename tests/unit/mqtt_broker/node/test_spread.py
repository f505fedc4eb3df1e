"""A message for more receivers than one turn serves: everybody gets it once, in order, and others have their turns."""

from collections.abc import Iterator
from typing import Any

import pytest

from mqtt_broker.node import accepting, pump, spread, storedlane
from mqtt_broker.node import hub as hubs
from mqtt_broker.routing.delivery import Plan
from mqtt_broker.session.message import Message
from mqtt_broker.store.ports import Accept, AcceptRun, Operation
from mqtt_broker.wire import packets as wire
from support.conversation import join, publish, received, subscribe, tell
from support.inprocess import InProcessClient, InProcessNode

RECEIVERS = 25


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "RECEIVERS_AT_ONCE_MAX", 10)
    monkeypatch.setattr(hubs, "MATCHES_PER_SLICE", 4)
    monkeypatch.setattr(spread, "RECEIVERS_PER_PART", 4)


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


def crowd(node: InProcessNode, *filters: str, lasts_s: int = 0, qos: int = 1) -> list[InProcessClient]:
    clients = [join(node, f"c{number}", lasts_s=lasts_s) for number in range(RECEIVERS)]
    for client in clients:
        tell(node, client, subscribe(*filters, qos=qos))
    return clients


@pytest.mark.parametrize("lasts_s", [0, 60])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_receiver_gets_each_message_once_and_in_order(node: InProcessNode, qos: int, lasts_s: int) -> None:
    clients = crowd(node, "t", lasts_s=lasts_s, qos=qos)
    publisher = join(node, "p")
    node.feed(publisher, b"".join(publish("t", b"%d" % n, qos=qos, packet_id=n) for n in range(1, 6)))
    node.settle()
    for client in clients:
        assert received(node, client) == [b"1", b"2", b"3", b"4", b"5"]
    answers = [packet.packet_id for packet in node.output(publisher) if isinstance(packet, wire.PubAck | wire.PubRec)]
    assert answers == ([1, 2, 3, 4, 5] if qos else [])


@pytest.fixture
def small_store(monkeypatch: pytest.MonkeyPatch) -> int:
    """As if one call of the store might bring so many bytes, and any number of receivers were few."""
    for module in (hubs, spread, storedlane):
        monkeypatch.setattr(module, "STORED_BYTES_AT_ONCE_MAX", 1_000)
    monkeypatch.setattr(hubs, "RECEIVERS_AT_ONCE_MAX", 1_000)
    monkeypatch.setattr(spread, "RECEIVERS_PER_PART", 1_000)
    return 1_000


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of each operation with messages that goes to the store: how many copies, and how many bytes in all of them."""
    seen: list[tuple[int, int]] = []
    submit = pump.CommitPump.submit

    def noted(self: pump.CommitPump, operation: Operation, *more: Any) -> None:
        if isinstance(operation, Accept | AcceptRun):
            seen.append(pump._weight(operation))
        submit(self, operation, *more)

    monkeypatch.setattr(pump.CommitPump, "submit", noted)
    return seen


@pytest.mark.parametrize(("payload_bytes", "parts"), [(30, 1), (40, 1), (41, 2), (300, 9), (1_000, 25), (5_000, 25)])
def test_a_large_message_is_written_in_parts_of_so_many_bytes(
    node: InProcessNode, small_store: int, weights: list[tuple[int, int]], payload_bytes: int, parts: int
) -> None:
    """While the store takes a part it does nothing else; between two of them others have their turn."""
    clients = crowd(node, "t", lasts_s=60)
    publisher = join(node, "p")
    payload = b"x" * payload_bytes
    tell(node, publisher, publish("t", payload))
    assert [received(node, client) for client in clients] == [[payload]] * RECEIVERS
    assert len(weights) == parts
    assert sum(copies for copies, _ in weights) == RECEIVERS
    assert all(size <= max(small_store, payload_bytes) for _, size in weights)


def test_a_large_message_for_clients_whose_copies_lie_in_memory_goes_at_once(
    node: InProcessNode, small_store: int, weights: list[tuple[int, int]]
) -> None:
    clients = crowd(node, "t")
    publisher = join(node, "p")
    tell(node, publisher, publish("t", b"x" * small_store))
    assert [received(node, client) for client in clients] == [[b"x" * small_store]] * RECEIVERS
    assert weights == []


@pytest.mark.parametrize("payload_bytes", [30, 300])
def test_a_stream_of_large_messages_keeps_its_order_and_the_bound(
    node: InProcessNode, small_store: int, weights: list[tuple[int, int]], payload_bytes: int
) -> None:
    clients = crowd(node, "t", lasts_s=60)
    publisher = join(node, "p")
    sent = [(b"%d" % number).ljust(payload_bytes, b".") for number in range(1, 13)]
    packets = [publish("t", payload, packet_id=number) for number, payload in enumerate(sent, 1)]
    for start in (0, 6):
        tell(node, publisher, b"".join(packets[start : start + 6]))
    assert [received(node, client) for client in clients] == [sent] * RECEIVERS
    assert all(size <= small_store for _, size in weights)


def test_overlapping_subscriptions_get_one_copy(node: InProcessNode) -> None:
    clients = crowd(node, "a/b", "a/+", "#", lasts_s=60)
    publisher = join(node, "p")
    tell(node, publisher, publish("a/b", b"once"))
    for client in clients:
        assert received(node, client) == [b"once"]


def test_others_are_served_between_two_parts(node: InProcessNode) -> None:
    crowd(node, "t", lasts_s=60)
    publisher, other = join(node, "p"), join(node, "o")
    tell(node, other, subscribe("else"))
    node.output(other)
    node.feed(publisher, publish("t", b"many"))
    node.feed(other, publish("else", b"few", qos=0))
    node.turns(3)
    assert received(node, other) == [b"few"]
    assert not [packet for packet in node.output(publisher) if isinstance(packet, wire.PubAck)]
    node.settle()
    assert [packet for packet in node.output(publisher) if isinstance(packet, wire.PubAck)]


def test_a_qos2_message_sent_again_is_not_delivered_again(node: InProcessNode) -> None:
    clients = crowd(node, "t", lasts_s=60, qos=2)
    publisher = join(node, "p", lasts_s=60)
    message = publish("t", b"once", qos=2, packet_id=7)
    node.feed(publisher, message + message)
    node.settle()
    node.lose(publisher)
    again = join(node, "p", lasts_s=60)
    tell(node, again, message)
    for client in clients:
        assert received(node, client) == [b"once"]


def test_the_value_is_retained_once_and_for_all(node: InProcessNode) -> None:
    crowd(node, "t", lasts_s=60)
    tell(node, join(node, "p"), publish("t", b"kept", retain=True))
    late = join(node, "late")
    node.feed(late, subscribe("t"))
    node.settle()
    assert received(node, late) == [b"kept"]


def test_what_waits_for_everything_written_waits_for_the_last_part(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over: list[int] = []
    hand_over = accepting.hand_over

    def noting(hub: hubs.Hub, message: Message, plan: Plan, *rest: Any) -> None:
        hand_over(hub, message, plan, *rest)
        handed_over.extend([1] * len(plan.receivers))

    monkeypatch.setattr(spread, "hand_over", noting)
    crowd(node, "t", lasts_s=60)
    publisher = join(node, "p")
    told: list[int] = []
    node.feed(publisher, publish("t", b"many"))
    node._in_loop(lambda: node.hub.pump.when_written(lambda: told.append(len(handed_over))))
    node.settle()
    assert told == [RECEIVERS]


def test_a_publisher_that_leaves_in_the_middle_changes_nothing_for_the_receivers(node: InProcessNode) -> None:
    clients = crowd(node, "t", lasts_s=60)
    publisher = join(node, "p")
    node.feed(publisher, publish("t", b"all"))
    node.turns(2)
    node.lose(publisher)
    node.settle()
    for client in clients:
        assert received(node, client) == [b"all"]
