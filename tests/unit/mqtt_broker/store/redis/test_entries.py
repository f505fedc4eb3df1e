"""Queue entries, retained values and session records as bytes, and what is not one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import MsgspecError

from mqtt_broker.store.encoding import encode
from mqtt_broker.store.ports import QueueEntry, RetainedMessage, StoreUnavailable
from mqtt_broker.store.redis.entries import body, decode_body, decode_entry, header
from mqtt_broker.store.redis.records import decode_record
from mqtt_broker.store.redis.retained import decode_retained
from mqtt_broker.store.redis.retained import header as retained_header
from unit.mqtt_broker.store.harness import message


@given(
    published=st.integers(0, 2),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    identifiers=st.lists(st.integers(1, 268_435_455), max_size=300).map(tuple),
    payload=st.binary(max_size=100),
)
def test_an_entry_is_read_as_it_was_written(
    published: int, qos: int, retain: bool, identifiers: tuple[int, ...], payload: bytes
) -> None:
    sent = message(payload, published, retain=not retain)
    value = header(sent, sent.size, qos, retain=retain, identifiers=identifiers) + body(sent)
    expected = QueueEntry(sequence=7, message=sent, qos=qos, retain=retain, identifiers=identifiers, received=True)
    assert decode_entry(7, value, received=True) == expected
    assert int.from_bytes(value[1:5], "big") == sent.size


def test_a_cut_entry_is_the_stores_fault() -> None:
    sent = message(b"payload")
    value = header(sent, sent.size, 1, identifiers=(5, 6)) + body(sent)
    for length in range(len(value)):
        with pytest.raises(StoreUnavailable):
            decode_entry(1, value[:length])


@pytest.mark.parametrize(("planned_at", "expires_at"), [(0, None), (2**52, 1_700_000_000.123456)])
def test_a_retained_value_is_read_as_it_was_written(planned_at: int, expires_at: float | None) -> None:
    sent = message(b"1", expires_at=expires_at)
    value = retained_header(planned_at, expires_at) + body(sent)
    assert decode_retained(value) == RetainedMessage(sent, planned_at)


@pytest.mark.parametrize("value", [b"", b"x" * 15, b"\x7f\xf0" + bytes(14) + body(message()), bytes(20)])
def test_another_value_than_a_retained_one_is_the_stores_fault(value: bytes) -> None:
    with pytest.raises(StoreUnavailable):
        decode_retained(value)


def test_another_value_than_a_message_is_the_stores_fault() -> None:
    with pytest.raises(StoreUnavailable):
        decode_body(b"\x01")


@pytest.mark.parametrize("head", [b"", encode([1, 2]), encode(["x"] * 25)])
def test_a_head_that_is_none_is_not_read(head: bytes) -> None:
    with pytest.raises(MsgspecError):
        decode_record(b"a", head, b"")
