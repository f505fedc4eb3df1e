"""What an answer of the API server means: the object, nothing, or which of our errors. Pure.

Knows the Status objects of the API; does not know how a request is sent or tried again. What a Secret holds stays out
of every error: for one, only the names of fields are told.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from mqtt_operator.desired.kinds import SECRET
from mqtt_operator.kube.port import (
    Call,
    ConflictError,
    ForbiddenError,
    KubeAwayError,
    KubeError,
    NamespaceEndsError,
    RefusedError,
)
from mqtt_operator.kube.session import Answer, NoAnswerError

LATER = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Codes after which the same request may succeed."""

REASON_CHARACTERS_MAX = 1_024  # of what the API server says; it ends up in conditions and log lines
NAMESPACE_ENDS = "NamespaceTerminating"
_NO_RIGHT = 'is forbidden: User "'  # how RBAC says no; admission says it otherwise, with the same code


def is_success(answer: Answer) -> bool:
    """Whether the request was carried out."""
    return HTTPStatus.OK <= answer.code < HTTPStatus.MULTIPLE_CHOICES


def problem_of(answer: Answer, call: Call, namespace: str, name: str) -> KubeError:
    """The error that this refusal is. 404 is one too here: who asks for an object takes it for an answer first."""
    status = _status(answer)
    what = f"{call.verb} {call.resource_name} {_place(namespace, name)}"
    reason = _reason(status, call)
    match answer.code:
        case HTTPStatus.UNAUTHORIZED:
            return KubeAwayError("The API server does not accept the operator's log-in.")
        case HTTPStatus.FORBIDDEN if _NO_RIGHT in str(status.get("message", "")):
            return ForbiddenError(call, namespace)
        case HTTPStatus.FORBIDDEN if NAMESPACE_ENDS in _causes(status, "reason"):
            return NamespaceEndsError(f"Namespace {namespace} is being deleted: nothing can be made in it any more.")
        case HTTPStatus.CONFLICT:
            return ConflictError(f"The API server has another state than expected: {what}.", where=reason)
        case HTTPStatus.UNPROCESSABLE_ENTITY if _is_another(status):
            return ConflictError(f"The object is another one than expected: {what}.")
        case code if code in LATER:
            return KubeAwayError(f"The API server could not {what} (code {code}).", where=reason)
        case _:
            return RefusedError(f"The API server refused to {what}.", reason)


def _status(answer: Answer) -> Mapping[str, Any]:
    try:
        return answer.document()
    except NoAnswerError:
        return {}


def _causes(status: Mapping[str, Any], part: str) -> set[str]:
    """What the causes say there: `reason`, or `field`."""
    causes = (status.get("details") or {}).get("causes") or ()
    return {str(cause.get(part, "")) for cause in causes} - {""}


def _is_another(status: Mapping[str, Any]) -> bool:
    """A patch that names the uid of an object which has been replaced is called invalid."""
    return "metadata.uid" in _causes(status, "field")


def _reason(status: Mapping[str, Any], call: Call) -> str:
    if call.resource == SECRET.plural:
        parts = (str(status.get("reason", "")), ", ".join(sorted(_causes(status, "field"))))
        return ": ".join(part for part in parts if part)
    return str(status.get("message", ""))[:REASON_CHARACTERS_MAX]


def _place(namespace: str, name: str) -> str:
    return "/".join(part for part in (namespace, name) if part) or "in the whole cluster"
