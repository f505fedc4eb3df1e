"""What happens between a decision and its effect: one owner per session, and decisions taken again where they count."""

from collections.abc import Callable, Iterator

import pytest

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_api.policy import Activity, ClientLimits, Policy, Principal, Rule
from mqtt_api.templates import ATTRIBUTE_PREFIX
from mqtt_broker.node import outlet
from mqtt_broker.wire.packets import Properties, PubRec, UnsubAck, Will
from mqtt_broker.wire.reasons import ReasonCode
from support.conversation import (
    BY_PASSWORD,
    apply,
    believe_passwords,
    connack,
    connect,
    join,
    leave,
    pubacks,
    pubcomp,
    publish,
    pubrec,
    received,
    slow_store,
    suback,
    subscribe,
    tell,
    unsubscribe,
)
from support.inprocess import ANONYMOUS, InProcessClient, InProcessNode
from support.policies import allow, deny, open_policy, policy, verifier

Start = Callable[..., InProcessNode]

TURNS_MAX = 60  # far more than a CONNECT takes
CONNECTIONS_MAX = 2
WILL_DELAY_S = 20
CLAIM_TURNS = 3  # the claim is written then, and not known to be
COMMIT_TURNS = 2
REJECTING = MQTTSettings(queue=QueueSettings(overflow="Reject", messages_max=1))
PUBLISH_ONLY = policy(2, anonymous=[allow("#", activity=Activity.PUBLISH)])


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start nodes with arguments of InProcessNode; they are closed, and must have reported no failure."""
    believe_passwords(monkeypatch)
    started: list[InProcessNode] = []

    def make(policy: Policy | None = None, mqtt: MQTTSettings | None = None) -> InProcessNode:
        by_password = policy is not None and policy.principals
        started.append(InProcessNode(mqtt, policy, authentication=BY_PASSWORD if by_password else (ANONYMOUS,)))
        return started[-1]

    yield make
    for node in started:
        node.close()


def two_users(
    revision: int,
    *rules: Rule,
    client_ids: tuple[str, ...] = ("u", "u-*"),
    connections_max: int | None = None,
    site: str = "A",
) -> Policy:
    """The user `u` has these rules, and the rest is about it; `w` may do anything."""
    principal = Principal(
        username="u",
        client_ids=client_ids,
        passwords=(verifier(),),
        limits=ClientLimits(connections_max=connections_max),
        attributes={"site": site},
    )
    return policy(revision, users={"u": rules, "w": [allow("#")]}, principals={"u": principal})


def of_site(revision: int, site: str) -> Policy:
    return two_users(revision, allow("site/${" + ATTRIBUTE_PREFIX + "site}/#"), site=site)


def muted(node: InProcessNode, client_id: str) -> list[bool]:
    """Of each subscription, whether it is muted."""
    return [subscription.muted for subscription in node.hub.sessions[client_id].subscriptions.values()]


def finish(node: InProcessNode, receiver: InProcessClient, packet_id: int) -> None:
    """The receiver's part of a QoS 2 exchange; an id that is on its way to nobody is ignored."""
    for answer in (pubrec(packet_id), pubcomp(packet_id)):
        node.feed(receiver, answer)
        node.settle()


# One owner of a session ----------------------------------------------------------------------------------------------


def test_three_connects_of_one_client_id_leave_one_owner(start: Start) -> None:
    """[MQTT-3.1.4-3]"""
    node = start()
    slow_store(node)
    first, second, third = node.open(), node.open(), node.open()
    node.feed(first, connect("x"))
    node.feed(second, connect("x"))
    for _ in range(TURNS_MAX):
        node.turns(1)
        if node.hub.connections.get("x") is first.connection:
            break
    node.turns(1)  # the second is at it now, and the third comes
    node.feed(third, connect("x"))
    node.settle()
    assert [client.is_closed for client in (first, second, third)] == [True, True, False]
    assert node.hub.connections["x"] is third.connection
    assert not node.hub.connecting


def test_the_first_owner_is_gone_before_the_second_is_answered(start: Start) -> None:
    """[MQTT-3.1.4-3] [3.1.1 MQTT-3.1.4-2] Its last writes reach the store ahead of the claim."""
    node = start()
    first = join(node, "x")
    slow_store(node)
    second = node.open()
    node.feed(second, connect("x"))
    for _ in range(TURNS_MAX):
        node.turns(1)
        if first.is_closed:
            break
    assert first.is_closed
    assert not node.hub.connections  # the claim is still under way
    node.settle()
    assert connack(node, second) is ReasonCode.SUCCESS


def test_a_principals_connections_are_bounded_also_when_they_come_at_once(start: Start) -> None:
    node = start(two_users(1, allow("#"), connections_max=CONNECTIONS_MAX))
    slow_store(node)
    clients = [node.open() for _ in range(5 * CONNECTIONS_MAX)]
    for number, client in enumerate(clients):
        node.feed(client, connect(f"u-{number}", user="u"))
    node.settle()
    reasons = [connack(node, client) for client in clients]
    assert reasons.count(ReasonCode.SUCCESS) == CONNECTIONS_MAX
    assert reasons.count(ReasonCode.QUOTA_EXCEEDED) == len(clients) - CONNECTIONS_MAX
    assert node.hub.connections_per_user["u"] == CONNECTIONS_MAX
    assert not node.hub.connecting_per_user


def test_connects_that_are_over_leave_room_for_others_of_the_principal(start: Start) -> None:
    node = start(two_users(1, allow("#"), connections_max=1))
    leave(node, join(node, "u-1", user="u"))
    join(node, "u-2", user="u")


def test_a_message_accepted_together_with_the_receivers_claim_arrives(start: Start) -> None:
    """[MQTT-4.4.0-1]"""
    node = start()
    receiver, publisher = join(node, "s"), join(node, "p")
    tell(node, receiver, subscribe("a"))
    leave(node, receiver)
    receiver = node.open()
    node.feed(receiver, connect("s"))
    node.turns(1)
    node.feed(publisher, publish("a", b"just now"))
    node.settle()
    assert received(node, receiver) == [b"just now"]


def test_subscribe_and_unsubscribe_in_one_read_leave_nothing_after_resume(start: Start) -> None:
    """[MQTT-3.10.4-1]"""
    node = start()
    client, publisher = join(node, "s"), join(node, "p")
    node.feed(client, subscribe("a") + unsubscribe("a"))
    node.settle()
    (answer,) = (packet for packet in node.output(client) if isinstance(packet, UnsubAck))
    assert answer.reasons == (ReasonCode.SUCCESS,)
    leave(node, client)
    client = join(node, "s")
    tell(node, publisher, publish("a", b"unwanted"))
    assert received(node, client) == []
    assert not client.connection.session.subscriptions


# A right that is lost while a write is under way ---------------------------------------------------------------------


def test_a_deny_that_comes_while_a_subscribe_is_written_is_its_exception(start: Start) -> None:
    node = start()
    receiver, publisher = join(node, "s"), join(node, "p")
    slow_store(node)
    node.feed(receiver, subscribe("#"))
    node.turns(2)
    apply(node, policy(2, anonymous=[allow("#"), deny("secret/#", activity=Activity.SUBSCRIBE)]))
    node.settle()
    assert suback(node, receiver) == (ReasonCode.GRANTED_QOS_1,)
    tell(node, publisher, publish("secret/1", b"classified") + publish("open/1", b"for all", packet_id=2))
    assert received(node, receiver) == [b"for all"]


@pytest.mark.parametrize(
    ("allowed", "codes"),
    [
        ("a", (ReasonCode.GRANTED_QOS_1, ReasonCode.NOT_AUTHORIZED, ReasonCode.NOT_AUTHORIZED)),
        ("b", (ReasonCode.NOT_AUTHORIZED, ReasonCode.GRANTED_QOS_1, ReasonCode.NOT_AUTHORIZED)),
        ("c", (ReasonCode.NOT_AUTHORIZED, ReasonCode.NOT_AUTHORIZED, ReasonCode.GRANTED_QOS_1)),
        ("other", (ReasonCode.NOT_AUTHORIZED,) * 3),
    ],
)
def test_suback_says_of_each_filter_whether_it_was_revoked_while_it_was_written(
    start: Start, allowed: str, codes: tuple[ReasonCode, ...]
) -> None:
    """[MQTT-3.9.3-1]"""
    node = start()
    client = join(node, "s")
    slow_store(node)
    node.feed(client, subscribe("a", "b", "c"))
    node.turns(2)
    apply(node, policy(2, anonymous=[allow(allowed)]))
    node.settle()
    assert suback(node, client) == codes
    leave(node, client)
    kept = {(allowed, None)} if allowed != "other" else set()
    assert set(join(node, "s").connection.session.subscriptions) == kept


def test_what_is_revoked_before_it_is_stored_is_not_delivered(start: Start) -> None:
    node = start()
    receiver, publisher = join(node, "s"), join(node, "p")
    tell(node, receiver, subscribe("a"))
    tell(node, publisher, publish("a", b"before"))  # later ones need no mark, and no second look at the queue
    assert received(node, receiver) == [b"before"]
    slow_store(node)
    node.feed(publisher, publish("a", b"after", packet_id=2))
    node.turns(2)
    apply(node, PUBLISH_ONLY)
    node.settle()
    assert received(node, receiver) == []


@pytest.mark.parametrize(("site", "expected"), [("A", [b"gone"]), ("B", [])])
def test_a_delayed_will_is_decided_by_the_attributes_of_when_it_is_due(
    start: Start, site: str, expected: list[bytes]
) -> None:
    """[MQTT-3.1.3-9]"""
    node = start(of_site(1, "A"))
    will = Will("site/A/gone", b"gone", 0, retain=False, properties=Properties(will_delay_interval=WILL_DELAY_S))
    client, watcher = join(node, "u", user="u", will=will), join(node, "w", user="w")
    tell(node, watcher, subscribe("#"))
    leave(node, client)
    apply(node, of_site(2, site))
    node.advance(2 * WILL_DELAY_S)
    assert received(node, watcher) == expected


# A right that changes while a CONNECT is under way -------------------------------------------------------------------


def test_what_a_policy_mutes_during_a_claim_stays_muted_until_it_is_allowed_again(start: Start) -> None:
    node = start()
    publisher, receiver = join(node, "p"), join(node, "s")
    tell(node, receiver, subscribe("a"))
    leave(node, receiver)
    slow_store(node)
    receiver = node.open()
    node.feed(receiver, connect("s"))
    node.turns(CLAIM_TURNS)
    apply(node, PUBLISH_ONLY)
    node.settle()
    assert muted(node, "s") == [True]
    tell(node, publisher, publish("a", b"not for it"))
    leave(node, receiver)
    apply(node, open_policy(3))
    node.settle()
    receiver = join(node, "s")
    assert muted(node, "s") == [False]
    tell(node, publisher, publish("a", b"allowed again", packet_id=2))
    assert received(node, receiver) == [b"allowed again"]


def test_a_connect_refused_after_its_claim_leaves_the_session_with_the_rights_of_now(start: Start) -> None:
    node = start(two_users(1, allow("#"), client_ids=("u",)))
    publisher, receiver = join(node, "w", user="w"), join(node, "u", user="u")
    tell(node, receiver, subscribe("a"))
    leave(node, receiver)
    slow_store(node)
    receiver = node.open()
    node.feed(receiver, connect("u", user="u"))
    node.turns(CLAIM_TURNS)
    apply(node, two_users(2, allow("b"), client_ids=("another",)))
    node.settle()
    assert "u" not in node.hub.connections
    assert muted(node, "u") == [True]
    tell(node, publisher, publish("a", b"not for it"))
    apply(node, two_users(3, allow("#"), client_ids=("u",)))
    node.settle()
    receiver = join(node, "u", user="u")
    assert muted(node, "u") == [False]
    tell(node, publisher, publish("a", b"allowed again", packet_id=2))
    assert received(node, receiver) == [b"allowed again"]


def test_a_connect_refused_after_its_claim_is_answered_and_closed(start: Start) -> None:
    """[MQTT-3.1.4-2]"""
    node = start(two_users(1, allow("#")))
    slow_store(node)
    client = node.open()
    node.feed(client, connect("u", user="u"))
    node.turns(CLAIM_TURNS)
    apply(node, two_users(2, allow("#"), client_ids=("another",)))
    node.settle()
    assert client.is_closed
    assert connack(node, client) is ReasonCode.NOT_AUTHORIZED


# Answers in order, and once ------------------------------------------------------------------------------------------


def test_pubacks_keep_their_order_with_a_rejected_message_in_the_middle(start: Start) -> None:
    node = start(mqtt=REJECTING)
    full, publisher = join(node, "full"), join(node, "p")
    tell(node, full, subscribe("full"))
    leave(node, full)
    tell(node, join(node, "s"), subscribe("free"))
    tell(node, publisher, publish("full", b"fills the queue"))
    node.feed(
        publisher,
        publish("other", b"1", packet_id=1) + publish("full", b"2", packet_id=2) + publish("free", b"3", packet_id=3),
    )
    node.settle()
    assert pubacks(node, publisher) == [
        (1, ReasonCode.NO_MATCHING_SUBSCRIBERS),
        (2, ReasonCode.QUOTA_EXCEEDED),
        (3, ReasonCode.SUCCESS),
    ]


def test_a_repeated_qos2_message_is_answered_behind_the_rejection_of_the_first(start: Start) -> None:
    """[MQTT-4.3.3-9]"""
    node = start(mqtt=REJECTING)
    full, publisher = join(node, "full"), join(node, "p")
    tell(node, full, subscribe("full", qos=2))
    leave(node, full)
    tell(node, publisher, publish("full", b"fills the queue"))
    node.feed(publisher, publish("full", b"2", qos=2, packet_id=2) * 2)
    node.settle()
    answers = [packet.reason for packet in node.output(publisher) if isinstance(packet, PubRec)]
    assert answers[0] is ReasonCode.QUOTA_EXCEEDED


def test_topics_of_rejected_retained_messages_are_not_remembered(start: Start) -> None:
    node = start(mqtt=REJECTING)
    full, publisher = join(node, "full"), join(node, "p")
    tell(node, full, subscribe("r/#"))
    leave(node, full)
    for number in range(1, 10):
        tell(node, publisher, publish(f"r/{number}", b"x", packet_id=number, retain=True))
    assert set(node.hub.retained_planned) == {"r/1"}


def test_a_qos2_message_read_from_the_queue_between_its_commit_and_its_callback_is_sent_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[MQTT-4.3.3-2]"""
    monkeypatch.setattr(outlet, "STORED_IN_MEMORY_MAX", 4)
    node = start()
    receiver, publisher = join(node, "s", receive_maximum=1), join(node, "p")
    tell(node, receiver, subscribe("a", qos=2))
    numbers = range(1, 6)  # one on its way, three in memory, one that lies in the store alone
    tell(node, publisher, b"".join(publish("a", b"%d" % n, qos=2, packet_id=n) for n in numbers))
    for number in (1, 2):
        finish(node, receiver, number)
    node.feed(receiver, pubrec(3))
    node.settle()
    slow_store(node)
    node.feed(publisher, publish("a", b"6", qos=2, packet_id=6))
    node.turns(COMMIT_TURNS)  # it lies in the store, and nobody has been told yet
    node.loop.executor_lag_turns = 0
    node.feed(receiver, pubcomp(3))  # room: memory is used up, so the queue is read
    node.settle()
    for number in (4, 5, 6, 7):
        finish(node, receiver, number)
    assert received(node, receiver) == [b"1", b"2", b"3", b"4", b"5", b"6"]
