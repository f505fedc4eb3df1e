"""What people are told of a client or a permission as it happens, besides its status. Pure, but for what was told.

Knows which changes of a status are worth an event: those that somebody who looks after this very object has to mend,
and their end. What keeps all objects of a broker waiting is the broker's event (events.py). Does not know how one is
written.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

from mqtt_api.conditions import ConditionStatus, ConditionType, Reason
from mqtt_operator.credentials.rotation import Generated
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import EventType
from mqtt_operator.reconcile.events import Said
from mqtt_operator.reconcile.keys import DataKey
from mqtt_operator.status.verdict import write_time

S = TypeVar("S", bound=Hashable)

_Condition = Mapping[str, Any]
_NOBODY: _Condition = {}
# These end by themselves, or with what is wrong with the broker.
_PASSING = (Reason.PENDING, Reason.CERTIFICATE_PENDING, Reason.BROKER_NOT_ACCEPTED)


class Troubles(Generic[S]):
    """Remembers whose trouble was told, so that its end is told too: an object that was always well costs no event.

    Subjects are whatever the caller tells objects apart by.
    """

    def __init__(self) -> None:
        self._told: set[S] = set()

    def news(self, subject: S, before: Manifest, after: Manifest) -> Said | None:
        """What is worth telling of this change of a status, if anything is."""
        trouble, earlier = trouble_of(after), trouble_of(before)
        if trouble is not None:
            self._told.add(subject)
            return None if earlier is not None and earlier.reason == trouble.reason else trouble
        ready = _conditions(after).get(ConditionType.READY, _NOBODY)
        if ready.get("status") != ConditionStatus.TRUE:
            return None
        if earlier is not None or subject in self._told:
            self._told.discard(subject)
            return Said(EventType.NORMAL, "Ready", ready["message"])
        return _suspension(_conditions(before).get(ConditionType.READY, _NOBODY), ready)

    def forget(self, subject: S) -> None:
        """The object is gone. Idempotent."""
        self._told.discard(subject)


def trouble_of(status: Manifest) -> Said | None:
    """Why this object is not ready, in the words of the condition that is the cause, if it is a matter of its own."""
    conditions = _conditions(status)
    ready = conditions.get(ConditionType.READY, _NOBODY)
    if ready.get("status") != ConditionStatus.FALSE:
        return None
    accepted, resolved = (
        conditions.get(kind, _NOBODY) for kind in (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS)
    )
    if accepted.get("status") == ConditionStatus.FALSE:
        return _warning(accepted)
    if resolved.get("status") == ConditionStatus.FALSE:
        is_quiet = resolved["reason"] in _PASSING or _is_of_broker(resolved, conditions)
        return None if is_quiet else _warning(resolved)
    return _warning(ready) if ready["reason"] == Reason.NO_CREDENTIALS else None


def password_news(secret: DataKey, known: Generated | None, wanted: Generated) -> Said | None:
    """What the client's owner is told once that Secret is as wanted; another address in it is no news."""
    if known is None:
        return Said(EventType.NORMAL, "PasswordGenerated", f"A password was made up: it is in {secret}.")
    if known.password == wanted.password:
        return None
    until = wanted.former_until
    overlap = "" if until is None else f" The one before it is good until {write_time(until)}."
    return Said(EventType.NORMAL, "PasswordRotated", f"{secret} holds a new password.{overlap}")


def certificate_news(secret: DataKey) -> Said:
    """What the client's owner is told once the Certificate is there; cert-manager tells the rest of it."""
    sentence = f"cert-manager was asked for the certificate in {secret}: see Certificate {secret.name}."
    return Said(EventType.NORMAL, "CertificateRequested", sentence)


def _is_of_broker(resolved: _Condition, conditions: Mapping[str, _Condition]) -> bool:
    """What keeps a broker from having any policy stands in both; one that is not there may be a slip of the pen."""
    programmed = conditions.get(ConditionType.PROGRAMMED, _NOBODY)
    is_everybodys: bool = resolved["message"] == programmed.get("message")
    return is_everybodys and resolved["reason"] != Reason.BROKER_NOT_FOUND


def _suspension(before: _Condition, after: _Condition) -> Said | None:
    if before.get("status") != ConditionStatus.TRUE or before["reason"] == after["reason"]:
        return None
    if after["reason"] == Reason.SUSPENDED:
        return Said(EventType.NORMAL, Reason.SUSPENDED, after["message"])
    return Said(EventType.NORMAL, "Resumed", after["message"]) if before["reason"] == Reason.SUSPENDED else None


def _warning(condition: _Condition) -> Said:
    return Said(EventType.WARNING, condition["reason"], condition["message"])


def _conditions(status: Manifest) -> Mapping[str, _Condition]:
    return {str(each.get("type")): each for each in status.get("conditions", ())}
