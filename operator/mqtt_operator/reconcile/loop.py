"""Runs the passes of one story of one broker: one at a time, when something changed, and again when a pass asks for it.

Knows when to call, back-off, and how a pass is told; does not know what a pass does, what it watches, or Kubernetes.
Level-triggered: a wake-up carries nothing, a pass looks at everything, and any number of wake-ups make one pass.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import NamedTuple, Protocol

from mqtt_operator.errors import ExpectedError
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.registry import HiddenError, UnseenError

log = logging.getLogger(__name__)

EXPECTED_S_MIN, EXPECTED_S_MAX = 1.0, 60.0  # what people or the world have to mend
BUG_S_MIN, BUG_S_MAX = 5.0, 300.0  # what we have to mend


class Outcome(NamedTuple):
    """`sentence`: what was done and why, for the log, and for tests.

    `again_s`: look again then, though nothing has changed. None: only when something changes. `is_over`: only of a
    broker that is being deleted, or gone: nothing is left to be done, its finalizer may go.
    """

    sentence: str
    again_s: float | None = None
    is_over: bool = False


class Reconciler(Protocol):
    """One story about brokers; BrokerReconciler and PolicyReconciler are the two."""

    async def reconcile(self, key: BrokerKey) -> Outcome:
        """Look at everything that concerns this broker and take the next step. Idempotent; never twice at a time.

        The broker may be gone, or about to be. What people or the world have to mend is raised as an ExpectedError
        after the pass has said so in the status: it is tried again with back-off. Anything else that is raised is a
        bug: it is logged with its traceback and tried again with back-off. May be cancelled at any await.
        """
        ...


class PassResult(StrEnum):
    """How a pass ended, as a word for metrics."""

    DONE = "done"
    EXPECTED = "expected"
    BUG = "bug"


class Meter(Protocol):
    """Who counts passes."""

    def passed(self, story: str, result: str, seconds: float) -> None: ...


class Rest(Protocol):
    """How a loop waits between two passes: see `rest`."""

    async def __call__(
        self, woken: asyncio.Event, *, at_least_s: float, at_most_s: float | None, settle_s: float
    ) -> None: ...


async def rest(woken: asyncio.Event, *, at_least_s: float, at_most_s: float | None, settle_s: float) -> None:
    """Until woken, but for `at_least_s`; for `at_most_s` if nobody wakes us. Then `settle_s` for more wake-ups."""
    await asyncio.sleep(at_least_s)
    try:
        async with asyncio.timeout(None if at_most_s is None else max(at_most_s - at_least_s, 0.0)):
            await woken.wait()
    except TimeoutError:
        return
    await asyncio.sleep(settle_s)


class Loop:
    """`run` it as a task; it goes on until it is cancelled, or until a pass says that it is over.

    `turn`: held during each pass, so that two loops of one story and broker cannot run at one time. `settle_s`: how
    long to wait after a wake-up for more of them.
    """

    def __init__(
        self,
        story: str,
        reconciler: Reconciler,
        key: BrokerKey,
        *,
        turn: AbstractAsyncContextManager[object],
        meter: Meter,
        settle_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        rest: Rest = rest,
    ) -> None:
        self._story = story
        self._reconciler = reconciler
        self._key = key
        self._turn = turn
        self._meter = meter
        self._settle_s = settle_s
        self._clock = clock
        self._rest = rest
        self._woken = asyncio.Event()
        self._sentence = ""
        self._failures = 0

    def wake(self) -> None:
        """Something changed: look soon. Never waits."""
        self._woken.set()

    async def run(self) -> None:
        """Pass after pass; the first one at once."""
        while True:
            self._woken.clear()
            outcome = await self._pass()
            if outcome.is_over:
                return
            at_least_s = min(EXPECTED_S_MIN, outcome.again_s or 0.0) if self._failures else 0.0
            await self._rest(self._woken, at_least_s=at_least_s, at_most_s=outcome.again_s, settle_s=self._settle_s)

    async def _pass(self) -> Outcome:
        async with self._turn:
            started_at = self._clock()
            result = PassResult.DONE
            try:
                outcome = await self._reconciler.reconcile(self._key)
                self._failures = 0
                self._tell(logging.INFO, outcome.sentence)
            except ExpectedError as error:
                result = PassResult.EXPECTED
                outcome = self._after(error.what, EXPECTED_S_MIN, EXPECTED_S_MAX)
                is_soon_over = isinstance(error, UnseenError) and not isinstance(error, HiddenError)
                self._tell(logging.DEBUG if is_soon_over else logging.WARNING, str(error))
            except Exception as error:  # a bug in one story must not end the others
                result = PassResult.BUG
                outcome = self._after(type(error).__name__, BUG_S_MIN, BUG_S_MAX)
                log.error(
                    "%s of %s failed; this is a bug.", self._story, self._key, exc_info=error, extra=self._extra("bug")
                )
            self._meter.passed(self._story, result, self._clock() - started_at)
            return outcome

    def _after(self, sentence: str, seconds_min: float, seconds_max: float) -> Outcome:
        wait_s = min(seconds_min * 2.0**self._failures, seconds_max)
        self._failures = min(self._failures + 1, 32)
        return Outcome(sentence, random.uniform(wait_s / 2, wait_s))  # noqa: S311 - spreads load, guards nothing

    def _tell(self, level: int, sentence: str) -> None:
        """A sentence that is as before was told before."""
        if sentence != self._sentence:
            self._sentence = sentence
            log.log(level, "%s %s: %s", self._story, self._key, sentence, extra=self._extra("pass"))

    def _extra(self, event: str) -> dict[str, object]:
        fields = {"broker": self._key.name, "namespace": self._key.namespace}
        return {"event": f"{self._story}.{event}", "fields": fields}
