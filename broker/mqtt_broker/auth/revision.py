"""Something derived from one policy, made when it is first needed and kept until the policy is another.

Knows that policies are replaced whole; does not know what is derived.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from mqtt_api.policy import Policy

Derived = TypeVar("Derived")


class PerPolicy(Generic[Derived]):
    """Keeps the last one. Policies are compared by identity: an equal copy costs one more derivation, no mistake."""

    def __init__(self, derive: Callable[[Policy], Derived]) -> None:
        self._derive = derive
        self._kept: tuple[Policy, Derived] | None = None

    def of(self, policy: Policy) -> Derived:
        if self._kept is None or self._kept[0] is not policy:
            self._kept = (policy, self._derive(policy))
        return self._kept[1]
