"""One publisher, one order: the effects and acknowledgements of one connection happen in the order received.

While one of its packets waits for the store, the effects of later ones wait behind it.
"""

from collections import deque
from collections.abc import Callable

from mqtt_broker.node.pump import CommitPump
from mqtt_broker.store.ports import Operation, Result

Effect = Callable[[], None]
Gate = Callable[[Result, Effect], None]


class _Slot:
    __slots__ = ("effect", "packets", "size")

    def __init__(self, effect: Effect | None, size: int = 0, packets: int = 1) -> None:
        self.effect = effect
        self.size = size
        self.packets = packets


class _Written:
    """What an operation's result does, once it is durable and its slot's turn has come."""

    __slots__ = ("_call", "_order", "_result", "_slot")

    def __init__(self, order: "OrderedEffects", slot: _Slot, call: Callable[[Result], None]) -> None:
        self._order = order
        self._slot: _Slot | None = slot
        self._call = call
        self._result: Result | None = None

    def __call__(self, result: Result) -> None:
        slot, self._slot = self._slot, None  # a circle of the two would keep messages until the garbage is collected
        assert slot is not None
        self._result = result
        slot.effect = self.run
        self._order.drain()

    def run(self) -> None:
        assert self._result is not None
        self._call(self._result)


NOTHING: deque[_Slot] = deque()  # stays empty: most connections wait for nothing, and a deque of their own is 760 bytes


class OrderedEffects:
    """The effects of one connection, run head first as they become ready.

    `waiting_packets`, `waiting_bytes`: of the client's packets that wait here, and of the messages in them.
    """

    __slots__ = ("_low", "_low_bytes", "_on_low", "_pump", "_slots", "waiting_bytes", "waiting_packets")

    def __init__(self, pump: CommitPump) -> None:
        self._pump = pump
        self._slots = NOTHING
        self.waiting_packets = 0
        self.waiting_bytes = 0
        self._low = self._low_bytes = 0
        self._on_low: Effect | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def run(self, effect: Effect, *, size: int = 0) -> None:
        """Run now, or behind what still waits; `size` bytes wait with it."""
        if self._slots:
            self._append(_Slot(effect, size))
        else:
            effect()

    def commit(
        self,
        operation: Operation,
        effect: Callable[[Result], None],
        gate: Gate | None = None,
        *,
        size: int = 0,
        packets: int = 1,
    ) -> None:
        """Write the operation; run `effect(result)` when it is durable and everything before it has run.

        `size` bytes in so many `packets` wait with it.
        `gate(result, call)` calls when the effect may happen, if being durable is not enough.
        """
        slot = _Slot(None, size, packets)
        self._append(slot)
        ready = _Written(self, slot, effect)
        if gate is None:
            self._pump.submit(operation, ready)
        else:
            self._pump.submit(operation, lambda result: gate(result, lambda: ready(result)))

    def hold(self) -> Callable[[Effect], None]:
        """Take a place in the order now; whatever comes later waits until the answer is called with the effect."""
        slot = _Slot(None)
        self._append(slot)

        def ready(effect: Effect) -> None:
            slot.effect = effect
            self.drain()

        return ready

    def _append(self, slot: _Slot) -> None:
        if self._slots is NOTHING:
            self._slots = deque()
        self._slots.append(slot)
        self.waiting_packets += slot.packets
        self.waiting_bytes += slot.size

    def when_below(self, packets: int, size: int, call: Effect) -> None:
        """Call once, as soon as fewer than so many `packets` wait, and fewer than `size` bytes in them."""
        self._low, self._low_bytes, self._on_low = packets, size, call

    def drain(self) -> None:
        """Run what is ready, head first."""
        slots = self._slots
        while slots and slots[0].effect is not None:
            slot = slots.popleft()
            self.waiting_packets -= slot.packets
            self.waiting_bytes -= slot.size
            assert slot.effect is not None
            slot.effect()
        if self._on_low is not None and self.waiting_packets < self._low and self.waiting_bytes < self._low_bytes:
            call, self._on_low = self._on_low, None
            call()
