"""A timing wheel: thousands of deadlines, one check a second, no timer object per connection."""

from collections.abc import Callable
from typing import Protocol


class Timed(Protocol):
    """Something with a deadline that moves. The wheel asks again when the noted moment has come."""

    def deadline(self) -> float | None: ...

    def expire(self, now: float) -> None: ...


class TimingWheel:
    """Deadlines by whole seconds of a monotonic clock. One that moved later costs nothing until its old slot comes."""

    def __init__(self, now: float) -> None:
        self._slots: dict[int, set[Timed]] = {}
        self._slot_of: dict[Timed, int] = {}
        self._done_up_to = int(now)

    def __len__(self) -> int:
        return len(self._slot_of)

    def watch(self, item: Timed) -> None:
        """Note (or note again) the item's deadline."""
        self.forget(item)
        deadline = item.deadline()
        if deadline is None:
            return
        slot = max(int(deadline) + 1, self._done_up_to + 1)
        self._slots.setdefault(slot, set()).add(item)
        self._slot_of[item] = slot

    def forget(self, item: Timed) -> None:
        slot = self._slot_of.pop(item, None)
        if slot is None:
            return
        items = self._slots.get(slot)
        if items is not None:  # None: the wheel is turning through this very slot
            items.discard(item)

    def turn(self, now: float, on_error: Callable[[Exception], None]) -> None:
        """Expire what is past its deadline, note the rest anew. One item's failure never stops the others."""
        second = int(now)
        for slot in range(self._done_up_to + 1, second + 1):
            for item in self._slots.pop(slot, ()):
                if self._slot_of.pop(item, None) is None:
                    continue  # forgotten by an item that expired just before it
                try:
                    self._due(item, now)
                except Exception as error:  # noqa: BLE001 - our bug in one connection must not stop every timer
                    on_error(error)
        self._done_up_to = second

    def _due(self, item: Timed, now: float) -> None:
        deadline = item.deadline()
        if deadline is not None and deadline <= now:
            item.expire(now)
        elif deadline is not None:
            slot = max(int(deadline) + 1, int(now) + 1)
            self._slots.setdefault(slot, set()).add(item)
            self._slot_of[item] = slot
