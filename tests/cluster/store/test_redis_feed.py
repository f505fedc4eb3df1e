"""What batches tell the feed: every change that other nodes must know, and nothing else."""

import pytest
from msgspec.structs import replace

from cluster.store.cluster import Cluster, Peer
from cluster.store.servers import RedisWorld
from mqtt_api.policy import Facts
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.cluster import (
    GroupBacklog,
    RetainedChanged,
    SessionEnded,
    SessionOwned,
    SessionSubscribed,
    SessionUnsubscribed,
)
from mqtt_broker.store.ports import Accept, Claimed, Done, End, Operation, Return, Unsubscribe
from unit.mqtt_broker.store.harness import (
    SHARED,
    WILL,
    claim,
    detach,
    end,
    facts,
    give_back,
    mark,
    message,
    subscribe,
    take,
    to,
    to_crew,
)

PLAIN = Subscription(filter="f", qos=1, identifier=3)


class TestFeed(Cluster):
    async def test_subscriptions_are_told_with_the_session_they_belong_to(self, near: Peer, far: Peer) -> None:
        record = await near.claim()
        result = await near.do(subscribe(record, PLAIN, SHARED, epoch=record.epoch))
        (entry,) = await far.entries()
        assert isinstance(result, Done)
        assert (entry.position, entry.origin) == (result.position, "near")
        told = SessionSubscribed(
            client_id="a",
            incarnation=record.incarnation,
            epoch=record.epoch,
            owner="near",
            expiry_interval_s=100,
            facts=facts(),
            subscriptions=(PLAIN, SHARED),
        )
        assert entry.changes == (told,)

    async def test_subscriptions_of_an_offline_session_are_told_without_an_owner(self, near: Peer, far: Peer) -> None:
        record = await near.claim()
        await near.commit(detach(record), subscribe(record, PLAIN))
        (told,) = await far.changes()
        assert isinstance(told, SessionSubscribed)
        assert told.owner is None

    async def test_only_what_was_removed_is_told(self, near: Peer, far: Peer) -> None:
        record = await near.claim()
        await near.commit(subscribe(record, PLAIN, SHARED))
        await far.changes()
        keys = (SHARED.key, ("none", None), PLAIN.key)
        leave = Unsubscribe(client_id="a", incarnation=record.incarnation, epoch=None, keys=keys)
        first, again = await near.commit(leave), await near.commit(leave)
        (entry,) = await far.entries()
        left = SessionUnsubscribed(client_id="a", incarnation=record.incarnation, keys=(SHARED.key, PLAIN.key))
        assert entry.changes == (left,)
        assert first == (Done(entry.position, (True, False, True)),)
        assert again == (Done(0, (False, False, False)),)

    async def test_a_subscribed_session_that_changes_hands_is_told(self, near: Peer, far: Peer) -> None:
        first = await near.claim()
        await near.do(subscribe(first, PLAIN))
        await near.do(detach(first, 50))
        newer = Facts(client_id="a", username="user", attributes={"site": "south"})
        second = await far.claim(facts=newer, expiry_interval_s=70)
        changes = (await far.changes())[1:]
        told = SessionOwned(
            client_id="a",
            incarnation=first.incarnation,
            epoch=first.epoch,
            owner=None,
            expiry_interval_s=50,
            facts=facts(),
        )
        taken = replace(told, epoch=second.epoch, owner="far", expiry_interval_s=70, facts=newer)
        assert changes == (told, taken)

    async def test_a_session_without_subscriptions_is_not_told(self, near: Peer, far: Peer) -> None:
        record = await near.claim()
        await near.publish(record, b"1")
        await near.commit(mark(record, 1), detach(record))
        await near.do(End(client_id="a", incarnation=record.incarnation))
        assert await far.changes() == ()

    @pytest.mark.parametrize("how", ["end", "clean start", "expiry 0", "expiry 0 with a will"])
    async def test_a_subscribed_session_that_ends_is_told_once(self, near: Peer, far: Peer, how: str) -> None:
        record = await near.claim(will=WILL)
        await near.do(subscribe(record, PLAIN))
        ways: dict[str, Operation] = {
            "end": end(record),
            "clean start": claim(clean_start=True),
            "expiry 0": detach(record, 0),
            "expiry 0 with a will": detach(record, 0, near.store.now()),
        }
        await near.do(ways[how])
        await near.do(end(record))
        assert (await far.changes())[1:] == (SessionEnded(client_id="a", incarnation=record.incarnation),)

    async def test_a_retained_topic_is_told_when_it_appears_and_when_it_vanishes(self, near: Peer, far: Peer) -> None:
        for payload in (b"1", b"2", b"", b""):
            await near.do(Accept(message=message(payload, topic="r"), retain=True))
        appeared, vanished = RetainedChanged(topic="r", is_set=True), RetainedChanged(topic="r", is_set=False)
        assert await far.changes() == (appeared, vanished)

    async def test_what_replaces_an_expired_retained_message_is_told(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        """A node that started in between has left the expired one out."""
        await near.do(Accept(message=message(topic="r", expires_at=world.clock.time + 5), retain=True))
        world.clock.time += 5
        await near.do(Accept(message=message(topic="r"), retain=True))
        assert await far.changes() == (RetainedChanged(topic="r", is_set=True),) * 2

    async def test_retained_messages_that_expired_are_told_by_who_removed_them(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        await near.do(Accept(message=message(topic="r", expires_at=world.clock.time + 5), retain=True))
        world.clock.time += 5
        assert (await near.store.due()).retained_topics == ("r",)
        assert (await far.store.due()).retained_topics == ()
        entries = await far.entries()
        assert (entries[-1].origin, entries[-1].changes) == ("near", (RetainedChanged(topic="r", is_set=False),))

    async def test_what_is_given_back_to_a_group_is_told_once_a_batch(self, near: Peer, far: Peer) -> None:
        a, b = await near.claim("a"), await near.claim("b")
        await near.commit(subscribe(a, SHARED), subscribe(b, SHARED), *to_crew(b"1", b"2", b"3"))
        await near.commit(take(a, 2), take(b, 1))
        await far.changes()
        await near.commit(Return(client_id="a", epoch=a.epoch, sequences=(1,)), give_back(a), end(b))
        told, over = await far.changes()
        assert told == GroupBacklog(group="crew", filter="work/#")
        assert isinstance(over, SessionEnded)

    async def test_a_batch_is_one_entry_and_a_repeated_one_none(self, near: Peer, far: Peer) -> None:
        record = await near.claim()
        operations = (
            subscribe(record, PLAIN),
            Accept(message=message(topic="r"), retain=True),
            subscribe(record, SHARED),
        )
        results = await near.commit(*operations)
        assert await near.store.commit(near.membership, near.number, operations) == results
        (entry,) = await far.entries()
        assert len(entry.changes) == 3
        assert {result.position for result in results if isinstance(result, Done)} == {entry.position}

    async def test_more_changes_than_a_command_takes_arguments_are_one_entry(self, near: Peer, far: Peer) -> None:
        record = await near.claim()
        many = [Subscription(filter=f"f/{number}", group="g") for number in range(5_000)]
        await near.do(subscribe(record, *many))
        (told,) = await far.changes()
        assert isinstance(told, SessionSubscribed)
        assert len(told.subscriptions) == 5_000
        again = await near.do(claim())
        assert isinstance(again, Claimed)
        assert len(again.record.subscriptions) == 5_000
        assert len((await near.store.load()).sessions[0].subscriptions) == 5_000
        await near.do(end(record))
        assert (await near.store.load()).sessions == ()

    async def test_a_claim_tells_up_to_where_feed_and_inbox_are_to_be_read(self, near: Peer, far: Peer) -> None:
        other = await far.claim("b")
        await near.do(subscribe(await near.claim(), PLAIN))
        await near.do(Accept(message=message(), targets=(to(other),)))
        first = await far.do(claim())
        assert isinstance(first, Claimed)
        assert (first.position, first.inbox_end) == ((await far.entries())[-1].position, 1)
        quiet = await near.do(claim("c"))
        assert isinstance(quiet, Claimed)
        assert (quiet.position, quiet.inbox_end) == (first.position, 0)
