"""What a store that survives a restart keeps."""

import pytest

from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import (
    Accept,
    Marker,
    StoreMismatch,
)
from unit.mqtt_broker.store.harness import (
    SHARED,
    WILL,
    World,
    detach,
    end,
    join,
    mark,
    message,
    subscribe,
    take,
    to,
    to_crew,
)


class DurableStoreContract:
    """What a store that survives a restart keeps."""

    async def test_everything_committed_is_there_after_a_restart(self, world: World) -> None:
        node = await join(await world.open())
        a, b = await node.claim("a", will=WILL), await node.claim("b")
        await node.commit(subscribe(a, SHARED, Subscription(filter="f", qos=1)), *to_crew(b"g1", b"g2", b"g3"))
        await node.do(take(a, 1))
        await node.do(Accept(message=message(b"1", topic="r"), targets=(to(a), to(b)), retain=True))
        marker = Marker(client_id="a", epoch=a.epoch, packet_id=7)
        await node.commit(Accept(message=message(b"2"), targets=(to(a),), marker=marker), mark(a, 2), detach(b))
        before = await node.store.load(), await node.queue(a), await node.queue(b)
        await node.store.close()

        node.store = await world.open()
        assert (await node.store.load(), await node.queue(a), await node.queue(b)) == before
        assert [found.message.payload for found in await node.store.read_retained(["r"])] == [b"1"]
        assert await node.publish(a, b"3") == [4]

    async def test_a_batch_whose_reply_was_lost_is_answered_after_a_restart(self, world: World) -> None:
        node = await join(await world.open())
        record = await node.claim()
        accept = Accept(message=message(b"1"), targets=(to(record),))
        results = await node.commit(accept)
        await node.store.close()
        node.store = await world.open()
        assert await node.store.commit(node.membership, node.number, [accept]) == results
        assert await node.payloads(record) == [b"1"]

    async def test_tokens_epochs_and_incarnations_go_on_growing(self, world: World) -> None:
        node = await join(await world.open())
        record = await node.claim()
        await node.do(end(record))
        await node.store.close()
        later = await join(await world.open())
        assert later.membership.token > node.membership.token
        again = await later.claim()
        assert again.incarnation > record.incarnation
        assert again.epoch > record.epoch

    async def test_the_world_keeps_its_identity(self, world: World) -> None:
        store = await world.open()
        await join(store)
        await store.close()
        store = await world.open()
        with pytest.raises(StoreMismatch):
            await store.join("node-0", "world-2")
