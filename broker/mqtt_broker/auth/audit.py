"""One line per refusal: who, what, which rule, why.

Knows how a refusal reads; does not know how logs are formatted or kept, and is never given a password.

Each record carries `event` (a fixed name) and `fields` (a flat dictionary) for machines; its message is a sentence for
people. What a client chose is shown with every character that is not printable escaped, so that it can neither end a
line nor steer a terminal, and cut to a bound.
"""

import logging

from mqtt_broker.auth.principal import Peer
from mqtt_broker.wire.reasons import ReasonCode

TEXT_CHARS_MAX = 512  # of anything a client chose; MQTT allows 65,535 bytes

_LOG = logging.getLogger("mqtt_broker.audit")


def denied(
    client_id: str,
    username: str,
    action: str,
    topic: str,
    rule: str | None,
    reason: str,
    qos: int,
    *,
    retain: bool = False,
    group: str | None = None,
) -> None:
    """An authenticated client may not do something. `action`: publish, subscribe, receive or will.

    `rule` is the deciding rule's reference, None = no rule; `reason` is the decision's.
    """
    fields = {
        "client_id": printable(client_id),
        "username": printable(username),
        "action": action,
        "topic": printable(topic),
        "rule": rule or "none",
        "reason": printable(reason),
        "qos": qos,
        "retain": retain,
        "group": None if group is None else printable(group),
    }
    _LOG.info(
        "DENIED %s %s %s  rule: %s (%s)",
        _shown(client_id),
        action,
        _shown(topic if group is None else f"$share/{group}/{topic}"),
        fields["rule"],
        fields["reason"],
        extra={"event": "authz.denied", "fields": fields},
    )


def refused_connection(peer: Peer, client_id: str, username: str | None, reason: ReasonCode, detail: str) -> None:
    """A connection was refused before it had a session. `username` is the claimed one, not a proven one."""
    fields = {
        "address": printable(peer.address),
        "listener": peer.listener,
        "client_id": printable(client_id),
        "username": None if username is None else printable(username),
        "reason_code": int(reason),
        "reason": reason.name,
        "detail": printable(detail),
    }
    _LOG.info(
        "REFUSED %s connect from %s on %s  reason: %s (%s)",
        _shown(client_id),
        fields["address"],
        peer.listener,
        f"0x{reason:02X} {reason.name}",
        fields["detail"],
        extra={"event": "connect.refused", "fields": fields},
    )


def refused_reauthentication(client_id: str, username: str, detail: str) -> None:
    """A connected client could not prove itself anew; its connection ends. `username` is the proven one of before."""
    fields = {"client_id": printable(client_id), "username": printable(username), "detail": printable(detail)}
    _LOG.info(
        "REFUSED %s authentication anew  reason: %s",
        _shown(client_id),
        fields["detail"],
        extra={"event": "reauthenticate.refused", "fields": fields},
    )


def printable(text: str) -> str:
    """The text on one line, whatever was in it. Two texts within the bound never look the same."""
    cut = text[:TEXT_CHARS_MAX]
    shown = "".join(_escaped(character) for character in cut)
    return shown if len(cut) == len(text) else f"{shown}...({len(text)} characters)"


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _shown(text: str) -> str:
    """As a word of a sentence: in quotes where it would otherwise be none, or several."""
    shown = printable(text)
    if shown and " " not in shown and '"' not in shown:
        return shown
    return '"' + shown.replace('"', '\\"') + '"'
