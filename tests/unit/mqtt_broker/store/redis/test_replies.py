"""Answers of scripts that no script gives: never half understood, always the store's fault."""

from collections.abc import Sequence
from typing import Any

import pytest

from mqtt_broker.store.ports import Accept, Accepted, AcceptRun, Membership, Operation, StoreFull, StoreUnavailable
from mqtt_broker.store.redis import operations, queries
from mqtt_broker.store.redis.operations import DRAINING, GROWING, RECALL, commit, decode_results
from mqtt_broker.store.redis.script import Script
from unit.mqtt_broker.store.harness import claim, message

ME = Membership(node="node-0", token=5)
ACCEPT = Accept(message=message())
RUN = AcceptRun(message=message(b""), payloads=(b"1",), targets=())


class Answering:
    """A connection that gives these answers, one after the other; an error is raised."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[Script, tuple[str | bytes | int, ...], bool]] = []

    async def call(
        self, script: Script, args: Sequence[str | bytes | int], *, writes: bool = False, confirms: bool = False
    ) -> Any:
        self.asked.append((script, tuple(args), writes))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("operation", "item"),
    [
        (ACCEPT, -7),
        (ACCEPT, None),
        (ACCEPT, []),
        (ACCEPT, [9]),
        (ACCEPT, [1]),
        (ACCEPT, [1, 1, 0, 5, b"name"]),
        (ACCEPT, [1, 0, 0, 5, 5]),
        (ACCEPT, [1, 2, 0, 5]),
        (ACCEPT, [1, 1, 2, 5, b"name"]),
        (RUN, [7, 0]),
        (RUN, [7, 0, 1, 0, 5]),
        (RUN, [7, 0, 1, 1, 5, 1]),
        (RUN, [7, 0, 1, 0, 5, 1, 0, b"name"]),
        (RUN, [7, 0, 1, 0, 5, 1, 0, 5, 5]),
        (ACCEPT, [5, 0, 1]),
        (ACCEPT, [5, 0, 1, b"no entry"]),
        (ACCEPT, b"word"),
        (claim(), [6, 1, 2]),
        (claim(), [6, 1, 2, 1, 0, 0, b"", 0, 0, 0, 0, b"no details", 0]),
        (claim(), [6, 1, 2, 1, 0, 0, b"", 0, 0, 0, 0, b"", 1, b"no subscription"]),
    ],
)
def test_a_result_that_makes_no_sense_is_the_stores_fault(operation: Operation, item: object) -> None:
    with pytest.raises(StoreUnavailable):
        decode_results("node-0", [operation], [item])


async def test_nodes_whose_inboxes_are_crowded_are_named_behind_the_results() -> None:
    told: list[Sequence[str]] = []
    results = await commit(Answering([-5, [b"a", b"b"]]), "", ME, 1, [ACCEPT], 1, (), told.append)
    assert results == (Accepted(),)
    assert told == [["a", "b"]]


@pytest.mark.parametrize("names", [None, 1, [1], [None]])
async def test_names_that_make_no_sense_are_the_stores_fault(names: object) -> None:
    with pytest.raises(StoreUnavailable):
        await commit(Answering([-5, names]), "", ME, 1, [ACCEPT], 1)


@pytest.mark.parametrize("reply", [None, 1, [], [-1, -1], b"OK"])
def test_another_number_of_results_than_operations_is_the_stores_fault(reply: object) -> None:
    with pytest.raises(StoreUnavailable):
        decode_results("node-0", [ACCEPT], reply)


async def test_a_batch_that_only_frees_runs_in_the_script_that_memory_does_not_stop() -> None:
    batches: list[tuple[list[Operation], list[int], Script]] = [
        ([claim()], [-4], DRAINING),
        ([ACCEPT], [-5], GROWING),
        ([claim(), ACCEPT], [-4, -5], GROWING),
        ([], [], DRAINING),
    ]
    for batch, reply, script in batches:
        link = Answering(reply)
        await commit(link, "", ME, 1, batch, 100)
        assert [(asked[0], asked[2]) for asked in link.asked] == [(script, True)]


async def test_a_refusal_for_want_of_memory_is_one_only_if_the_batch_was_not_done() -> None:
    link = Answering(StoreFull("full"), 0)
    with pytest.raises(StoreFull):
        await commit(link, "", ME, 3, [ACCEPT], 100)
    link = Answering(StoreFull("full"), [4])
    assert await commit(link, "", ME, 3, [ACCEPT], 100) == (Accepted((4,)),)
    assert link.asked[1] == (RECALL, ("node-0", 5, 3), True)


async def test_what_recalling_raises_counts() -> None:
    link = Answering(StoreFull("full"), StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable, match="away"):
        await commit(link, "", ME, 3, [ACCEPT], 100)


async def test_a_header_that_many_messages_share_is_sent_once() -> None:
    same = [Accept(message=message(b"1"), retain=True), Accept(message=message(b"2"), retain=True)]
    batch = operations.encode_batch(ME, 1, same, 100)
    assert len(batch) == 1 + 2 + 1


@pytest.mark.parametrize("reply", [None, 7, [b"x"], [1, 2], [0, 1, b"no entry", 0], []])
async def test_an_answer_of_another_shape_is_the_stores_fault(reply: object) -> None:
    asking = (
        queries.read_queue(Answering(reply), "a", 1, 0, 1, 1, 0),
        queries.read_retained(Answering(reply if reply else None), "", ["t"]),
        queries.load(Answering([0], reply), ""),
        queries.load(Answering([0], [b"0", [[b"a"]]]), ""),
        queries.kept(Answering(reply)),
        queries.due(Answering(reply), "", "node-0"),
        queries.reap(Answering(b"x"), "", ME, 1),
        queries.release(Answering(None), "", ME, 1),
    )
    for call in asking:
        with pytest.raises(StoreUnavailable):
            await call


async def test_a_node_that_loads_keeps_the_last_of_what_slices_bring_twice() -> None:
    slices = ([b"5", []], [b"0", []], [b"0", [[b"g", b"f", 2], [b"g", b"f", 3], [b"g", b"h", 0]]], [b"0", [b"t", b"t"]])
    snapshot = await queries.load(Answering([9, 0, 0, 0, 0], *slices), "")
    assert (snapshot.position, snapshot.groups, snapshot.retained_topics) == (9, (("g", "f", 3),), ("t",))
