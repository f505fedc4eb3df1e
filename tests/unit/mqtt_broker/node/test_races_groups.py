"""Shared subscriptions while members come, go and lose rights: each message is one member's that may have it."""

from collections.abc import Callable, Iterator

import pytest

from mqtt_api.node_settings import MQTTSettings
from mqtt_api.policy import Activity, Policy
from mqtt_broker.wire.reasons import ReasonCode
from support.conversation import (
    BY_PASSWORD,
    apply,
    believe_passwords,
    disconnect,
    join,
    leave,
    puback,
    pubacks,
    publish,
    received,
    slow_store,
    subscribe,
    tell,
    unsubscribe,
)
from support.inprocess import ANONYMOUS, InProcessClient, InProcessNode
from support.policies import allow, deny, policy

Start = Callable[..., InProcessNode]

SHARED = "$share/g/t/#"
KEY = ("g", "t/#")
TURNS_MAX = 60
MEMBERS = 10
GROUPS_EACH = 10
DENIED = deny("t/secret", activity=Activity.SUBSCRIBE)
PUBLISH_ONLY = policy(2, anonymous=[allow("#", activity=Activity.PUBLISH)])


def with_exception(revision: int = 1) -> Policy:
    """The user `kept` may not receive t/secret; `free` may do anything."""
    return policy(revision, users={"free": [allow("#")], "kept": [allow("#"), DENIED]})


def without_exception(revision: int = 1) -> Policy:
    return policy(revision, users={"free": [allow("#")], "kept": [allow("#")]})


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start nodes under a policy; they are closed, and must have reported no failure."""
    believe_passwords(monkeypatch)
    started: list[InProcessNode] = []

    def make(policy: Policy | None = None, mqtt: MQTTSettings | None = None) -> InProcessNode:
        by_password = policy is not None and policy.principals
        authentication = BY_PASSWORD if by_password else (ANONYMOUS,)
        started.append(InProcessNode(mqtt, policy, authentication=authentication))
        return started[-1]

    yield make
    for node in started:
        node.close()


def member(
    node: InProcessNode,
    client_id: str,
    *,
    lasts_s: int = 0,
    user: str | None = None,
    receive_maximum: int | None = None,
    qos: int = 1,
) -> InProcessClient:
    """A client that has joined the group."""
    client = join(node, client_id, lasts_s=lasts_s, user=user, receive_maximum=receive_maximum)
    tell(node, client, subscribe(SHARED, qos=qos))
    return client


def until_it_takes(node: InProcessNode) -> None:
    """Until a member is about to take from the group's queue."""
    for _ in range(TURNS_MAX):
        if KEY in node.hub.group_taking:
            return
        node.turns(1)
    raise AssertionError("no member takes")


# Rights --------------------------------------------------------------------------------------------------------------


def test_what_is_revoked_before_a_group_in_memory_gets_it_is_not_delivered(start: Start) -> None:
    node = start()
    receiver, publisher = member(node, "m"), join(node, "p")
    slow_store(node)
    node.feed(publisher, publish("t/1", b"after", retain=True))  # retained, so that it is written at all
    node.turns(2)
    apply(node, PUBLISH_ONLY)
    node.settle()
    assert received(node, receiver) == []


def test_what_a_lost_member_had_does_not_go_to_one_whom_a_deny_keeps_from_it(start: Start) -> None:
    node = start(with_exception())
    free, kept = member(node, "free", user="free"), member(node, "kept", user="kept")
    tell(node, join(node, "free-p", user="free"), publish("t/secret", b"secret"))
    assert received(node, free) == [b"secret"]
    leave(node, free)
    assert received(node, kept) == []
    assert node.hub.counters.dropped["no_receiver"] == 1


def test_a_member_without_exceptions_takes_first(start: Start) -> None:
    node = start(with_exception())
    free = member(node, "free", lasts_s=3600, user="free")
    kept = member(node, "kept", lasts_s=3600, user="kept")
    publisher = join(node, "free-p", user="free")
    payloads = [b"%d" % number for number in range(1, 7)]
    for number, payload in enumerate(payloads, start=1):
        tell(node, publisher, publish("t/secret", payload, packet_id=number))
    assert (received(node, free), received(node, kept)) == (payloads, [])
    assert node.hub.counters.dropped["revoked"] == 0


def test_an_entry_whose_taker_loses_the_right_goes_to_a_member_that_has_it(start: Start) -> None:
    node = start(without_exception())
    free = member(node, "free", lasts_s=3600, user="free")
    kept = member(node, "kept", lasts_s=3600, user="kept")
    publisher = join(node, "free-p", user="free")
    tell(node, publisher, publish("t/secret", b"1"))
    assert received(node, free) == [b"1"]  # the next one is the other's turn
    slow_store(node)
    node.feed(publisher, publish("t/secret", b"2", packet_id=2))
    until_it_takes(node)
    apply(node, with_exception(2))
    node.settle()
    assert (received(node, free), received(node, kept)) == ([b"2"], [])
    assert node.hub.counters.dropped["revoked"] == 0


def waiting_for_kept(node: InProcessNode, *others: str) -> InProcessClient:
    """The user `kept` is the only member of a group in memory, its window is taken, and t/secret waits for it."""
    kept = member(node, "kept", user="kept", receive_maximum=1)
    for start in range(0, len(others), 500):
        tell(node, kept, subscribe(*others[start : start + 500]))
    publisher = join(node, "free-p", user="free")
    tell(node, publisher, publish("t/first", b"first") + publish("t/secret", b"secret", packet_id=2))
    assert received(node, kept) == [b"first"]
    return kept


def test_what_waits_for_a_member_that_loses_the_right_goes_to_one_that_has_it(start: Start) -> None:
    node = start(without_exception())
    kept = waiting_for_kept(node)
    free = member(node, "free", user="free")
    apply(node, with_exception(2))
    node.settle()
    tell(node, kept, puback(1))
    assert (received(node, free), received(node, kept)) == ([b"secret"], [])
    assert not any(node.hub.counters.dropped.values())


def test_what_waits_for_a_member_that_loses_the_right_is_dropped_once_if_no_other_has_it(start: Start) -> None:
    node = start(without_exception())
    kept = waiting_for_kept(node)
    other = member(node, "kept-2", user="kept")
    apply(node, with_exception(2))
    node.settle()
    tell(node, kept, puback(1))
    assert (received(node, other), received(node, kept)) == ([], [])
    assert sum(node.hub.counters.dropped.values()) == node.hub.counters.dropped["no_receiver"] == 1


def test_what_a_member_would_be_sent_while_a_policy_spreads_goes_to_one_that_may_have_it(start: Start) -> None:
    node = start(without_exception(), MQTTSettings(subscriptions_per_client_max=5_000))
    kept = waiting_for_kept(node, *(f"x/{number}" for number in range(4_000)))
    free = member(node, "free", user="free")
    apply(node, policy(2, users={"free": [allow("#")], "kept": [allow("x/#"), allow("#", activity=Activity.PUBLISH)]}))
    assert node.hub.is_deciding
    node.feed(kept, puback(1))
    node.settle()
    assert (received(node, free), received(node, kept)) == ([b"secret"], [])
    assert not any(node.hub.counters.dropped.values())


@pytest.mark.parametrize("turns", range(12))
def test_an_entry_that_was_taken_goes_to_another_member_if_the_taker_loses_the_right_before_it_is_sent(
    start: Start, turns: int
) -> None:
    node = start(without_exception())
    kept = member(node, "kept", lasts_s=3600, user="kept")
    publisher = join(node, "free-p", user="free")
    slow_store(node)
    node.feed(publisher, publish("t/secret", b"secret"))
    until_it_takes(node)
    node.turns(turns)
    free = member(node, "free", lasts_s=3600, user="free")
    apply(node, with_exception(2))
    node.settle()
    assert len(received(node, free)) + len(received(node, kept)) == 1
    assert not any(node.hub.counters.dropped.values())


def test_an_entry_that_no_member_may_have_waits_for_one_that_joins(start: Start) -> None:
    node = start(without_exception())
    kept = member(node, "kept", lasts_s=3600, user="kept")
    publisher = join(node, "free-p", user="free")
    slow_store(node)
    node.feed(publisher, publish("t/secret", b"1"))
    until_it_takes(node)
    apply(node, with_exception(2))
    node.settle()
    assert received(node, kept) == []
    free = join(node, "free", lasts_s=3600, user="free")
    node.feed(free, subscribe(SHARED))
    node.settle()
    assert received(node, free) == [b"1"]


def test_an_entry_given_back_waits_for_a_member_that_may_have_it_and_has_no_room(start: Start) -> None:
    node = start(with_exception())
    free = member(node, "free", lasts_s=3600, user="free", receive_maximum=1)
    kept = member(node, "kept", lasts_s=3600, user="kept")
    publisher = join(node, "free-p", user="free")
    tell(node, publisher, publish("t/secret", b"1") + publish("t/secret", b"2", packet_id=2))
    assert received(node, free) == [b"1"]
    node.feed(free, puback(1))
    node.settle()
    assert (received(node, free), received(node, kept)) == ([b"2"], [])


# A group's home: memory or store -------------------------------------------------------------------------------------


def test_a_message_stored_for_a_group_whose_last_lasting_member_leaves_is_delivered_once(start: Start) -> None:
    node = start()
    lasting = member(node, "lasting", lasts_s=3600, qos=2)
    transient = member(node, "transient", qos=2)
    publisher = join(node, "p")
    slow_store(node)
    node.feed(publisher, publish("t/1", b"once", qos=2))
    node.turns(1)
    node.feed(lasting, disconnect(lasts_s=0))
    node.settle()
    assert received(node, lasting) + received(node, transient) == [b"once"]
    later = member(node, "later", lasts_s=3600, qos=2)  # nothing lies in the store for it
    tell(node, publisher, publish("t/1", b"next", qos=2, packet_id=2))
    assert received(node, later) + received(node, transient) == [b"next"]


def test_a_message_of_a_group_in_memory_is_not_lost_when_a_lasting_member_is_unmuted_before_it_is_stored(
    start: Start,
) -> None:
    node = start(without_exception())
    free, kept = member(node, "free", user="free"), member(node, "kept", lasts_s=3600, user="kept")
    publisher = join(node, "free-p", user="free")
    apply(node, policy(2, users={"free": [allow("#")], "kept": []}))
    node.settle()
    slow_store(node)
    node.feed(publisher, publish("t/1", b"not lost", retain=True))  # retained, so that it is written at all
    node.turns(1)
    apply(node, without_exception(3))
    node.settle()
    assert received(node, free) + received(node, kept) == [b"not lost"]


def test_a_message_of_a_group_in_memory_is_not_lost_when_a_member_leaves_before_it_is_stored(start: Start) -> None:
    node = start()
    publisher, busy = join(node, "p"), member(node, "busy", receive_maximum=1)
    node.feed(publisher, publish("t/1", b"fills its window"))
    node.settle()
    leaving = member(node, "leaving")
    slow_store(node)
    node.feed(publisher, publish("t/1", b"not lost", packet_id=2, retain=True))
    node.turns(1)
    node.feed(leaving, disconnect())
    node.settle()
    assert pubacks(node, publisher) == [(1, ReasonCode.SUCCESS), (2, ReasonCode.SUCCESS)]
    node.feed(busy, puback(1))
    node.settle()
    assert received(node, busy) == [b"fills its window", b"not lost"]
    assert not node.hub.group_backlog


def test_what_a_transient_member_took_goes_to_another_also_if_it_unsubscribed_before_it_left(start: Start) -> None:
    node = start()
    lasting, transient = member(node, "lasting", lasts_s=3600), member(node, "transient")
    publisher = join(node, "p")
    for number in range(1, 5):
        tell(node, publisher, publish("t/1", b"%d" % number, packet_id=number))
    taken = received(node, transient)
    assert len(taken) == 2
    assert len(received(node, lasting)) == 2
    tell(node, transient, unsubscribe(SHARED))
    leave(node, transient)
    assert received(node, lasting) == taken


@pytest.mark.parametrize("lasts_s", [0, 3600])
def test_groups_leave_nothing_behind_when_their_members_are_gone(start: Start, lasts_s: int) -> None:
    node = start()
    publisher = join(node, "p")
    for number in range(MEMBERS):
        client = join(node, "m", lasts_s=lasts_s)
        tell(node, client, subscribe(*(f"$share/g-{number}-{index}/t" for index in range(GROUPS_EACH))))
        tell(node, publisher, publish("t", b"x", packet_id=number + 1))
        tell(node, client, disconnect(lasts_s=0))
    assert not node.hub.group_backlog
    assert not node.hub.group_taking
    assert len(node.hub.picker) == 0
