"""The model objects to what it should: a machine that never fails would prove nothing."""

import pytest

from fuzz.model import Message, Model, Sub
from mqtt_broker.wire.packets import Publish

NOW = 1000.0


def _model() -> Model:
    """`kept` is subscribed to `a` with QoS 2 and takes two messages at once."""
    model = Model(NOW, 35)
    model.connect("kept", 5, clean=False, expiry_s=35, receive_maximum=2, will=None)
    model.subscribe("kept", [Sub("a", None, 2)])
    return model


def _published(model: Model, *payloads: bytes, qos: int = 1) -> None:
    for payload in payloads:
        model.publish(Message("a", payload, qos, retain=False, publisher="p"))


def test_message_that_does_not_come_is_missed() -> None:
    model = _model()
    _published(model, b"1")
    with pytest.raises(AssertionError, match="was not sent"):
        model.settled("kept")


def test_message_that_waits_for_the_window_is_not_missed() -> None:
    model = _model()
    _published(model, b"1", b"2", b"3")
    model.observe("kept", Publish("a", b"1", 1, packet_id=1))
    model.observe("kept", Publish("a", b"2", 1, packet_id=2))
    model.settled("kept")
    with pytest.raises(AssertionError, match=r"MQTT-3\.3\.4-9"):
        model.observe("kept", Publish("a", b"3", 1, packet_id=3))


@pytest.mark.parametrize(
    "packet",
    [
        Publish("a", b"2", 1, packet_id=1),
        Publish("b", b"1", 1, packet_id=1),
        Publish("a", b"1", 0),
        Publish("a", b"1", 2, packet_id=1),
        Publish("a", b"1", 1, retain=True, packet_id=1),
        Publish("a", b"1", 1, dup=True, packet_id=1),
        Publish("a", b"1", 1),
    ],
    ids=["payload", "topic", "QoS 0", "QoS 2", "retain", "DUP", "no packet id"],
)
def test_message_that_differs_is_refused(packet: Publish) -> None:
    model = _model()
    _published(model, b"1")
    with pytest.raises(AssertionError):
        model.observe("kept", packet)


def test_message_that_comes_twice_is_refused() -> None:
    model = _model()
    _published(model, b"1")
    model.observe("kept", Publish("a", b"1", 1, packet_id=1))
    with pytest.raises(AssertionError, match="not owed"):
        model.observe("kept", Publish("a", b"1", 1, packet_id=2))


def test_messages_out_of_order_are_refused() -> None:
    model = _model()
    _published(model, b"1", b"2")
    with pytest.raises(AssertionError, match=r"MQTT-4\.6\.0-6"):
        model.observe("kept", Publish("a", b"2", 1, packet_id=1))


def test_message_sent_on_an_earlier_connection_must_come_again_with_its_id() -> None:
    model = _model()
    _published(model, b"1")
    model.observe("kept", Publish("a", b"1", 1, packet_id=1))
    model.leave("kept", with_will=True)
    assert model.connect("kept", 5, clean=False, expiry_s=35, receive_maximum=2, will=None)
    with pytest.raises(AssertionError, match="was not sent"):
        model.settled("kept")
    with pytest.raises(AssertionError, match="not owed again"):
        model.observe("kept", Publish("a", b"1", 1, dup=True, packet_id=2))
    model.observe("kept", Publish("a", b"1", 1, dup=True, packet_id=1))
    model.settled("kept")


def test_session_ends_when_its_time_has_passed() -> None:
    model = _model()
    model.leave("kept", with_will=False)
    model.advance(40)
    assert not model.connect("kept", 5, clean=False, expiry_s=0, receive_maximum=2, will=None)


def test_shared_message_goes_to_one_member_only() -> None:
    model = Model(NOW, 35)
    for client_id in ("one", "two"):
        model.connect(client_id, 5, clean=True, expiry_s=0, receive_maximum=2, will=None)
        model.subscribe(client_id, [Sub("a", "g", 1)])
    _published(model, b"1")
    with pytest.raises(AssertionError, match="no member"):
        model.settled_groups()
    model.observe("one", Publish("a", b"1", 1, packet_id=1))
    model.settled_groups()
    with pytest.raises(AssertionError, match="not owed"):
        model.observe("two", Publish("a", b"1", 1, packet_id=1))


def test_which_group_a_shared_message_came_from_is_decided_by_all_that_were_sent() -> None:
    """`both` is a member of two groups, `one` of one: the copy of `both` must not use up the only one of `one`."""
    model = Model(NOW, 35)
    for client_id, filters in (("both", ("a", "#")), ("one", ("a",))):
        model.connect(client_id, 5, clean=True, expiry_s=0, receive_maximum=2, will=None)
        model.subscribe(client_id, [Sub(topic_filter, "g", 1) for topic_filter in filters])
    _published(model, b"1")
    for client_id in ("both", "one"):
        model.observe(client_id, Publish("a", b"1", 1, packet_id=1))
    model.settled_groups()
