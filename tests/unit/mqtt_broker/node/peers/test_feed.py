"""What the feed and the inbox bring, done to a node: a node in the same process, without the store behind them."""

from collections.abc import Iterator

import pytest

from mqtt_api.policy import Facts
from mqtt_broker.node.flows.publish import accept_message
from mqtt_broker.node.peers import feed, inbox
from mqtt_broker.node.peers.runs import ReceivedRuns
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.cluster import (
    Forwarded,
    Overflowed,
    RetainedChanged,
    SessionEnded,
    SessionOwned,
    SessionSubscribed,
    SessionUnsubscribed,
)
from mqtt_broker.store.ports import Forward, Target
from mqtt_broker.wire.packets import Publish
from support.conversation import connect, puback, subscribe
from support.inprocess import InProcessClient, InProcessNode

FACTS = Facts(client_id="far", anonymous=True)


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    node = InProcessNode()
    yield node
    node.close()


def near(node: InProcessNode) -> InProcessClient:
    """A client of this node."""
    client = node.open()
    node.feed(client, connect("near"))
    node.settle()
    node.output(client)
    return client


def subscribed(*filters: str, incarnation: int = 100, owner: str | None = "node-1") -> SessionSubscribed:
    return SessionSubscribed(
        client_id="far",
        incarnation=incarnation,
        epoch=incarnation + 1,
        owner=owner,
        expiry_interval_s=0,
        facts=FACTS,
        subscriptions=tuple(Subscription(filter=each, qos=1, requested_qos=1) for each in filters),
    )


def receivers(node: InProcessNode, topic: str) -> list[str]:
    plan = node.hub.plan(Message(topic=topic, payload=b"x", qos=1))
    assert plan is not None
    return [receiver.client_id for receiver in plan.receivers]


def test_a_subscription_made_elsewhere_is_in_plans_here(node: InProcessNode) -> None:
    feed.apply_session(node.hub, subscribed("a/+"))
    assert receivers(node, "a/b") == ["far"]
    assert node.hub.sessions["far"].owner == "node-1"


def test_an_entry_that_is_applied_twice_changes_nothing(node: InProcessNode) -> None:
    for _ in range(2):
        feed.apply_session(node.hub, subscribed("a/+", "b"))
    assert receivers(node, "b") == ["far"]
    assert len(node.hub.tree) == 2


def test_a_session_without_a_subscription_left_is_forgotten(node: InProcessNode) -> None:
    feed.apply_session(node.hub, subscribed("a", "b"))
    for key in ("a", "b"):
        feed.apply_session(node.hub, SessionUnsubscribed(client_id="far", incarnation=100, keys=((key, None),)))
    assert "far" not in node.hub.sessions
    assert len(node.hub.tree) == 0


def test_news_of_an_earlier_session_is_old(node: InProcessNode) -> None:
    feed.apply_session(node.hub, subscribed("a", incarnation=200))
    feed.apply_session(node.hub, subscribed("old", incarnation=100))
    feed.apply_session(node.hub, SessionEnded(client_id="far", incarnation=100))
    assert receivers(node, "a") == ["far"]
    assert receivers(node, "old") == []


def test_a_new_session_replaces_what_the_earlier_one_was_subscribed_to(node: InProcessNode) -> None:
    feed.apply_session(node.hub, subscribed("a", incarnation=100))
    feed.apply_session(node.hub, subscribed("b", incarnation=200))
    assert receivers(node, "a") == []
    assert receivers(node, "b") == ["far"]


def test_an_ended_session_receives_nothing(node: InProcessNode) -> None:
    feed.apply_session(node.hub, subscribed("a"))
    feed.apply_session(node.hub, SessionEnded(client_id="far", incarnation=100))
    assert receivers(node, "a") == []


def test_a_session_that_moves_is_where_the_feed_says(node: InProcessNode) -> None:
    feed.apply_session(node.hub, subscribed("a"))
    version = node.hub.tree.version("a")
    moved = SessionOwned(client_id="far", incarnation=100, epoch=300, owner="node-2", expiry_interval_s=60, facts=FACTS)
    feed.apply_session(node.hub, moved)
    session = node.hub.sessions["far"]
    assert (session.owner, session.is_persistent) == ("node-2", True)
    assert node.hub.tree.version("a") > version  # kept answers are asked again
    stale = SessionOwned(client_id="far", incarnation=100, epoch=200, owner="node-1", expiry_interval_s=0, facts=FACTS)
    feed.apply_session(node.hub, stale)
    assert session.owner == "node-2"


def test_a_session_connected_here_ends_with_its_connection_when_another_node_ended_it(node: InProcessNode) -> None:
    client = near(node)
    session = node.hub.sessions["near"]
    feed.apply_session(node.hub, SessionEnded(client_id="near", incarnation=session.incarnation))
    node.settle()
    assert client.is_closed
    assert "near" not in node.hub.sessions


def test_a_session_connected_here_that_the_feed_says_is_elsewhere_lets_go(node: InProcessNode) -> None:
    client = near(node)
    session = node.hub.sessions["near"]
    elsewhere = SessionOwned(
        client_id="near",
        incarnation=session.incarnation,
        epoch=session.epoch + 1,
        owner="node-1",
        expiry_interval_s=60,
        facts=session.facts,
    )
    feed.apply_session(node.hub, elsewhere)
    node.settle()
    assert client.is_closed
    assert node.hub.sessions["near"].owner == "node-1"


def test_retained_topics_of_other_nodes_are_known(node: InProcessNode) -> None:
    feed.apply_retained(node.hub, RetainedChanged(topic="r/1", is_set=True))
    assert "r/1" in node.hub.retained
    feed.apply_retained(node.hub, RetainedChanged(topic="r/1", is_set=False))
    assert "r/1" not in node.hub.retained


def test_a_forwarded_message_reaches_its_session_and_no_other_incarnation(node: InProcessNode) -> None:
    client = near(node)
    session = node.hub.sessions["near"]
    for incarnation, payload in ((session.incarnation, b"yes"), (session.incarnation - 1, b"no")):
        target = Target(client_id="near", incarnation=incarnation, qos=0)
        forward = Forward(node="node-0", token=1, targets=(target,))
        inbox.deliver(node.hub, ReceivedRuns(node.hub), Forwarded(Message(topic="t", payload=payload, qos=0), forward))
    node.settle()
    assert [packet.payload for packet in node.output(client) if isinstance(packet, Publish)] == [b"yes"]


def test_entries_that_had_to_go_are_not_sent_any_more(node: InProcessNode) -> None:
    """Another node's message took their place: they wait in memory here, behind a window of one."""
    client = node.open()
    node.feed(client, connect("near", receive_maximum=1))
    node.settle()
    node.feed(client, subscribe("t"))
    node.settle()
    session, runs = node.hub.sessions["near"], ReceivedRuns(node.hub)
    for payload in (b"1", b"2", b"3", b"4"):
        publish_own(node, payload)
    node.settle()
    other = session.incarnation + 1
    inbox.deliver(node.hub, runs, Overflowed("near", other, (4,)))
    inbox.deliver(node.hub, runs, Overflowed("nobody", 1, (4,)))
    inbox.deliver(node.hub, runs, Overflowed("near", session.incarnation, (2, 3)))
    for _ in range(4):
        packets = [packet for packet in node.output(client) if isinstance(packet, Publish)]
        for packet in packets:
            assert packet.payload in (b"1", b"4")
            node.feed(client, puback(packet.packet_id))
        node.settle()
    assert node.hub.buffered_bytes == 0


def publish_own(node: InProcessNode, payload: bytes) -> None:
    node.hub.loop.call_soon(accept_message, node.hub, Message(topic="t", payload=payload, qos=1))
    node.settle()
