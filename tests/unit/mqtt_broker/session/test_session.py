"""What makes a session persistent and a subscription the same one."""

import pytest

from mqtt_api.policy import Facts
from mqtt_broker.session.session import NEVER_S, QueueBounds, SessionRecord, Subscription


@pytest.mark.parametrize(("expiry_interval_s", "expected"), [(0, False), (1, True), (NEVER_S, True)])
def test_a_session_that_outlives_its_connection_is_persistent(expiry_interval_s: int, expected: bool) -> None:
    record = SessionRecord(
        client_id="a",
        incarnation=1,
        epoch=2,
        facts=Facts(client_id="a"),
        protocol_version=5,
        expiry_interval_s=expiry_interval_s,
        bounds=QueueBounds(messages_max=1, bytes_max=1, overflow="Reject"),
    )
    assert record.is_persistent is expected


def test_filter_and_group_together_identify_a_subscription() -> None:
    """[MQTT-3.8.4-3]"""
    first = Subscription(filter="f", qos=1, identifier=3)
    assert first.key == Subscription(filter="f", qos=2).key
    assert len({first.key, Subscription(filter="f", group="g").key, Subscription(filter="f", group="h").key}) == 3
