"""Windows of one session: packet ids, phases, the receive maximum, and what an unexpected answer means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_broker.session.inflight import (
    PACKET_IDS_MAX,
    Answer,
    InboundIds,
    OutboundWindow,
    Phase,
    PubRecOutcome,
    packet_id_of,
)


def ids_of(window: OutboundWindow[str]) -> list[int]:
    return [exchange.packet_id for exchange in window.in_flight()]


@pytest.mark.parametrize(("sequence", "expected"), [(1, 1), (65_535, 65_535), (65_536, 1), (131_070, 65_535)])
def test_the_packet_id_follows_from_the_sequence(sequence: int, expected: int) -> None:
    assert packet_id_of(sequence) == expected


@given(st.integers(1, 2**60))
def test_a_packet_id_is_never_zero_nor_too_large(sequence: int) -> None:
    """[MQTT-2.2.1-4]"""
    assert 1 <= packet_id_of(sequence) <= PACKET_IDS_MAX
    assert packet_id_of(sequence + PACKET_IDS_MAX) == packet_id_of(sequence)


@pytest.mark.parametrize("receive_maximum", [0, -1, 65_536])
def test_a_receive_maximum_out_of_range_is_our_bug(receive_maximum: int) -> None:
    with pytest.raises(AssertionError):
        OutboundWindow[str](receive_maximum)


def test_the_window_never_exceeds_the_receive_maximum() -> None:
    """[MQTT-3.3.4-9] [MQTT-4.9.0-2]"""
    window = OutboundWindow[str](2)
    assert window.send("a", 1, 1) == 1
    assert window.send("b", 2, 2) == 2
    assert not window.has_room
    assert not window.can_send(3)
    assert not window.can_send()
    with pytest.raises(AssertionError):
        window.send("c", 1, 3)
    assert len(window) == 2


@pytest.mark.parametrize("qos", [0, 3])
def test_other_qos_have_no_exchange(qos: int) -> None:
    with pytest.raises(AssertionError):
        OutboundWindow[str](1).send("a", qos)


def test_a_qos_1_exchange_ends_with_puback_once() -> None:
    """[MQTT-4.3.2-3]"""
    window = OutboundWindow[str](1)
    packet_id = window.send("a", 1, 7)
    assert window.puback(packet_id) == "a"
    assert window.puback(packet_id) is None
    assert window.has_room


def test_a_qos_2_exchange_ends_with_pubcomp_and_holds_its_place_until_then() -> None:
    """[MQTT-4.3.3-6] [MQTT-4.3.3-3] [MQTT-4.3.3-5]"""
    window = OutboundWindow[str](1)
    packet_id = window.send("a", 2, 7)
    assert window.pubrec(packet_id) == (PubRecOutcome.FIRST, "a")
    assert not window.has_room
    assert window.pubrec(packet_id) == (PubRecOutcome.REPEATED, "a")
    assert window.pubcomp(packet_id) == "a"
    assert window.pubcomp(packet_id) is None
    assert window.pubrec(packet_id) == (PubRecOutcome.UNKNOWN, None)
    assert window.has_room


def test_a_failed_pubrec_ends_the_exchange() -> None:
    """[MQTT-4.4.0-2]"""
    window = OutboundWindow[str](1)
    packet_id = window.send("a", 2)
    assert window.pubrec_failed(packet_id) == "a"
    assert window.pubrec_failed(packet_id) is None
    assert window.has_room


def test_answers_that_do_not_fit_the_exchange_change_nothing() -> None:
    window = OutboundWindow[str](9)
    one, two, released = window.send("one", 1), window.send("two", 2), window.send("released", 2)
    window.pubrec(released)
    assert window.pubrec(one) == (PubRecOutcome.UNKNOWN, None)
    assert window.pubrec_failed(one) is None
    assert window.pubcomp(one) is None
    assert window.puback(two) is None
    assert window.pubcomp(two) is None
    assert window.puback(released) is None
    assert window.pubrec_failed(released) is None
    assert window.puback(77) is None
    assert window.pubrec_failed(77) is None
    phases = [(exchange.item, exchange.phase) for exchange in window.in_flight()]
    assert phases == [("one", Phase.SENT), ("two", Phase.SENT), ("released", Phase.RELEASED)]


def test_an_entry_waits_while_its_packet_id_is_in_use() -> None:
    """[MQTT-2.2.1-4]"""
    window = OutboundWindow[str](100)
    window.send("old", 1, 1)
    assert not window.can_send(65_536)
    with pytest.raises(AssertionError):
        window.send("new", 1, 65_536)
    assert window.can_send(65_537)
    window.puback(1)
    assert window.send("new", 1, 65_536) == 1


def test_messages_in_memory_get_the_next_free_id() -> None:
    """[MQTT-4.3.2-1] [MQTT-4.3.3-1]"""
    window = OutboundWindow[str](PACKET_IDS_MAX)
    window.send("stored", 1, 2)
    assert [window.send("m", 1) for _ in range(3)] == [1, 3, 4]
    window.puback(1)
    assert window.send("m", 1) == 5


def test_ids_of_messages_in_memory_go_round() -> None:
    window = OutboundWindow[str](2)
    window.send("kept", 1)
    for expected in [*range(2, PACKET_IDS_MAX + 1), 2]:
        assert window.puback(window.send("m", 1)) == "m", expected
    assert window.send("m", 1) == 3


def test_every_packet_id_can_be_in_use_at_once() -> None:
    window = OutboundWindow[int](PACKET_IDS_MAX)
    assert {window.send(number, 1) for number in range(PACKET_IDS_MAX)} == set(range(1, PACKET_IDS_MAX + 1))
    assert not window.has_room


def test_stored_exchanges_have_the_ids_of_their_sequences_and_end_with_them() -> None:
    """[MQTT-4.3.2-1] [MQTT-4.3.2-3]"""
    window = OutboundWindow[str](PACKET_IDS_MAX)
    assert list(window.send_stored(65_534, 4)) == [65_534, 65_535, 1, 2]
    assert len(window) == 4
    assert window.awaits(1) is Answer.PUBACK
    assert not window.can_send(65_536)
    assert window.finish_stored([1, 65_534]) == (65_536, 65_534)
    assert window.awaits(1) is None
    assert window.can_send(65_536)


def test_stored_exchanges_begin_all_or_not_at_all() -> None:
    """[MQTT-2.2.1-4] [MQTT-3.3.4-9]"""
    window = OutboundWindow[str](5)
    window.send("other", 2, 3)
    assert window.send_stored(1, 3) == ()
    assert window.send_stored(4, 5) == ()
    assert list(window.send_stored(4, 4)) == [4, 5, 6, 7]
    assert window.send_stored(8, 1) == ()
    window.clear()
    assert list(window.send_stored(4, 1)) == [4]


@pytest.mark.parametrize("ids", [(1, 2, 9), (1, 1), (9,), ()])
def test_acknowledgements_that_are_not_all_of_stored_exchanges_end_none(ids: tuple[int, ...]) -> None:
    window = OutboundWindow[str](9)
    window.send_stored(1, 3)
    assert window.finish_stored(ids) == ()
    assert len(window) == 3


def test_in_flight_keeps_the_order_of_sending() -> None:
    """[MQTT-4.6.0-5]"""
    window = OutboundWindow[str](9)
    for sequence in (65_534, 65_535, 65_536, 65_537):
        window.send("x", 2, sequence)
    window.pubrec(65_535)
    window.pubcomp(65_535)
    window.pubrec(2)
    assert ids_of(window) == [65_534, 1, 2]


def test_a_resumed_exchange_has_its_old_id_and_phase() -> None:
    """[MQTT-4.4.0-1]"""
    window = OutboundWindow[str](9)
    assert window.resume("one", 65_537, 1, released=False) == 2
    assert window.resume("two", 65_538, 2, released=False) == 3
    assert window.resume("released", 65_539, 2, released=True) == 4
    assert window.puback(2) == "one"
    assert window.pubrec(3) == (PubRecOutcome.FIRST, "two")
    assert window.pubcomp(4) == "released"


def test_a_pubrel_is_resumed_without_room_and_a_publish_is_not() -> None:
    """[MQTT-4.9.0-2] [MQTT-4.9.0-3]"""
    window = OutboundWindow[str](1)
    window.resume("released", 1, 2, released=True)
    window.resume("released", 2, 2, released=True)
    with pytest.raises(AssertionError):
        window.resume("sent", 3, 1, released=False)
    with pytest.raises(AssertionError):
        window.resume("released", 2, 2, released=True)
    assert ids_of(window) == [1, 2]


def test_clearing_frees_everything() -> None:
    window = OutboundWindow[str](1)
    window.send("a", 1, 1)
    window.clear()
    assert window.can_send(1)
    assert ids_of(window) == []


@given(st.lists(st.tuples(st.sampled_from("sarcf"), st.integers(1, 6), st.integers(1, 2))), st.integers(1, 4))
def test_whatever_the_client_answers_ids_are_unique_and_bounded(
    steps: list[tuple[str, int, int]], receive_maximum: int
) -> None:
    """[MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [3.1.1 MQTT-2.3.1-4]"""
    window = OutboundWindow[int](receive_maximum)
    ended: set[int] = set()
    for number, (step, packet_id, qos) in enumerate(steps):
        item = None
        if step == "s" and window.can_send():
            window.send(number, qos)
        elif step == "a":
            item = window.puback(packet_id)
        elif step == "r":
            window.pubrec(packet_id)
        elif step == "c":
            item = window.pubcomp(packet_id)
        elif step == "f":
            item = window.pubrec_failed(packet_id)
        if item is not None:
            assert item not in ended
            ended.add(item)
        items = [exchange.item for exchange in window.in_flight()]
        assert items == sorted(items)
        assert len(items) <= receive_maximum


def test_an_inbound_qos_2_id_is_new_once_until_released() -> None:
    """[MQTT-4.3.3-10] [MQTT-4.3.3-12]"""
    ids = InboundIds([9])
    assert ids.add(5)
    assert not ids.add(5)
    assert not ids.add(9)
    assert ids.release(5)
    assert not ids.release(5)
    assert ids.add(5)
    assert len(ids) == 2


def test_an_inbound_qos_1_id_is_in_use_until_acknowledged() -> None:
    ids = InboundIds([9])
    assert ids.begin(5)
    assert not ids.begin(5)
    assert not ids.begin(9)
    assert 5 in ids
    assert len(ids) == 2
    ids.finish(5)
    ids.finish(5)
    assert 5 not in ids
    assert ids.begin(5)
