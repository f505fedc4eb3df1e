"""ResolvedRefs: everything that the object refers to exists and can be used. Pure."""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Verdict, fails, first_of, holds


def resolved_refs(seen: Observation) -> Verdict:
    problems = (*seen.unresolved, *seen.renewing)
    if problems:
        return fails(ConditionType.RESOLVED_REFS, *first_of(problems))
    return holds(ConditionType.RESOLVED_REFS, Reason.RESOLVED, "Everything that it refers to is there.")
