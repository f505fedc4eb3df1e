"""One publisher, one order: the effects and acknowledgements of one connection happen in the order received.

While one of its packets waits for the store, the effects of later ones wait behind it.
"""

from collections import deque
from collections.abc import Callable

from mqtt_broker.node.pump import CommitPump
from mqtt_broker.store.ports import Operation, Result

Effect = Callable[[], None]


class _Slot:
    __slots__ = ("effect",)

    def __init__(self, effect: Effect | None) -> None:
        self.effect = effect


NOTHING: deque[_Slot] = deque()  # stays empty: most connections wait for nothing, and a deque of their own is 760 bytes


class OrderedEffects:
    """The effects of one connection, run head first as they become ready."""

    __slots__ = ("_low", "_on_low", "_pump", "_slots")

    def __init__(self, pump: CommitPump) -> None:
        self._pump = pump
        self._slots = NOTHING
        self._low = 0
        self._on_low: Effect | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def run(self, effect: Effect) -> None:
        """Run now, or behind what still waits."""
        if self._slots:
            self._append(_Slot(effect))
        else:
            effect()

    def commit(self, operation: Operation, effect: Callable[[Result], None]) -> None:
        """Write the operation; run `effect(result)` when it is durable and everything before it has run."""
        slot = _Slot(None)
        self._append(slot)

        def durable(result: Result) -> None:
            slot.effect = lambda: effect(result)
            self._drain()

        self._pump.submit(operation, durable)

    def _append(self, slot: _Slot) -> None:
        if self._slots is NOTHING:
            self._slots = deque()
        self._slots.append(slot)

    def when_below(self, count: int, call: Effect) -> None:
        """Call once, as soon as fewer than `count` effects wait."""
        self._low, self._on_low = count, call

    def _drain(self) -> None:
        slots = self._slots
        while slots and slots[0].effect is not None:
            effect = slots.popleft().effect
            assert effect is not None
            effect()
        if self._on_low is not None and len(slots) < self._low:
            call, self._on_low = self._on_low, None
            call()
