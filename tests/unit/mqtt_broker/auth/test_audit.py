"""What a refusal looks like in the log."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_broker.auth import audit
from mqtt_broker.auth.principal import Peer
from mqtt_broker.wire.reasons import ReasonCode

PEER = Peer(address="192.0.2.7", listener="mqtts")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="mqtt_broker.audit")
    return caplog


def fields(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    (record,) = caplog.records
    found: dict[str, Any] = record.__dict__["fields"]
    return found


def test_a_denial_reads_as_a_sentence(lines: pytest.LogCaptureFixture) -> None:
    audit.denied("pump-7", "pump-7", "publish", "plant/pump-8/stop", None, "default deny", 1)
    assert lines.messages == ["DENIED pump-7 publish plant/pump-8/stop  rule: none (default deny)"]


def test_a_denial_names_the_deciding_rule(lines: pytest.LogCaptureFixture) -> None:
    audit.denied("pump-7", "pump-7", "publish", "plant/x", "mqtt/pumps/no-x", "denied by rule", 1)
    assert lines.messages == ["DENIED pump-7 publish plant/x  rule: mqtt/pumps/no-x (denied by rule)"]


def test_a_denial_carries_its_fields(lines: pytest.LogCaptureFixture) -> None:
    audit.denied("c", "u", "subscribe", "t/#", None, "default deny", 2, group="workers")
    assert lines.messages == ["DENIED c subscribe $share/workers/t/#  rule: none (default deny)"]
    assert lines.records[0].__dict__["event"] == "authz.denied"
    assert fields(lines) == {
        "client_id": "c",
        "username": "u",
        "action": "subscribe",
        "topic": "t/#",
        "rule": "none",
        "reason": "default deny",
        "qos": 2,
        "retain": False,
        "group": "workers",
    }


def test_a_refused_connection_is_one_info_line(lines: pytest.LogCaptureFixture) -> None:
    audit.refused_connection(PEER, "pump-7", "admin", ReasonCode.NOT_AUTHORIZED, "devices: suspended")
    assert lines.messages == [
        "REFUSED pump-7 connect from 192.0.2.7 on mqtts  reason: 0x87 NOT_AUTHORIZED (devices: suspended)"
    ]
    assert lines.records[0].levelno == logging.INFO
    assert lines.records[0].__dict__["event"] == "connect.refused"
    assert fields(lines) == {
        "address": "192.0.2.7",
        "listener": "mqtts",
        "client_id": "pump-7",
        "username": "admin",
        "reason_code": 0x87,
        "reason": "NOT_AUTHORIZED",
        "detail": "devices: suspended",
    }


def test_a_refused_proof_anew_is_one_info_line(lines: pytest.LogCaptureFixture) -> None:
    audit.refused_reauthentication("pump-7", "pump", "scram: as\nanother")
    assert lines.messages == ["REFUSED pump-7 authentication anew  reason: scram: as\\nanother"]
    assert lines.records[0].__dict__["event"] == "reauthenticate.refused"
    assert fields(lines) == {"client_id": "pump-7", "username": "pump", "detail": "scram: as\\nanother"}


def test_a_client_without_names_is_still_a_whole_sentence(lines: pytest.LogCaptureFixture) -> None:
    audit.refused_connection(PEER, "", None, ReasonCode.NOT_AUTHORIZED, "no")
    assert lines.messages[0].startswith('REFUSED "" connect from 192.0.2.7')
    assert fields(lines)["username"] is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nDENIED b", "a\\r\\nDENIED b"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x00\x7f\x85", "\\x00\\x7f\\x85"),
        ("\u202egnp", "\\u202egnp"),
        ("\u2028", "\\u2028"),
        ("\\n", "\\\\n"),
        ("pumpe-ß-水", "pumpe-ß-水"),
    ],
)
def test_what_a_client_chose_cannot_end_a_line_or_steer_a_terminal(text: str, shown: str) -> None:
    """Threat 79."""
    assert audit.printable(text) == shown


def test_injected_text_stays_inside_its_word(lines: pytest.LogCaptureFixture) -> None:
    audit.denied("evil\nDENIED admin publish x", "u\x1b", "publish", "a b", None, "no\n", 0)
    assert lines.messages == ['DENIED "evil\\nDENIED admin publish x" publish "a b"  rule: none (no\\n)']
    assert fields(lines)["username"] == "u\\x1b"


def test_a_quote_does_not_end_a_word_in_quotes(lines: pytest.LogCaptureFixture) -> None:
    audit.denied('a" publish "b', "u", "publish", "t", None, "no", 0)
    assert lines.messages == ['DENIED "a\\" publish \\"b" publish t  rule: none (no)']


def test_a_long_text_is_cut_to_the_bound() -> None:
    shown = audit.printable("x" * 65_535)
    assert shown == "x" * audit.TEXT_CHARS_MAX + "...(65535 characters)"


@given(st.text(), st.text())
def test_two_texts_never_look_the_same(one: str, other: str) -> None:
    assert (audit.printable(one) == audit.printable(other)) == (one == other)
    assert audit.printable(one).isprintable()
