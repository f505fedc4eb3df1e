"""Whose turn it is in a shared subscription.

Knows the last member chosen per shared subscription; does not know who is connected, has room or is allowed: the
caller passes only candidates that are.
"""

from collections.abc import Sequence

KEYS_MAX = 100_000  # shared subscriptions remembered; beyond it the oldest starts its round anew, nothing else


class MemberPicker:
    """Round robin in the order of client ids, so that a member that comes and goes does not upset the others' turns."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._last: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        return len(self._last)

    def pick(self, key: tuple[str, str], candidates: Sequence[str]) -> str | None:
        """The next of `candidates` (client ids, any order) for this (group, filter); None if there is none."""
        if not candidates:
            return None
        last = self._last.get(key)
        if last is None:
            self._make_room()
            choice = min(candidates)
        else:
            choice = min((member for member in candidates if member > last), default=min(candidates))
        self._last[key] = choice
        return choice

    def forget(self, key: tuple[str, str]) -> None:
        """The shared subscription has no member left. Idempotent."""
        self._last.pop(key, None)

    def _make_room(self) -> None:
        if len(self._last) >= self._keys_max:
            del self._last[next(iter(self._last))]
