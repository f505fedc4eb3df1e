"""The words of conditions: each is explained, and fits what Kubernetes takes."""

import re

import pytest

from mqtt_api.conditions import CONDITIONS, PENDING, READY, REASONS, ConditionType, Reason

SENTENCE = r"[A-Za-z].*[^.]\."


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_by_a_sentence(reason: Reason) -> None:
    assert re.fullmatch(SENTENCE, REASONS[reason])


@pytest.mark.parametrize("condition", ConditionType)
def test_every_condition_is_explained_by_a_sentence(condition: ConditionType) -> None:
    assert re.fullmatch(SENTENCE, CONDITIONS[condition])


@pytest.mark.parametrize("word", [*Reason, *ConditionType])
def test_every_word_is_one_in_camel_case_as_kubernetes_wants_it(word: str) -> None:
    assert re.fullmatch(r"([A-Z]+[a-z]+|API|IDs|TLS)+", word)


def test_every_reason_means_one_thing() -> None:
    assert len(set(REASONS.values())) == len(REASONS)


def test_a_new_object_is_not_ready_because_nobody_has_looked() -> None:
    assert (PENDING.type, PENDING.reason, PENDING.status) == (READY, Reason.PENDING, "Unknown")
