"""What batches put into other nodes' inboxes and orders, within bounds."""

import pytest

from cluster.store.cluster import Cluster, Peer, peer
from cluster.store.servers import RedisWorld
from mqtt_api.node_facts import NodeFacts
from mqtt_broker.session.session import QueueBounds
from mqtt_broker.store.cluster import FORMAT, Backlog, Evict, Forwarded, ForwardedRun, Overflowed, PostRun, Stored
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    AcceptedRun,
    AcceptRun,
    Claimed,
    Duplicate,
    Forward,
    GroupTarget,
    Part,
    RunForward,
    Target,
)
from mqtt_broker.store.redis import queries
from mqtt_broker.wire.packets import Properties, Will
from unit.mqtt_broker.store.harness import SHARED, WILL, claim, message, subscribe, to

WIDE = QueueBounds(messages_max=1_000, bytes_max=1_000_000, overflow="DropOldest")


def dropped(world: RedisWorld, node: str) -> int:
    """Messages that found no room in a node's inbox."""
    return int(world.server.execute("HGET", f"{world.keys.data}node:{node}", "dropped_transient") or 0)


class TestInbox(Cluster):
    async def test_an_entry_is_announced_to_the_node_its_session_is_connected_to(self, near: Peer, far: Peer) -> None:
        record = await far.claim()
        await near.do(Accept(message=message(b"1"), targets=(to(record, 1, retain=True, identifiers=(7,)),)))
        (told,) = await far.deliveries()
        (entry,) = await far.queue(record)
        assert told == Stored(client_id="a", incarnation=record.incarnation, sequence=1, entry=entry)
        assert (entry.retain, entry.identifiers) == (True, (7,))
        assert await near.deliveries() == ()

    async def test_a_large_entry_is_announced_without_its_message(self, near: Peer, far: Peer) -> None:
        record = await far.claim()
        await near.do(Accept(message=message(b"1" * 1_024), targets=(to(record),)))
        assert await far.deliveries() == (
            Stored(client_id="a", incarnation=record.incarnation, sequence=1, entry=None),
        )

    async def test_nobody_is_told_of_entries_of_own_or_offline_sessions(self, near: Peer, far: Peer) -> None:
        own, gone = await near.claim("a"), await far.claim("b")
        await far.store.leave(far.membership)
        await near.commit(Accept(message=message(), targets=(to(own), to(gone))))
        assert await near.deliveries() == ()
        await peer_again(far)
        assert await far.deliveries() == ()

    async def test_a_name_that_was_joined_again_is_not_told_of_its_former_sessions(
        self, near: Peer, far: Peer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between its join and the moment that it lets go of them."""
        record = await far.claim()

        async def release(*_: object) -> int:
            return 0

        monkeypatch.setattr(queries, "release", release)
        await peer_again(far)
        await near.do(Accept(message=message(), targets=(to(record),)))
        assert await far.deliveries() == ()

    async def test_a_batch_is_one_entry_of_an_inbox_in_the_order_of_its_operations(self, near: Peer, far: Peer) -> None:
        a, b = await far.claim("a"), await far.claim("b")
        await near.commit(*[Accept(message=message(bytes([n])), targets=(to(a), to(b))) for n in range(3)])
        told = await far.deliveries()
        assert far.inbox == 1
        assert [(each.client_id, each.sequence) for each in told if isinstance(each, Stored)] == [
            ("a", 1),
            ("b", 1),
            ("a", 2),
            ("b", 2),
            ("a", 3),
            ("b", 3),
        ]

    async def test_copies_for_transient_sessions_elsewhere_are_forwarded(self, near: Peer, far: Peer) -> None:
        forward = far.forward()
        result = await near.do(Accept(message=message(b"1"), forwards=(forward,)))
        assert result == Accepted()
        assert await far.deliveries() == (Forwarded(message=message(b"1"), forward=forward),)

    async def test_what_is_forwarded_to_a_token_that_is_over_goes_nowhere(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        forward = far.forward()
        again = await peer(world, "far")
        await near.do(Accept(message=message(b"1"), forwards=(forward,)))
        assert await again.deliveries() == ()
        await near.do(Accept(message=message(b"1"), forwards=(again.forward(),)))
        assert len(await again.deliveries()) == 1

    async def test_members_nodes_are_woken_once_a_batch_the_own_one_too(self, near: Peer, far: Peer) -> None:
        record = await near.claim()
        await near.do(subscribe(record, SHARED))
        group = GroupTarget(group="crew", filter="work/#", wakes=("far", "near", "gone"), turn="far")
        await near.commit(*[Accept(message=message(), groups=(group,)) for _ in range(2)])
        assert await far.deliveries() == (Backlog(group="crew", filter="work/#", turns=2),)
        assert await near.deliveries() == (Backlog(group="crew", filter="work/#", turns=0),)

    async def test_a_part_that_is_sent_again_is_forwarded_to_those_who_did_not_have_it(
        self, near: Peer, far: Peer
    ) -> None:
        """[D5a] Cut otherwise, by another node: who had a copy is left out, or told to who holds it in memory."""

        def part(numbers: range, *heard: int, is_last: bool = False) -> Accept:
            targets = tuple(Target(client_id=f"c{n}", incarnation=n, qos=2) for n in numbers)
            forward = Forward(node="far", token=far.membership.token, targets=targets)
            return Accept(
                message=message(b"1", 2), forwards=(forward,), part=Part(token="t", is_last=is_last, heard=heard)
            )

        assert await near.do(part(range(1, 4), 10)) == Accepted()
        assert await near.do(part(range(1, 4), 3, 10, 11)) == Accepted(heard=(3, 10))
        assert await near.do(part(range(2, 6), is_last=True)) == Accepted()
        told = [each.forward.targets for each in await far.deliveries() if isinstance(each, Forwarded)]
        assert [[target.incarnation for target in targets] for targets in told] == [[1, 2, 3], [4, 5]]
        assert await near.do(part(range(1, 2), 10)) == Accepted()  # after the last part it is another message
        assert len(await far.deliveries()) == 1

    async def test_a_retained_message_planned_when_the_subscriber_was_known_is_not_for_it(
        self, near: Peer, far: Peer
    ) -> None:
        """[D7] It comes live; the queue may hold it already."""
        a = await far.claim("a")
        late = Accept(message=message(b"old", topic="r"), targets=(to(a),), retained_before=7)
        await near.do(Accept(message=message(b"old", topic="r"), retain=True, position=6))
        assert await far.do(late) == Accepted((1,))
        await near.do(Accept(message=message(b"new", topic="r"), retain=True, position=7))
        assert await far.do(late) == Duplicate()

    async def test_a_full_inbox_takes_no_copies_for_transient_sessions_and_counts_them(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        for _ in range(3):
            await near.do(Accept(message=message(b"x" * 1_500), forwards=(far.forward(),)))
        assert len(await far.deliveries()) == 2
        assert dropped(world, "far") == 1
        await far.deliveries()  # tells the store that those were read
        await near.do(Accept(message=message(b"x" * 1_500), forwards=(far.forward(),)))
        assert len(await far.deliveries()) == 1
        assert dropped(world, "far") == 1

    async def test_a_full_inbox_still_tells_of_stored_entries_once_a_batch_and_session(
        self, near: Peer, far: Peer
    ) -> None:
        """Without the entry: who reads the queue from there finds all."""
        record = await far.claim(bounds=WIDE)
        await near.commit(*[Accept(message=message(b"x" * 900), targets=(to(record),)) for _ in range(10)])
        told = [(each.sequence, each.entry is None) for each in await far.deliveries() if isinstance(each, Stored)]
        assert told == [(1, False), (2, False), (3, False), (10, True)]

    async def test_an_inbox_is_repeated_until_it_was_read(self, near: Peer, far: Peer) -> None:
        await near.do(Accept(message=message(b"1"), forwards=(far.forward(),)))
        first = await far.deliveries()
        far.inbox = 0
        assert await far.deliveries() == first
        assert await far.deliveries() == ()


class TestEviction(Cluster):
    async def test_a_claim_evicts_the_owner_on_another_node(self, near: Peer, far: Peer) -> None:
        old = await near.claim()
        result = await far.do(claim())
        assert isinstance(result, Claimed)
        told = (result.previous_owner, result.previous_token, result.previous_epoch)
        assert told == ("near", near.membership.token, old.epoch)
        claimant = ("far", far.membership.token)
        assert await near.commands() == (Evict(client_id="a", epoch=old.epoch, claimant=claimant),)
        assert await far.commands() == ()

    async def test_a_claim_on_the_same_node_evicts_nobody(self, near: Peer) -> None:
        old = await near.claim()
        result = await near.do(claim())
        assert isinstance(result, Claimed)
        assert (result.previous_owner, result.previous_epoch) == ("near", old.epoch)
        assert await near.commands() == ()

    async def test_an_owner_whose_token_is_over_is_not_waited_for(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        await near.claim()
        await near.store.leave(near.membership)
        result = await far.do(claim())
        assert isinstance(result, Claimed)
        assert (result.present, result.previous_owner, result.previous_token) == (True, None, 0)

    async def test_the_connection_of_an_owner_whose_token_is_over_counts_as_broken(self, near: Peer, far: Peer) -> None:
        """So a will without delay is owed [MQTT-3.1.2-8], one with a delay is cancelled [MQTT-3.1.3-9]."""
        slow = Will("state/a", b"gone", 1, retain=False, properties=Properties(will_delay_interval=9))
        await near.claim("a", will=WILL)
        await near.claim("b", will=slow)
        await near.claim("transient", expiry_interval_s=0)
        await near.store.leave(near.membership)
        results = await far.commit(claim("a"), claim("b"), claim("transient"))
        found = [(each.present, each.lapsed_will) for each in results if isinstance(each, Claimed)]
        assert found == [(True, WILL), (True, None), (False, None)]


async def peer_again(node: Peer) -> None:
    """The node joins again and reads from the beginning."""
    node.membership = await node.store.join(node.membership.node, "world-1")
    node.number = node.inbox = node.control = 0


class TestOverflow(Cluster):
    async def test_a_node_is_told_which_entries_of_its_sessions_had_to_go(self, near: Peer, far: Peer) -> None:
        """It may have them in memory, about to be sent."""
        near.store._readers = (far.membership.token,)
        bounds = QueueBounds(messages_max=3, bytes_max=1_000_000, overflow="DropOldest")
        record, own = await far.claim("a", bounds=bounds), await near.claim("b", bounds=bounds)
        payloads = (b"1", b"2", b"3", b"4", b"5")
        for payload in payloads:
            await near.do(Accept(message=message(payload), targets=(to(record), to(own))))
        told = [each for each in await far.deliveries() if isinstance(each, Overflowed)]
        assert told == [Overflowed("a", record.incarnation, (1,)), Overflowed("a", record.incarnation, (2,))]
        result = await near.do(AcceptRun(message=message(b""), payloads=payloads[:2], targets=(to(record), to(own))))
        assert isinstance(result, AcceptedRun)
        assert len(result.evicted) == 4  # the committing node has them from the answer
        told = [each for each in await far.deliveries() if isinstance(each, Overflowed)]
        assert told == [Overflowed("a", record.incarnation, (3, 4))]
        assert await near.deliveries() == ()

    async def test_one_that_would_not_understand_is_not_told(self, near: Peer, far: Peer) -> None:
        bounds = QueueBounds(messages_max=1, bytes_max=1_000_000, overflow="DropOldest")
        record = await far.claim("a", bounds=bounds)
        for _ in range(3):
            await near.do(Accept(message=message(b"1"), targets=(to(record),)))
        assert {type(each) for each in await far.deliveries()} == {Stored}

    async def test_who_understands_is_known_by_the_leases(self, near: Peer, far: Peer) -> None:
        await near.store.enter(near.membership, NodeFacts(format=FORMAT))
        await far.store.enter(far.membership, NodeFacts(format=1))
        await near.store.renew(near.membership, NodeFacts(format=FORMAT))
        assert near.store._readers == (near.membership.token,)
        await far.store.renew(far.membership, NodeFacts(format=FORMAT))
        await near.store.renew(near.membership, NodeFacts(format=FORMAT))
        assert set(near.store._readers) == {near.membership.token, far.membership.token}


def run(peer: Peer, *payloads: bytes, targets: tuple[Target, ...] = (), head: bytes = b"head") -> AcceptRun:
    """Messages that differ in their payloads, for queues and for whoever is connected to `peer`."""
    forward = RunForward(node=peer.membership.node, token=peer.membership.token, head=head, receivers=1)
    return AcceptRun(message=message(b""), payloads=payloads, targets=targets, forwards=(forward,))


class TestRuns(Cluster):
    async def test_a_run_crosses_as_one_with_its_head(self, near: Peer, far: Peer) -> None:
        assert await near.do(run(far, b"1", b"2", b"3")) == AcceptedRun(())
        assert await far.deliveries() == (ForwardedRun(b"head", [b"1", b"2", b"3"]),)

    async def test_empty_payloads_are_counted(self, near: Peer, far: Peer) -> None:
        await near.do(run(far, b"", b""))
        assert await far.deliveries() == (ForwardedRun(b"head", [b"", b""]),)

    async def test_runs_and_messages_keep_the_order_of_their_operations(self, near: Peer, far: Peer) -> None:
        """[MQTT-4.6.0-6]"""
        forward = far.forward()
        one = Accept(message=message(b"2"), forwards=(forward,))
        await near.commit(run(far, b"1", head=b"a"), one, run(far, b"3", head=b"b"))
        assert await far.deliveries() == (
            ForwardedRun(b"a", [b"1"]),
            Forwarded(message=message(b"2"), forward=forward),
            ForwardedRun(b"b", [b"3"]),
        )

    async def test_what_a_queue_refuses_is_not_forwarded_either(self, near: Peer, far: Peer) -> None:
        bounds = QueueBounds(messages_max=2, bytes_max=1_000_000, overflow="Reject")
        record = await near.claim(bounds=bounds)
        result = await near.do(run(far, b"1", b"2", b"3", b"4", targets=(to(record),)))
        assert result == AcceptedRun(((1, 2),), refused=2)
        assert await far.deliveries() == (ForwardedRun(b"head", [b"1", b"2"]),)
        assert await near.do(run(far, b"5", targets=(to(record),))) == AcceptedRun(((0, 0),), refused=1)
        assert await far.deliveries() == ()

    async def test_a_run_for_a_token_that_is_over_goes_nowhere(self, near: Peer, far: Peer, world: RedisWorld) -> None:
        stale = run(far, b"1")
        again = await peer(world, "far")
        assert await near.do(stale) == AcceptedRun(())
        assert await again.deliveries() == ()

    async def test_of_a_run_that_does_not_fit_the_last_are_dropped_and_counted(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        await near.do(run(far, *[b"x" * 500] * 10))
        ((told),) = await far.deliveries()
        assert isinstance(told, ForwardedRun)
        assert len(told.payloads) == 7
        assert dropped(world, "far") == 3
        await far.deliveries()  # tells the store that those were read
        await near.do(run(far, b"y"))
        assert await far.deliveries() == (ForwardedRun(b"head", [b"y"]),)

    async def test_a_run_of_qos_0_leaves_its_share_of_the_inbox_to_others(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        forward = RunForward(node="far", token=far.membership.token, head=b"head", receivers=1)
        await near.store.post(near.membership, [PostRun((b"x" * 500,) * 10, forward)])
        await near.do(run(far, b"x" * 500))
        first, second = await far.deliveries()
        assert isinstance(first, ForwardedRun)
        assert len(first.payloads) == 5
        assert second == ForwardedRun(b"head", [b"x" * 500])
        assert int(world.server.execute("HGET", f"{world.keys.data}node:far", "dropped_qos0")) == 5

    async def test_a_batch_that_is_repeated_forwards_nothing_twice(self, near: Peer, far: Peer) -> None:
        operation = run(far, b"1", b"2")
        number = near.number + 1
        for _ in range(2):
            assert await near.store.commit(near.membership, number, (operation,)) == (AcceptedRun(()),)
        assert await far.deliveries() == (ForwardedRun(b"head", [b"1", b"2"]),)
