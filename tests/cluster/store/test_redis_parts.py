"""One message in several Accepts: whatever is sent again, nothing is there twice, and nothing is missing."""

from msgspec.structs import replace

from cluster.store.cluster import NARROW, Cluster, Peer
from cluster.store.servers import RedisWorld
from mqtt_broker.store.ports import Accept, Accepted, Duplicate, GroupTarget, Marker, Part, Rejected
from unit.mqtt_broker.store.harness import SHARED, WILL, detach, message, subscribe, take, to


def part(of: Accept, *, is_last: bool, **changes: object) -> Accept:
    return replace(of, part=Part(token="m", is_last=is_last), **changes)


def spread_keys(world: RedisWorld) -> list[bytes]:
    found: list[bytes] = world.server.execute("KEYS", f"{world.keys.data}spread:*")
    return found


class TestParts(Cluster):
    async def test_parts_that_are_sent_again_append_nothing_twice(self, near: Peer, world: RedisWorld) -> None:
        a, b, c = [await near.claim(name) for name in "abc"]
        await near.publish(b, b"own")
        whole = Accept(message=message(b"1"))
        first = part(whole, is_last=False, targets=(to(a), to(b)))
        assert await near.do(first) == Accepted((1, 2))
        # The reply of nothing was lost, but the node was: another one sends the parts again, cut otherwise.
        assert await near.do(part(whole, is_last=False, targets=(to(b), to(a)))) == Accepted((2, 1))
        assert await near.do(part(whole, is_last=True, targets=(to(b), to(c)))) == Accepted((2, 1))
        assert [await near.payloads(each) for each in (a, b, c)] == [[b"1"], [b"own", b"1"], [b"1"]]
        assert spread_keys(world) == []

    async def test_parts_of_one_batch_know_of_each_other(self, near: Peer, world: RedisWorld) -> None:
        a = await near.claim("a")
        whole = Accept(message=message(b"1"), targets=(to(a),))
        steps = [part(whole, is_last=False), part(whole, is_last=False), part(whole, is_last=True)]
        assert await near.commit(*steps) == (Accepted((1,)),) * 3
        assert spread_keys(world) == []

    async def test_the_marker_is_unfinished_until_the_last_part(self, near: Peer) -> None:
        """[MQTT-4.3.3-10] A publisher that comes back in between must send again, so it is not told of the id."""
        a, publisher = await near.claim("a"), await near.claim("p")
        whole = Accept(message=message(b"1"), targets=(to(a),))

        def marked(epoch: int, *, is_last: bool) -> Accept:
            return part(whole, is_last=is_last, marker=Marker(client_id="p", epoch=epoch, packet_id=7))

        await near.do(marked(publisher.epoch, is_last=False))
        assert (await near.record("p")).inbound_qos2 == ()
        publisher = await near.claim("p")
        assert publisher.inbound_qos2 == ()
        assert await near.do(marked(publisher.epoch, is_last=False)) == Accepted((1,))
        assert await near.do(marked(publisher.epoch, is_last=True)) == Accepted((1,))
        assert (await near.record("p")).inbound_qos2 == (7,)
        assert await near.do(marked(publisher.epoch, is_last=True)) == Duplicate()
        assert await near.payloads(a) == [b"1"]

    async def test_the_retained_value_is_that_of_the_first_part(self, near: Peer) -> None:
        """A later publish to the topic is not undone by the parts that follow it."""
        whole = Accept(message=message(b"1", topic="r"), retain=True)
        await near.do(part(whole, is_last=False))
        await near.do(Accept(message=message(b"2", topic="r"), retain=True))
        await near.do(part(whole, is_last=True))
        assert [found.message.payload for found in await near.store.read_retained(["r"])] == [b"2"]

    async def test_a_will_is_fired_with_the_last_part_and_begun_again_only_after_a_while(
        self, near: Peer, world: RedisWorld
    ) -> None:
        """[MQTT-3.1.2-10] Whoever began it may be lost; nobody else begins while it is at it."""
        a, gone = await near.claim("a"), await near.claim("gone", will=WILL)
        await near.do(detach(gone, 100, near.store.now()))
        fire = Accept(message=message(b"w"), targets=(to(a),), fires_will_of=("gone", gone.incarnation))
        await near.do(part(fire, is_last=False))
        assert (await near.store.due()).wills == ()
        world.clock.time += 31
        assert len((await near.store.due()).wills) == 1
        await near.do(part(fire, is_last=True))
        assert (await near.store.due()).wills == ()
        assert await near.do(part(fire, is_last=True)) == Duplicate()
        assert await near.payloads(a) == [b"w"]

    async def test_a_group_gets_a_message_in_parts_once(self, near: Peer) -> None:
        a = await near.claim("a")
        await near.do(subscribe(a, SHARED))
        whole = Accept(message=message(b"1"), groups=(GroupTarget(group="crew", filter="work/#"),))
        await near.commit(part(whole, is_last=False))
        await near.do(take(a, 9))
        await near.commit(part(whole, is_last=True))
        assert (await near.store.load()).groups == ()
        assert await near.payloads(a) == [b"1"]

    async def test_a_part_that_a_full_queue_rejects_changes_nothing(self, near: Peer) -> None:
        full, other = await near.claim("full", bounds=NARROW), await near.claim("other")
        await near.publish(full, b"1", b"2")
        refused = part(Accept(message=message(b"3")), is_last=True, targets=(to(other), to(full)))
        assert await near.do(refused) == Rejected("full")
        assert await near.payloads(other) == []

    async def test_what_an_earlier_part_brought_needs_no_room_again(self, near: Peer) -> None:
        full = await near.claim("full", bounds=NARROW)
        await near.publish(full, b"1")
        whole = Accept(message=message(b"2"), targets=(to(full),))
        assert await near.do(part(whole, is_last=False)) == Accepted((2,))
        assert await near.do(part(whole, is_last=True)) == Accepted((2,))

    async def test_what_was_never_finished_is_forgotten_some_day(self, near: Peer, world: RedisWorld) -> None:
        a = await near.claim("a")
        await near.do(part(Accept(message=message(), targets=(to(a),)), is_last=False))
        world.clock.time += 6 * 86_400
        await near.do(part(Accept(message=message(), targets=(to(a),)), is_last=False))
        world.clock.time += 6 * 86_400
        await near.store.due()
        assert len(spread_keys(world)) == 1
        world.clock.time += 2 * 86_400
        await near.store.due()
        assert spread_keys(world) == []
