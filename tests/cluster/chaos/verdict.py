"""What a judge says: how much it looked at, and each violation with its evidence.

Knows no invariant; they are one module each in `invariants`.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct, field

from cluster.chaos.history import History
from cluster.chaos.record import Event

EVIDENCE_MAX = 8


class Violation(Struct, frozen=True):
    """One broken promise: a sentence, and the events that show it."""

    invariant: str
    what: str
    evidence: tuple[Event, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.invariant}: {self.what}", *(f"    {event}" for event in self.evidence)])


class Finding(Struct):
    """One judge's answer. `looked_at`: how many cases it decided; a judge that saw none proved nothing.

    `figures` are what it measured on the way, by name.
    """

    invariant: str
    title: str
    looked_at: int = 0
    violations: list[Violation] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def accuse(self, what: str, evidence: Iterable[Event] = ()) -> None:
        """Add a violation."""
        self.violations.append(Violation(self.invariant, what, tuple(evidence)[:EVIDENCE_MAX]))


Judge = Callable[[History], Finding]
