"""What can go wrong in ways that people cause and can mend: the only errors a person sees as plain sentences.

Knows how a mistake is named (file, line, field) and what an expected failure says; does not know who prints it.
Anything else that is raised is our bug and crashes loudly.
"""

from collections.abc import Iterable

from msgspec import Struct


class Mistake(Struct, frozen=True, order=True):
    """One thing to mend in somebody's files. `line` counts from 1, 0 = the whole file; `field` may be empty."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.field, self.message) if part)


class ExpectedError(Exception):
    """The person or the world can mend it. `what` happened, `where`, and what `to_do` now: three short sentences."""

    def __init__(self, what: str, *, where: str = "", to_do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.to_do = to_do

    def __str__(self) -> str:
        return "\n  ".join(part for part in (self.what, self.where, self.to_do) if part)


class UsageError(ExpectedError):
    """The question itself makes no sense: exit code 2."""


class FilesRefusedError(ExpectedError):
    """The files of a folder hold mistakes: all of them, in the order of the files. Nothing was applied."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        count = len(self.mistakes)
        super().__init__(
            f"{count} mistake{'' if count == 1 else 's'} in the files:",
            where="\n  ".join(str(mistake) for mistake in self.mistakes),
        )


class DataFolderError(ExpectedError):
    """The data folder cannot be used: unreadable, unwritable, full, in use, or not what it was."""


class NodeFailedError(ExpectedError):
    """A node did not become ready."""
