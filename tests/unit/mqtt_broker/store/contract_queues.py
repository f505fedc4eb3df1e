"""Messages in queues: sequences, markers, bounds, the mark, phases, acknowledgements, drops."""

import pytest
from msgspec.structs import replace

from mqtt_broker.session.message import Message
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    AcceptedRun,
    AcceptRun,
    Detach,
    Done,
    Drop,
    Dropped,
    Duplicate,
    Kept,
    Marker,
    QueueEntry,
    Received,
    Rejected,
    Release,
    Target,
)
from mqtt_broker.wire.packets import Properties
from unit.mqtt_broker.store.harness import WILL, Joined, Node, acknowledge, detach, mark, message, strict, to


class QueuesContract(Joined):
    # Accept: sequences, order, results --------------------------------------------------------------------------------

    async def test_sequences_start_at_1_and_grow_per_session(self, node: Node) -> None:
        a, b = await node.claim("a"), await node.claim("b")
        results = await node.commit(
            Accept(message=message(b"1"), targets=(to(a), to(b))),
            Accept(message=message(b"2"), targets=(to(a),)),
            Accept(message=message(b"3"), targets=(to(b), to(a))),
        )
        assert results == (Accepted((1, 1)), Accepted((2,)), Accepted((2, 3)))
        assert await node.payloads(a) == [b"1", b"2", b"3"]
        assert await node.payloads(b) == [b"1", b"3"]

    async def test_a_sequence_is_not_given_again_when_the_queue_was_empty(self, node: Node) -> None:
        record = await node.claim()
        await node.publish(record, b"1", b"2")
        await node.do(acknowledge(record, 1, 2))
        assert await node.publish(record, b"3") == [3]

    async def test_a_session_may_be_named_twice_in_one_accept(self, node: Node) -> None:
        record = await node.claim()
        targets = (to(record, 1, identifiers=(1,)), to(record, 2, identifiers=(2,)))
        assert await node.do(Accept(message=message(), targets=targets)) == Accepted((1, 2))
        assert [(e.qos, e.identifiers) for e in await node.queue(record)] == [(1, (1,)), (2, (2,))]

    async def test_receivers_that_are_gone_or_of_another_incarnation_are_left_out(self, node: Node) -> None:
        record = await node.claim()
        targets = (
            Target(client_id="nobody", incarnation=1, qos=1),
            Target(client_id="a", incarnation=record.incarnation + 1_000, qos=1),
            to(record),
        )
        assert await node.do(Accept(message=message(), targets=targets)) == Accepted((0, 0, 1))

    async def test_what_is_kept_are_queued_copies_and_retained_messages(self, node: Node) -> None:
        assert await node.store.kept() == Kept(0, 0)
        a, b = await node.claim("a"), await node.claim("b")
        await node.commit(Accept(message=message(b"1234"), targets=(to(a), to(b))))
        queued = await node.store.kept()
        assert queued == Kept(2, 2 * message(b"1234").size)
        await node.commit(Accept(message=message(b"1234", retain=True), retain=True))
        both = await node.store.kept()
        assert both.messages == 3
        assert both.bytes > queued.bytes
        await node.do(acknowledge(a, 1))
        assert (await node.store.kept()).messages == 2

    async def test_a_message_without_receivers_is_accepted(self, node: Node) -> None:
        assert await node.do(Accept(message=message())) == Accepted(())

    async def test_a_message_arrives_whole(self, node: Node) -> None:
        record = await node.claim()
        whole = Message(
            topic="välimeri/☃",
            payload=bytes(range(256)) * 20,
            qos=2,
            retain=True,
            properties=Properties(
                payload_format_indicator=1,
                content_type="text/plain",
                response_topic="r",
                correlation_data=b"\x00\xff",
                user_properties=(("k", "1"), ("k", "2")),
            ),
            expires_at=5_000.25,
            publisher="p",
            username="u",
        )
        target = to(record, 2, retain=True, identifiers=(1, 268_435_455))
        await node.do(Accept(message=whole, targets=(target,)))
        expected = QueueEntry(sequence=1, message=whole, qos=2, retain=True, identifiers=(1, 268_435_455))
        assert await node.queue(record) == (expected,)

    async def test_an_inbound_qos_2_message_is_accepted_once_until_released(self, node: Node) -> None:
        """[MQTT-4.3.3-10] [MQTT-4.3.3-12]"""
        record = await node.claim()
        marker = Marker(client_id="a", epoch=record.epoch, packet_id=65_535)
        accept = Accept(message=message(b"1", topic="r"), targets=(to(record),), marker=marker, retain=True)
        again = Accept(message=message(b"2", topic="r"), targets=(to(record),), marker=marker, retain=True)
        release = Release(client_id="a", epoch=record.epoch, packet_id=65_535)
        assert await node.commit(accept, again) == (Accepted((1,)), Duplicate())
        assert (await node.record()).inbound_qos2 == (65_535,)
        assert (await node.store.read_retained(["r"]))[0].message.payload == b"1"
        assert await node.commit(release, release, again) == (Done(), Done(), Accepted((2,)))

    async def test_an_inbound_id_survives_a_reconnect(self, node: Node) -> None:
        record = await node.claim()
        marker = Marker(client_id="a", epoch=record.epoch, packet_id=1)
        await node.commit(Accept(message=message(), marker=marker), detach(record))
        record = await node.claim()
        marker = Marker(client_id="a", epoch=record.epoch, packet_id=1)
        assert await node.do(Accept(message=message(), marker=marker)) == Duplicate()

    # Accept: bounds ---------------------------------------------------------------------------------------------------

    async def test_drop_oldest_evicts_the_oldest_and_names_it(self, node: Node) -> None:
        record = await node.claim(bounds=strict("DropOldest"))
        await node.publish(record, b"1", b"2")
        assert await node.do(Accept(message=message(b"3"), targets=(to(record),))) == Accepted((3,), (("a", 1),))
        assert await node.payloads(record) == [b"2", b"3"]

    async def test_drop_oldest_never_touches_what_may_have_been_sent(self, node: Node) -> None:
        record = await node.claim(bounds=strict("DropOldest"))
        await node.publish(record, b"1", b"2")
        await node.do(mark(record, 1))
        assert await node.do(Accept(message=message(b"3"), targets=(to(record),))) == Accepted((3,), (("a", 2),))
        await node.do(mark(record, 3))
        assert await node.do(Accept(message=message(b"4"), targets=(to(record),))) == Accepted((0,))
        assert await node.payloads(record) == [b"1", b"3"]

    async def test_drop_oldest_makes_room_by_bytes(self, node: Node) -> None:
        record = await node.claim(bounds=strict("DropOldest", 100, 32))
        await node.publish(record, b"1" * 9, b"2" * 9, b"3" * 9)
        large = Accept(message=message(b"4" * 19), targets=(to(record),))
        assert await node.do(large) == Accepted((4,), (("a", 1), ("a", 2)))

    async def test_a_message_that_can_never_fit_evicts_nothing(self, node: Node) -> None:
        record = await node.claim(bounds=strict("DropOldest", 100, 32))
        await node.publish(record, b"1", b"2")
        await node.do(mark(record, 1))
        assert await node.do(Accept(message=message(b"x" * 30), targets=(to(record),))) == Accepted((0,))
        assert await node.payloads(record) == [b"1", b"2"]

    async def test_drop_newest_stores_nothing_when_full(self, node: Node) -> None:
        record = await node.claim(bounds=strict("DropNewest"))
        other = await node.claim("b")
        await node.publish(record, b"1", b"2")
        result = await node.do(Accept(message=message(b"3"), targets=(to(record), to(other))))
        assert result == Accepted((0, 1))
        assert await node.payloads(record) == [b"1", b"2"]
        assert await node.payloads(other) == [b"3"]
        await node.do(acknowledge(record, 1))
        assert await node.publish(record, b"4") == [3]

    async def test_reject_refuses_the_message_for_every_receiver(self, node: Node) -> None:
        full = await node.claim(bounds=strict("Reject"))
        other = await node.claim("b", will=WILL)
        await node.publish(full, b"1", b"2")
        await node.do(detach(other, 100, node.store.now()))
        accept = Accept(
            message=message(b"3", topic="r"),
            targets=(to(other), to(full)),
            marker=Marker(client_id="a", epoch=full.epoch, packet_id=4),
            retain=True,
            fires_will_of=("b", other.incarnation),
        )
        assert await node.do(accept) == Rejected("a")
        assert await node.payloads(other) == []
        assert await node.store.read_retained(["r"]) == ()
        assert (await node.record()).inbound_qos2 == ()
        assert len((await node.store.due()).wills) == 1
        await node.do(acknowledge(full, 1))
        assert await node.do(accept) == Accepted((1, 3))

    async def test_reject_counts_every_copy_of_one_message(self, node: Node) -> None:
        record = await node.claim(bounds=strict("Reject"))
        await node.publish(record, b"1")
        assert await node.do(Accept(message=message(b"2"), targets=(to(record), to(record)))) == Rejected("a")
        assert await node.payloads(record) == [b"1"]

    async def test_reject_by_bytes(self, node: Node) -> None:
        record = await node.claim(bounds=strict("Reject", 100, 10))
        assert await node.publish(record, b"1" * 9) == [1]
        assert await node.do(Accept(message=message(b""), targets=(to(record),))) == Rejected("a")

    # Runs: messages that differ in their payloads ---------------------------------------------------------------------

    async def test_a_run_is_stored_as_its_messages_would_be_one_by_one(self, node: Node) -> None:
        a, b = await node.claim("a"), await node.claim("b")
        await node.publish(a, b"0")
        whole = message(
            b"", properties=Properties(content_type="t", user_properties=(("k", "v"),)), expires_at=5_000.25, topic="ç"
        )
        run = AcceptRun(message=whole, payloads=(b"1", b"2", b"3"), targets=(to(a, identifiers=(7,)), to(b, 0)))
        assert await node.do(run) == AcceptedRun(((2, 3), (1, 3)))
        assert (await node.queue(a))[1:] == tuple(
            QueueEntry(sequence=n + 1, message=replace(whole, payload=b"%d" % n), qos=1, identifiers=(7,))
            for n in (1, 2, 3)
        )
        assert [(e.sequence, e.message.payload, e.qos) for e in await node.queue(b)] == [
            (1, b"1", 0),
            (2, b"2", 0),
            (3, b"3", 0),
        ]
        assert await node.store.kept() == Kept(7, message(b"0").size + 6 * whole.size + 6)

    @pytest.mark.parametrize("length", [0, 1, 255, 256, 65_535, 65_536])
    async def test_payloads_of_a_run_arrive_whole_whatever_their_length(self, node: Node, length: int) -> None:
        record = await node.claim()
        payloads = tuple(bytes([number]) * length for number in (0, 255))
        targets = (to(record),)
        assert await node.do(AcceptRun(message=message(b""), payloads=payloads, targets=targets)) == AcceptedRun(
            ((1, 2),)
        )
        assert tuple(await node.payloads(record)) == payloads

    async def test_receivers_of_a_run_that_are_gone_are_left_out(self, node: Node) -> None:
        record = await node.claim()
        gone = Target(client_id="nobody", incarnation=1, qos=1)
        payloads = (b"1", b"2")
        both = AcceptRun(message=message(b""), payloads=payloads, targets=(gone, to(record)))
        none = AcceptRun(message=message(b""), payloads=payloads, targets=(gone,))
        assert await node.commit(both, none) == (AcceptedRun(((0, 0), (1, 2))), AcceptedRun(((0, 0),)))
        assert await node.payloads(record) == [b"1", b"2"]

    async def test_a_run_evicts_what_each_of_its_messages_would_have(self, node: Node) -> None:
        record, wide = await node.claim(bounds=strict("DropOldest")), await node.claim("b")
        await node.publish(record, b"0")
        run = AcceptRun(message=message(b""), payloads=(b"1", b"2", b"3"), targets=(to(wide), to(record)))
        evicted = ((1, "a", 1), (2, "a", 2))
        assert await node.do(run) == AcceptedRun(((1, 3), (2, 3)), evicted)
        assert await node.payloads(record) == [b"2", b"3"]
        assert await node.payloads(wide) == [b"1", b"2", b"3"]

    async def test_of_a_run_drop_newest_stores_what_there_is_room_for(self, node: Node) -> None:
        record, wide = await node.claim(bounds=strict("DropNewest")), await node.claim("b")
        payloads = (b"1", b"2", b"3", b"4")
        run = AcceptRun(
            message=message(b""), payloads=payloads, targets=(to(record, epoch=1, raises_mark=True), to(wide))
        )
        assert await node.commit(run, run) == (
            AcceptedRun(((1, 2), (1, 4)), stale=("a",)),
            AcceptedRun(((0, 0), (5, 4))),
        )
        assert await node.payloads(record) == [b"1", b"2"]

    async def test_of_a_run_reject_refuses_what_there_is_no_room_for_to_every_receiver(self, node: Node) -> None:
        record, wide = await node.claim(bounds=strict("Reject", 100, 6)), await node.claim("b")
        payloads = (b"11", b"22", b"33", b"44")
        run = AcceptRun(message=message(b""), payloads=payloads, targets=(to(wide), to(record)))
        assert await node.commit(run, run) == (
            AcceptedRun(((1, 2), (1, 2)), refused=2),
            AcceptedRun(((0, 0), (0, 0)), refused=4),
        )
        assert await node.payloads(record) == await node.payloads(wide) == [b"11", b"22"]

    async def test_a_run_that_is_acknowledged_out_of_order_leaves_the_rest(self, node: Node) -> None:
        a, b = await node.claim("a"), await node.claim("b")
        payloads = tuple(b"%03d" % number for number in range(200))
        await node.do(AcceptRun(message=message(b""), payloads=payloads, targets=(to(a), to(b))))
        await node.do(acknowledge(a, *range(1, 100), 150, 100, 100, *range(151, 201), 999))
        assert await node.payloads(a) == list(payloads[100:149])
        assert await node.payloads(b) == list(payloads)
        await node.commit(acknowledge(b, *range(1, 201)), acknowledge(a, *range(1, 201)))
        assert await node.store.kept() == Kept(0, 0)

    # The mark, the phases, acknowledgements, drops --------------------------------------------------------------------

    async def test_the_mark_is_raised_to_what_the_receivers_connection_has_room_for(self, node: Node) -> None:
        """What may be sent without being asked for again is marked in the step that stores it."""
        a, b = await node.claim("a"), await node.claim("b")
        marking, plain = to(a, epoch=a.epoch, raises_mark=True), to(b)
        await node.commit(
            Accept(message=message(b"1"), targets=(marking,)),
            Accept(message=message(b"2"), targets=(marking, plain)),
            Accept(message=message(b"3"), targets=(to(a),)),
        )
        assert ((await node.record("a")).sent_up_to, (await node.record("b")).sent_up_to) == (2, 0)
        await node.do(AcceptRun(message=message(b""), payloads=(b"4", b"5"), targets=(plain, marking)))
        await node.do(AcceptRun(message=message(b""), payloads=(b"6", b"7"), targets=(to(a),)))
        assert ((await node.record("a")).sent_up_to, (await node.record("b")).sent_up_to) == (5, 0)

    async def test_a_connection_that_is_over_raises_no_mark(self, node: Node) -> None:
        """Its epoch is not that of the session any more, or nobody is connected."""
        before = await node.claim()
        record = await node.claim()
        old, new = to(record, epoch=before.epoch, raises_mark=True), to(record, epoch=record.epoch, raises_mark=True)
        other = await node.claim("b")
        assert await node.do(Accept(message=message(b"1"), targets=(old,))) == Accepted((1,), stale=("a",))
        await node.do(detach(record))
        assert await node.do(Accept(message=message(b"2"), targets=(to(other), new))) == Accepted((1, 2), stale=("a",))
        run = AcceptRun(
            message=message(b""), payloads=(b"3",), targets=(new, to(other, epoch=other.epoch, raises_mark=True))
        )
        assert await node.do(run) == AcceptedRun(((3, 1), (2, 1)), stale=("a",))
        assert ((await node.record("a")).sent_up_to, (await node.record("b")).sent_up_to) == (0, 2)
        assert await node.payloads(record) == [b"1", b"2", b"3"]

    async def test_a_connection_without_room_learns_that_it_is_over_too(self, node: Node) -> None:
        """Its mark may have been raised past the end of the queue, which the claim after it takes back."""
        before = await node.claim()
        await node.do(mark(before, 100))
        record = await node.claim()
        old, new = to(record, epoch=before.epoch), to(record, epoch=record.epoch)
        assert await node.do(Accept(message=message(b"1"), targets=(old,))) == Accepted((1,), stale=("a",))
        run = AcceptRun(message=message(b""), payloads=(b"2",), targets=(old,))
        assert await node.do(run) == AcceptedRun(((2, 1),), stale=("a",))
        assert await node.do(Accept(message=message(b"3"), targets=(new,))) == Accepted((3,))
        assert (await node.record("a")).sent_up_to == 0

    async def test_a_connection_that_is_over_reads_nothing(self, node: Node) -> None:
        before = await node.claim()
        record = await node.claim()
        await node.do(Accept(message=message(b"1"), targets=(to(record),)))

        async def read(epoch: int) -> int:
            return len(await node.store.read_queue("a", record.incarnation, 0, 9, 999, epoch=epoch))

        assert (await read(before.epoch), await read(record.epoch), await read(0)) == (0, 1, 1)
        await node.do(detach(record))
        assert (await read(record.epoch), await read(0)) == (0, 1)

    async def test_what_was_marked_as_it_was_stored_is_not_evicted(self, node: Node) -> None:
        record = await node.claim(bounds=strict("DropOldest"))
        marking = to(record, epoch=record.epoch, raises_mark=True)
        run = AcceptRun(message=message(b""), payloads=(b"1", b"2", b"3"), targets=(marking,))
        assert await node.do(run) == AcceptedRun(((1, 2),))
        await node.do(acknowledge(record, 1))
        assert await node.do(Accept(message=message(b"4"), targets=(marking,))) == Accepted((3,))
        assert await node.do(Accept(message=message(b"5"), targets=(marking,))) == Accepted((0,))
        assert await node.payloads(record) == [b"2", b"4"]

    async def test_the_mark_is_never_lowered(self, node: Node) -> None:
        record = await node.claim()
        await node.publish(record, b"1", b"2", b"3")
        await node.commit(mark(record, 2), mark(record, 1))
        assert (await node.record()).sent_up_to == 2

    async def test_an_orderly_detach_sets_the_mark_to_what_was_sent(self, node: Node) -> None:
        record = await node.claim()
        await node.publish(record, b"1", b"2", b"3")
        await node.do(mark(record, 3))
        await node.do(Detach(client_id="a", epoch=record.epoch, expiry_interval_s=9, will_due_at=None, sent_up_to=1))
        assert (await node.record()).sent_up_to == 1
        await node.do(detach(record))
        assert (await node.record()).sent_up_to == 1

    async def test_an_entry_that_was_received_says_so(self, node: Node) -> None:
        """[MQTT-4.3.3-6]"""
        record = await node.claim()
        await node.publish(record, b"1", b"2", qos=2)
        await node.do(Received(client_id="a", epoch=record.epoch, sequence=1))
        assert [entry.received for entry in await node.queue(record)] == [True, False]

    async def test_acknowledging_is_idempotent_and_ignores_the_unknown(self, node: Node) -> None:
        record = await node.claim()
        await node.publish(record, b"1", b"2", b"3")
        assert await node.commit(acknowledge(record, 2, 99), acknowledge(record, 2)) == (Done(), Done())
        assert await node.payloads(record) == [b"1", b"3"]

    async def test_an_acknowledged_copy_leaves_the_others(self, node: Node) -> None:
        a, b = await node.claim("a"), await node.claim("b")
        await node.do(Accept(message=message(b"1"), targets=(to(a), to(b))))
        await node.do(acknowledge(a, 1))
        assert await node.payloads(a) == []
        assert await node.payloads(b) == [b"1"]

    async def test_a_drop_works_offline_and_keeps_what_may_have_been_sent(self, node: Node) -> None:
        record = await node.claim()
        await node.publish(record, b"1", b"2", b"3")
        await node.commit(mark(record, 1), detach(record))
        drop = Drop(client_id="a", incarnation=record.incarnation, sequences=(1, 2, 99))
        assert await node.commit(drop, drop) == (Dropped(1), Dropped(0))
        assert await node.payloads(record) == [b"1", b"3"]

    async def test_a_drop_for_another_incarnation_does_nothing(self, node: Node) -> None:
        record = await node.claim()
        await node.publish(record, b"1")
        assert await node.do(Drop(client_id="a", incarnation=0, sequences=(1,))) == Dropped(0)
        assert await node.do(Drop(client_id="nobody", incarnation=0, sequences=(1,))) == Dropped(0)
        assert await node.payloads(record) == [b"1"]
