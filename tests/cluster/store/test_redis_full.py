"""A server at its maxmemory: what grows is refused as a whole, what frees goes through."""

from collections.abc import Iterator

import pytest

from cluster.store.cluster import Cluster, Peer
from cluster.store.servers import RedisWorld
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.cluster import Positions
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    Claimed,
    Done,
    Drop,
    Dropped,
    Fenced,
    Received,
    Release,
    StoreFull,
    Taken,
    Unsubscribe,
)
from support.redis_server import RedisServer
from unit.mqtt_broker.store.harness import (
    SHARED,
    acknowledge,
    claim,
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


class TestFull(Cluster):
    @pytest.fixture
    def memory(self, server: RedisServer) -> Iterator["Memory"]:
        memory = Memory(server)
        yield memory
        memory.suffices()

    async def test_what_grows_is_refused_as_a_whole_and_its_number_is_free(
        self, near: Peer, memory: "Memory", world: RedisWorld
    ) -> None:
        record = await near.claim()
        await near.publish(record, b"1")
        before = world.dump()
        memory.is_used_up()
        grow = (acknowledge(record, 1), Accept(message=message(b"2"), targets=(to(record),)))
        with pytest.raises(StoreFull):
            await near.commit(*grow)
        with pytest.raises(StoreFull):
            await near.store.commit(near.membership, near.number, (subscribe(record, SHARED),))
        assert world.dump() == before
        near.number -= 1
        assert await near.commit(acknowledge(record, 1)) == (Done(),)
        memory.suffices()
        assert await near.commit(*grow) == (Done(), Accepted((2,)))

    async def test_everything_that_frees_or_advances_goes_through(self, near: Peer, memory: "Memory") -> None:
        a, b, c = [await near.claim(name) for name in "abc"]
        await near.commit(subscribe(a, SHARED, Subscription(filter="f")), *to_crew(b"g"))
        await near.publish(a, b"1", b"2", b"3", qos=2)
        memory.is_used_up()
        leave = Unsubscribe(client_id="a", incarnation=a.incarnation, epoch=None, keys=(("f", None),))
        results = await near.commit(
            mark(a, 1),
            Received(client_id="a", epoch=a.epoch, sequence=1),
            acknowledge(a, 2),
            Release(client_id="a", epoch=a.epoch, packet_id=1),
            Drop(client_id="a", incarnation=a.incarnation, sequences=(3,)),
            take(a, 1),
            give_back(a),
            leave,
            detach(b),
            end(c),
            claim("b"),
            claim("new"),
        )
        kinds = [type(result) for result in results]
        assert kinds == [Done, Done, Done, Done, Dropped, Taken, Done, Done, Done, Done, Claimed, Claimed]
        assert await near.payloads(a) == [b"1"]
        assert await near.store.reap(near.membership, 10) == 0
        assert (await near.store.due()).wills == ()

    async def test_the_rest_of_a_batch_that_is_over_is_told_although_the_server_is_full(
        self, near: Peer, memory: "Memory"
    ) -> None:
        """The batch was done, its reply was lost, and then memory ran out: its number is not free."""
        record = await near.claim()
        accept = Accept(message=message(b"1"), targets=(to(record),))
        results = await near.commit(accept)
        memory.is_used_up()
        assert await near.store.commit(near.membership, near.number, (accept,)) == results
        assert await near.payloads(record) == [b"1"]

    async def test_a_fenced_node_is_told_so_although_the_server_is_full(self, near: Peer, memory: "Memory") -> None:
        record = await near.claim()
        await near.store.leave(near.membership)
        memory.is_used_up()
        with pytest.raises(Fenced):
            await near.do(Accept(message=message(b"1"), targets=(to(record),)))

    async def test_reads_go_on(self, near: Peer, memory: "Memory") -> None:
        record = await near.claim()
        await near.publish(record, b"1")
        await near.do(Accept(message=message(b"2", topic="r"), retain=True))
        memory.is_used_up()
        assert await near.payloads(record) == [b"1"]
        assert len(await near.store.read_retained(["r"])) == 1
        assert len((await near.store.load()).sessions) == 1
        assert (await near.store.kept()).messages == 2
        await near.store.follow(near.membership, Positions(feed=0), 0)


class Memory:
    """The bound of a server, in the hands of a test."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def is_used_up(self) -> None:
        self._server.execute("CONFIG", "SET", "maxmemory", "1")

    def suffices(self) -> None:
        self._server.execute("CONFIG", "SET", "maxmemory", "0")
