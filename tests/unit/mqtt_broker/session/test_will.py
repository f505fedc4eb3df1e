"""When a will is due after an abnormal end."""

import pytest

from mqtt_broker.session.session import NEVER_S
from mqtt_broker.session.will import due_at
from mqtt_broker.wire.packets import Properties, Will


def will(delay_s: int | None) -> Will:
    return Will("t", b"", 0, retain=False, properties=Properties(will_delay_interval=delay_s))


def test_no_will_is_never_due() -> None:
    assert due_at(None, 100, 1_000.0) is None


@pytest.mark.parametrize(
    ("delay_s", "expiry_interval_s", "expected"),
    [
        (None, 100, 1_000.0),
        (0, 100, 1_000.0),
        (30, 100, 1_030.0),
        (30, 10, 1_010.0),
        (30, 0, 1_000.0),
        (30, NEVER_S, 1_030.0),
        (NEVER_S, NEVER_S, 1_000.0 + NEVER_S),
    ],
)
def test_a_will_is_due_after_its_delay_or_with_the_end_of_its_session(
    delay_s: int | None, expiry_interval_s: int, expected: float
) -> None:
    """[MQTT-3.1.2-8]"""
    assert due_at(will(delay_s), expiry_interval_s, 1_000.0) == expected
