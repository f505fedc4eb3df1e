"""Claims: incarnations, epochs, principals."""

import pytest

from mqtt_api.policy import Facts
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import (
    Accept,
    Claimed,
    ClaimRefused,
    Done,
    Marker,
    Stale,
)
from unit.mqtt_broker.store.harness import (
    WILL,
    Joined,
    Node,
    World,
    by_epoch,
    claim,
    detach,
    end,
    facts,
    join,
    mark,
    message,
    strict,
    subscribe,
    to,
)


class ClaimsContract(Joined):
    async def test_the_first_claim_makes_the_session(self, node: Node) -> None:
        """[MQTT-3.1.2-6]"""
        result = await node.do(claim(will=WILL))
        assert isinstance(result, Claimed)
        assert (result.present, result.previous_owner, result.lapsed_will, result.queued) == (False, None, None, 0)
        record = result.record
        assert (record.client_id, record.owner, record.will, record.facts) == ("a", "node-0", WILL, facts())
        assert (record.will_due_at, record.expires_at, record.sent_up_to) == (None, None, 0)

    async def test_a_resumed_session_keeps_what_it_holds_and_gets_a_higher_epoch(self, node: Node) -> None:
        """[MQTT-3.1.2-5] [3.1.1 MQTT-3.1.2-4]"""
        first = await node.claim()
        kept = Subscription(filter="t", qos=2, identifier=5, no_local=True, generation=3, muted=True)
        marker = Marker(client_id="a", epoch=first.epoch, packet_id=7)
        await node.commit(subscribe(first, kept), Accept(message=message(), targets=(to(first),), marker=marker))
        await node.commit(mark(first, 1), detach(first))
        result = await node.do(claim())
        assert isinstance(result, Claimed)
        assert (result.present, result.queued, result.previous_owner) == (True, 1, None)
        assert result.record.incarnation == first.incarnation
        assert result.record.epoch > first.epoch
        assert result.record.subscriptions == (kept,)
        assert (result.record.sent_up_to, result.record.inbound_qos2) == (1, (7,))

    async def test_the_epoch_tells_whether_a_session_was_ever_resumed(self, node: Node) -> None:
        """One that was has a queue, whatever its expiry is now: a node that only reads its record knows by this."""
        first = await node.claim()
        assert (first.epoch, first.has_queue) == (first.incarnation + 1, True)
        resumed = await node.claim(expiry_interval_s=0)
        assert resumed.incarnation == first.incarnation
        assert (resumed.is_persistent, resumed.has_queue) == (False, True)
        assert (await node.record()).has_queue
        again = await node.claim(clean_start=True, expiry_interval_s=0)
        assert (again.epoch, again.has_queue) == (again.incarnation + 1, False)

    async def test_the_mark_that_a_claim_gives_is_not_ahead_of_what_there_is(self, node: Node) -> None:
        """[MQTT-3.3.1-1] Written ahead of a window: what is appended after the claim was not sent yet."""
        record = await node.claim()
        await node.publish(record, b"1")
        await node.do(mark(record, 100))
        result = await node.do(claim())
        assert isinstance(result, Claimed)
        assert result.record.sent_up_to == 1

    async def test_a_claim_replaces_what_connect_says(self, node: Node) -> None:
        await node.claim(will=WILL)
        newer = Facts(client_id="a", username="user", attributes={"site": "south"})
        bounds = strict("Reject")
        await node.claim(facts=newer, protocol_version=4, expiry_interval_s=7, will=None, bounds=bounds)
        record = await node.record()
        assert (record.facts, record.protocol_version, record.expiry_interval_s) == (newer, 4, 7)
        assert (record.will, record.bounds) == (None, bounds)

    async def test_a_takeover_names_the_previous_owner(self, node: Node) -> None:
        await node.claim()
        other = await join(node.store, "node-1")
        result = await other.do(claim())
        assert isinstance(result, Claimed)
        assert (result.present, result.previous_owner, result.record.owner) == (True, "node-0", "node-1")

    async def test_clean_start_ends_the_old_session(self, node: Node) -> None:
        """[MQTT-3.1.2-4] [3.1.1 MQTT-3.1.2-6]"""
        old = await node.claim()
        await node.commit(subscribe(old, Subscription(filter="t")))
        await node.publish(old, b"1", b"2")
        await node.do(Accept(message=message(), marker=Marker(client_id="a", epoch=old.epoch, packet_id=7)))
        result = await node.do(claim(clean_start=True))
        assert isinstance(result, Claimed)
        new = result.record
        assert (result.present, result.queued) == (False, 0)
        assert new.incarnation != old.incarnation
        assert (new.subscriptions, new.inbound_qos2, new.sent_up_to) == ((), (), 0)
        assert await node.queue(old) == ()
        assert await node.publish(new, b"3") == [1]

    async def test_an_incarnation_is_never_used_again(self, node: Node) -> None:
        """[3.1.1 MQTT-3.1.2-6]"""
        seen = set()
        for _ in range(3):
            record = await node.claim(clean_start=True)
            seen |= {record.incarnation, record.epoch}
            await node.do(end(record))
        assert len(seen) == 6

    async def test_taking_over_a_connected_session_of_expiry_0_starts_a_new_one(self, node: Node) -> None:
        old = await node.claim(expiry_interval_s=0)
        result = await node.do(claim(expiry_interval_s=100))
        assert isinstance(result, Claimed)
        assert not result.present
        assert result.record.incarnation != old.incarnation

    @pytest.mark.parametrize("clean_start", [False, True])
    @pytest.mark.parametrize("username", ["other", ""])
    async def test_another_principal_can_neither_resume_nor_end_a_session(
        self, node: Node, clean_start: bool, username: str
    ) -> None:
        record = await node.claim()
        await node.publish(record, b"secret")
        await node.do(detach(record))
        stranger = claim(facts=facts(username=username), clean_start=clean_start)
        assert await node.do(stranger) == ClaimRefused()
        assert await node.payloads(record) == [b"secret"]
        assert await node.do(mark(record, 1)) == Done()

    async def test_another_principal_may_have_a_client_id_whose_session_is_over(self, node: Node, world: World) -> None:
        ended, expired = await node.claim("ended"), await node.claim("expired")
        await node.commit(end(ended), detach(expired, 10))
        world.clock.time += 10
        for client_id in ("ended", "expired"):
            record = await node.claim(client_id, facts=facts(client_id, "other"))
            assert record.facts.username == "other"

    async def test_another_principal_waits_until_the_will_of_the_former_was_fired(self, node: Node) -> None:
        """The claimer would publish it under its own name otherwise."""
        record = await node.claim(will=WILL)
        await node.do(detach(record, 0, node.store.now()))
        stranger = claim(facts=facts(username="other"))
        assert await node.do(stranger) == ClaimRefused()
        await node.do(Accept(message=message(), fires_will_of=("a", record.incarnation)))
        assert isinstance(await node.do(stranger), Claimed)

    async def test_another_principal_waits_for_the_will_of_an_expired_session_too(
        self, node: Node, world: World
    ) -> None:
        record = await node.claim(will=WILL)
        await node.do(detach(record, 10, node.store.now() + 10))
        world.clock.time += 10
        stranger = claim(facts=facts(username="other"))
        assert await node.do(stranger) == ClaimRefused()
        await node.do(Accept(message=message(), fires_will_of=("a", record.incarnation)))
        assert isinstance(await node.do(stranger), Claimed)

    async def test_an_expired_session_is_not_resumed_even_before_it_is_ended(self, node: Node, world: World) -> None:
        """[MQTT-3.1.2-23]"""
        record = await node.claim()
        await node.publish(record, b"1")
        await node.do(detach(record, 10))
        world.clock.time += 10
        result = await node.do(claim())
        assert isinstance(result, Claimed)
        assert (result.present, result.queued) == (False, 0)

    @pytest.mark.parametrize("index", range(10))
    async def test_a_writer_of_an_earlier_epoch_is_stale_and_changes_nothing(self, node: Node, index: int) -> None:
        old = await node.claim()
        await node.publish(old, b"1")
        new = await node.claim()
        before = await node.store.load(), await node.queue(new)
        assert await node.do(by_epoch("a", old.epoch, old.incarnation)[index]) == Stale()
        assert (await node.store.load(), await node.queue(new)) == before

    @pytest.mark.parametrize("index", range(10))
    async def test_a_writer_without_a_session_is_stale(self, node: Node, index: int) -> None:
        record = await node.claim()
        await node.do(end(record))
        assert await node.do(by_epoch("a", record.epoch, record.incarnation)[index]) == Stale()
        assert (await node.store.load()).sessions == ()
