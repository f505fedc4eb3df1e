"""Since which revision what each object says is in force, and which objects wait for nodes to come that far.

Knows revisions and whose they are; does not know what an object says, or how it is told. Pure: the time comes in, in
seconds of any clock.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from msgspec import Struct

GRACE_S = 5.0  # nodes usually need less: whoever was told at once would be told twice

NOT_WRITTEN = -1

S = TypeVar("S", bound=Hashable)


class _Entry(Struct):
    """`revision` NOT_WRITTEN: in none yet. `is_told`: that it waits."""

    revision: int
    since: float
    is_told: bool = False


class Ledger(Generic[S]):
    """Subjects are whatever the caller tells objects apart by."""

    def __init__(self) -> None:
        self._applied: dict[S, int] = {}
        self._waiting: dict[S, _Entry] = {}
        self._fresh: set[S] = set()

    def touch(self, subject: S, now: float) -> None:
        """It says something else: the next revision that is written is the first to hold it."""
        self._applied.pop(subject, None)
        self._waiting[subject] = _Entry(NOT_WRITTEN, now)
        self._fresh.add(subject)

    def believe(self, subject: S, revision: int) -> None:
        """Every node has decided by what it says since this revision: its status says so, and it is as it was then."""
        self.forget(subject)
        self._applied[subject] = revision

    def forget(self, subject: S) -> None:
        """It is gone, or takes no part. Idempotent."""
        self._applied.pop(subject, None)
        self._waiting.pop(subject, None)
        self._fresh.discard(subject)

    def written(self, revision: int) -> None:
        """The policy in force holds everything that was touched."""
        for subject in self._fresh:
            self._waiting[subject].revision = revision
        self._fresh.clear()

    def reached(self, revision: int) -> set[S]:
        """Every node decides by this revision: who waits no longer."""
        arrived = {subject for subject, entry in self._waiting.items() if NOT_WRITTEN < entry.revision <= revision}
        for subject in arrived:
            self._applied[subject] = self._waiting.pop(subject).revision
        return arrived

    def overdue(self, now: float) -> set[S]:
        """Who has waited for so long that it should be told; each once."""
        late = {
            subject for subject, entry in self._waiting.items() if not entry.is_told and now - entry.since >= GRACE_S
        }
        for subject in late:
            self._waiting[subject].is_told = True
        return late

    def is_applied(self, subject: S) -> bool:
        return subject in self._applied

    def revision(self, subject: S) -> int:
        """The one that holds it first; NOT_WRITTEN: none yet."""
        entry = self._waiting.get(subject)
        return self._applied.get(subject, NOT_WRITTEN) if entry is None else entry.revision

    def remind(self) -> None:
        """What everybody waits for is another thing now: tell again who still waits."""
        for entry in self._waiting.values():
            entry.is_told = False

    @property
    def waiting(self) -> int:
        """How many wait for nodes."""
        return len(self._waiting)
