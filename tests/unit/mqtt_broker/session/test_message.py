"""Messages: what of a PUBLISH or a will travels on, how long it lives, and how large it counts."""

from mqtt_api.policy import Facts
from mqtt_broker.session.message import Message, Origin, from_publish, from_will, is_expired, publisher_of
from mqtt_broker.wire.packets import NO_PROPERTIES, Properties, Publish, Will

FORWARDED = Properties(
    payload_format_indicator=1,
    content_type="text/plain",
    response_topic="reply",
    correlation_data=b"123",
    user_properties=(("k", "v"), ("k", "w")),
)
ALL = Properties(
    payload_format_indicator=1,
    content_type="text/plain",
    response_topic="reply",
    correlation_data=b"123",
    user_properties=(("k", "v"), ("k", "w")),
    message_expiry_interval=60,
    will_delay_interval=30,
    topic_alias=3,
    subscription_identifiers=(1,),
)

FACTS = Facts(client_id="p", username="u", source="x509", certificate_cn="cn", certificate_san_dns="dns")


def test_a_publish_becomes_a_message_without_what_belongs_to_its_connection() -> None:
    """[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]"""
    publish = Publish("t", b"x", 2, retain=True, dup=True, packet_id=7, properties=ALL)
    assert from_publish(publish, FACTS, 1_000.0, 3_600) == Message(
        topic="t",
        payload=b"x",
        qos=2,
        retain=True,
        properties=FORWARDED,
        expires_at=1_060.0,
        publisher="p",
        username="u",
        origin=Origin("x509", "cn", "dns"),
    )


def test_a_will_becomes_a_message_whose_life_begins_when_it_is_published() -> None:
    will = Will("t", b"x", 1, retain=True, properties=ALL)
    found = from_will(will, FACTS, 5_000.0, 3_600)
    assert (found.expires_at, found.properties, found.retain) == (5_060.0, FORWARDED, True)
    assert (found.publisher, found.username) == ("p", "u")


def retained_by(facts: Facts) -> list[Message]:
    return [
        from_publish(Publish("t", b"", retain=True), facts, 1.0, 1),
        from_will(Will("t", b"", 0, retain=True), facts, 1.0, 1),
    ]


def test_what_is_retained_tells_who_published_it() -> None:
    assert [publisher_of(message) for message in retained_by(FACTS)] == [FACTS, FACTS]


def test_what_is_retained_tells_that_its_publisher_was_anonymous() -> None:
    for message in retained_by(Facts(client_id="p", source="anybody", anonymous=True)):
        assert message.origin is None
        assert publisher_of(message) == Facts(client_id="p", anonymous=True)


def test_what_is_not_retained_does_not_carry_more_than_it_needs() -> None:
    assert from_publish(Publish("t", b""), FACTS, 1.0, 1).origin is None


def test_a_message_without_properties_shares_the_empty_ones() -> None:
    found = from_publish(Publish("t", b""), FACTS, 1.0, 1)
    assert found.properties is NO_PROPERTIES
    assert found.expires_at is None


def test_a_message_lives_no_longer_than_the_server_allows() -> None:
    publish = Publish("t", b"", properties=Properties(message_expiry_interval=0xFFFFFFFF))
    assert from_publish(publish, FACTS, 1_000.0, 60).expires_at == 1_060.0


def test_a_message_expires_at_its_moment() -> None:
    """[MQTT-3.3.2-5]"""
    mortal = Message(topic="t", payload=b"", qos=0, expires_at=10.0)
    assert [is_expired(mortal, now) for now in (9.9, 10.0, 10.1)] == [False, True, True]
    assert not is_expired(Message(topic="t", payload=b"", qos=0), 1e12)


def test_the_size_counts_topic_payload_and_properties_of_variable_length() -> None:
    assert Message(topic="abc", payload=b"12345", qos=0).size == 8
    assert Message(topic="abc", payload=b"12345", qos=0, properties=FORWARDED).size == 8 + 4 + 3
