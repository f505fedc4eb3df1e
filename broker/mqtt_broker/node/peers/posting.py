"""QoS 0 on its way to other nodes: gathered while an earlier lot is under way, dropped rather than waited for.

Knows messages, runs and inboxes; does not know who receives. Nothing is promised to QoS 0, so nothing is repeated.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from mqtt_broker.store.cluster import ClusterStore, Post, PostRun
from mqtt_broker.store.ports import Membership, RunForward, StoreError

WAITING_MESSAGES_MAX = 10_000  # that wait for the store's answer to earlier ones
WAITING_BYTES_MAX = 16 * 1024 * 1024  # of payloads among them
POSTS_AT_ONCE_MAX = 1_000
RUN_BYTES_MAX = 256 * 1024  # of payloads: what is one in an inbox is handed out in one go

log = logging.getLogger("mqtt_broker.cluster")


class _Waiting:
    """One message (`post`), or messages of one flow that became one run."""

    __slots__ = ("forward", "payloads", "post", "size")

    def __init__(self, post: Post | None, forward: RunForward | None, payloads: list[bytes], size: int) -> None:
        self.post = post
        self.forward = forward
        self.payloads = payloads
        self.size = size

    @property
    def copies(self) -> int:
        """How many deliveries are lost with it."""
        if self.post is not None:
            return len(self.post.forward.targets)
        return 0 if self.forward is None else len(self.payloads) * self.forward.receivers

    def continues(self, forward: RunForward, length: int, size: int) -> bool:
        """True if messages of this flow and length may be added to it."""
        if self.forward is not forward or len(self.payloads[0]) != length:
            return False
        return self.size + size <= RUN_BYTES_MAX

    def taken(self) -> Post | PostRun:
        if self.post is not None:
            return self.post
        assert self.forward is not None
        return PostRun(tuple(self.payloads), self.forward)


class Posting:
    """One lot under way at a time, in order. `on_drop(count)` is told of copies that found no place or no store."""

    def __init__(self, store: ClusterStore, membership: Membership, on_drop: Callable[[int], None]) -> None:
        self._store = store
        self._membership = membership
        self._on_drop = on_drop
        self._waiting: list[_Waiting] = []
        self._messages = 0
        self._bytes = 0
        self._running: asyncio.Task[None] | None = None

    def add(self, post: Post) -> None:
        size = len(post.message.payload)
        if not self._room(1, size):
            self._on_drop(len(post.forward.targets))
            return
        self._append(_Waiting(post, None, [post.message.payload], size))

    def add_run(self, forward: RunForward, payloads: Sequence[bytes]) -> None:
        """Messages of one flow, at least one, whose payloads are all of one length; the last ones may find no place."""
        length = len(payloads[0])
        count = self._room(len(payloads), length)
        if count < len(payloads):
            self._on_drop((len(payloads) - count) * forward.receivers)
        if not count:
            return
        size = count * length
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.continues(forward, length, size):
            last.payloads += payloads[:count]
            last.size += size
            self._messages += count
            self._bytes += size
        else:
            self._append(_Waiting(None, forward, list(payloads[:count]), size))

    def _room(self, count: int, length: int) -> int:
        """How many of `count` messages may wait; one always, where none does."""
        count = min(count, WAITING_MESSAGES_MAX - self._messages)
        if not length:
            return count
        fitting = max(0, WAITING_BYTES_MAX - self._bytes) // length
        return min(count, fitting or int(not self._messages))

    def _append(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._messages += len(waiting.payloads)
        self._bytes += waiting.size
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run(), name="posting")

    def _take(self, lot: list[_Waiting]) -> None:
        """They do not wait any more."""
        self._messages -= sum(len(each.payloads) for each in lot)
        self._bytes -= sum(each.size for each in lot)

    async def _run(self) -> None:
        try:
            while self._waiting:
                lot = self._waiting[:POSTS_AT_ONCE_MAX]
                del self._waiting[:POSTS_AT_ONCE_MAX]
                self._take(lot)
                await self._send(lot)
        finally:
            self._running = None

    async def _send(self, lot: list[_Waiting]) -> None:
        try:
            await self._store.post(self._membership, [each.taken() for each in lot])
        except StoreError as problem:
            log.debug("QoS 0 for other nodes is dropped: %s", problem)
            # What waits is as old as the question that got no answer: newer messages of its publishers may overtake it.
            waiting, self._waiting = self._waiting, []
            self._take(waiting)
            self._on_drop(sum(each.copies for each in (*lot, *waiting)))
