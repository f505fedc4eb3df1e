"""Loop turns: a client that subscribes to much at once is served in slices, others in between, and nothing is lost."""

from collections.abc import Iterator

import pytest

from mqtt_broker.node.turns import FILTERS_PER_TURN_MAX
from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from support.inprocess import InProcessClient, InProcessNode

V5 = wire.ProtocolVersion.V5
MANY = 3 * FILTERS_PER_TURN_MAX


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    running = InProcessNode()
    yield running
    running.close()


def join(node: InProcessNode, client_id: str) -> InProcessClient:
    client = node.open()
    node.feed(client, encode(wire.Connect(V5, client_id, clean_start=True, keep_alive=0), V5))
    node.settle()
    assert isinstance(node.output(client)[0], wire.ConnAck)
    return client


def subscribe(packet_id: int, *filters: str) -> bytes:
    return encode(wire.Subscribe(packet_id, tuple(wire.SubscriptionRequest(f, 0) for f in filters)), V5)


def one_by_one(first: int = 1) -> bytes:
    return b"".join(subscribe(number, f"t/{number}") for number in range(first, first + MANY))


def answered(node: InProcessNode, client: InProcessClient) -> list[int]:
    """Packet ids of the SUBACKs and UNSUBACKs that came."""
    return [p.packet_id for p in node.output(client) if isinstance(p, wire.SubAck | wire.UnsubAck)]


def test_many_subscribes_in_one_read_are_all_answered_in_order(node: InProcessNode) -> None:
    client = join(node, "busy")
    node.feed(client, one_by_one())
    node.settle()
    assert answered(node, client) == list(range(1, MANY + 1))
    assert client.transport.is_reading()


def test_one_turn_takes_so_many_filters_and_no_more(node: InProcessNode) -> None:
    client = join(node, "busy")
    node.feed(client, one_by_one())
    assert not client.transport.is_reading()
    assert client.connection.subscribe_count == FILTERS_PER_TURN_MAX


def test_busy_clients_share_one_turn(node: InProcessNode) -> None:
    first, second = join(node, "first"), join(node, "second")
    wide = subscribe(1, *(f"t/{number}" for number in range(FILTERS_PER_TURN_MAX)))
    for client in (first, second):
        client.transport.deliver(wide)
    assert (first.connection.subscribe_count, second.connection.subscribe_count) == (FILTERS_PER_TURN_MAX, 0)
    node.settle()
    assert [answered(node, client) for client in (first, second)] == [[1], [1]]


def test_what_others_send_meanwhile_is_not_kept_waiting(node: InProcessNode) -> None:
    busy, other, witness = join(node, "busy"), join(node, "other"), join(node, "witness")
    node.feed(witness, subscribe(1, "news"))
    node.settle()
    node.output(witness)
    busy.transport.deliver(one_by_one())
    other.transport.deliver(encode(wire.Publish("news", b"now"), V5))
    node.turns(1)
    assert busy.connection.subscribe_count < MANY
    assert [p.payload for p in node.output(witness) if isinstance(p, wire.Publish)] == [b"now"]


def test_what_follows_the_subscribes_keeps_its_place(node: InProcessNode) -> None:
    client = join(node, "busy")
    data = one_by_one() + one_by_one(MANY + 1)
    client.transport.deliver(data[:-5])  # a read may end anywhere
    client.transport.deliver(data[-5:])
    node.settle()
    assert answered(node, client) == list(range(1, 2 * MANY + 1))


def test_unsubscribes_take_turns_too(node: InProcessNode) -> None:
    client = join(node, "busy")
    node.feed(client, one_by_one())
    node.settle()
    node.output(client)
    node.feed(client, b"".join(encode(wire.Unsubscribe(n, (f"t/{n}",)), V5) for n in range(1, MANY + 1)))
    assert not client.transport.is_reading()
    node.settle()
    assert answered(node, client) == list(range(1, MANY + 1))


def test_a_client_that_goes_while_it_waits_leaves_the_others_their_turn(node: InProcessNode) -> None:
    going, staying = join(node, "going"), join(node, "staying")
    going.transport.deliver(one_by_one())
    staying.transport.deliver(one_by_one())
    node.lose(going)
    node.settle()
    assert answered(node, staying) == list(range(1, MANY + 1))


# Work in slices ------------------------------------------------------------------------------------------------------


def slices(done: list[int], count: int, effort: int = FILTERS_PER_TURN_MAX // 2) -> Iterator[int]:
    for number in range(count):
        done.append(number)
        yield effort


def test_work_begins_now_and_goes_on_in_later_turns(node: InProcessNode) -> None:
    done: list[int] = []
    node.hub.turns.run(slices(done, 5))
    assert done == [0, 1]
    node.turns(1)
    assert done == [0, 1, 2, 3]
    node.settle()
    assert done == [0, 1, 2, 3, 4]


def test_a_coroutine_waits_until_its_work_is_done(node: InProcessNode) -> None:
    done: list[int] = []
    node.loop.run_until_complete(node.hub.turns.finish(slices(done, 5)))
    assert done == [0, 1, 2, 3, 4]


def test_works_that_wait_share_the_turns(node: InProcessNode) -> None:
    one: list[int] = []
    other: list[int] = []
    node.hub.turns.run(slices(one, 6))
    node.hub.turns.run(slices(other, 6))
    node.turns(2)
    assert abs(len(one) - len(other)) <= 2
    node.settle()
    assert (len(one), len(other)) == (6, 6)


def test_one_that_was_cancelled_while_it_waited_is_passed_over(node: InProcessNode) -> None:
    done: list[int] = []
    node.hub.turns.spend(FILTERS_PER_TURN_MAX)
    waiting = node.loop.create_task(node.hub.turns.next())
    node.turns(1)
    waiting.cancel()
    node.hub.turns.run(slices(done, 3))
    node.settle()
    assert waiting.cancelled()
    assert done == [0, 1, 2]


def test_a_failure_in_one_slice_does_not_stop_the_others(node: InProcessNode) -> None:
    done: list[int] = []

    def broken() -> Iterator[int]:
        yield FILTERS_PER_TURN_MAX
        raise ValueError("our bug")

    node.hub.turns.run(broken())
    node.hub.turns.run(slices(done, 3))
    with pytest.raises(AssertionError, match="our bug"):
        node.settle()
    node.settle()
    assert done == [0, 1, 2]
