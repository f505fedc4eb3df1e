"""The one counter that names new things in the embedded store: tokens, incarnations, epochs, groups, bodies.

Knows that a number is never given twice in a world's life; does not know what it names. One counter for all, so that a
number of one kind taken for another kind is never current by chance.
"""

import sqlite3


class Ordinals:
    """Kept in memory within a batch, written by `flush`; `forget` after a rollback."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._last: int | None = None
        self._written: int | None = None

    def next(self) -> int:
        """A number that was never given before."""
        return self.some(1)[0]

    def some(self, count: int) -> range:
        """So many of them, one after the other."""
        if self._last is None:
            row = self._connection.execute("SELECT value FROM world WHERE name = 'ordinal'").fetchone()
            self._last = self._written = row[0] if row else 0
        first, self._last = self._last + 1, self._last + count
        return range(first, self._last + 1)

    def flush(self) -> None:
        if self._last != self._written:
            self._connection.execute("INSERT OR REPLACE INTO world VALUES ('ordinal', ?)", (self._last,))
            self._written = self._last

    def forget(self) -> None:
        self._last = self._written = None
