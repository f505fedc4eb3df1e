"""Stalled: the operator cannot go on without a person. Pure."""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.rollout.plan import Wait
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Problem, Verdict, fails, holds

# What is waited for may come by itself, but for these.
_NEEDS_A_PERSON = frozenset(
    {
        Reason.STORE_LOGIN_REFUSED,
        Reason.STORE_NOT_FIT,
        Reason.STORE_REPLACED,
        Reason.STORE_ROLLED_BACK,
        Reason.ISSUANCE_FAILED,
        Reason.INVALID_CONTENT,
        Reason.SECRET_NOT_OURS,
        Reason.NAME_TAKEN,
        Reason.REFUSED_BY_API_SERVER,
        Reason.FORBIDDEN,
        Reason.CERT_MANAGER_NOT_INSTALLED,
    }
)


def stalled(seen: Observation) -> Verdict:
    problem = None if seen.is_paused else why_stalled(seen)
    if problem is None:
        return fails(ConditionType.STALLED, Reason.SETTLED, "No person has to act.")
    return holds(ConditionType.STALLED, *problem)


def why_stalled(seen: Observation) -> Problem | None:
    """What somebody has to mend, the first of it."""
    if seen.refused is not None:
        return seen.refused
    for problem in _problems(seen):
        if problem.reason in _NEEDS_A_PERSON:
            return problem
    if seen.policy.stalled:
        return Problem(Reason.MASS_REMOVAL, seen.policy.stalled)
    if isinstance(seen.step, Wait) and seen.step.is_stalled:
        return Problem(Reason.ROLLOUT_STUCK, seen.step.sentence)
    return None


def _problems(seen: Observation) -> list[Problem]:
    found = [*seen.unresolved, *seen.pending]
    if seen.failed is not None:
        found.append(seen.failed)
    if seen.store is not None:
        found += [problem for problem in (seen.store.problem, seen.store.rolled_back) if problem is not None]
    return found
