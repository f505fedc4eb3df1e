"""Waiting for a condition with a deadline, the only way a test waits."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

DEADLINE_S = 30.0  # on whatever machine this is: what is waited for comes sooner, or not at all
POLL_INTERVAL_S = 0.02

T = TypeVar("T")


class NotInTimeError(AssertionError):
    """The condition did not come true before its deadline."""


@overload
async def eventually(condition: Callable[[], Awaitable[T]], deadline_s: float = ..., what: str = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], deadline_s: float = ..., what: str = ...) -> T: ...


async def eventually(condition: Callable[[], object], deadline_s: float = DEADLINE_S, what: str = "") -> object:
    """Ask `condition`, a function or a coroutine function, until its answer is true, and return that answer."""
    ends_at = time.monotonic() + deadline_s
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > ends_at:
            raise NotInTimeError(f"not within {deadline_s} s: {what or condition}")
        await asyncio.sleep(POLL_INTERVAL_S)


def wait_until(
    condition: Callable[[], T], deadline_s: float = DEADLINE_S, what: str = "", interval_s: float = POLL_INTERVAL_S
) -> T:
    """The same for a fixture that has no event loop."""
    ends_at = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > ends_at:
            raise NotInTimeError(f"not within {deadline_s} s: {what or condition}")
        time.sleep(interval_s)
    return value
