"""plan: overlapping subscriptions, No Local, Retain As Published, exceptions, shared subscriptions."""

from mqtt_broker.routing.delivery import Plan, Receiver, SharedMatch, plan
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import Subscription

Match = tuple[str, Subscription]


def message(qos: int = 2, *, retain: bool = False, publisher: str = "publisher") -> Message:
    return Message(topic="t", payload=b"", qos=qos, retain=retain, publisher=publisher)


def yes(client_id: str, subscription: Subscription) -> bool:
    return True


def no(client_id: str, subscription: Subscription) -> bool:
    return False


def test_nobody_subscribed_is_an_empty_plan() -> None:
    assert plan(message(), [], yes) == Plan()


def test_the_copy_has_the_lower_of_both_qos() -> None:
    """[MQTT-3.8.4-8] [3.1.1 MQTT-3.8.4-6]"""
    for published, granted, expected in [(0, 2, 0), (1, 2, 1), (2, 0, 0), (2, 1, 1), (2, 2, 2)]:
        result = plan(message(published), [("c", Subscription(filter="t", qos=granted))], yes)
        assert result.receivers == (Receiver("c", expected),)


def test_overlapping_subscriptions_give_one_copy_at_the_highest_qos() -> None:
    """[MQTT-3.3.4-2] [3.1.1 MQTT-3.3.5-1]"""
    matches = [("c", Subscription(filter="t", qos=0)), ("c", Subscription(filter="#", qos=1))]
    assert plan(message(2), matches, yes).receivers == (Receiver("c", 1),)
    assert plan(message(2), matches[::-1], yes).receivers == (Receiver("c", 1),)


def test_one_copy_carries_the_identifiers_of_all_subscriptions_that_have_one() -> None:
    """[MQTT-3.3.4-3] [MQTT-3.3.4-4]"""
    matches = [
        ("c", Subscription(filter="t", identifier=7)),
        ("c", Subscription(filter="+")),
        ("c", Subscription(filter="#", identifier=9)),
    ]
    assert plan(message(0), matches, yes).receivers == (Receiver("c", 0, identifiers=(7, 9)),)


def test_each_client_gets_its_own_copy() -> None:
    matches = [("a", Subscription(filter="t", qos=1)), ("b", Subscription(filter="t", qos=2))]
    assert plan(message(2), matches, yes).receivers == (Receiver("a", 1), Receiver("b", 2))


def test_no_local_keeps_a_message_from_its_own_publisher() -> None:
    """[MQTT-3.8.3-3]"""
    matches = [("me", Subscription(filter="t", no_local=True)), ("you", Subscription(filter="t", no_local=True))]
    assert plan(message(publisher="me"), matches, yes).receivers == (Receiver("you", 0),)


def test_no_local_of_one_subscription_leaves_an_overlapping_one_alone() -> None:
    matches = [
        ("me", Subscription(filter="t", no_local=True, qos=2, identifier=1)),
        ("me", Subscription(filter="#", qos=1, identifier=2)),
    ]
    assert plan(message(publisher="me"), matches, yes).receivers == (Receiver("me", 1, identifiers=(2,)),)


def test_retain_is_cleared_without_retain_as_published() -> None:
    """[MQTT-3.3.1-12] [3.1.1 MQTT-3.3.1-9]"""
    result = plan(message(retain=True), [("c", Subscription(filter="t"))], yes)
    assert result.receivers == (Receiver("c", 0, retain=False),)


def test_retain_is_kept_with_retain_as_published() -> None:
    """[MQTT-3.3.1-13]"""
    subscription = Subscription(filter="t", retain_as_published=True)
    assert plan(message(retain=True), [("c", subscription)], yes).receivers == (Receiver("c", 0, retain=True),)
    assert plan(message(retain=False), [("c", subscription)], yes).receivers == (Receiver("c", 0, retain=False),)


def test_retain_is_kept_if_any_overlapping_subscription_asks_for_it() -> None:
    matches = [("c", Subscription(filter="t")), ("c", Subscription(filter="#", retain_as_published=True))]
    for overlapping in (matches, matches[::-1]):
        assert plan(message(retain=True), overlapping, yes).receivers == (Receiver("c", 0, retain=True),)


def test_the_policy_is_asked_only_where_a_deny_overlaps_the_filter() -> None:
    asked: list[Match] = []

    def ask(client_id: str, subscription: Subscription) -> bool:
        asked.append((client_id, subscription))
        return True

    exceptional = Subscription(filter="#", has_exceptions=True)
    plan(message(), [("a", Subscription(filter="t")), ("b", exceptional)], ask)
    assert asked == [("b", exceptional)]


def test_a_receiver_that_may_not_receive_is_left_out() -> None:
    matches = [("a", Subscription(filter="#", has_exceptions=True)), ("b", Subscription(filter="t"))]
    assert plan(message(), matches, no).receivers == (Receiver("b", 0),)


def test_a_denied_subscription_adds_neither_qos_nor_identifier_to_an_allowed_one() -> None:
    matches = [
        ("c", Subscription(filter="#", qos=2, identifier=1, has_exceptions=True)),
        ("c", Subscription(filter="t", qos=1, identifier=2)),
    ]
    assert plan(message(), matches, no).receivers == (Receiver("c", 1, identifiers=(2,)),)


def test_shared_subscriptions_are_grouped_by_group_and_filter() -> None:
    one, other_filter = Subscription(filter="t", group="g"), Subscription(filter="#", group="g")
    other_group = Subscription(filter="t", group="h")
    result = plan(message(), [("a", one), ("b", other_filter), ("b", one), ("a", other_group)], yes)
    assert result.receivers == ()
    assert result.groups == (
        SharedMatch("g", "t", (("a", one), ("b", one))),
        SharedMatch("g", "#", (("b", other_filter),)),
        SharedMatch("h", "t", (("a", other_group),)),
    )


def test_a_shared_and_a_plain_subscription_of_one_client_are_both_served() -> None:
    plain, shared = Subscription(filter="t", qos=1), Subscription(filter="t", group="g")
    result = plan(message(), [("c", plain), ("c", shared)], yes)
    assert result.receivers == (Receiver("c", 1),)
    assert result.groups == (SharedMatch("g", "t", (("c", shared),)),)


def test_a_member_that_may_not_receive_is_left_out_of_its_group() -> None:
    denied, allowed = (Subscription(filter="#", group="g", has_exceptions=flag) for flag in (True, False))
    result = plan(message(), [("a", denied), ("b", allowed)], no)
    assert result.groups == (SharedMatch("g", "#", (("b", allowed),)),)


def test_a_group_without_a_permitted_member_gets_nothing() -> None:
    denied = Subscription(filter="#", group="g", has_exceptions=True)
    assert plan(message(), [("a", denied), ("b", denied)], no) == Plan()
