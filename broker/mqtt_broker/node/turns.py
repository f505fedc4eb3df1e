"""Loop turns shared fairly: a client that asks for much at once gets it in slices, and others are served in between.

Knows effort and whose turn it is; does not know what is asked for. The effort of all connections in one loop turn is
counted together, so that ten busy clients cost the others no more than one does.
"""

import asyncio
from collections import deque
from collections.abc import Callable

FILTERS_PER_TURN_MAX = 100  # topic filters that all clients together subscribe to or drop in one turn: some 5 ms


class Turns:
    """Counts effort, and brings those who spent too much their next turn, one after the other."""

    __slots__ = ("_is_scheduled", "_loop", "_spent", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._spent = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_scheduled = False

    @property
    def is_over(self) -> bool:
        """True once this turn has had enough: whoever wants more has to `wait`."""
        return self._spent >= FILTERS_PER_TURN_MAX

    def spend(self, effort: int) -> None:
        """Count effort of this turn."""
        self._spent += effort
        self._schedule()

    def wait(self, resume: Callable[[], None]) -> None:
        """Call once, at the beginning of a later turn and after those who waited before."""
        self._waiting.append(resume)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._is_scheduled = False
        self._spent = 0
        if self._waiting:
            self._waiting.popleft()()
        if self._waiting:  # also when the one resumed just now had nothing more to do
            self._schedule()
