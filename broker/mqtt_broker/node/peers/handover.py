"""Sessions that move between nodes: who must let go, who has, and what was told before it was asked.

Knows client ids and epochs; does not know connections or the store. Streams and replies come on different connections,
so a confirmation may be here before the claim's own answer, and an order to let go before the claim it speaks of.
"""

import asyncio

REMEMBERED_S = 60.0  # longer than a CONNECT can wait for anything


class Handover:
    """Bookkeeping of one node. `now`: monotonic seconds."""

    def __init__(self) -> None:
        self._let_go: dict[tuple[str, int], float] = {}
        self._evicted: dict[str, tuple[int, float]] = {}
        self._waiting: dict[tuple[str, int], asyncio.Future[None]] = {}

    # Of other nodes --------------------------------------------------------------------------------------------------

    def confirmed(self, client_id: str, epoch: int, now: float) -> None:
        """Another node let go of the session it held under this epoch."""
        key = (client_id, epoch)
        self._let_go[key] = now
        waiting = self._waiting.get(key)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def wait(self, client_id: str, epoch: int) -> None:
        """Return when that was confirmed, or by `give_up`."""
        key = (client_id, epoch)
        if key in self._let_go:
            return
        waiting = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
        try:
            await asyncio.shield(waiting)
        finally:
            self._waiting.pop(key, None)

    # Of this node ----------------------------------------------------------------------------------------------------

    def evicted(self, client_id: str, epoch: int, now: float) -> None:
        """Another node claimed the session that this one holds, or is about to hold, under `epoch`."""
        known = self._evicted.get(client_id)
        self._evicted[client_id] = (epoch if known is None else max(epoch, known[0]), now)

    def is_evicted(self, client_id: str, epoch: int) -> bool:
        known = self._evicted.get(client_id)
        return known is not None and epoch <= known[0]

    def forget_old(self, now: float) -> None:
        """Bound the memory. Called now and then."""
        self._let_go = {key: at for key, at in self._let_go.items() if now - at < REMEMBERED_S}
        self._evicted = {key: each for key, each in self._evicted.items() if now - each[1] < REMEMBERED_S}
