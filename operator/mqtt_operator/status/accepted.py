"""Accepted: the object makes sense by itself, and may do what it asks for. Pure."""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Verdict, fails, holds


def accepted(seen: Observation) -> Verdict:
    if seen.refused is not None:
        return fails(ConditionType.ACCEPTED, seen.refused.reason, seen.refused.sentence)
    return holds(ConditionType.ACCEPTED, Reason.ACCEPTED, "The broker makes sense, and may do what it asks for.")
