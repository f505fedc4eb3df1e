"""What people are told as it happens, besides the status: one word and one sentence for each change.

Knows which changes of a status are worth an event, and which steps; does not know how one is written. Nothing is told
twice for one change: what was, is read from the status as it stood.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mqtt_api.conditions import ConditionStatus, ConditionType, Reason
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import EventType
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.rollout.plan import DeletePod, Rest, SetReplicas, Step

NORMAL, WARNING = EventType.NORMAL, EventType.WARNING
TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE


class Said(NamedTuple):
    """One event."""

    type: EventType
    reason: str
    message: str


# What a condition is worth when it gets this status, or another reason with it. None: the reason is the condition's.
_WORTH: Mapping[tuple[ConditionType, ConditionStatus], tuple[EventType, str | None]] = {
    (ConditionType.READY, TRUE): (NORMAL, "Ready"),
    (ConditionType.ACCEPTED, FALSE): (WARNING, None),
    (ConditionType.RESOLVED_REFS, FALSE): (WARNING, None),
    (ConditionType.SESSION_STORE_REACHABLE, TRUE): (NORMAL, Reason.STORE_REACHABLE),
    (ConditionType.SESSION_STORE_REACHABLE, FALSE): (WARNING, None),
    (ConditionType.DURABILITY_VERIFIED, FALSE): (WARNING, None),
    (ConditionType.SECURITY_POSTURE_LOWERED, TRUE): (WARNING, None),
    (ConditionType.PAUSED, TRUE): (NORMAL, "Paused"),
    (ConditionType.STALLED, TRUE): (WARNING, None),
}
# These come and go by themselves while a certificate is issued or handed out.
_QUIET = (Reason.CERTIFICATE_PENDING, Reason.NODES_SERVE_ANOTHER, Reason.NO_NODES)


def of_conditions(before: Iterable[Manifest], after: Iterable[Manifest]) -> list[Said]:
    """One for each change that is worth it, causes first; none twice with one reason."""
    known = {each["type"]: (each["status"], each["reason"]) for each in before}
    said = [
        told
        for condition in sorted(after, key=lambda each: each["type"] == ConditionType.READY)
        if known.get(condition["type"]) != (condition["status"], condition["reason"])
        for told in _of_condition(condition, known.get(condition["type"]))
    ]
    return list({told.reason: told for told in reversed(said)}.values())[::-1]


def _of_condition(condition: Mapping[str, Any], before: tuple[str, str] | None) -> Iterator[Said]:
    kind, status = ConditionType(condition["type"]), ConditionStatus(condition["status"])
    reason, message = condition["reason"], condition["message"]
    if kind is ConditionType.CERTIFICATES_READY and status is FALSE and reason not in _QUIET:
        yield Said(WARNING, reason, message)
    elif kind is ConditionType.PAUSED and status is FALSE and before is not None and before[0] == TRUE:
        yield Said(NORMAL, "Resumed", message)
    elif (kind, status) in _WORTH and (before is None or before[0] != status or _WORTH[kind, status][1] is None):
        event_type, word = _WORTH[kind, status]
        yield Said(event_type, word or reason, message)


class Happenings:
    """What the steps of a broker amount to over several passes. For one event loop; nothing here waits."""

    def __init__(self) -> None:
        self._rolling: set[BrokerKey] = set()
        self._served: dict[BrokerKey, dict[str, str]] = {}

    def of_step(self, key: BrokerKey, step: Step | None) -> list[Said]:
        """That a rollout begins or has ended, and each change of the number of nodes."""
        match step:
            case SetReplicas(sentence=sentence):
                return [Said(NORMAL, "Scaled", sentence)]
            case DeletePod(sentence=sentence) if key not in self._rolling:
                self._rolling.add(key)
                return [Said(NORMAL, "RolloutStarted", sentence)]
            case Rest(sentence=sentence) if key in self._rolling:
                self._rolling.discard(key)
                return [Said(NORMAL, "RolloutFinished", sentence)]
        return []

    def of_certificates(self, key: BrokerKey, certificates: Iterable[Manifest]) -> list[Said]:
        """That all nodes serve another certificate than they did. The first one is no news."""
        served = self._served.setdefault(key, {})
        said = []
        for each in certificates:
            listener, serial, nodes = each["listener"], each["serial"], each["nodesTotal"]
            if not 0 < nodes == each["nodesServing"] or served.get(listener) == serial:
                continue
            if listener in served:
                sentence = f"All {nodes} nodes serve serial {serial} on {listener}, with no connection closed."
                said.append(Said(NORMAL, "CertificateReloaded", sentence))
            served[listener] = serial
        return said

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone."""
        self._rolling.discard(key)
        self._served.pop(key, None)
