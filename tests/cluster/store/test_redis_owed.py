"""Which subscriptions' retained messages are still to be sent: kept until that is done, or they are gone."""

from cluster.store.cluster import Cluster, Peer
from cluster.store.servers import RedisWorld
from mqtt_broker.session.session import SessionRecord, Subscription
from mqtt_broker.store.ports import Claimed, Done, End, Result, Settle, Subscribe, Unsubscribe
from unit.mqtt_broker.store.harness import claim


def asking(record: SessionRecord, *filters: str, owes: tuple[str, ...] | None = None) -> Subscribe:
    return Subscribe(
        client_id=record.client_id,
        incarnation=record.incarnation,
        epoch=record.epoch,
        subscriptions=tuple(Subscription(filter=each, qos=1) for each in filters),
        owes=filters if owes is None else owes,
    )


def settle(record: SessionRecord, topic_filter: str, position: int) -> Settle:
    return Settle(client_id=record.client_id, incarnation=record.incarnation, filter=topic_filter, position=position)


def gone(record: SessionRecord, topic_filter: str) -> Unsubscribe:
    keys = ((topic_filter, None),)
    return Unsubscribe(client_id=record.client_id, incarnation=record.incarnation, epoch=record.epoch, keys=keys)


def position(result: Result) -> int:
    assert isinstance(result, Done)
    return result.position


async def owed(peer: Peer) -> dict[str, int]:
    """What the next claim is told."""
    result = await peer.do(claim())
    assert isinstance(result, Claimed)
    return dict(result.owed)


async def lying(world: RedisWorld) -> int:
    return len(world.server.execute("KEYS", f"{world.keys.data}owed_retained:*"))


class TestOwed(Cluster):
    async def test_a_claim_is_told_what_is_owed_and_since_when(self, near: Peer, far: Peer) -> None:
        record = await near.claim()
        first = position(await near.do(asking(record, "a", "b")))
        second = position(await near.do(asking(record, "c", "d", owes=("d",))))
        assert first < second
        assert await owed(far) == {"a": first, "b": first, "d": second}

    async def test_what_is_settled_is_not_owed(self, near: Peer, far: Peer, world: RedisWorld) -> None:
        record = await near.claim()
        at = position(await near.do(asking(record, "a", "b")))
        assert await near.commit(settle(record, "a", at), settle(record, "a", at)) == (Done(), Done())
        assert await near.do(settle(record, "nothing", at)) == Done()
        assert await owed(far) == {"b": at}
        record = await far.record()
        await far.do(settle(record, "b", at))
        assert await owed(far) == {}
        assert await lying(world) == 0

    async def test_what_is_settled_for_an_earlier_subscribe_leaves_a_later_one_alone(
        self, near: Peer, far: Peer
    ) -> None:
        record = await near.claim()
        first = position(await near.do(asking(record, "a")))
        second = position(await near.do(asking(record, "a")))
        await near.do(settle(record, "a", first))
        assert await owed(far) == {"a": second}

    async def test_nothing_is_owed_for_what_is_not_subscribed_to_any_more(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        record = await near.claim()
        await near.do(asking(record, "a", "b"))
        await near.do(gone(record, "a"))
        await near.commit(asking(record, "c"), gone(record, "c"))
        assert set(await owed(far)) == {"b"}
        record = await far.record()
        await far.commit(asking(record, "d"), End(client_id="a", incarnation=record.incarnation))
        assert await owed(far) == {}
        assert await lying(world) == 0

    async def test_another_session_is_owed_nothing(self, near: Peer) -> None:
        record = await near.claim()
        at = position(await near.do(asking(record, "a")))
        again = await near.claim(clean_start=True)
        await near.do(settle(record, "a", at))
        position_of_new = position(await near.do(asking(again, "a")))
        await near.do(settle(record, "a", position_of_new))
        assert await owed(near) == {"a": position_of_new}
