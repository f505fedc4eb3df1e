"""What has been listed completely, and what nobody knows yet.

Absence is not an order: a question about what has not been listed raises UnseenError, so that None always means "there
is none". Knows kinds and namespaces; does not know objects.
"""

from collections.abc import Callable
from typing import NamedTuple

from mqtt_operator.desired.kinds import Kind
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.port import ForbiddenError

EVERYWHERE = ""
"""The namespace of a scope that covers all of them."""


class UnseenError(ExpectedError):
    """Not everything that the question is about has been listed yet, or may be listed at all: nobody knows."""


class HiddenError(UnseenError):
    """We may not look, so nobody will know until a person gives us the right to."""


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

    def fail(self, scope: Scope, problem: ExpectedError) -> bool:
        """It cannot be listed now. What was complete before stays so. True if it is hidden now and was not before."""
        before = self._problems.get(scope)
        if before is None:
            return False
        self._problems[scope] = problem
        return isinstance(problem, ForbiddenError) and not isinstance(before, ForbiddenError)

    def drop(self, scope: Scope) -> None:
        """Nobody lists it any more."""
        self._problems.pop(scope, None)

    def knows(self, kind: Kind, namespace: str) -> bool:
        """Whether all objects of this kind in this namespace are known."""
        return any(self._problems.get(scope, _NOT_YET) is None for scope in _scopes_of(kind, namespace))

    def require(self, kind: Kind, namespace: str) -> None:
        """Raises UnseenError unless all objects of this kind in this namespace are known."""
        problems = [self._problems[scope] for scope in _scopes_of(kind, namespace) if scope in self._problems]
        where = f" of namespace {namespace}" if namespace else ""
        if not problems:
            raise UnseenError(f"The {kind.plural}{where} are not watched by this operator.")
        problem = problems[0]
        if None not in problems and problem is not None:
            error = HiddenError if isinstance(problem, ForbiddenError) else UnseenError
            raise error(f"Nobody knows the {kind.plural}{where}: {problem.what}", to_do=problem.to_do)

    def require_all(self, kind: Kind, matters: Callable[[str], bool]) -> None:
        """Raises UnseenError unless all objects of this kind are known, wherever they are followed.

        Those that are hidden in a namespace that does not matter are left out, unless that is all there is.
        """
        scopes = [scope for scope in self._problems if scope.kind == kind]
        if not scopes:
            raise UnseenError(f"No {kind.plural} have been listed yet.")
        needed = [scope for scope in scopes if not self._is_hidden(scope) or matters(scope.namespace)]
        for scope in needed or scopes:
            self.require(kind, scope.namespace)

    def _is_hidden(self, scope: Scope) -> bool:
        return isinstance(self._problems[scope], ForbiddenError)


def _scopes_of(kind: Kind, namespace: str) -> set[Scope]:
    return {Scope(kind, namespace), Scope(kind, EVERYWHERE)}
