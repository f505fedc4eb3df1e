"""The commit pump: group commit, order, repetition under the same number, fencing."""

import asyncio
import functools
from collections.abc import Sequence

import msgspec
import pytest

from mqtt_broker.node import pump as pump_module
from mqtt_broker.node.order import OrderedEffects
from mqtt_broker.node.pump import EFFORT_PER_TURN_MAX, CommitPump
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import (
    Accept,
    AcceptRun,
    Acknowledge,
    Done,
    End,
    Fenced,
    Membership,
    Operation,
    Result,
    RunForward,
    StoreFull,
    StoreMismatch,
    StoreUnavailable,
    Subscribe,
    Target,
)

ME = Membership(node="n0", token=1)


class ScriptedStore:
    """Answers commits from a script: an exception to raise, or None to succeed. Only `commit` is ever called."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.batches: list[tuple[int, list[Operation]]] = []

    async def commit(self, membership: Membership, number: int, operations: Sequence[Operation]) -> tuple[Result, ...]:
        self.batches.append((number, list(operations)))
        answer = self.script.pop(0) if self.script else None
        if answer is not None:
            raise answer
        return tuple(Done() for _ in operations)


def operation(number: int) -> End:
    return End(client_id=f"c{number}", incarnation=number)


def _note(seen: list[int], number: int, _: Result) -> None:
    seen.append(number)


def make(store: ScriptedStore, fenced: list[str] | None = None) -> CommitPump:
    told: list[str] = [] if fenced is None else fenced
    return CommitPump(store, ME, told.append)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "RETRY_S_FIRST", 0.0)
    monkeypatch.setattr(pump_module, "RETRY_S_MAX", 0.0)
    monkeypatch.setattr(pump_module, "FULL_S", 0.0)


async def test_what_one_turn_submits_is_one_batch_and_the_callbacks_come_in_order() -> None:
    seen: list[int] = []
    store = ScriptedStore()
    pump = make(store)
    for number in range(5):
        pump.submit(operation(number), functools.partial(_note, seen, number))
    await pump.idle()
    assert [number for number, _ in store.batches] == [1]
    assert seen == [0, 1, 2, 3, 4]


async def test_what_callbacks_submit_goes_into_the_next_batch() -> None:
    store = ScriptedStore()
    pump = make(store)
    pump.submit(operation(1), lambda _: pump.submit(operation(2)))
    await pump.idle()
    assert [(number, len(operations)) for number, operations in store.batches] == [(1, 1), (2, 1)]


async def test_an_unanswered_batch_is_repeated_under_its_number_and_nobody_is_called_before() -> None:
    seen: list[bool] = []
    store = ScriptedStore(StoreUnavailable("away"), StoreUnavailable("away"), None)
    pump = make(store)
    pump.submit(operation(1), lambda _: seen.append(pump.available))
    await pump.idle()
    assert [number for number, _ in store.batches] == [1, 1, 1]
    assert store.batches[0] == store.batches[2]
    assert seen == [True]
    assert pump.failures == 2


async def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "OPERATIONS_PER_BATCH_MAX", 3)
    store = ScriptedStore()
    pump = make(store)
    for number in range(7):
        pump.submit(operation(number))
    await pump.idle()
    assert [len(operations) for _, operations in store.batches] == [3, 3, 1]


async def test_of_a_run_each_message_counts_for_the_bound_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "OPERATIONS_PER_BATCH_MAX", 5)
    store = ScriptedStore()
    pump = make(store)
    for size in (3, 1, 2, 9, 1):
        pump.submit(run_of(size, Target(client_id="c", incarnation=1, qos=1)))
    await pump.idle()
    assert [len(operations) for _, operations in store.batches] == [2, 1, 1, 1]


async def test_what_a_run_forwards_is_one_append_for_each_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "OPERATIONS_PER_BATCH_MAX", 5)
    store = ScriptedStore()
    pump = make(store)
    forward = RunForward(node="b", token=2, head=b"", receivers=3)
    for _ in range(7):
        pump.submit(msgspec.structs.replace(run_of(500), forwards=(forward,)))
    await pump.idle()
    assert [len(operations) for _, operations in store.batches] == [5, 2]


def run_of(size: int, *targets: Target) -> AcceptRun:
    return AcceptRun(message=Message(topic="t", payload=b"", qos=1), payloads=(b"",) * size, targets=targets)


async def test_others_have_a_turn_between_the_callbacks_of_long_runs() -> None:
    loop = asyncio.get_running_loop()
    turn = 0

    def tick() -> None:
        nonlocal turn
        turn += 1
        if len(turns) < 3:
            loop.call_soon(tick)

    turns: list[int] = []
    pump = make(ScriptedStore())
    for _ in range(3):
        pump.submit(run_of(500), lambda _: turns.append(turn))
    tick()
    await pump.idle()
    assert turns[0] == turns[1] < turns[2]


async def test_a_fenced_node_is_told_once_and_acknowledges_nothing() -> None:
    fenced: list[str] = []
    seen: list[Result] = []
    store = ScriptedStore(Fenced("token 2 is newer"))
    pump = make(store, fenced)
    pump.submit(operation(1), seen.append)
    await pump.idle()
    assert fenced == ["token 2 is newer"]
    assert seen == []
    assert not pump.available


async def test_one_failing_callback_does_not_silence_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Result) -> None:
        raise RuntimeError("a bug in one flow")

    seen: list[Result] = []
    pump = make(ScriptedStore())
    pump.submit(operation(1), fail)
    pump.submit(operation(2), seen.append)
    await pump.idle()
    assert len(seen) == 1
    assert "a callback failed" in caplog.text


async def test_effects_of_one_connection_keep_the_order_received_while_one_waits_for_the_store() -> None:
    seen: list[str] = []
    pump = make(ScriptedStore())
    order = OrderedEffects(pump)
    order.run(lambda: seen.append("before"))
    order.commit(operation(1), lambda _: seen.append("stored"))
    order.run(lambda: seen.append("behind"))
    assert seen == ["before"]
    assert len(order) == 2
    await pump.idle()
    assert seen == ["before", "stored", "behind"]


async def test_a_paused_publisher_is_resumed_once_enough_of_its_effects_have_run() -> None:
    resumed: list[int] = []
    pump = make(ScriptedStore())
    order = OrderedEffects(pump)
    for number in range(4):
        order.commit(operation(number), lambda _: None)
    order.when_below(2, 1, lambda: resumed.append(len(order)))
    await pump.idle()
    assert len(resumed) == 1


async def test_a_publisher_with_few_large_messages_is_resumed_once_enough_of_their_bytes_are_stored() -> None:
    resumed: list[int] = []
    pump = make(ScriptedStore())
    order = OrderedEffects(pump)
    for number in range(3):
        order.commit(operation(number), lambda _: None, size=100)
    order.run(lambda: None, size=50)
    assert order.waiting_bytes == 350
    order.when_below(10, 101, lambda: resumed.append(order.waiting_bytes))
    await pump.idle()
    assert resumed
    assert order.waiting_bytes == 0


async def test_every_packet_of_a_run_waits() -> None:
    resumed: list[int] = []
    pump = make(ScriptedStore())
    order = OrderedEffects(pump)
    order.commit(operation(1), lambda _: None, size=30, packets=3)
    order.commit(operation(2), lambda _: resumed.append(-1), packets=2)
    assert (order.waiting_packets, order.waiting_bytes, len(order)) == (5, 30, 2)
    order.when_below(1, 1, lambda: resumed.append(order.waiting_packets))
    await pump.idle()
    assert resumed == [-1, 0]


async def test_what_waits_for_nothing_has_no_bytes_waiting() -> None:
    order = OrderedEffects(make(ScriptedStore()))
    order.run(lambda: None, size=50)
    assert order.waiting_bytes == 0


GROWS = Accept(message=Message(topic="t", payload=b"", qos=1))


async def test_a_full_store_drains_what_frees_goes_ahead_of_what_grows_and_nothing_else_changes_order() -> None:
    class Full(ScriptedStore):
        """Refuses to grow until an acknowledgement has made room."""

        async def commit(
            self, membership: Membership, number: int, operations: Sequence[Operation]
        ) -> tuple[Result, ...]:
            self.batches.append((number, list(operations)))
            if any(isinstance(operation, Accept) for operation in operations) and len(self.batches) < 3:
                raise StoreFull("no room")
            return tuple(Done() for _ in operations)

    seen: list[int] = []
    store = Full()
    pump = make(store)
    pump.submit(GROWS, functools.partial(_note, seen, 1))
    pump.submit(Acknowledge(client_id="c", epoch=1, sequences=(1,)), functools.partial(_note, seen, 2))
    pump.submit(GROWS, functools.partial(_note, seen, 3))
    await pump.idle()
    assert seen == [2, 1, 3]
    assert [number for number, _ in store.batches] == [1, 1, 2, 3]
    assert pump.available


async def test_a_store_that_stays_full_is_asked_again_and_nobody_is_told_of_success() -> None:
    seen: list[int] = []
    store = ScriptedStore(StoreFull("no room"), StoreFull("no room"), None)
    pump = make(store)
    pump.submit(operation(1), functools.partial(_note, seen, 1))
    await pump.idle()
    assert seen == [1]
    assert [number for number, _ in store.batches] == [1, 1, 1]


@pytest.mark.parametrize("wide", [False, True], ids=["many callbacks", "a callback for many subscriptions"])
async def test_callbacks_that_take_long_let_others_have_a_turn_in_between(wide: bool) -> None:
    seen: list[object] = []
    loop = asyncio.get_running_loop()

    def note(number: int, _: Result) -> None:
        seen.append(number)
        if number == 0:
            loop.call_soon(seen.append, "other")

    pump = make(ScriptedStore())
    count = 1 if wide else EFFORT_PER_TURN_MAX
    subscriptions = tuple(Subscription(filter=f"t/{i}", qos=0) for i in range(EFFORT_PER_TURN_MAX))
    for number in range(count):
        one = (
            Subscribe(client_id="c", incarnation=1, epoch=1, subscriptions=subscriptions) if wide else operation(number)
        )
        pump.submit(one, functools.partial(note, number))
    pump.submit(operation(count), functools.partial(note, count))
    await pump.idle()
    assert seen == [*range(count), "other", count]


@pytest.mark.parametrize("problem", [Fenced("a newer token"), StoreMismatch("another world")])
async def test_a_store_that_is_not_this_nodes_any_more_is_told_once_for_all(problem: Exception) -> None:
    fenced: list[str] = []
    pump = make(ScriptedStore(problem), fenced)
    pump.submit(operation(1))
    await pump.idle()
    assert fenced == [str(problem)]
    assert not pump.available


async def test_a_full_store_is_told_apart_from_one_that_is_away() -> None:
    store = ScriptedStore(StoreFull("full"))
    pump = make(store)
    seen: list[tuple[bool, bool]] = []
    pump.submit(operation(1), lambda _: seen.append((pump.is_full, pump.available)))  # goes ahead, as it makes room
    pump.submit(GROWS)
    await pump.idle()
    assert seen == [(True, False)]
    assert (pump.is_full, pump.available) == (False, True)
    assert pump.calls >= 1
