"""What happens later: wills, expiry, retained messages and their ends."""

import pytest

from mqtt_broker.session.session import NEVER_S, Subscription
from mqtt_broker.store.ports import (
    LAPSED_WILL_S,
    Accept,
    Accepted,
    Claimed,
    Done,
    Duplicate,
    End,
    Stale,
    Target,
    lapsed_will_of,
)
from mqtt_broker.wire.packets import Properties, Will
from unit.mqtt_broker.store.harness import (
    WILL,
    Joined,
    Node,
    World,
    claim,
    detach,
    end,
    join,
    message,
    subscribe,
    to,
)


class EndingsContract(Joined):
    # The end of a connection: wills, expiry, due ----------------------------------------------------------------------

    async def test_a_detached_session_has_no_owner_and_expires(self, node: Node, world: World) -> None:
        """[MQTT-4.1.0-2]"""
        record = await node.claim()
        await node.do(detach(record, 50))
        record = await node.record()
        assert (record.owner, record.expires_at, record.expiry_interval_s) == (None, node.store.now() + 50, 50)
        due = await node.store.due()
        assert (due.expiries, due.next_at) == ((), record.expires_at)
        world.clock.time += 50
        due = await node.store.due()
        assert [(e.client_id, e.incarnation) for e in due.expiries] == [("a", record.incarnation)]
        assert due.next_at is None
        assert await node.store.due() == due

    async def test_a_session_that_never_expires(self, node: Node, world: World) -> None:
        record = await node.claim(expiry_interval_s=NEVER_S)
        await node.do(detach(record, NEVER_S))
        world.clock.time += 1e9
        due = await node.store.due()
        assert (due.expiries, due.next_at) == ((), None)
        assert isinstance(result := await node.do(claim()), Claimed)
        assert result.present

    async def test_expiry_0_ends_the_session_with_the_connection(self, node: Node) -> None:
        """[MQTT-4.1.0-2] [3.1.1 MQTT-3.1.2-6]"""
        record = await node.claim()
        await node.publish(record, b"1")
        assert await node.do(detach(record, 0)) == Done()
        assert (await node.store.load()).sessions == ()
        assert await node.queue(record) == ()

    async def test_a_claim_cancels_expiry(self, node: Node, world: World) -> None:
        record = await node.claim()
        await node.do(detach(record, 50))
        await node.claim()
        world.clock.time += 100
        due = await node.store.due()
        assert (due.expiries, due.next_at) == ((), None)

    async def test_a_will_comes_due_is_fired_once_and_is_gone(self, node: Node, world: World) -> None:
        """[MQTT-3.1.2-8] [MQTT-3.1.2-10] [3.1.1 MQTT-3.1.2-10]"""
        record, receiver = await node.claim(will=WILL), await node.claim("b")
        await node.do(detach(record, 100, node.store.now() + 5))
        due = await node.store.due()
        assert (due.wills, due.next_at) == ((), node.store.now() + 5)
        world.clock.time += 5
        (due_will,) = (await node.store.due()).wills
        assert (due_will.record.client_id, due_will.record.will) == ("a", WILL)
        fire = Accept(message=message(), targets=(to(receiver),), fires_will_of=("a", record.incarnation))
        assert await node.commit(fire, fire) == (Accepted((1,)), Duplicate())
        assert (await node.store.due()).wills == ()
        assert (await node.record()).will is None

    async def test_a_will_that_is_not_due_cannot_be_fired(self, node: Node) -> None:
        record = await node.claim(will=WILL)
        for name, incarnation in (("a", record.incarnation), ("a", 0), ("nobody", 0)):
            assert await node.do(Accept(message=message(), fires_will_of=(name, incarnation))) == Duplicate()
        assert (await node.record()).will == WILL

    async def test_a_detach_without_a_moment_removes_the_will(self, node: Node) -> None:
        """[MQTT-3.1.2-10]"""
        record = await node.claim(will=WILL)
        await node.do(detach(record))
        assert (await node.record()).will is None

    async def test_a_session_without_a_will_has_nothing_to_fire(self, node: Node) -> None:
        record = await node.claim()
        await node.do(detach(record, 0, node.store.now()))
        assert (await node.store.due()).wills == ()
        assert (await node.store.load()).sessions == ()

    async def test_a_transient_session_leaves_only_its_will(self, node: Node) -> None:
        record = await node.claim(will=WILL, expiry_interval_s=0)
        await node.commit(subscribe(record, Subscription(filter="f")), detach(record, 0, node.store.now()))
        assert (await node.store.load()).sessions == ()
        assert await node.do(Accept(message=message(), targets=(to(record),))) == Accepted((0,))
        assert await node.do(subscribe(record, Subscription(filter="f"))) == Stale()
        assert await node.queue(record) == ()
        (due_will,) = (await node.store.due()).wills
        assert (due_will.record.will, due_will.record.subscriptions) == (WILL, ())
        fire = Accept(message=message(), fires_will_of=("a", record.incarnation))
        assert await node.commit(fire, fire) == (Accepted(()), Duplicate())
        assert (await node.store.due()).wills == ()

    async def test_ending_a_session_removes_its_will(self, node: Node) -> None:
        for expiry_interval_s in (0, 100):
            record = await node.claim(will=WILL)
            await node.do(detach(record, expiry_interval_s, node.store.now()))
            assert await node.commit(end(record), end(record)) == (Done(), Done())
            assert (await node.store.due()).wills == ()

    async def test_ending_another_incarnation_does_nothing(self, node: Node) -> None:
        record = await node.claim()
        assert await node.do(End(client_id="a", incarnation=record.incarnation + 1_000)) == Done()
        assert (await node.record()).owner == "node-0"

    async def test_a_session_to_end_if_expired_is_left_alone_before_its_moment_and_while_it_is_owned(
        self, node: Node, world: World
    ) -> None:
        record = await node.claim(expiry_interval_s=10)
        ending = End(client_id="a", incarnation=record.incarnation, if_expired=True)
        await node.commit(detach(record, 10), ending)
        assert (await node.record()).incarnation == record.incarnation
        world.clock.time += 11
        due = (await node.store.due()).expiries
        assert [each.client_id for each in due] == ["a"]
        await node.do(ending)
        assert (await node.store.load()).sessions == ()
        again = await node.claim(expiry_interval_s=10)
        await node.do(End(client_id="a", incarnation=again.incarnation, if_expired=True))
        assert (await node.record()).owner == "node-0"

    async def test_a_client_that_comes_back_within_the_delay_cancels_its_will(self, node: Node, world: World) -> None:
        """[MQTT-3.1.3-9]"""
        record = await node.claim(will=WILL)
        await node.do(detach(record, 100, node.store.now() + 5))
        result = await node.do(claim())
        assert isinstance(result, Claimed)
        assert result.lapsed_will is None
        world.clock.time += 5
        assert (await node.store.due()).wills == ()

    async def test_a_will_whose_moment_passed_unfired_is_owed_by_the_claimer(self, node: Node, world: World) -> None:
        record = await node.claim(will=WILL)
        await node.do(detach(record, 100, node.store.now() + 5))
        world.clock.time += 5
        result = await node.do(claim())
        assert isinstance(result, Claimed)
        assert (result.present, result.lapsed_will) == (True, WILL)
        assert (await node.store.due()).wills == ()

    async def test_a_clean_start_makes_a_delayed_will_owed(self, node: Node) -> None:
        """[MQTT-3.1.2-8]"""
        record = await node.claim(will=WILL)
        await node.do(detach(record, 100, node.store.now() + 50))
        result = await node.do(claim(clean_start=True))
        assert isinstance(result, Claimed)
        assert result.lapsed_will == WILL

    @pytest.mark.parametrize(
        ("delay_s", "expiry_interval_s", "clean_start", "owed"),
        [(0, 100, False, True), (9, 100, False, False), (9, 100, True, True), (9, 0, False, True)],
    )
    async def test_the_will_of_a_connected_client_that_is_taken_over(
        self, node: Node, delay_s: int, expiry_interval_s: int, clean_start: bool, owed: bool
    ) -> None:
        """Owed if its delay is 0 or its session ends with the takeover (MQTT 5.0, 3.1.4)."""
        will = Will("state/a", b"gone", 1, retain=False, properties=Properties(will_delay_interval=delay_s))
        await node.claim(will=will, expiry_interval_s=expiry_interval_s)
        result = await node.do(claim(clean_start=clean_start))
        assert isinstance(result, Claimed)
        assert result.lapsed_will == (will if owed else None)

    async def test_a_will_that_a_claim_makes_owed_is_due_if_whoever_claimed_does_not_publish_it(
        self, node: Node, world: World
    ) -> None:
        """[MQTT-3.1.2-8] As a record of its own, which the new session, its will and its end leave alone."""
        first = await node.claim(will=WILL)
        result = await node.do(claim(clean_start=True, will=None))
        assert isinstance(result, Claimed)
        assert (result.lapsed_will, result.previous_epoch) == (WILL, first.epoch)
        await node.do(end(result.record))
        assert [record.client_id for record in (await node.store.load()).sessions] == []
        due = await node.store.due()
        assert (due.wills, due.next_at) == ((), node.store.now() + LAPSED_WILL_S)
        world.clock.time += LAPSED_WILL_S
        (due_will,) = (await node.store.due()).wills
        name, number = lapsed_will_of("a", first.epoch)
        record = due_will.record
        assert (record.client_id, record.incarnation, record.will, record.facts) == (name, number, WILL, first.facts)
        fire = Accept(message=message(), fires_will_of=(name, number))
        assert await node.commit(fire, fire) == (Accepted(()), Duplicate())
        assert (await node.store.due()).wills == ()

    async def test_a_will_that_is_owed_is_published_once_by_whoever_claimed(self, node: Node, world: World) -> None:
        receiver = await node.claim("b")
        for _ in range(2):
            await node.claim(will=WILL)
            result = await node.do(claim())
            assert isinstance(result, Claimed)
            fire = Accept(
                message=message(),
                targets=(to(receiver),),
                fires_will_of=lapsed_will_of("a", result.previous_epoch),
            )
            assert [type(each) for each in await node.commit(fire, fire)] == [Accepted, Duplicate]
        world.clock.time += LAPSED_WILL_S
        assert (await node.store.due()).wills == ()
        assert len(await node.queue(receiver)) == 2

    async def test_a_claim_that_owes_no_will_leaves_none_behind(self, node: Node, world: World) -> None:
        await node.claim()
        await node.claim(will=WILL)
        world.clock.time += LAPSED_WILL_S
        assert (await node.store.due()).wills == ()

    async def test_a_node_that_joins_again_lets_go_of_what_it_owned(self, node: Node, world: World) -> None:
        slow = Will("state/p", b"gone", 1, retain=False, properties=Properties(will_delay_interval=30))
        await node.claim("persistent", will=slow)
        await node.claim("transient", expiry_interval_s=0)
        await node.claim("transient with will", expiry_interval_s=0, will=slow)
        other = await join(node.store, "node-1")
        await other.claim("elsewhere")
        world.clock.time += 7
        again = await join(node.store)
        sessions = {record.client_id: record for record in (await again.store.load()).sessions}
        assert set(sessions) == {"persistent", "elsewhere"}
        assert sessions["elsewhere"].owner == "node-1"
        persistent = sessions["persistent"]
        assert persistent.owner is None
        assert (persistent.will_due_at, persistent.expires_at) == (world.clock.time + 30, world.clock.time + 100)
        due = await again.store.due()
        assert [due_will.record.client_id for due_will in due.wills] == ["transient with will"]

    # Retained messages ------------------------------------------------------------------------------------------------

    async def test_a_retained_message_goes_to_a_new_subscriber_only_while_it_is_kept(self, node: Node) -> None:
        """What replaced or deleted it meanwhile stands in the queue already: never the old one after the new one."""
        record = await node.claim()
        target = Target(client_id="a", incarnation=record.incarnation, qos=1, retain=True)
        late = Accept(message=message(b"old", topic="r"), targets=(target,), retained_before=7)
        assert await node.do(late) == Duplicate()
        await node.do(Accept(message=message(b"old", topic="r"), retain=True))
        assert isinstance(await node.do(late), Accepted)
        await node.do(Accept(message=message(b"", topic="r"), retain=True))
        assert await node.do(late) == Duplicate()
        assert await node.payloads(record) == [b"old"]

    async def test_a_retained_message_is_kept_replaced_and_deleted(self, node: Node) -> None:
        """[MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [3.1.1 MQTT-3.3.1-5] [3.1.1 MQTT-3.3.1-10]
        [3.1.1 MQTT-3.3.1-11]
        """
        for payload, expected in ((b"1", [b"1"]), (b"2", [b"2"]), (b"", [])):
            await node.do(Accept(message=message(payload, topic="r"), retain=True))
            assert [found.message.payload for found in await node.store.read_retained(["r", "none"])] == expected
            assert (await node.store.load()).retained_topics == (("r",) if expected else ())

    async def test_retained_messages_are_read_in_the_order_asked_for(self, node: Node) -> None:
        await node.commit(*[Accept(message=message(topic=topic), retain=True) for topic in "xyz"])
        assert [found.message.topic for found in await node.store.read_retained(["z", "x"])] == ["z", "x"]

    async def test_an_expired_retained_message_is_neither_read_nor_kept(self, node: Node, world: World) -> None:
        """[MQTT-3.3.2-5]"""
        await node.commit(
            Accept(message=message(topic="r", expires_at=world.clock.time + 5), retain=True),
            Accept(message=message(topic="s"), retain=True),
        )
        assert (await node.store.due()).next_at == world.clock.time + 5
        world.clock.time += 5
        assert [found.message.topic for found in await node.store.read_retained(["r", "s"])] == ["s"]
        assert (await node.store.load()).retained_topics == ("s",)
        assert (await node.store.due()).retained_topics == ("r",)
        due = await node.store.due()
        assert (due.retained_topics, due.next_at) == ((), None)
