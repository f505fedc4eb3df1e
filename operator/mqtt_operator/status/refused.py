"""The status of an object whose spec has mistakes that no schema could refuse: what was known before, and why not.

Knows which conditions such an object has; does not know the mistakes. Pure.
"""

from collections.abc import Iterable
from datetime import datetime

from mqtt_api.conditions import ConditionType
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.status.verdict import Problem, as_conditions, fails, holds

_DECIDED = frozenset({ConditionType.ACCEPTED, ConditionType.READY, ConditionType.STALLED, ConditionType.RECONCILING})


def refused_status(before: Manifest, problem: Problem, generation: int, now: datetime) -> Manifest:
    """Nodes that run go on as they are, and so do the fields about them."""
    conditions = before.get("conditions", ())
    verdicts = [
        fails(ConditionType.READY, *problem),
        fails(ConditionType.ACCEPTED, *problem),
        fails(ConditionType.RECONCILING, problem.reason, "A person has to act first: condition Stalled says how."),
        holds(ConditionType.STALLED, *problem),
    ]
    kept = [each for each in conditions if each["type"] not in _DECIDED]
    return {
        **before,
        "observedGeneration": generation,
        "conditions": [*as_conditions(verdicts, conditions, generation, now), *kept],
    }


def mistakes_sentence(mistakes: Iterable[object]) -> str:
    """All of them, as one text for people."""
    return "; ".join(str(mistake) for mistake in mistakes) + "."
