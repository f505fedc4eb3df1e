"""Tokens, batch numbers, worlds, snapshots and the clock: the frame around every operation."""

import pytest

from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    Acknowledge,
    Claimed,
    ClaimRefused,
    Done,
    Drop,
    Dropped,
    Duplicate,
    Fenced,
    Marker,
    Membership,
    Operation,
    Received,
    Stale,
    StoreMismatch,
    StoreUnavailable,
    Taken,
)
from mqtt_broker.wire.packets import Properties
from unit.mqtt_broker.store.harness import (
    SHARED,
    WILL,
    WORLD,
    Joined,
    Node,
    World,
    claim,
    detach,
    facts,
    join,
    mark,
    message,
    strict,
    subscribe,
    take,
    to,
    to_crew,
)


class BatchesContract(Joined):
    # Tokens and batch numbers -----------------------------------------------------------------------------------------

    async def test_a_later_join_has_a_higher_token_and_fences_the_earlier_one(self, node: Node) -> None:
        later = await join(node.store)
        assert later.membership.token > node.membership.token
        with pytest.raises(Fenced):
            await node.commit(claim())
        assert (await later.claim()).owner == "node-0"

    async def test_nodes_of_other_names_do_not_fence_each_other(self, node: Node) -> None:
        other = await join(node.store, "node-1")
        await other.claim("b")
        assert (await node.claim("a")).owner == "node-0"

    async def test_tokens_that_were_never_given_are_fenced(self, node: Node) -> None:
        for membership in (
            Membership(node="node-0", token=node.membership.token + 1),
            Membership(node="stranger", token=node.membership.token),
        ):
            with pytest.raises(Fenced):
                await node.store.commit(membership, 1, [claim()])
        assert (await node.store.load()).sessions == ()

    @pytest.mark.parametrize("number", [0, 2, 3, -1])
    async def test_a_first_batch_with_another_number_than_one_is_fenced(self, node: Node, number: int) -> None:
        with pytest.raises(Fenced):
            await node.store.commit(node.membership, number, [claim()])
        assert (await node.store.load()).sessions == ()

    @pytest.mark.parametrize("number", [1, 4, 100])
    async def test_a_number_lower_than_the_last_or_skipping_one_is_fenced(self, node: Node, number: int) -> None:
        await node.claim("a")
        await node.claim("b")
        with pytest.raises(Fenced):
            await node.store.commit(node.membership, number, [claim("c")])
        assert (await node.claim("c")).owner == "node-0"

    async def test_a_repeated_batch_gives_the_same_results_and_does_nothing(self, node: Node) -> None:
        record = await node.claim(will=WILL)
        member = await node.claim("b")
        await node.commit(subscribe(member, SHARED), *to_crew(b"g1", b"g2"))
        properties = Properties(user_properties=(("k", "v"),))
        operations: list[Operation] = [
            claim("n", will=WILL, bounds=strict("Reject", 0)),
            claim("a", facts=facts(username="other")),
            Accept(message=message(b"one", properties=properties), targets=(to(record),)),
            Accept(message=message(), marker=Marker(client_id="a", epoch=record.epoch, packet_id=3)),
            Accept(message=message(), marker=Marker(client_id="a", epoch=record.epoch, packet_id=3)),
            take(member, 1, identifiers=(4,)),
            Drop(client_id="a", incarnation=record.incarnation, sequences=(77,)),
            mark(record, 0),
            Received(client_id="a", epoch=0, sequence=1),
        ]
        first = await node.commit(*operations)
        kinds = [type(result) for result in first]
        assert kinds == [Claimed, ClaimRefused, Accepted, Accepted, Duplicate, Taken, Dropped, Done, Stale]
        again = await node.store.commit(node.membership, node.number, operations)
        assert again == first
        assert await node.payloads(record) == [b"one"]
        assert await node.payloads(member) == [b"g1"]

    async def test_a_repeated_batch_of_an_earlier_token_is_fenced(self, node: Node) -> None:
        await node.claim()
        await join(node.store)
        with pytest.raises(Fenced):
            await node.store.commit(node.membership, 1, [claim()])

    async def test_an_empty_batch_has_a_number_too(self, node: Node) -> None:
        assert await node.commit() == ()
        assert await node.store.commit(node.membership, 1, []) == ()
        assert (await node.claim()).owner == "node-0"

    async def test_one_refused_operation_does_not_fail_its_neighbours(self, node: Node) -> None:
        record = await node.claim()
        results = await node.commit(
            Accept(message=message(b"1"), targets=(to(record),)),
            mark(record, 1),
            Acknowledge(client_id="a", epoch=record.epoch - 1, sequences=(1,)),
            Accept(message=message(b"2"), targets=(to(record),)),
        )
        assert results == (Accepted((1,)), Done(), Stale(), Accepted((2,)))

    # The world's identity ---------------------------------------------------------------------------------------------

    async def test_a_node_that_was_told_of_another_world_is_refused_and_fences_nobody(self, node: Node) -> None:
        with pytest.raises(StoreMismatch):
            await node.store.join("node-0", "world-2")
        assert (await node.claim()).owner == "node-0"

    # Reads ------------------------------------------------------------------------------------------------------------

    async def test_a_queue_is_read_from_a_place_on_within_both_bounds(self, node: Node) -> None:
        record = await node.claim()
        await node.publish(record, b"1" * 9, b"2" * 9, b"3" * 9, b"4" * 9)

        async def read(after: int, messages_max: int, bytes_max: int) -> list[int]:
            entries = await node.store.read_queue("a", record.incarnation, after, messages_max, bytes_max)
            return [entry.sequence for entry in entries]

        assert await read(0, 100, 1_000) == [1, 2, 3, 4]
        assert await read(2, 100, 1_000) == [3, 4]
        assert await read(0, 3, 1_000) == [1, 2, 3]
        assert await read(0, 100, 20) == [1, 2]
        assert await read(0, 100, 1) == [1]
        assert await read(4, 100, 1_000) == []

    async def test_the_queue_of_another_incarnation_or_of_nobody_is_empty(self, node: Node) -> None:
        record = await node.claim()
        await node.publish(record, b"1")
        assert await node.store.read_queue("a", record.incarnation + 1_000, 0, 9, 999) == ()
        assert await node.store.read_queue("nobody", record.incarnation, 0, 9, 999) == ()

    async def test_a_snapshot_holds_every_session_with_what_belongs_to_it(self, node: Node) -> None:
        a, b = await node.claim("a", will=WILL), await node.claim("b", expiry_interval_s=0)
        await node.commit(subscribe(a, Subscription(filter="f"), SHARED), subscribe(b, Subscription(filter="g")))
        await node.do(Accept(message=message(), marker=Marker(client_id="b", epoch=b.epoch, packet_id=8)))
        snapshot = await node.store.load()
        found = {record.client_id: record for record in snapshot.sessions}
        assert {s.key for s in found["a"].subscriptions} == {("f", None), ("work/#", "crew")}
        assert (found["a"].will, found["a"].owner) == (WILL, "node-0")
        assert ([s.key for s in found["b"].subscriptions], found["b"].inbound_qos2) == ([("g", None)], (8,))
        assert (snapshot.retained_topics, snapshot.groups) == ((), ())

    # The clock and the end --------------------------------------------------------------------------------------------

    async def test_the_stores_clock_never_goes_back(self, node: Node, world: World) -> None:
        world.clock.time = 2_000.0
        assert node.store.now() == 2_000.0
        world.clock.time = 1_500.0
        assert node.store.now() == 2_000.0
        record = await node.claim()
        await node.do(detach(record, 10))
        assert (await node.record()).expires_at == 2_010.0

    async def test_a_closed_store_answers_nothing_and_may_be_closed_again(self, node: Node) -> None:
        store = node.store
        await store.close()
        await store.close()
        calls = (
            store.join("node-0", WORLD),
            store.load(),
            store.commit(node.membership, 1, []),
            store.read_queue("a", 1, 0, 1, 1),
            store.read_retained(["t"]),
            store.due(),
        )
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await call
