"""One call of the store is bounded by what it appends: while a store is busy with one call, nobody renews a lease."""

import pytest

from mqtt_broker.node import pump as pumps
from mqtt_broker.node.pump import CommitPump
from mqtt_broker.session.message import Message
from mqtt_broker.store.ports import Accept, AcceptRun, Membership, Operation, RunForward, Target
from unit.mqtt_broker.node.test_pump import ScriptedStore

ME = Membership(node="n0", token=1)


def message(payload: bytes) -> Message:
    return Message(topic="t", payload=payload, qos=1)


async def batches(*operations: Operation) -> list[int]:
    """How many operations each call had."""
    store = ScriptedStore()
    pump = CommitPump(store, ME, lambda _: None)
    for operation in operations:
        pump.submit(operation)
    await pump.idle()
    return [len(batch) for _, batch in store.batches]


@pytest.mark.parametrize("receivers", [400, 999])
async def test_every_copy_counts(receivers: int) -> None:
    targets = tuple(Target(client_id=f"c{number}", incarnation=1, qos=1) for number in range(receivers))
    accept = Accept(message=message(b"1"), targets=targets)
    together = pumps.OPERATIONS_PER_BATCH_MAX // receivers
    assert await batches(*[accept] * (2 * together)) == [together] * 2
    run = AcceptRun(message=message(b""), payloads=(b"1",) * together, targets=targets)
    assert await batches(run, run) == [1, 1]


async def test_large_messages_go_in_calls_of_bounded_size() -> None:
    half = Accept(message=message(bytes(pumps.BYTES_PER_BATCH_MAX // 2)))
    assert await batches(*[half] * 5) == [2, 2, 1]


async def test_a_message_that_is_larger_than_a_call_should_be_goes_alone() -> None:
    large = Accept(message=message(bytes(pumps.BYTES_PER_BATCH_MAX + 1)))
    small = Accept(message=message(b"1"))
    assert await batches(small, large, small) == [1, 1, 1]


async def test_runs_count_all_their_payloads() -> None:
    payloads = (bytes(pumps.BYTES_PER_BATCH_MAX // 4),) * 3
    target = Target(client_id="c", incarnation=1, qos=1)
    run = AcceptRun(message=message(b""), payloads=payloads, targets=(target,))
    assert await batches(run, run) == [1, 1]
    forward = RunForward(node="b", token=2, head=b"", receivers=1)
    run = AcceptRun(message=message(b""), payloads=payloads, targets=(), forwards=(forward,))
    assert await batches(run, run) == [1, 1]
