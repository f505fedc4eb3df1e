"""Overload: how much this node can still take on, as a level, and what each level gives up first.

Pure: the measurements come in, the level goes out. The order is fixed and documented: what hurts least goes first.

level 0: nothing is shed
level 1: QoS 0 does not wait for slow receivers: it is dropped, and counted
level 2: and new connections are refused (0x89 server busy), before any password is hashed
level 3: and new subscriptions are refused (0x97 quota exceeded)

A level is entered when two measurements in a row say so, for one late turn is no overload: the machine may have paused.
It is left one at a time, when the node was calm for a while: a level that flickers would invite everybody back at once.
"""

LAG_S = (0.1, 0.4, 1.0)  # of the event loop, entering level 1, 2, 3: a tenth of a second is what a person notices
BUFFERED_BYTES_MAX = 256 * 1024 * 1024  # of messages waiting in memory for all receivers together
BUFFERED = (0.50, 0.75, 0.90)  # parts of it, entering level 1, 2, 3
CALM = 0.6  # a level is left below this part of what enters it
CALM_S = 1.0

LEVEL_MAX = 3


class Overload:
    """The level now. `measure` several times a second; everybody else reads `level`."""

    __slots__ = ("_calm_since", "_lag_before_s", "level")

    def __init__(self) -> None:
        self.level = 0
        self._calm_since: float | None = None
        self._lag_before_s = 0.0

    def measure(self, lag_s: float, buffered_bytes: int, now: float) -> bool:
        """Take a measurement at `now` (seconds, monotonic); True if the level changed."""
        before = self.level
        lag_s, self._lag_before_s = min(lag_s, self._lag_before_s), lag_s
        entered = _entered(lag_s, buffered_bytes)
        if entered > self.level:
            self.level = entered
            self._calm_since = None
        elif self.level and _entered(lag_s / CALM, int(buffered_bytes / CALM)) < self.level:
            self._cool_down(now)
        else:
            self._calm_since = None
        return self.level != before

    def _cool_down(self, now: float) -> None:
        if self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= CALM_S:
            self.level -= 1
            self._calm_since = now


def _entered(lag_s: float, buffered_bytes: int) -> int:
    """The highest level that one of the two measurements enters."""
    by_lag = sum(lag_s >= limit for limit in LAG_S)
    by_bytes = sum(buffered_bytes >= part * BUFFERED_BYTES_MAX for part in BUFFERED)
    return max(by_lag, by_bytes)
