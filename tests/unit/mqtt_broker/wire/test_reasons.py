"""Reason codes: who may say which where, and what MQTT 3.1.1 makes of them."""

import pytest

from mqtt_broker.wire.reasons import (
    AUTH_REASONS,
    AUTH_REASONS_OF_CLIENT,
    AUTH_REASONS_OF_SERVER,
    CONNACK_REASONS,
    DISCONNECT_REASONS,
    DISCONNECT_REASONS_OF_CLIENT,
    DISCONNECT_REASONS_OF_SERVER,
    PUBACK_REASONS,
    PUBCOMP_REASONS,
    PUBREC_REASONS,
    PUBREL_REASONS,
    SUBACK_REASONS,
    UNSUBACK_REASONS,
    ReasonCode,
    ReasonTable,
    reason_of_return_code,
    return_code_of,
)


def codes(text: str) -> set[int]:
    return {int(code, 16) for code in text.split()}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(
            CONNACK_REASONS,
            "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f",
            id="CONNACK MQTT-3.2.2-8",
        ),
        pytest.param(PUBACK_REASONS, "00 10 80 83 87 90 91 97 99", id="PUBACK MQTT-3.4.2-1"),
        pytest.param(PUBREC_REASONS, "00 10 80 83 87 90 91 97 99", id="PUBREC MQTT-3.5.2-1"),
        pytest.param(PUBREL_REASONS, "00 92", id="PUBREL MQTT-3.6.2-1"),
        pytest.param(PUBCOMP_REASONS, "00 92", id="PUBCOMP MQTT-3.7.2-1"),
        pytest.param(SUBACK_REASONS, "00 01 02 80 83 87 8f 91 97 9e a1 a2", id="SUBACK MQTT-3.9.3-2"),
        pytest.param(UNSUBACK_REASONS, "00 11 80 83 87 8f 91", id="UNSUBACK MQTT-3.11.3-2"),
        pytest.param(
            DISCONNECT_REASONS_OF_CLIENT,
            "00 04 80 81 82 83 90 93 94 95 96 97 98 99",
            id="DISCONNECT of the client MQTT-3.14.2-1",
        ),
        pytest.param(
            DISCONNECT_REASONS_OF_SERVER,
            "00 80 81 82 83 87 89 8b 8c 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2",
            id="DISCONNECT of the server MQTT-3.14.2-1",
        ),
        pytest.param(AUTH_REASONS_OF_CLIENT, "18 19", id="AUTH of the client MQTT-3.15.2-1"),
        pytest.param(AUTH_REASONS_OF_SERVER, "00 18", id="AUTH of the server MQTT-3.15.2-1"),
    ],
)
def test_table_holds_what_the_standard_lists(table: ReasonTable, expected: str) -> None:
    assert set(table) == codes(expected)
    assert all(table[code] is ReasonCode(code) for code in table)


def test_tables_of_both_sides_are_the_tables_of_either() -> None:
    assert set(DISCONNECT_REASONS) == {*DISCONNECT_REASONS_OF_CLIENT, *DISCONNECT_REASONS_OF_SERVER}
    assert set(AUTH_REASONS) == {*AUTH_REASONS_OF_CLIENT, *AUTH_REASONS_OF_SERVER}


def test_every_reason_code_belongs_to_some_packet() -> None:
    tables = (
        CONNACK_REASONS,
        PUBACK_REASONS,
        PUBREL_REASONS,
        SUBACK_REASONS,
        UNSUBACK_REASONS,
        DISCONNECT_REASONS,
        AUTH_REASONS,
    )
    assert {code for table in tables for code in table} == {int(reason) for reason in ReasonCode}


@pytest.mark.parametrize("code", range(6))
def test_return_code_means_a_reason_that_maps_back_to_it(code: int) -> None:
    """MQTT 3.1.1, table 3.1."""
    reason = reason_of_return_code(code)

    assert reason is not None
    assert return_code_of(reason) == code


@pytest.mark.parametrize("code", [-1, 6, 128, 255])
def test_reserved_return_code_means_nothing(code: int) -> None:
    assert reason_of_return_code(code) is None


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ReasonCode.SERVER_BUSY, 3),
        (ReasonCode.CONNECTION_RATE_EXCEEDED, 3),
        (ReasonCode.USE_ANOTHER_SERVER, 3),
        (ReasonCode.BANNED, 5),
        (ReasonCode.MALFORMED_PACKET, None),
        (ReasonCode.PROTOCOL_ERROR, None),
        (ReasonCode.PACKET_TOO_LARGE, None),
    ],
)
def test_reason_without_a_name_in_mqtt_3_takes_the_nearest_or_none(reason: ReasonCode, code: int | None) -> None:
    """[3.1.1 MQTT-3.2.2-6]: where none fits, the server closes without a CONNACK."""
    assert return_code_of(reason) == code


def test_error_begins_at_0x80() -> None:
    """MQTT 5.0, 2.4."""
    assert not ReasonCode.RE_AUTHENTICATE.is_error
    assert ReasonCode.UNSPECIFIED_ERROR.is_error
