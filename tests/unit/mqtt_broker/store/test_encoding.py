"""What is read from a store is what was written, in as little memory as many sessions allow."""

from mqtt_api.policy import Facts
from mqtt_broker.session.session import QueueBounds
from mqtt_broker.store.encoding import Details, decode_details, encode


def details(client_id: str, attributes: dict[str, str] | None = None) -> Details:
    facts = Facts(
        client_id=client_id, username="user", namespace="plant", source="passwords", attributes=attributes or {}
    )
    bounds = QueueBounds(messages_max=1_000, bytes_max=1_000_000, overflow="DropOldest")
    return Details(facts=facts, protocol_version=5, bounds=bounds)


def test_details_are_read_back_as_they_were_written() -> None:
    for written in (details("one"), details("two", {"site": "north"})):
        assert decode_details(encode(written)) == written


def test_what_sessions_have_in_common_is_there_once() -> None:
    one, two = decode_details(encode(details("one"))), decode_details(encode(details("two")))
    assert one.bounds is two.bounds
    assert one.facts.attributes is two.facts.attributes
    assert one.facts.source is two.facts.source
    assert one.facts.namespace is two.facts.namespace
