"""Settings hold when the node says so, and what it refuses is told by the field that a person wrote."""

import asyncio
from typing import Any

import pytest

from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.deploy import Deployment
from mqtt_operator.local.node_answers import AllAnswers, NodeAnswers
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.node_status import NodeStatus

APPLIED = NodeEvent(event="settings.applied", message="settings applied")
OTHER = NodeEvent(event="client.connected", message="somebody")


def rejected(**fields: Any) -> NodeEvent:
    return NodeEvent(level="error", event="settings.rejected", message="in its own words", fields=fields)


class Recorder:
    """A Reporter that remembers."""

    def __init__(self) -> None:
        self.events: list[NodeEvent] = []
        self.refusals: list[str] = []

    def ready(self, deployment: Deployment, event: NodeEvent) -> None: ...
    def changed(self, deployment: Deployment, sentence: str) -> None: ...
    def status(self, status: NodeStatus | None) -> None: ...
    def stopping(self) -> None: ...

    def refused(self, error: ExpectedError) -> None:
        self.refusals.append(str(error))

    def event(self, event: NodeEvent) -> None:
        self.events.append(event)


@pytest.fixture
def told() -> Recorder:
    return Recorder()


@pytest.fixture
def answers(told: Recorder) -> NodeAnswers:
    return NodeAnswers(told)


async def test_settings_that_the_node_took_are_the_answer_and_no_line_of_their_own(
    answers: NodeAnswers, told: Recorder
) -> None:
    answers.expect()
    answers.take(OTHER)
    answers.take(APPLIED)
    assert await answers.wait() is True
    assert told.events == [OTHER]


async def test_a_setting_that_cannot_change_while_running_is_told_by_its_field(
    answers: NodeAnswers, told: Recorder
) -> None:
    answers.expect()
    answers.take(rejected(fixed=["store_bytes_max", "unheard_of"]))
    answers.take(APPLIED)
    assert await answers.wait() is False
    (refusal,) = told.refusals
    assert "field: spec.sessionStore.embedded.storage, unheard_of" in refusal
    assert "start it again" in refusal


@pytest.mark.parametrize(
    ("fields", "words"), [({"problem": "port 80 is taken"}, "port 80 is taken"), ({}, "in its own words")]
)
async def test_any_other_refusal_is_told_in_the_words_of_the_node(
    answers: NodeAnswers, told: Recorder, fields: dict[str, str], words: str
) -> None:
    answers.expect()
    answers.take(rejected(**fields))
    assert await answers.wait() is False
    (refusal,) = told.refusals
    assert words in refusal
    assert told.events == []


async def test_a_late_success_is_told_as_one(answers: NodeAnswers, told: Recorder) -> None:
    answers.expect()
    answers.take(rejected(problem="port 80 is taken"))
    await answers.wait()
    answers.take(APPLIED)
    (event,) = told.events
    assert event.message == "Applied: the node has all its settings as the files declare them."


async def test_silence_is_no_answer(answers: NodeAnswers) -> None:
    assert await answers.wait() is None
    answers.expect()
    assert await answers.wait(0) is None


async def test_an_answer_may_come_while_somebody_waits(answers: NodeAnswers) -> None:
    answers.expect()
    asyncio.get_running_loop().call_soon(answers.take, APPLIED)
    assert await answers.wait() is True


def all_answers(recorder: Recorder, *nodes: str) -> AllAnswers:
    answers = AllAnswers(recorder, nodes)
    answers.expect()
    return answers


async def test_settings_hold_when_every_node_has_taken_them() -> None:
    answers = all_answers(Recorder(), "a", "b")
    answers.taker("a")(APPLIED)
    assert await answers.wait(0.0) is None
    answers.expect()
    answers.taker("a")(APPLIED)
    answers.taker("b")(APPLIED)
    assert await answers.wait() is True


async def test_what_several_nodes_refuse_in_the_same_words_is_told_once() -> None:
    recorder = Recorder()
    answers = all_answers(recorder, "a", "b", "c")
    answers.taker("a")(APPLIED)
    for node in ("b", "c"):
        answers.taker(node)(rejected(fixed=["store"]))
    assert await answers.wait() is False
    assert len(recorder.refusals) == 1
    answers.expect()
    answers.taker("b")(rejected(fixed=["store"]))
    assert len(recorder.refusals) == 2


async def test_of_several_nodes_it_is_said_which_one_speaks() -> None:
    recorder = Recorder()
    answers = all_answers(recorder, "a", "b")
    answers.taker("b")(OTHER)
    answers.taker("b")(NodeEvent(event="authz.denied", message="DENIED x"))
    answers.taker("b")(NodeEvent(event="node.died", message="b ended"))
    assert [event.message for event in recorder.events] == ["b: somebody", "DENIED x", "b ended"]


async def test_a_single_node_need_not_be_named() -> None:
    recorder = Recorder()
    all_answers(recorder, "a").taker("a")(OTHER)
    assert [event.message for event in recorder.events] == ["somebody"]


async def test_nothing_written_means_no_answer_is_waited_for() -> None:
    answers = all_answers(Recorder(), "a", "b")
    answers.forget()
    assert await answers.wait() is None
