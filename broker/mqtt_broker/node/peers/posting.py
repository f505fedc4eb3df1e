"""QoS 0 on its way to other nodes: gathered while an earlier lot is under way, dropped rather than waited for.

Knows messages and inboxes; does not know who receives. Nothing is promised to QoS 0, so nothing is repeated.
"""

import asyncio
import logging
from collections.abc import Callable

from mqtt_broker.store.cluster import ClusterStore, Post
from mqtt_broker.store.ports import Membership, StoreError

POSTS_WAITING_MAX = 10_000  # copies that wait for the store's answer to earlier ones
POSTS_AT_ONCE_MAX = 1_000

log = logging.getLogger("mqtt_broker.cluster")


class Posting:
    """One lot under way at a time, in order. `on_drop(count)` is told of what found no place or no store."""

    def __init__(self, store: ClusterStore, membership: Membership, on_drop: Callable[[int], None]) -> None:
        self._store = store
        self._membership = membership
        self._on_drop = on_drop
        self._waiting: list[Post] = []
        self._running: asyncio.Task[None] | None = None

    def add(self, post: Post) -> None:
        if len(self._waiting) >= POSTS_WAITING_MAX:
            self._on_drop(len(post.forward.targets))
            return
        self._waiting.append(post)
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run(), name="posting")

    async def _run(self) -> None:
        try:
            while self._waiting:
                lot = self._waiting[:POSTS_AT_ONCE_MAX]
                del self._waiting[:POSTS_AT_ONCE_MAX]
                await self._send(lot)
        finally:
            self._running = None

    async def _send(self, lot: list[Post]) -> None:
        try:
            await self._store.post(self._membership, lot)
        except StoreError as problem:
            log.debug("QoS 0 for other nodes is dropped: %s", problem)
            # What waits is as old as the question that got no answer: newer messages of its publishers may overtake it.
            lost, self._waiting = [*lot, *self._waiting], []
            self._on_drop(sum(len(post.forward.targets) for post in lost))
