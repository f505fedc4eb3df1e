"""ResolvedRefs: everything that the object refers to exists and can be used. Pure."""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Verdict, fails, first_of, holds


def resolved_refs(seen: Observation) -> Verdict:
    if seen.unresolved:
        return fails(ConditionType.RESOLVED_REFS, *first_of(seen.unresolved))
    return holds(ConditionType.RESOLVED_REFS, Reason.RESOLVED, "Everything that it refers to is there.")
