"""From what goes wrong in a pass to what stands in a status.

Knows which error means which word; does not know who raises what.
"""

from mqtt_api.conditions import Reason
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.port import ForbiddenError, KubeAwayError, RefusedError
from mqtt_operator.status.verdict import Problem


class MendError(ExpectedError):
    """Somebody has to mend something before the pass can go on; the status says so."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.problem = Problem(reason, sentence)


def problem_of(error: ExpectedError) -> Problem:
    """What happened, where and what to do, as one text."""
    sentence = " ".join(part for part in (error.what, error.where, error.to_do) if part)
    match error:
        case MendError(problem=problem):
            return problem
        case ForbiddenError():
            return Problem(Reason.FORBIDDEN, sentence)
        case RefusedError():
            return Problem(Reason.REFUSED_BY_API_SERVER, sentence)
        case KubeAwayError():
            return Problem(Reason.KUBERNETES_UNREACHABLE, sentence)
    return Problem(Reason.PENDING, sentence)
