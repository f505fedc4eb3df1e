"""Reconciling: the operator is at work on the broker. Pure."""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.rollout.plan import DeletePod, Rest, SetReplicas, Wait, Why
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.stalled import why_stalled
from mqtt_operator.status.verdict import Problem, Verdict, fails, first_of, holds

KIND = ConditionType.RECONCILING

_WHY = {
    Why.PAUSED: Reason.PAUSED,
    Why.STORE_UNREACHABLE: Reason.STORE_UNREACHABLE,
    Why.NODE_STARTING: Reason.WAITING_FOR_NODES,
    Why.NODE_FAILING: Reason.WAITING_FOR_NODES,
    Why.NODE_MISSING: Reason.WAITING_FOR_NODES,
    Why.NODE_LEAVING: Reason.ROLLING_OUT,
    Why.REVISION_PENDING: Reason.ROLLING_OUT,
}


def reconciling(seen: Observation) -> Verdict:
    if seen.is_paused:
        return fails(KIND, Reason.PAUSED, "The operator is told to leave the broker alone.")
    stuck = why_stalled(seen)
    if stuck is not None:
        return fails(KIND, stuck.reason, "A person has to act first: condition Stalled says how.")
    work = work_left(seen)
    return fails(KIND, Reason.SETTLED, "There is nothing left to do.") if work is None else holds(KIND, *work)


def work_left(seen: Observation) -> Problem | None:
    """What is being done, or waited for; None: nothing."""
    waited_for = (*seen.unresolved, *([] if seen.failed is None else [seen.failed]), *seen.pending)
    if waited_for:
        return first_of(waited_for)
    if not seen.is_programmed or seen.step is None:
        return Problem(Reason.CREATING, "What the broker needs is being made.")
    match seen.step:
        case Rest():
            return None
        case SetReplicas(sentence=sentence):
            return Problem(Reason.SCALING, sentence)
        case DeletePod(sentence=sentence):
            return Problem(Reason.ROLLING_OUT, sentence)
        case Wait(why=why, sentence=sentence):
            return Problem(_WHY[why], sentence)
