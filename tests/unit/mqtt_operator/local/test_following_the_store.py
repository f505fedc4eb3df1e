"""While it runs, `stoa up` looks after the store: what is wrong is told once, and what waits is tried again."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.policy import _refusal
from mqtt_operator.channel.terms import StoreAwayError
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local import front, running
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.reconciler import Change


class Recorder:
    """A Reporter that remembers."""

    def __init__(self) -> None:
        self.events: list[NodeEvent] = []
        self.refusals: list[str] = []

    def event(self, event: NodeEvent) -> None:
        self.events.append(event)

    def refused(self, error: ExpectedError) -> None:
        self.refusals.append(error.what)


class Script:
    """A reconciler whose calls go as written: an error to raise, or an answer. The last one ends the test."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def keep_policy(self) -> int:
        return int(self._next())

    def reconcile(self) -> Change:
        change: Change = self._next()
        return change

    def _next(self) -> Any:
        if not self._answers:
            raise EndOfStoryError
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class EndOfStoryError(Exception):
    pass


class Shared:
    """As much of a deployment as is looked at."""

    store = object()


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recorder]:
    monkeypatch.setattr(running, "STORE_LOOK_S", 0.0)
    monkeypatch.setattr(running, "STORE_RETRY_S", 0.0)

    def run(*answers: Any) -> Recorder:
        recorder = Recorder()
        with pytest.raises(EndOfStoryError):
            asyncio.run(running._follow_store(Script(*answers), recorder, Shared()))  # type: ignore[arg-type]
        return recorder

    return run


def test_a_store_that_is_well_is_no_news(follow: Callable[..., Recorder]) -> None:
    assert follow(0, 0, 0).events == []


def test_a_store_that_goes_and_comes_is_told_once_each(follow: Callable[..., Recorder]) -> None:
    away = StoreAwayError("The store does not answer.")
    told = follow(0, away, away, away, 0, 0).events
    assert [event.event for event in told] == ["store.trouble", "store.back"]
    assert told[0].is_failure


def test_another_trouble_is_told_too(follow: Callable[..., Recorder]) -> None:
    told = follow(StoreAwayError("one"), StoreAwayError("two"), StoreAwayError("two")).events
    assert [event.message for event in told] == ["one", "two"]


def test_a_store_that_lost_writes_is_told_aloud(follow: Callable[..., Recorder]) -> None:
    (event,) = follow(0, 3, 0).events
    assert event.event == "store.rolled_back"
    assert event.is_failure
    assert "what was acknowledged since is lost" in event.message


def test_a_single_node_has_no_store_to_look_after() -> None:
    class Alone:
        store = None

    asyncio.run(running._follow_store(Script(), Recorder(), Alone()))  # type: ignore[arg-type]


async def test_a_change_that_the_store_could_not_take_is_tried_until_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STORE_RETRY_S", 0.0)
    recorder, change = Recorder(), object()
    away = StoreAwayError("The store does not answer.")
    done = await running._reconciled(Script(away, away, change), recorder)  # type: ignore[arg-type]
    assert done is change
    assert recorder.refusals == ["The store does not answer."]


async def test_a_mistake_in_the_files_ends_the_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STORE_RETRY_S", 0.0)
    script = Script(StoreAwayError("away"), ExpectedError("a mistake"))
    with pytest.raises(ExpectedError, match="a mistake"):
        await running._reconciled(script, Recorder())  # type: ignore[arg-type]


async def test_a_front_that_does_not_open_its_ports_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "LISTENING_S_MAX", 0.0)
    monkeypatch.setattr(front, "is_open", lambda _: False)
    with pytest.raises(ExpectedError, match="did not open its ports"):
        await front.wait_listening([object()])  # type: ignore[list-item]


def test_parts_that_vanish_at_once_are_told() -> None:
    told = _refusal("parts", 2, 1, RedisSettings(addresses=("a:1",), key_prefix="p"))
    assert "has lost what was written a moment ago" in told.what
