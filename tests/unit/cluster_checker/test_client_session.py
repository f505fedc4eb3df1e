"""The driver's half of a session: what it repeats, and what it forgets."""

from cluster.chaos.session import PACKET_ID_MAX, ClientSession
from mqtt_broker.wire.packets import Publish, PubRel


def begun(*packet_ids: int) -> ClientSession:
    session = ClientSession()
    for packet_id in packet_ids:
        session.begin(f"p.{packet_id}", Publish("t", b"x", 2, packet_id=packet_id))
    return session


def test_what_is_unacknowledged_is_repeated_in_order_with_dup() -> None:
    """[MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.3.1-1]"""
    repeated = begun(3, 1, 2).repetitions()
    assert [(packet.packet_id, packet.dup) for _, packet in repeated if isinstance(packet, Publish)] == [
        (3, True),
        (1, True),
        (2, True),
    ]


def test_after_pubrec_it_is_pubrel_that_is_repeated() -> None:
    """[MQTT-4.3.3-6]"""
    session = begun(1)
    session.outgoing[1].is_received = True
    assert session.repetitions() == [("p.1", PubRel(1))]


def test_packet_ids_in_use_are_passed_over() -> None:
    """[MQTT-2.2.1-3]"""
    session = begun(1, 2, PACKET_ID_MAX)
    session.last_id = PACKET_ID_MAX - 1
    assert session.take_id() == 3


def test_a_server_without_the_session_makes_the_client_forget_it() -> None:
    """[MQTT-3.2.2-5]"""
    session = begun(1)
    session.inbound.add(7)
    session.is_subscribed = True
    session.forget()
    assert (session.outgoing, session.inbound, session.is_subscribed) == ({}, set(), False)
