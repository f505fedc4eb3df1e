"""What has been listed completely, and what nobody knows yet.

Absence is not an order: a question about what has not been listed raises UnseenError, so that None always means "there
is none". Knows kinds and namespaces; does not know objects.
"""

from typing import NamedTuple

from mqtt_operator.desired.kinds import Kind
from mqtt_operator.errors import ExpectedError

EVERYWHERE = ""
"""The namespace of a scope that covers all of them."""


class UnseenError(ExpectedError):
    """Not everything that the question is about has been listed yet, or may be listed at all: nobody knows."""


class Scope(NamedTuple):
    """What is listed and followed as one. `namespace`: EVERYWHERE = all."""

    kind: Kind
    namespace: str


_NOT_YET = ExpectedError("they have not been listed yet.")


class Scopes:
    """Which scopes are complete; of the others, why not."""

    def __init__(self) -> None:
        self._problems: dict[Scope, ExpectedError | None] = {}  # None = complete

    def expect(self, scope: Scope) -> None:
        """It is about to be listed."""
        self._problems.setdefault(scope, _NOT_YET)

    def complete(self, scope: Scope) -> bool:
        """Everything in it was told. True if it was not complete before. It stays so, though it may grow old."""
        if self._problems.get(scope) is None:
            return False
        self._problems[scope] = None
        return True

    def fail(self, scope: Scope, problem: ExpectedError) -> None:
        """It cannot be listed now. What was complete before stays so."""
        if self._problems.get(scope) is not None:
            self._problems[scope] = problem

    def drop(self, scope: Scope) -> None:
        """Nobody lists it any more."""
        self._problems.pop(scope, None)

    def covers(self, kind: Kind, namespace: str) -> bool:
        """Whether it is listed, or about to be."""
        return bool(self._problems.keys() & _scopes_of(kind, namespace))

    def require(self, kind: Kind, namespace: str) -> None:
        """Raises UnseenError unless all objects of this kind in this namespace are known."""
        problems = [self._problems[scope] for scope in _scopes_of(kind, namespace) if scope in self._problems]
        where = f" of namespace {namespace}" if namespace else ""
        if not problems:
            raise UnseenError(f"The {kind.plural}{where} are not watched by this operator.")
        problem = problems[0]
        if None not in problems and problem is not None:
            raise UnseenError(f"Nobody knows the {kind.plural}{where}: {problem.what}", to_do=problem.to_do)

    def require_all(self, kind: Kind) -> None:
        """Raises UnseenError unless all objects of this kind are known, wherever they are followed."""
        scopes = [scope for scope in self._problems if scope.kind == kind]
        if not scopes:
            raise UnseenError(f"No {kind.plural} have been listed yet.")
        for scope in scopes:
            self.require(kind, scope.namespace)


def _scopes_of(kind: Kind, namespace: str) -> set[Scope]:
    return {Scope(kind, namespace), Scope(kind, EVERYWHERE)}
