"""Sessions whose owner is over are let go of, as if each connection had broken."""

import pytest

from cluster.store.cluster import Cluster, Peer, peer
from cluster.store.servers import RedisWorld
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.cluster import GroupBacklog, SessionEnded, SessionOwned
from mqtt_broker.store.ports import Accept, End, Fenced
from mqtt_broker.store.redis import queries
from mqtt_broker.wire.packets import Properties, Will
from unit.mqtt_broker.store.harness import SHARED, WILL, detach, message, subscribe, take, to_crew

SLOW = Will("state/a", b"gone", 1, retain=False, properties=Properties(will_delay_interval=30))


class TestReap(Cluster):
    async def test_sessions_of_a_node_that_left_are_let_go_of(self, near: Peer, far: Peer, world: RedisWorld) -> None:
        """[MQTT-3.1.2-8] [MQTT-4.1.0-2]"""
        await far.claim("persistent", will=SLOW)
        await far.claim("transient", expiry_interval_s=0)
        await far.claim("transient with will", expiry_interval_s=0, will=WILL)
        await near.claim("own")
        assert await near.store.reap(near.membership, 100) == 0
        await far.store.leave(far.membership)
        world.clock.time += 7
        assert await near.store.reap(near.membership, 100) == 3
        assert await near.store.reap(near.membership, 100) == 0
        sessions = {record.client_id: record for record in (await near.store.load()).sessions}
        assert set(sessions) == {"persistent", "own"}
        assert sessions["own"].owner == "near"
        persistent = sessions["persistent"]
        assert (persistent.owner, persistent.will_due_at) == (None, world.clock.time + 30)
        assert persistent.expires_at == world.clock.time + 100
        assert [will.record.client_id for will in (await near.store.due()).wills] == ["transient with will"]

    async def test_so_many_at_once_and_each_once_whoever_reaps(self, near: Peer, far: Peer, world: RedisWorld) -> None:
        third = await peer(world, "third")
        for number in range(10):
            await far.claim(f"client-{number}")
        await far.store.leave(far.membership)
        counts = [await each.store.reap(each.membership, 4) for each in (near, third, near, third)]
        assert counts == [4, 4, 2, 0]
        assert {record.owner for record in (await near.store.load()).sessions} == {None}

    async def test_sessions_that_were_claimed_meanwhile_are_left_alone(self, near: Peer, far: Peer) -> None:
        await far.claim("a")
        await far.store.leave(far.membership)
        await near.claim("a")
        await near.store.reap(near.membership, 100)
        assert (await near.record("a")).owner == "near"

    async def test_a_session_of_somebody_else_in_the_list_of_a_node_that_left_is_left_alone(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        await near.claim("a")
        await far.claim("b")
        owned = f"{world.keys.data}owned:{far.membership.token}"
        world.server.execute("SADD", owned, "a", "nobody")
        await far.store.leave(far.membership)
        assert await near.store.reap(near.membership, 100) == 3
        assert await near.store.reap(near.membership, 100) == 0
        assert (await near.record("a")).owner == "near"
        assert world.server.execute("EXISTS", owned) == 0

    async def test_what_is_due_is_answered_so_many_at_a_time(
        self, near: Peer, world: RedisWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queries, "DUE_MAX", 2)
        for number in range(3):
            await near.do(detach(await near.claim(f"c{number}", will=WILL), 5, world.clock.time + 1))
            topic = message(topic=f"t{number}", expires_at=world.clock.time + 2)
            await near.do(Accept(message=topic, retain=True))
        world.clock.time += 5
        first = await near.store.due()
        assert (len(first.wills), len(first.expiries), len(first.retained_topics)) == (2, 2, 2)
        assert first.next_at == world.clock.time
        await near.commit(*[End(client_id=each.client_id, incarnation=each.incarnation) for each in first.expiries])
        rest = await near.store.due()
        assert (len(rest.wills), len(rest.expiries), len(rest.retained_topics)) == (1, 1, 1)
        assert rest.next_at is None

    async def test_the_feed_tells_what_reaping_changed(self, near: Peer, far: Peer) -> None:
        a, b = await far.claim("a"), await far.claim("b", expiry_interval_s=0)
        await far.commit(subscribe(a, SHARED), subscribe(b, SHARED, Subscription(filter="f")), *to_crew(b"1", b"2"))
        await far.do(take(b, 1))
        await far.store.leave(far.membership)
        await near.changes()
        await near.store.reap(near.membership, 100)
        changes = set(map(type, await near.changes()))
        assert changes == {SessionOwned, SessionEnded, GroupBacklog}
        assert (await near.store.load()).groups == (("crew", "work/#", 2),)

    async def test_a_node_that_joins_again_lets_go_of_its_own_only(self, near: Peer, far: Peer) -> None:
        await near.claim("a")
        await far.claim("b")
        await far.store.leave(far.membership)
        near.membership, near.number = await near.store.join("near", "world-1"), 0
        owners = {record.client_id: record.owner for record in (await near.store.load()).sessions}
        assert owners == {"a": None, "b": "far"}

    async def test_who_is_over_reaps_nothing(self, near: Peer, far: Peer) -> None:
        await far.claim("a")
        await near.store.leave(near.membership)
        with pytest.raises(Fenced):
            await near.store.reap(near.membership, 100)
        assert (await far.record("a")).owner == "far"

    async def test_a_will_that_is_left_of_a_session_is_not_reaped_again(self, near: Peer, far: Peer) -> None:
        await far.claim("a", expiry_interval_s=0, will=SLOW)
        await far.store.leave(far.membership)
        assert await near.store.reap(near.membership, 100) == 1
        assert await near.store.reap(near.membership, 100) == 0
        assert len((await near.store.due()).wills) == 1
