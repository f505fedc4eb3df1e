"""Inboxes of other nodes that are crowded: whoever fills them waits, as for a receiver that is behind.

Knows levels, and who waits; does not know messages or streams. The store tells who is crowded with its answers to what
was written there; from then on the level is asked for, until three quarters are free.

A node takes out of its inbox whatever its clients do, so nobody waits in a circle. One that takes nothing out for a
while is not waited for: it hangs, or is gone, and what finds no room there is dropped and counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from mqtt_broker.node.outlet import Sink
from mqtt_broker.store.cluster import InboxLevel
from mqtt_broker.store.ports import StoreError

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub

LOOK_S = 0.05
STILL_S_MAX = 0.5  # without anything taken out
ROOMY_SHARE = 0.25  # of the bound: that much may wait in an inbox that is crowded no more


class Inbox:
    """One that is crowded (outlet.Awaited). `taken`: bytes taken out of it, as it was known at `now`, in seconds."""

    def __init__(self, now: float) -> None:
        self._taken = -1
        self._moved_at = now
        self._stands_still = False
        self._waiters: dict[Sink, None] = {}

    def hold(self, publisher: Sink) -> bool:
        if self._stands_still:
            return False
        self._waiters[publisher] = None
        return True

    def excuse(self, publisher: Sink) -> None:
        """For as long as one read takes: it waits again if that goes here too."""
        self._waiters.pop(publisher, None)

    def release(self, publisher: Sink) -> None:
        self._waiters.pop(publisher, None)

    def look(self, taken: int | None, now: float) -> None:
        """None: the store does not tell."""
        if taken is not None and taken != self._taken:
            self._taken, self._moved_at, self._stands_still = taken, now, False
        elif now - self._moved_at >= STILL_S_MAX and not self._stands_still:
            self._stands_still = True
            self.let_go()

    def let_go(self) -> None:
        """Whoever waits goes on."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            waiter.receiver_ready(self)


class Inboxes:
    """Those of the other nodes. `read` asks for the level of one, `bytes_max` bounds each; `watch` is a task."""

    def __init__(self, hub: "Hub", read: Callable[[str], Awaitable[InboxLevel]], bytes_max: int) -> None:
        self._hub = hub
        self._read = read
        self._roomy = int(ROOMY_SHARE * bytes_max)
        self._crowded: dict[str, Inbox] = {}
        self._news = asyncio.Event()

    @property
    def are_crowded(self) -> bool:
        """True if any of them is."""
        return bool(self._crowded)

    def note(self, nodes: Iterable[str]) -> None:
        """The store has found the inboxes of these more than half full."""
        for node in nodes:
            if node not in self._crowded:
                self._crowded[node] = Inbox(self._hub.loop.time())
                self._news.set()

    def press(self, node: str) -> None:
        """Something is on its way there: if it is crowded, whoever sent that should pause."""
        inbox = self._crowded.get(node)
        if inbox is not None:
            self._hub.congested[inbox] = None

    def forget(self, node: str) -> None:
        """The node is gone, and its inbox with it."""
        inbox = self._crowded.pop(node, None)
        if inbox is not None:
            inbox.let_go()

    async def watch(self) -> None:
        """Runs for as long as the node."""
        while True:
            await self._news.wait()
            while self._crowded:
                await asyncio.sleep(LOOK_S)
                for node in list(self._crowded):
                    await self._look(node)
            self._news.clear()

    async def _look(self, node: str) -> None:
        try:
            level: InboxLevel | None = await self._read(node)
        except StoreError:  # the keeper tells
            level = None
        inbox = self._crowded.get(node)
        if inbox is None:
            return
        if level is not None and level.waiting <= self._roomy:
            self.forget(node)
        else:
            inbox.look(None if level is None else level.taken, self._hub.loop.time())
