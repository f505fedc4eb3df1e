"""What one subscriber received, against what was sent: lost, duplicated, reordered, foreign.

Knows numbers only; does not know frames, sockets or time.
"""

from collections.abc import Mapping

MISSING_TRACKED_MAX = 1_000_000  # beyond it a late message cannot be told from a duplicate; the totals stay right


class Ledger:
    """Each stream counts from 0. `next` is what regular delivery brings next; bulk readers may advance it themselves.

    `received` counts every PUBLISH, good or bad; `corrupt` those whose topic, length or filler is not what was sent.
    """

    __slots__ = ("_missing", "_untracked", "corrupt", "duplicated", "latencies_ns", "next", "received", "reordered")

    def __init__(self, streams: int) -> None:
        self.next = [0] * streams
        self.received = 0
        self.duplicated = 0
        self.reordered = 0
        self.corrupt = 0
        self.latencies_ns: list[int] = []
        self._missing: set[tuple[int, int]] = set()
        self._untracked = 0

    def irregular(self, stream: int, sequence: int) -> None:
        """A message that is not the next one of its stream: ahead (a gap), late (reordered) or here already."""
        if stream >= len(self.next):
            self.corrupt += 1
            return
        expected = self.next[stream]
        if sequence >= expected:
            self._miss(stream, expected, sequence)
            self.next[stream] = sequence + 1
        elif (stream, sequence) in self._missing:
            self._missing.discard((stream, sequence))
            self.reordered += 1
        else:
            self.duplicated += 1

    def lost(self, sent: Mapping[int, int]) -> int:
        """How many of `sent` (stream: messages, those this subscriber should have) never came."""
        tails = sum(count - self.next[stream] for stream, count in sent.items())
        return tails + len(self._missing) + self._untracked

    def _miss(self, stream: int, first: int, end: int) -> None:
        tracked = min(end, first + MISSING_TRACKED_MAX - len(self._missing))
        self._missing.update((stream, sequence) for sequence in range(first, tracked))
        self._untracked += end - max(first, tracked)
