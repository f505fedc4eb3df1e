"""Programmed: the nodes work by this generation of the object, and by the newest policy. Pure."""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.rollout.plan import Rest
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Verdict, fails, holds

KIND = ConditionType.PROGRAMMED


def programmed(seen: Observation) -> Verdict:
    if seen.failed is not None:
        return fails(KIND, *seen.failed)
    if not seen.is_programmed:
        return fails(KIND, Reason.CREATING, "What the broker needs is being made.")
    if seen.step is not None and not isinstance(seen.step, Rest):
        return fails(KIND, Reason.ROLLING_OUT, seen.step.sentence)
    if seen.policy.problem is not None:
        return fails(KIND, *seen.policy.problem)
    if not seen.nodes:
        return fails(KIND, Reason.NO_NODES, "There is no node yet.")
    if seen.policy.revision is None:
        return fails(KIND, Reason.POLICY_NOT_WRITTEN, "No policy has been written yet.")
    if seen.awaits_nodes:
        count = f"{seen.current_nodes} of {len(seen.nodes)}"
        verdict = fails(KIND, Reason.NODES_BEHIND, f"{count} nodes decide by policy revision {seen.policy.revision}.")
        return verdict._replace(changed_at=seen.lag.since) if seen.lag is not None and seen.lag.is_next else verdict
    return holds(KIND, Reason.PROGRAMMED, f"{len(seen.nodes)} of {len(seen.nodes)} nodes work by this generation.")
