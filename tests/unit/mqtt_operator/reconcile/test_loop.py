"""Passes of one story: one at a time, woken, with back-off, and never the end of the loop."""

import asyncio
import logging
from typing import NamedTuple

import pytest

from mqtt_operator.errors import ExpectedError
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.loop import (
    BUG_S_MAX,
    BUG_S_MIN,
    EXPECTED_S_MAX,
    EXPECTED_S_MIN,
    Loop,
    Outcome,
    rest,
)
from mqtt_operator.reconcile.registry import HiddenError, UnseenError

PLANT = BrokerKey("mqtt", "plant")
Step = Outcome | Exception


class Story:
    """Passes by a script; after its end it says that it is over."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.under_way = 0
        self.most = 0
        self.loop: Loop | None = None
        self.wakes_during_pass = 0

    async def reconcile(self, key: BrokerKey) -> Outcome:
        assert key == PLANT
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(self.wakes_during_pass):
            assert self.loop is not None
            self.loop.wake()
        await asyncio.sleep(0)
        self.under_way -= 1
        step = self.steps.pop(0) if self.steps else Outcome("over", is_over=True)
        if isinstance(step, Exception):
            raise step
        return step


class Pause(NamedTuple):
    at_least_s: float
    at_most_s: float | None
    settle_s: float
    was_woken: bool


class Rests:
    """Pauses that cost no time."""

    def __init__(self) -> None:
        self.taken: list[Pause] = []

    async def __call__(
        self, woken: asyncio.Event, *, at_least_s: float, at_most_s: float | None, settle_s: float
    ) -> None:
        self.taken.append(Pause(at_least_s, at_most_s, settle_s, woken.is_set()))


class Meter:
    def __init__(self) -> None:
        self.results: list[str] = []

    def passed(self, story: str, result: str, seconds: float) -> None:
        assert (story, seconds) == ("policy", 1.0)
        self.results.append(result)


class Run:
    """A loop over a script, run to its end."""

    def __init__(self, *steps: Step, wakes_during_pass: int = 0, turn: asyncio.Lock | None = None) -> None:
        self.story, self.rests, self.meter = Story(*steps), Rests(), Meter()
        self._now = 0.0
        self.loop = Loop(
            "policy",
            self.story,
            PLANT,
            turn=turn or asyncio.Lock(),
            meter=self.meter,
            settle_s=0.1,
            clock=self._clock,
            rest=self.rests,
        )
        self.story.loop, self.story.wakes_during_pass = self.loop, wakes_during_pass

    def _clock(self) -> float:
        self._now += 1.0
        return self._now

    async def finish(self) -> list[Pause]:
        await self.loop.run()
        return self.rests.taken


async def test_a_pass_that_asks_for_nothing_is_followed_by_a_rest_that_only_news_end() -> None:
    assert await Run(Outcome("done")).finish() == [Pause(0.0, None, 0.1, was_woken=False)]


async def test_a_pass_may_ask_for_another_one_later() -> None:
    assert await Run(Outcome("done", again_s=3.0)).finish() == [Pause(0.0, 3.0, 0.1, was_woken=False)]


async def test_any_number_of_wake_ups_during_a_pass_make_one_more() -> None:
    pauses = await Run(Outcome("done"), wakes_during_pass=5).finish()
    assert [pause.was_woken for pause in pauses] == [True]


async def test_a_story_that_is_over_ends_its_loop() -> None:
    run = Run()
    assert await run.finish() == []
    assert run.meter.results == ["done"]


async def test_what_somebody_has_to_mend_is_tried_again_ever_later() -> None:
    run = Run(*[ExpectedError("The store is away.")] * 9)
    pauses = await run.finish()
    assert run.meter.results == ["expected"] * 9 + ["done"]
    waits = [pause.at_most_s or 0.0 for pause in pauses]
    assert EXPECTED_S_MIN / 2 <= waits[0] <= EXPECTED_S_MIN
    assert EXPECTED_S_MAX / 2 <= waits[-1] <= EXPECTED_S_MAX
    assert all(0.0 < pause.at_least_s <= EXPECTED_S_MIN for pause in pauses)  # news must not make it spin


async def test_a_bug_is_logged_with_its_traceback_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(*[RuntimeError("a bug")] * 9)
    pauses = await run.finish()
    assert run.meter.results == ["bug"] * 9 + ["done"]
    assert BUG_S_MIN / 2 <= (pauses[0].at_most_s or 0.0) <= BUG_S_MIN
    assert BUG_S_MAX / 2 <= (pauses[-1].at_most_s or 0.0) <= BUG_S_MAX
    assert "policy of mqtt/plant failed; this is a bug." in caplog.text
    assert "RuntimeError: a bug" in caplog.text


async def test_a_pass_that_works_ends_the_back_off() -> None:
    steps = [ExpectedError("away")] * 5
    pauses = await Run(*steps, Outcome("done", again_s=7.0), ExpectedError("away")).finish()
    assert (pauses[5].at_least_s, pauses[5].at_most_s) == (0.0, 7.0)
    assert (pauses[6].at_most_s or 0.0) <= EXPECTED_S_MIN


async def test_two_loops_with_one_turn_never_pass_at_one_time() -> None:
    turn = asyncio.Lock()
    first, second = Run(*[Outcome("done")] * 3, turn=turn), Run(*[Outcome("done")] * 3, turn=turn)
    second.loop._reconciler = first.story
    await asyncio.gather(first.loop.run(), second.loop.run())
    assert first.story.most == 1


async def test_a_sentence_is_told_when_it_is_another_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mqtt_operator")
    await Run(Outcome("Nothing to do."), Outcome("Nothing to do."), Outcome("A node was added.")).finish()
    assert [record.getMessage() for record in caplog.records][:2] == [
        "policy mqtt/plant: Nothing to do.",
        "policy mqtt/plant: A node was added.",
    ]


async def test_what_is_not_known_yet_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mqtt_operator")
    await Run(UnseenError("not yet"), ExpectedError("away")).finish()
    assert [record.levelname for record in caplog.records][:2] == ["DEBUG", "WARNING"]


async def test_what_will_not_be_known_before_a_person_acts_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mqtt_operator")
    await Run(*[HiddenError("forbidden")] * 3).finish()
    assert [record.levelname for record in caplog.records if record.getMessage().endswith("forbidden")] == ["WARNING"]


async def test_a_pass_can_be_cancelled() -> None:
    class Endless(Story):
        async def reconcile(self, key: BrokerKey) -> Outcome:
            await asyncio.Event().wait()
            return Outcome("never")

    run = Run()
    run.loop._reconciler = Endless()
    task = asyncio.create_task(run.loop.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_rest_ends_when_woken_and_when_its_time_is_up() -> None:
    woken = asyncio.Event()
    await rest(woken, at_least_s=0.0, at_most_s=0.0, settle_s=0.0)
    woken.set()
    await rest(woken, at_least_s=0.0, at_most_s=None, settle_s=0.0)
