"""Loop turns shared fairly: what takes long is done in slices, and others are served in between.

Knows effort and whose turn it is; does not know what is asked for. The effort of all connections in one loop turn is
counted together, so that ten busy clients cost the others no more than one does.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

FILTERS_PER_TURN_MAX = 100  # topic filters that all clients together subscribe to or drop in one turn: some 5 ms


class Turns:
    """Counts effort, and brings those who spent too much their next turn, one after the other.

    The unit of effort is a topic filter of a SUBSCRIBE, some 50 µs.
    """

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

    async def share(self) -> None:
        """Return at once, or in a later turn if this one is over."""
        if self.is_over:
            await self.next()

    async def next(self) -> None:
        """Return in a later turn, after those who waited before."""
        turn: asyncio.Future[None] = self._loop.create_future()

        def resume() -> None:
            if not turn.done():
                self.spend(1)  # whoever is resumed does something
                turn.set_result(None)

        self.wait(resume)
        await turn

    def run(self, slices: Iterator[int]) -> None:
        """Do work that may be interrupted wherever it yields; what it yields is the effort since the last time.

        It begins now and goes on in later turns. Whatever it relies on must still hold when it is resumed.
        """
        for effort in slices:
            self.spend(effort)
            if self.is_over:
                self.wait(lambda: self.run(slices))
                return

    async def finish(self, slices: Iterator[int]) -> None:
        """As `run`, and return when it is done."""
        for effort in slices:
            self.spend(effort)
            await self.share()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._is_scheduled = False
        self._spent = 0
        try:
            for _ in range(len(self._waiting)):
                if self.is_over:
                    break
                self._waiting.popleft()()
        finally:  # also when one of them failed
            if self._waiting:
                self._schedule()
