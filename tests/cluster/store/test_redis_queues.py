"""Queues with holes: a sequence is a place in a hash, and what lies between two entries may be long gone."""

import msgspec
import pytest

from cluster.store.cluster import Cluster, Peer
from cluster.store.servers import RedisWorld
from mqtt_broker.session.session import QueueBounds
from mqtt_broker.store.ports import Accept, Detach, Drop, Received, Unsubscribe
from mqtt_broker.store.redis import queries
from mqtt_broker.wire.packets import Properties
from unit.mqtt_broker.store.harness import (
    SHARED,
    acknowledge,
    detach,
    end,
    give_back,
    mark,
    message,
    subscribe,
    take,
    to,
    to_crew,
)

SMALL = QueueBounds(messages_max=3, bytes_max=1_000, overflow="DropOldest")


async def places(node: Peer, record: object, after: int = 0) -> list[int]:
    return [entry.sequence for entry in await node.queue(record, after)]  # type: ignore[arg-type]


class TestHoles(Cluster):
    async def test_what_was_sent_long_ago_and_what_came_last_are_both_found(
        self, near: Peer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = await near.claim(bounds=SMALL)
        await near.publish(record, b"first")
        await near.do(mark(record, 1))
        await near.do(detach(record))
        for _ in range(10):
            await near.publish(record, *[b"x"] * 100)
        assert await places(near, record) == [1, 1_000, 1_001]
        record = await near.claim(bounds=SMALL)
        await near.do(mark(record, 1_000))
        monkeypatch.setattr(queries, "PROBES_MAX", 5)
        assert await places(near, record) == [1, 1_000, 1_001]
        assert await places(near, record, 1) == [1_000, 1_001]
        assert await places(near, record, 1_000) == [1_001]

    async def test_a_long_hole_is_remembered_while_others_come_and_go(self, near: Peer, world: RedisWorld) -> None:
        def hole() -> list[int]:
            raw = world.server.execute("HGET", f"{world.keys.data}s:a", "h")
            head: list[int] = msgspec.msgpack.decode(raw)
            return head[5:7]

        record = await near.claim(bounds=SMALL)
        await near.publish(record, b"first")
        await near.commit(mark(record, 1), detach(record))
        await near.publish(record, *[b"x"] * 100)
        assert hole() == [2, 100]
        record = await near.claim(bounds=SMALL)
        back = Detach(client_id="a", epoch=record.epoch, expiry_interval_s=100, will_due_at=None, sent_up_to=50)
        await near.do(back)
        await near.publish(record, b"x")
        assert hole() == [2, 101]
        record = await near.claim(bounds=SMALL)
        await near.commit(mark(record, 101), detach(record))
        await near.publish(record, *[b"x"] * 5)
        assert await places(near, record) == [1, 101, 107]
        assert hole() == [2, 101]
        await near.publish(record, *[b"x"] * 200)
        assert hole() == [102, 307]
        assert await places(near, record) == [1, 101, 307]

    async def test_what_retained_messages_take_is_counted_once_a_topic(self, near: Peer) -> None:
        async def kept(*payloads: bytes) -> int:
            await near.commit(*[Accept(message=message(each, topic="r"), retain=True) for each in payloads])
            return (await near.store.kept()).bytes

        one = await kept(b"1")
        assert one > 0
        assert await kept(b"2" * 5, b"3") == one
        assert await kept(b"4" * 5) == one + 4
        assert await kept(b"") == 0

    async def test_phases_go_with_their_entries(self, near: Peer, world: RedisWorld) -> None:
        record = await near.claim()
        await near.publish(record, b"1", b"2", qos=2)
        await near.commit(*[Received(client_id="a", epoch=record.epoch, sequence=n) for n in (1, 2)])
        await near.do(acknowledge(record, 1))
        key = f"{world.keys.data}r:{record.incarnation}"
        assert world.server.execute("SMEMBERS", key) == {b"2"}
        await near.do(acknowledge(record, 2))
        assert world.server.execute("EXISTS", key) == 0

    async def test_what_came_from_a_group_is_not_given_to_its_namesake(self, near: Peer) -> None:
        record = await near.claim()
        await near.commit(subscribe(record, SHARED), *to_crew(b"1"))
        await near.do(take(record, 1))
        leave = Unsubscribe(client_id="a", incarnation=record.incarnation, epoch=None, keys=(SHARED.key,))
        await near.commit(leave, subscribe(record, SHARED))
        await near.do(give_back(record))
        assert await near.payloads(record) == []
        assert (await near.store.load()).groups == ()

    async def test_a_mark_that_is_set_back_frees_what_it_covered_for_eviction(self, near: Peer) -> None:
        record = await near.claim(bounds=SMALL)
        await near.publish(record, *[b"x"] * 10)
        assert await places(near, record) == [8, 9, 10]
        await near.do(mark(record, 10))
        assert await near.publish(record, b"y") == [0]
        back = Detach(client_id="a", epoch=record.epoch, expiry_interval_s=100, will_due_at=None, sent_up_to=8)
        await near.do(back)
        assert await near.publish(record, b"y", b"z") == [11, 12]
        assert await places(near, record) == [8, 11, 12]

    async def test_entries_that_were_acknowledged_out_of_order_leave_no_trace(self, near: Peer) -> None:
        record = await near.claim()
        await near.publish(record, *[b"x"] * 300)
        await near.do(mark(record, 300))
        await near.do(acknowledge(record, *range(2, 300)))
        assert await places(near, record) == [1, 300]
        await near.do(acknowledge(record, 1))
        assert await places(near, record) == [300]
        await near.do(acknowledge(record, 300))
        assert await near.publish(record, b"y") == [301]
        assert await places(near, record) == [301]

    async def test_a_slow_reader_asks_until_it_has_what_it_asked_for(
        self, near: Peer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = await near.claim()
        await near.publish(record, *[b"x"] * 100)
        await near.do(Drop(client_id="a", incarnation=record.incarnation, sequences=tuple(range(2, 90))))
        monkeypatch.setattr(queries, "PROBES_MAX", 7)
        assert await places(near, record) == [1, *range(90, 101)]

    async def test_large_entries_are_read_a_few_at_a_time(self, near: Peer) -> None:
        record = await near.claim()
        await near.publish(record, *[bytes([n]) * 200_000 for n in range(4)])
        assert await near.payloads(record) == [bytes([n]) * 200_000 for n in range(4)]
        found = await near.store.read_queue("a", record.incarnation, 0, 100, 400_010)
        assert [entry.sequence for entry in found] == [1, 2]
        await near.do(acknowledge(record, 1, 2, 3, 4))
        assert (await near.store.kept()).bytes == 0

    async def test_nothing_is_left_of_what_is_over(self, near: Peer, world: RedisWorld) -> None:
        before = set(world.dump())
        record = await near.claim()
        whole = message(b"1", properties=Properties(user_properties=(("k", "v"),)))
        await near.do(Accept(message=whole, targets=(to(record, 2), to(record, 2))))
        await near.commit(Received(client_id="a", epoch=record.epoch, sequence=1), acknowledge(record, 1))
        await near.do(end(record))
        assert set(world.dump()) - before <= {"ordinals", "owners", "totals"}
        assert (await near.store.kept()).bytes == 0
