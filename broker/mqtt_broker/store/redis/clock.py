"""The store's clock as one node reads it: the server's time plus an offset that is stored there.

Knows how to carry the time on between two readings, and when a reading cannot be right; does not know connections.
"""

import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from mqtt_broker.store.boottime import boottime

JUMP_S_MIN = 1.0  # what the server's clock and ours may differ by from one reading to the next: more is a jump
GOOD_READING_S_MAX = 0.1  # an answer that took longer does not replace what is known better
GAP_S_MAX = 10.0  # nodes see the server's time every 1.5 s: what is further from the last of these needs a second look
BACK_S_MAX = 2.0  # two clocks that agree differ by less
# Readings in a row that disagree: by then whoever may correct would have, so the server is right. They come every
# 1.5 s, and whoever may correct is replaced some 7 s after its end.
JUMPS_MAX = 10
CORRECTIONS_S = 60.0  # within this time
CORRECTIONS_MAX = 3  # so many jumps the same way are corrected: more, and it is our clock that runs odd


class Reading(Struct, frozen=True):
    """The server's time with its offset, and what the last node that agreed with it saw; None if nobody did.

    Both at one moment. A clock must start with a reading that is not doubtful: else it would take a jump for the truth.
    """

    store_time: float
    seen: float | None

    @property
    def is_doubtful(self) -> bool:
        """Either the server's clock jumped, which a node that lives corrects, or no node has lived for a while."""
        return self.seen is not None and not -BACK_S_MAX <= self.store_time - self.seen <= GAP_S_MAX


class StoreClock:
    """`given` replaces the server's time, for tests: each script is told it. None: Redis' own TIME counts."""

    def __init__(self, given: Callable[[], float] | None = None, steady: Callable[[], float] = boottime) -> None:
        self._given = given
        self._steady = steady
        self._ahead: float | None = None  # of the steady clock
        self._uncertain_s = 0.0  # how much `_ahead` may be wrong
        self._jumps = 0
        self._corrections: deque[tuple[float, float]] = deque(maxlen=CORRECTIONS_MAX)  # when, and by how much
        self._latest = 0.0

    @property
    def given(self) -> str:
        """What a script is told of the time that tells us the server's: "" = ask the server."""
        return "" if self._given is None else repr(self.now())

    @property
    def told(self) -> str:
        """What any other script is told: "~" and our estimate; the server's time counts unless it is far from that."""
        return self.given if self.estimate is None else f"~{self.estimate!r}"

    @property
    def estimate(self) -> float | None:
        """The server's time as we carried it on from the last reading that was right; None before the first."""
        return None if self._ahead is None else self.now()

    def now(self) -> float:
        """Seconds since the epoch; never goes back."""
        if self._given is not None:
            reading = self._given()
        else:
            reading = time.time() if self._ahead is None else self._steady() + self._ahead
        self._latest = max(self._latest, reading)
        return self._latest

    def steady(self) -> float:
        """The clock that `learn` wants `asked_at` of."""
        return self._steady()

    def learn(self, store_time: float, asked_at: float, *, corrects: bool = False) -> float:
        """Take a reading that was asked for at `asked_at`. Returns how far the store's clock jumped, mostly 0.0.

        After a jump this clock goes on as before. One node of all `corrects`: it is told how far, and takes the jump
        out of the stored offset. A clock that nobody agrees with follows the server.
        """
        if self._given is not None:
            return 0.0
        now = self._steady()
        ahead, uncertain_s = store_time - (asked_at + now) / 2, (now - asked_at) / 2
        jump = 0.0 if self._ahead is None else ahead - self._ahead
        if abs(jump) <= JUMP_S_MIN + uncertain_s + self._uncertain_s:
            self._jumps = 0
            if self._ahead is None or uncertain_s <= max(self._uncertain_s, GOOD_READING_S_MAX):
                self._ahead, self._uncertain_s = ahead, uncertain_s
            return 0.0
        self._jumps += 1
        if corrects and not self._is_odd(now, jump):
            self._corrections.append((now, jump))
            return jump
        if corrects or self._jumps > JUMPS_MAX:
            self._ahead, self._uncertain_s, self._jumps = ahead, uncertain_s, 0
        return 0.0

    def _is_odd(self, now: float, jump: float) -> bool:
        """A clock of ours that runs odd is off the same way again and again; a server's goes there and back."""
        corrections = [by for at, by in self._corrections if now - at < CORRECTIONS_S]
        return len(corrections) == CORRECTIONS_MAX and len({by > 0 for by in (*corrections, jump)}) == 1
