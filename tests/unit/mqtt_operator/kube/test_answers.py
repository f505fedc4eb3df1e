"""What an answer of the API server means."""

import json
from typing import Any

import pytest

from mqtt_operator.kube.answers import is_success, problem_of
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

CALL = Call("patch", "apps", "statefulsets")


def answer(code: int, **status: Any) -> Answer:
    return Answer(code, None, json.dumps({"kind": "Status", "code": code, **status}).encode())


def problem(code: int, call: Call = CALL, **status: Any) -> KubeError:
    return problem_of(answer(code, **status), call, "mqtt", "plant")


@pytest.mark.parametrize(("code", "succeeded"), [(200, True), (201, True), (300, False), (404, False), (500, False)])
def test_success_is_a_code_in_the_two_hundreds(code: int, succeeded: bool) -> None:
    assert is_success(answer(code)) is succeeded


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (401, KubeAwayError),
        (404, RefusedError),
        (408, KubeAwayError),
        (409, ConflictError),
        (413, RefusedError),
        (422, RefusedError),
        (429, KubeAwayError),
        (500, KubeAwayError),
        (503, KubeAwayError),
        (504, KubeAwayError),
    ],
)
def test_a_refusal_is_the_error_of_its_code(code: int, kind: type[KubeError]) -> None:
    assert type(problem(code)) is kind


def test_a_missing_right_is_named_with_verb_and_resource_and_place() -> None:
    message = 'statefulsets.apps is forbidden: User "system:serviceaccount:a:b" cannot patch resource "statefulsets"'
    error = problem(403, message=message)
    assert isinstance(error, ForbiddenError)
    assert error.call == CALL
    assert error.what == "The operator may not patch statefulsets.apps in namespace mqtt."


def test_an_admission_policy_that_forbids_is_a_refusal_with_its_own_words() -> None:
    """Another right would not help, so nobody should be sent to look for one."""
    error = problem(403, message='pods "plant-0" is forbidden: violates PodSecurity "restricted:latest"')
    assert isinstance(error, RefusedError)
    assert "PodSecurity" in error.reason


def test_a_namespace_that_is_being_deleted_is_no_lack_of_rights() -> None:
    message = (
        'services "plant" is forbidden: unable to create new content in namespace mqtt because it is being deleted'
    )
    causes = [{"reason": "NamespaceTerminating", "field": "metadata.namespace", "message": "it is being terminated"}]
    error = problem(403, message=message, details={"causes": causes})
    assert isinstance(error, NamespaceEndsError)
    assert error.what == "Namespace mqtt is being deleted: nothing can be made in it any more."


def test_a_patch_for_an_object_that_was_replaced_is_a_conflict() -> None:
    causes = [{"reason": "FieldValueInvalid", "field": "metadata.uid", "message": "field is immutable"}]
    assert isinstance(problem(422, message="invalid", details={"causes": causes}), ConflictError)


def test_a_refused_secret_is_told_by_its_fields_alone() -> None:
    causes = [{"reason": "FieldValueInvalid", "field": "data[a]", "message": 'Invalid value: "opensesame"'}]
    error = problem(
        422,
        Call("patch", "", "secrets"),
        message='Secret "a" is invalid: "opensesame"',
        reason="Invalid",
        details={"causes": causes},
    )
    assert isinstance(error, RefusedError)
    assert error.reason == "Invalid: data[a]"
    assert "opensesame" not in str(error)


def test_an_answer_of_something_between_us_and_the_api_server_is_no_surprise() -> None:
    page = Answer(502, None, b"<html>bad gateway</html>")
    assert isinstance(problem_of(page, CALL, "", ""), KubeAwayError)
    with pytest.raises(NoAnswerError):
        page.document()
    with pytest.raises(NoAnswerError):
        Answer(200, None, b"[]").document()
