"""What is said about one condition, and how a list of conditions comes of it that keeps its history.

Knows the shape of metav1.Condition; does not know when any condition becomes true. Pure: the time comes in.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mqtt_api.conditions import ConditionStatus, ConditionType, Reason
from mqtt_operator.desired.manifest import Manifest

MESSAGE_CHARACTERS_MAX = 4_096  # the API server takes eight times as much; nobody reads that


class Problem(NamedTuple):
    """Something that somebody has to mend, or to wait for: one word for programs, one sentence for people."""

    reason: Reason
    sentence: str


class Verdict(NamedTuple):
    """A condition without its history. `changed_at`: it was otherwise for a moment, unseen, until then."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str
    changed_at: datetime | None = None

    @property
    def is_true(self) -> bool:
        return self.status is ConditionStatus.TRUE


def holds(kind: ConditionType, reason: Reason, message: str) -> Verdict:
    """The condition is true."""
    return Verdict(kind, ConditionStatus.TRUE, reason, message)


def fails(kind: ConditionType, reason: Reason, message: str) -> Verdict:
    """The condition is false."""
    return Verdict(kind, ConditionStatus.FALSE, reason, message)


def unknown(kind: ConditionType, reason: Reason, message: str) -> Verdict:
    """Nobody can tell."""
    return Verdict(kind, ConditionStatus.UNKNOWN, reason, message)


def first_of(problems: Sequence[Problem]) -> Problem:
    """One problem that stands for all: the reason of the first, the sentences of all. There must be one."""
    return Problem(problems[0].reason, " ".join(problem.sentence for problem in problems))


def as_conditions(
    verdicts: Iterable[Verdict], before: Iterable[Mapping[str, Any]], generation: int, now: datetime
) -> list[Manifest]:
    """The list as it stands in a status. A condition whose status is the same as before keeps its time."""
    since = {(each.get("type"), each.get("status")): each.get("lastTransitionTime") for each in before}

    def changed_at(verdict: Verdict) -> str:
        known = since.get((verdict.type.value, verdict.status.value)) if verdict.changed_at is None else None
        return known or write_time(verdict.changed_at or now)

    return [
        {
            "type": verdict.type.value,
            "status": verdict.status.value,
            "reason": verdict.reason.value,
            "message": verdict.message[:MESSAGE_CHARACTERS_MAX],
            "lastTransitionTime": changed_at(verdict),
            "observedGeneration": generation,
        }
        for verdict in verdicts
    ]


def write_time(moment: datetime) -> str:
    """As Kubernetes writes times: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
