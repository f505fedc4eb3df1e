"""What takes long for one client goes in slices: so much of it in one loop turn, and the outcome is that of one go."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_api.policy import Activity, Policy
from mqtt_broker.node.hub import ROUTES_PER_EFFORT
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.policy_feed import FILTERS_PER_EFFORT, FILTERS_PER_SLICE
from mqtt_broker.node.retained import MESSAGES_PER_EFFORT, NODES_PER_EFFORT, READ_TOPICS_MAX
from mqtt_broker.node.turns import FILTERS_PER_TURN_MAX, Turns
from mqtt_broker.routing.retained import RetainedIndex
from mqtt_broker.routing.tree import SubscriptionTree
from mqtt_broker.session.session import SessionRecord
from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from support.conversation import V5, apply, connect, join, leave, publish, received, slow_store, subscribe, tell
from support.inprocess import InProcessClient, InProcessNode
from support.policies import allow, deny, open_policy, policy

MANY = 4_000
PER_PACKET = 500
SETTINGS = MQTTSettings(subscriptions_per_client_max=MANY, queue=QueueSettings(messages_max=2 * MANY), sys_interval_s=0)
TURNS_MAX = 10_000


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    running = InProcessNode(SETTINGS)
    yield running
    running.close()


class Calls:
    """How often something was done, in all and at most in one turn of the loop."""

    def __init__(self, node: InProcessNode) -> None:
        self._node = node
        self.total = 0
        self.in_one_turn = 0
        self.turns = 0

    def count(self) -> None:
        self.total += 1

    def run(self, begin: Callable[[], None]) -> None:
        """Begin, and go on turn by turn until nothing is left to do at this moment."""
        begin()
        self.in_one_turn = self.total
        while self._node.hub.is_deciding or self._node.loop._ready:  # type: ignore[attr-defined]
            before = self.total
            self._node.turns(1)
            self.turns += 1
            self.in_one_turn = max(self.in_one_turn, self.total - before)
            assert self.turns < TURNS_MAX


def counting(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, calls: Calls) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def counted(*args: Any, **more: Any) -> Any:
        calls.count()
        return original(*args, **more)

    monkeypatch.setattr(owner, name, counted)


def filters(count: int = MANY, prefix: str = "t") -> list[str]:
    return [f"{prefix}/{number}" for number in range(count)]


def subscriber(node: InProcessNode, client_id: str, *wanted: str, lasts_s: int = 0) -> InProcessClient:
    client = join(node, client_id, lasts_s=lasts_s)
    for start in range(0, len(wanted), PER_PACKET):
        tell(node, client, subscribe(*wanted[start : start + PER_PACKET], qos=0))
    node.output(client)
    return client


# A session that ends -------------------------------------------------------------------------------------------------


def test_a_session_with_many_subscriptions_leaves_in_slices(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(node)
    leaver = subscriber(node, "leaver", *filters())
    counting(monkeypatch, SubscriptionTree, "remove", calls)
    calls.run(lambda: node.lose(leaver))
    assert calls.total == MANY
    assert calls.in_one_turn <= FILTERS_PER_TURN_MAX * ROUTES_PER_EFFORT
    assert not len(node.hub.tree)


def test_nothing_is_delivered_by_routes_that_are_still_there(node: InProcessNode) -> None:
    leaver = subscriber(node, "leaver", *filters(), "$share/group/shared")
    publisher = join(node, "publisher")
    node.lose(leaver)
    node.turns(1)
    assert len(node.hub.tree)
    tell(node, publisher, publish(f"t/{MANY - 1}", b"late", qos=1) + publish("shared", b"late", qos=1, packet_id=2))
    assert not len(node.hub.tree)
    assert not node.hub.group_backlog


def test_who_comes_back_at_once_gets_nothing_by_its_old_routes(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_broker.node.hub.ROUTES_PER_EFFORT", 1)
    leaver = subscriber(node, "leaver", *filters())
    publisher, back = join(node, "publisher"), node.open()
    node.lose(leaver)
    node.feed(back, connect("leaver") + subscribe("t/7", qos=0))
    while node.loop._ready:  # type: ignore[attr-defined]
        node.feed(publisher, publish(f"t/{MANY - 1}", b"not any more", qos=0))
        node.turns(1)
        if not len(node.hub.tree) - 1:
            break
    tell(node, publisher, publish("t/7", b"asked for", qos=0))
    assert received(node, back) == [b"asked for"]
    assert len(node.hub.tree) == 1


def test_a_late_claim_that_is_given_back_leaves_no_old_route(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever adopts a session does not wait: what still leads to the one before it goes first."""
    monkeypatch.setattr("mqtt_broker.node.hub.ROUTES_PER_EFFORT", 1)
    leaver = subscriber(node, "leaver", *filters())
    before = leaver.connection.session
    record = SessionRecord(
        client_id="leaver",
        incarnation=before.incarnation + 1,
        epoch=1,
        facts=before.facts,
        protocol_version=5,
        expiry_interval_s=0,
        bounds=before.bounds,
    )
    node.lose(leaver)
    assert len(node.hub.tree)
    node.hub.adopt(record)
    assert not len(node.hub.tree)


def test_a_clean_start_lets_go_of_what_was_there_in_slices(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(node)
    leave(node, subscriber(node, "keeper", *filters(), lasts_s=100))
    publisher = join(node, "publisher")
    counting(monkeypatch, SubscriptionTree, "remove", calls)
    again = node.open()
    calls.run(lambda: node.feed(again, encode(wire.Connect(V5, "keeper", clean_start=True, keep_alive=0), V5)))
    assert calls.in_one_turn <= FILTERS_PER_TURN_MAX * ROUTES_PER_EFFORT
    tell(node, publisher, publish("t/7", b"for the old one", qos=0))
    assert received(node, again) == []


def test_a_session_with_many_subscriptions_comes_back_in_slices(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(node)
    leave(node, subscriber(node, "keeper", *filters(), lasts_s=100))
    publisher = join(node, "publisher")
    counting(monkeypatch, LiveSession, "decided", calls)
    back = node.open()
    calls.run(lambda: node.feed(back, encode(wire.Connect(V5, "keeper", clean_start=False, keep_alive=0), V5)))
    assert calls.total == MANY
    assert calls.in_one_turn <= FILTERS_PER_TURN_MAX * FILTERS_PER_EFFORT + FILTERS_PER_SLICE
    tell(node, publisher, publish(f"t/{MANY - 1}", b"still", qos=0))
    assert received(node, back) == [b"still"]


# A policy ------------------------------------------------------------------------------------------------------------


def without(*topics: str, revision: int = 2) -> Policy:
    return policy(revision, anonymous=[allow("#"), *(deny(topic, activity=Activity.SUBSCRIBE) for topic in topics)])


def test_a_policy_reaches_many_subscriptions_in_slices(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(node)
    one = subscriber(node, "one", *filters())
    others = [subscriber(node, f"other-{number}", "t/1", "u/1") for number in range(200)]
    publisher = join(node, "publisher")
    counting(monkeypatch, LiveSession, "decided", calls)
    calls.run(lambda: apply(node, without("t/#")))
    assert calls.total == MANY + 400
    assert calls.in_one_turn <= FILTERS_PER_TURN_MAX * FILTERS_PER_EFFORT + FILTERS_PER_SLICE
    assert node.hub.revision == 2
    tell(node, publisher, publish("t/1", b"no", qos=0) + publish("u/1", b"yes", qos=0))
    assert received(node, one) == []
    assert [received(node, other) for other in others] == [[b"yes"]] * len(others)


def test_what_was_planned_while_a_policy_spread_is_decided_again(node: InProcessNode) -> None:
    """[D9] A message stored before its receiver was decided is not sent by the old rights."""
    first = subscriber(node, "first", *filters())
    second = subscriber(node, "second", *filters(2), lasts_s=100)
    publisher = join(node, "publisher")
    node.loop.executor_lag_turns = 30
    apply(node, without("t/1"))
    node.feed(publisher, publish("t/1", b"no", retain=True) + publish("t/0", b"yes", packet_id=2, retain=True))
    assert node.hub.is_deciding
    node.settle()
    assert (received(node, first)[-1:], received(node, second)) == ([b"yes"], [b"yes"])


def test_of_policies_that_come_while_one_spreads_the_newest_holds(node: InProcessNode) -> None:
    subscriber(node, "first", *filters())
    last = subscriber(node, "last", "t/1", "t/2", "t/3")
    publisher = join(node, "publisher")
    apply(node, without("t/1"))
    for revision, topic in ((3, "t/2"), (4, "t/3")):
        apply(node, without(topic, revision=revision))
    assert node.hub.is_deciding
    node.settle()
    assert node.hub.revision == 4
    for number in (1, 2, 3):
        tell(node, publisher, publish(f"t/{number}", b"%d" % number, qos=0))
    assert received(node, last) == [b"1", b"2"]


def test_who_connects_while_a_policy_spreads_is_under_the_new_one(node: InProcessNode) -> None:
    subscriber(node, "first", *filters())
    publisher = join(node, "publisher")
    apply(node, without("t/1"))
    assert node.hub.is_deciding
    newcomer = node.open()
    node.feed(newcomer, encode(wire.Connect(V5, "new", clean_start=True, keep_alive=0), V5))
    node.settle()
    tell(node, newcomer, subscribe("t/1", "u", qos=0))
    tell(node, publisher, publish("t/1", b"no", qos=0) + publish("u", b"yes", qos=0))
    assert received(node, newcomer) == [b"yes"]


def test_a_session_that_ends_while_a_policy_spreads_is_left_alone(node: InProcessNode) -> None:
    first = subscriber(node, "first", *filters())
    apply(node, without("t/1"))
    assert node.hub.is_deciding
    leave(node, first)
    assert node.hub.revision == 2
    assert not len(node.hub.tree)


def test_only_those_are_decided_again_whose_rules_changed(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(node)
    subscriber(node, "one", "t/1")
    counting(monkeypatch, LiveSession, "decided", calls)
    apply(node, open_policy(2))
    node.settle()
    assert (node.hub.revision, calls.total) == (2, 0)


# Retained messages ---------------------------------------------------------------------------------------------------


def retain(node: InProcessNode, client: InProcessClient, topics: list[str], payload: bytes = b"x") -> None:
    for start in range(0, len(topics), PER_PACKET):
        data = b"".join(publish(topic, payload, qos=0, retain=True) for topic in topics[start : start + PER_PACKET])
        tell(node, client, data)


def test_a_wide_filter_gets_what_is_retained_in_slices(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, deliveries = Calls(node), Calls(node)
    retain(node, join(node, "publisher"), filters())
    reader = join(node, "reader")
    walk = RetainedIndex.walk

    def counted(self: RetainedIndex, topic_filter: str) -> Iterator[str | None]:
        for topic in walk(self, topic_filter):
            steps.count()
            yield topic

    monkeypatch.setattr(RetainedIndex, "walk", counted)
    counting(monkeypatch, type(node.hub), "deliver", deliveries)
    node.feed(reader, subscribe("#", qos=0))
    while node.loop._ready:  # type: ignore[attr-defined]
        before = steps.total, deliveries.total
        node.turns(1)
        assert steps.total - before[0] <= FILTERS_PER_TURN_MAX * NODES_PER_EFFORT
        assert deliveries.total - before[1] <= FILTERS_PER_TURN_MAX * MESSAGES_PER_EFFORT + READ_TOPICS_MAX
    topics = [packet.topic for packet in node.output(reader) if isinstance(packet, wire.Publish)]
    assert sorted(topics) == sorted(filters())


def test_a_filter_that_matches_little_is_looked_for_in_slices(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Calls(node)
    retain(node, join(node, "publisher"), [*filters(), "t/7/deep"])
    reader = join(node, "reader")
    monkeypatch.setattr("mqtt_broker.node.retained.NODES_PER_EFFORT", 1)
    counting(monkeypatch, Turns, "spend", steps)
    steps.run(lambda: node.feed(reader, subscribe("+/+/deep", qos=0)))
    assert steps.total >= MANY
    assert steps.in_one_turn <= 2 * FILTERS_PER_TURN_MAX
    assert [packet.topic for packet in node.output(reader) if isinstance(packet, wire.Publish)] == ["t/7/deep"]


def test_topics_that_come_and_go_meanwhile_neither_hide_nor_repeat_the_others(node: InProcessNode) -> None:
    publisher, reader = join(node, "publisher"), join(node, "reader")
    kept, gone = filters(prefix="kept"), filters(500, prefix="gone")
    retain(node, publisher, [*kept[:2000], *gone, *kept[2000:]])
    node.feed(reader, subscribe("#", qos=0))
    for number, topic in enumerate(gone):
        node.feed(publisher, publish(topic, b"", qos=0, retain=True))
        node.feed(publisher, publish(f"new/{number}", b"live", qos=0, retain=True))
        node.turns(1)
    node.settle()
    came = [packet for packet in node.output(reader) if isinstance(packet, wire.Publish) and packet.payload]
    topics = [packet.topic for packet in came]
    assert len(topics) == len(set(topics))
    assert set(topics) >= {*kept, *(f"new/{number}" for number in range(len(gone)))}
    assert {packet.topic for packet in came if packet.payload == b"live" and packet.retain} <= {"new/0"}


@pytest.mark.parametrize("topic_filter", ["t", "#"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_retained_while_the_subscription_is_written_is_not_missed(
    node: InProcessNode, topic_filter: str, known: bool, qos: int
) -> None:
    publisher, reader = join(node, "publisher"), join(node, "reader")
    if known:
        tell(node, publisher, publish("t", b"old", qos=0, retain=True))
    slow_store(node)
    node.feed(reader, subscribe(topic_filter, qos=0))
    node.turns(1)
    node.feed(publisher, publish("t", b"new", qos=qos, retain=True))
    node.settle()
    assert received(node, reader)[-1:] == [b"new"]
    assert not node.hub.retained_under_way


def test_who_unsubscribes_meanwhile_gets_no_more(node: InProcessNode) -> None:
    retain(node, join(node, "publisher"), filters())
    reader = join(node, "reader")
    node.feed(reader, subscribe("#", qos=0))
    node.turns(6)
    node.feed(reader, encode(wire.Unsubscribe(2, ("#",)), V5))
    node.settle()
    assert len(received(node, reader)) < MANY
