"""Paused: an annotation tells the operator to leave the broker alone. Pure."""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.desired.names import PAUSE_ANNOTATION
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Verdict, fails, holds


def paused(seen: Observation) -> Verdict:
    if not seen.is_paused:
        return fails(ConditionType.PAUSED, Reason.NOT_PAUSED, "The operator looks after the broker.")
    sentence = f"Annotation {PAUSE_ANNOTATION} is true: the operator only looks. Take it away to go on."
    return holds(ConditionType.PAUSED, Reason.PAUSED, sentence)
