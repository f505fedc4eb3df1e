"""Subscriptions, and the queues of shared ones."""

import pytest
from msgspec.structs import replace

from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    GroupTarget,
    Operation,
    Rejected,
    Stale,
    Subscribe,
    Take,
    Taken,
    Unsubscribe,
)
from unit.mqtt_broker.store.harness import (
    SHARED,
    Joined,
    Node,
    claim,
    detach,
    end,
    existed,
    give_back,
    join,
    mark,
    message,
    strict,
    subscribe,
    take,
    to_crew,
)


class GroupsContract(Joined):
    # Subscriptions ----------------------------------------------------------------------------------------------------

    async def test_a_subscription_with_the_same_key_is_replaced(self, node: Node) -> None:
        """[MQTT-3.8.4-3]"""
        record = await node.claim()
        plain, shared = Subscription(filter="f", qos=1), Subscription(filter="f", group="g", qos=1)
        newer = Subscription(filter="f", qos=2, generation=2)
        assert existed(await node.do(subscribe(record, plain, shared, epoch=record.epoch))) == (False, False)
        assert existed(await node.do(subscribe(record, newer, epoch=record.epoch))) == (True,)
        assert set((await node.record()).subscriptions) == {newer, shared}

    async def test_unsubscribing_removes_by_filter_and_group_and_is_idempotent(self, node: Node) -> None:
        record = await node.claim()
        plain, shared = Subscription(filter="f"), Subscription(filter="f", group="g")
        await node.do(subscribe(record, plain, shared))
        remove = Unsubscribe(client_id="a", incarnation=record.incarnation, epoch=record.epoch, keys=(("f", "g"),))
        assert [existed(result) for result in await node.commit(remove, remove)] == [(True,), (False,)]
        assert (await node.record()).subscriptions == (plain,)

    async def test_subscriptions_of_an_offline_session_can_be_written_by_incarnation(self, node: Node) -> None:
        record = await node.claim()
        await node.commit(subscribe(record, Subscription(filter="f")), detach(record))
        muted = Subscription(filter="f", muted=True)
        assert existed(await node.do(subscribe(record, muted))) == (True,)
        assert (await node.record()).subscriptions == (muted,)

    @pytest.mark.parametrize("group", [None, "g"])
    async def test_what_is_only_revised_is_not_made(self, node: Node, group: str | None) -> None:
        """[MQTT-3.10.4-1] A change of what the client gave up meanwhile changes nothing."""
        record = await node.claim()
        known, gone = Subscription(filter="k", group=group), Subscription(filter="g", group=group)
        await node.do(subscribe(record, known))
        changed = tuple(replace(each, muted=True) for each in (gone, known))
        revise = Subscribe(
            client_id="a", incarnation=record.incarnation, epoch=None, subscriptions=changed, only_known=True
        )
        assert existed(await node.do(revise)) == (False, True)
        assert (await node.record()).subscriptions == (changed[1],)
        for_gone = GroupTarget(group="g", filter="g")
        await node.do(Accept(message=message(b"1"), groups=(for_gone,)))
        assert ("g", "g", 1) not in (await node.store.load()).groups

    async def test_subscriptions_of_another_incarnation_are_stale(self, node: Node) -> None:
        record = await node.claim()
        wrong = record.incarnation + 1_000
        write = Subscribe(client_id="a", incarnation=wrong, epoch=None, subscriptions=(Subscription(filter="f"),))
        remove = Unsubscribe(client_id="a", incarnation=wrong, epoch=None, keys=())
        assert await node.commit(write, remove) == (Stale(), Stale())
        assert (await node.record()).subscriptions == ()

    # Shared subscriptions ---------------------------------------------------------------------------------------------

    async def test_a_member_takes_the_oldest_entries_in_order(self, node: Node) -> None:
        record = await node.claim()
        await node.commit(subscribe(record, SHARED), *to_crew(b"1", b"2", b"3"))
        await node.publish(record, b"own")
        result = await node.do(take(record, 2, identifiers=(7,)))
        assert isinstance(result, Taken)
        assert result.left == 1
        assert [(e.sequence, e.message.payload, e.identifiers) for e in result.entries] == [
            (2, b"1", (7,)),
            (3, b"2", (7,)),
        ]
        assert {entry.group for entry in result.entries} == {("crew", "work/#")}
        assert (await node.queue(record))[1:] == result.entries
        assert (await node.store.load()).groups == (("crew", "work/#", 1),)

    @pytest.mark.parametrize(("published", "granted", "expected"), [(2, 1, 1), (1, 2, 1), (2, 2, 2)])
    async def test_an_entry_taken_has_the_lower_qos(
        self, node: Node, published: int, granted: int, expected: int
    ) -> None:
        """[MQTT-3.8.4-8] [MQTT-4.8.2-3]"""
        record = await node.claim()
        await node.commit(subscribe(record, SHARED), *to_crew(b"1", qos=published))
        result = await node.do(take(record, 5, qos=granted))
        assert isinstance(result, Taken)
        assert [entry.qos for entry in result.entries] == [expected]

    async def test_taking_from_an_empty_or_unknown_group_takes_nothing(self, node: Node) -> None:
        record = await node.claim()
        await node.do(subscribe(record, SHARED))
        unknown = Take(group="crew", filter="other", client_id="a", epoch=record.epoch, limit=1)
        assert await node.commit(take(record, 1), unknown) == (Taken(()), Taken(()))

    async def test_bounds_of_the_member_do_not_apply_to_what_it_takes(self, node: Node) -> None:
        record = await node.claim(bounds=strict("Reject", 1))
        await node.commit(subscribe(record, SHARED), *to_crew(b"1", b"2", b"3"))
        result = await node.do(take(record, 3))
        assert isinstance(result, Taken)
        assert len(result.entries) == 3

    async def test_a_message_for_a_group_nobody_is_subscribed_to_goes_nowhere(self, node: Node) -> None:
        assert await node.commit(*to_crew(b"1")) == (Accepted(()),)
        record = await node.claim()
        await node.do(subscribe(record, SHARED))
        assert await node.do(take(record, 1)) == Taken(())

    async def test_what_a_lost_member_took_goes_back_in_order(self, node: Node) -> None:
        """MQTT 5.0, 4.8.2: QoS 1 goes to another member, sent or not."""
        a, b = await node.claim("a"), await node.claim("b")
        await node.commit(subscribe(a, SHARED), subscribe(b, SHARED), *to_crew(b"1", b"2", b"3", b"4", b"5"))
        await node.commit(take(a, 1), take(b, 2), take(a, 1))
        await node.publish(a, b"own")
        await node.commit(mark(a, 1), give_back(a))
        assert await node.payloads(a) == [b"own"]
        await node.do(give_back(b))
        result = await node.do(take(b, 9))
        assert isinstance(result, Taken)
        assert [entry.message.payload for entry in result.entries] == [b"1", b"2", b"3", b"4", b"5"]
        assert result.left == 0

    async def test_qos_2_that_was_sent_stays_with_its_member_and_unsent_goes_back(self, node: Node) -> None:
        """[MQTT-4.8.2-4] [MQTT-4.8.2-5]"""
        record = await node.claim()
        await node.commit(subscribe(record, SHARED), *to_crew(b"1", b"2", qos=2))
        await node.commit(take(record, 2), mark(record, 1), give_back(record))
        (kept,) = await node.queue(record)
        assert (kept.message.payload, kept.group) == (b"1", ("crew", "work/#"))
        result = await node.do(take(record, 2))
        assert isinstance(result, Taken)
        assert [entry.message.payload for entry in result.entries] == [b"2"]

    async def test_what_was_downgraded_gets_its_qos_back_with_the_next_member(self, node: Node) -> None:
        record = await node.claim()
        await node.commit(subscribe(record, SHARED), *to_crew(b"1", qos=2))
        await node.commit(take(record, 1, qos=1), mark(record, 1), give_back(record))
        result = await node.do(take(record, 1, qos=2))
        assert isinstance(result, Taken)
        assert result.entries[0].qos == 2

    async def test_returning_drops_what_came_from_a_group_that_is_no_more(self, node: Node) -> None:
        record = await node.claim()
        await node.commit(subscribe(record, SHARED), *to_crew(b"1", b"2"))
        await node.do(take(record, 1))
        leave = Unsubscribe(client_id="a", incarnation=record.incarnation, epoch=None, keys=(SHARED.key,))
        await node.commit(leave, give_back(record))
        assert await node.queue(record) == ()
        assert (await node.store.load()).groups == ()
        await node.do(subscribe(record, SHARED))
        assert await node.do(take(record, 9)) == Taken(())

    @pytest.mark.parametrize("how", ["end", "clean start", "expiry 0"])
    async def test_a_session_that_ends_gives_back_what_it_took(self, node: Node, how: str) -> None:
        a, b = await node.claim("a"), await node.claim("b")
        await node.commit(subscribe(a, SHARED), subscribe(b, SHARED), *to_crew(b"1", b"2"))
        await node.do(take(a, 1))
        ways: dict[str, Operation] = {
            "end": end(a),
            "clean start": claim("a", clean_start=True),
            "expiry 0": detach(a, 0),
        }
        await node.do(ways[how])
        result = await node.do(take(b, 9))
        assert isinstance(result, Taken)
        assert [entry.message.payload for entry in result.entries] == [b"1", b"2"]

    async def test_members_of_a_lost_node_give_back_what_they_took(self, node: Node) -> None:
        """[MQTT-4.8.2-4] [MQTT-4.8.2-5] As if each connection had broken: QoS 2 that was sent stays."""
        a = await node.claim("a")
        await node.commit(subscribe(a, SHARED), *to_crew(b"1"), *to_crew(b"2", qos=2), *to_crew(b"3"))
        await node.commit(take(a, 9), mark(a, 2))
        again = await join(node.store)
        assert await again.payloads(a) == [b"2"]
        b = await again.claim("b")
        await again.do(subscribe(b, SHARED))
        result = await again.do(take(b, 9))
        assert isinstance(result, Taken)
        assert [entry.message.payload for entry in result.entries] == [b"1", b"3"]

    async def test_the_group_ends_with_its_last_session(self, node: Node) -> None:
        record = await node.claim()
        await node.commit(subscribe(record, SHARED), *to_crew(b"1"))
        await node.do(end(record))
        assert (await node.store.load()).groups == ()

    async def test_the_bounds_of_a_groups_own_queue(self, node: Node) -> None:
        record = await node.claim()
        await node.commit(subscribe(record, SHARED), *to_crew(b"1", b"2"))
        name = "$share/crew/work/#"
        results = await node.commit(
            *to_crew(b"3", bounds=strict("DropNewest")),
            *to_crew(b"3", bounds=strict("Reject")),
            *to_crew(b"3", bounds=strict("DropOldest")),
        )
        assert results == (Accepted((), ((name, 0),)), Rejected(name), Accepted((), ((name, 1),)))
        result = await node.do(take(record, 9))
        assert isinstance(result, Taken)
        assert [entry.message.payload for entry in result.entries] == [b"2", b"3"]
