"""Whether so many clients are gone at once that a person has to confirm it: a wrong command must not log out a fleet.

Knows counts and a stretch of time; does not know clients. Pure: the time comes in, in seconds of any clock.
"""

from collections import deque

SHARE_MAX = 0.2
COUNT_MIN = 10  # fewer are one person's work on a small broker, not an accident
WINDOW_S = 60.0  # a deletion of thousands of objects comes as thousands of deletions


class RemovalGuard:
    """Of one broker."""

    def __init__(self) -> None:
        self._removed: deque[tuple[float, int]] = deque()

    def allows(self, now: float, present: int, removing: int) -> bool:
        """True if `removing` of `present` principals may go now. Whoever then removes them says so: `note`."""
        lately = self._lately(now) + removing
        return lately < COUNT_MIN or lately <= SHARE_MAX * (present + lately - removing)

    def note(self, now: float, removed: int) -> None:
        """So many went."""
        if removed:
            self._removed.append((now, removed))

    def _lately(self, now: float) -> int:
        while self._removed and self._removed[0][0] <= now - WINDOW_S:
            self._removed.popleft()
        return sum(count for _, count in self._removed)
