"""The commit pump: what one loop turn must write goes to the store as one batch, while the next turn gathers.

Knows batches, numbers and repetition; does not know what an operation means. Durable before acknowledged: a callback
runs only after the batch that holds its operation has returned.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Protocol

from mqtt_broker.store.ports import (
    FREEING,
    Accept,
    AcceptRun,
    Fenced,
    Membership,
    Operation,
    Result,
    StoreFull,
    StoreMismatch,
    StoreUnavailable,
    Subscribe,
    Unsubscribe,
)

log = logging.getLogger("mqtt_broker.store")

OPERATIONS_PER_BATCH_MAX = 2_000  # bounds one call's time in the store; each copy of a message counts
BYTES_PER_BATCH_MAX = 4 * 1024 * 1024  # of payloads and filters, each copy counted
EFFORT_PER_TURN_MAX = 200  # callbacks, or subscriptions in them, some 5 ms; then everybody else has a turn first
RUN_MESSAGES_PER_EFFORT = 4
RETRY_S_FIRST = 0.05
FULL_S = 0.2  # a full store is asked again that often
RETRY_S_MAX = 2.0  # a store that is back is used again within two seconds

Callback = Callable[[Result], None]
Call = Callable[[], None]


class Commits(Protocol):
    """The one method of a store that the pump needs; ports.Store has it."""

    async def commit(
        self, membership: Membership, number: int, operations: Sequence[Operation]
    ) -> tuple[Result, ...]: ...


def ignore(_: Result) -> None:
    """For operations whose result changes nothing for the caller."""


def _effort(operation: Operation) -> int:
    match operation:
        case Subscribe(subscriptions=subscriptions):
            return len(subscriptions)
        case Unsubscribe(keys=keys):
            return max(1, len(keys))
        case AcceptRun(payloads=payloads):
            return max(1, len(payloads) // RUN_MESSAGES_PER_EFFORT)
    return 1


def _weight(operation: Operation) -> tuple[int, int]:
    """What it costs the store, in operations and bytes: while it does one call, it does nothing for other nodes."""
    if isinstance(operation, Accept):
        copies = max(1, len(operation.targets) + len(operation.groups))
        return copies, copies * len(operation.message.payload)
    if isinstance(operation, AcceptRun):
        copies = len(operation.payloads) * len(operation.targets) + len(operation.forwards)
        sent = len(operation.payloads) * (len(operation.targets) + len(operation.forwards))
        return max(1, copies), sent * len(operation.payloads[0])
    if isinstance(operation, Subscribe):
        return len(operation.subscriptions), sum(len(each.filter) for each in operation.subscriptions)
    return 1, 0


class CommitPump:
    """Submits operations in order, one batch outstanding at a time.

    `on_fenced` is called when the store refuses this node for good, or is not its store: close everything, write
    nothing. `available` is False while the store does not answer or has no room; `is_full` tells the latter.
    """

    def __init__(self, store: Commits, membership: Membership, on_fenced: Callable[[str], None]) -> None:
        self._store = store
        self._membership = membership
        self._on_fenced = on_fenced
        self._number = 0
        self._operations_max = OPERATIONS_PER_BATCH_MAX
        self._gathered: list[tuple[Operation, Callback]] = []
        self._submitted = 0
        self._settled = 0
        self._in_order_from = 0
        self._watching: deque[tuple[int, int, Call]] = deque()
        self._moments = count()
        self._held: set[int] = set()
        self._running: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.available = True
        self.is_full = False
        self.failures = 0
        self.calls = 0
        self.call_s = 0.0

    @property
    def depth(self) -> int:
        """Operations gathered and not yet given to the store."""
        return len(self._gathered)

    def submit(self, operation: Operation, done: Callback = ignore) -> None:
        """Write `operation` with this turn's batch; `done(result)` runs once it is durable, in order of submission."""
        self._submitted += 1
        self._gathered.append((operation, done))
        if self._running is None:
            self._running = self._loop.create_task(self._run(), name="commit-pump")

    def when_written(self, call: Call) -> None:
        """Call when everything submitted so far is durable and its callbacks have run; at once if it is."""
        self._watching.append((self._submitted, next(self._moments), call))
        self._tell()

    def hold(self) -> Call:
        """Something planned now is submitted later: `when_written` waits for it too. Call the answer when it is."""
        moment = next(self._moments)
        self._held.add(moment)

        def release() -> None:
            self._held.discard(moment)
            self._tell()

        return release

    async def idle(self) -> None:
        """Wait until everything submitted so far, and what its callbacks submit, is durable."""
        while self._running is not None:
            await asyncio.shield(self._running)

    async def cancel(self) -> None:
        """Give up on what is not durable yet: nothing of it was acknowledged."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._gathered:
                await self._next_batch()
        except (Fenced, StoreMismatch) as problem:
            self.available = False
            self._on_fenced(str(problem))
        finally:
            self._running = None

    def _in_one_batch(self) -> int:
        """How many of what is gathered fit into one call; at least one."""
        left, bytes_left = self._operations_max, BYTES_PER_BATCH_MAX
        for index, (operation, _) in enumerate(self._gathered):
            weight, size = _weight(operation)
            left -= weight
            bytes_left -= size
            if left < 0 or bytes_left < 0:
                return max(1, index)
        return len(self._gathered)

    async def _next_batch(self) -> None:
        batch = self._gathered[: self._in_one_batch()]
        del self._gathered[: len(batch)]
        self._number += 1
        try:
            results = await self._commit([operation for operation, _ in batch])
        except StoreFull as full:
            self._number -= 1  # nothing happened under it
            self.is_full = True
            self._note_failure(full)
            self._gathered[:0] = batch
            self._operations_max = max(1, len(batch) // 2)  # all together may never fit, one by one they may
            await self._make_room(is_last_resort=len(batch) == 1)
            return
        self._note_success()
        self._operations_max = min(2 * self._operations_max, OPERATIONS_PER_BATCH_MAX)
        await self._call_back(batch, results)

    async def _make_room(self, *, is_last_resort: bool) -> None:
        """A full store drains: what only frees or advances goes ahead of what grows, or nothing would ever get through.

        Ahead is safe: these touch entries and packet ids of batches that were answered before. But for an UNSUBSCRIBE
        behind a SUBSCRIBE of its client, which is still to be written.
        """
        freeing = list(islice(self._freeing(), OPERATIONS_PER_BATCH_MAX))
        if not freeing:
            await asyncio.sleep(FULL_S if is_last_resort else 0)
            return
        self._in_order_from = self._submitted
        chosen = {id(item) for item in freeing}
        self._gathered = [item for item in self._gathered if id(item) not in chosen]
        self._number += 1
        try:
            results = await self._commit([operation for operation, _ in freeing])
        except StoreFull:  # so full that even the journal of a removal finds no place: wait for somebody to make some
            self._number -= 1
            self._gathered[:0] = freeing
            await asyncio.sleep(FULL_S)
            return
        await self._call_back(freeing, results)

    def _freeing(self) -> Iterator[tuple[Operation, Callback]]:
        subscribing = set()
        for item in self._gathered:
            operation = item[0]
            if isinstance(operation, Subscribe):
                subscribing.add(operation.client_id)
            elif isinstance(operation, Unsubscribe) and operation.client_id in subscribing:
                continue
            elif isinstance(operation, FREEING):
                yield item

    async def _call_back(self, batch: Iterable[tuple[Operation, Callback]], results: Sequence[Result]) -> None:
        effort = 0
        for (operation, done), result in zip(batch, results, strict=True):
            if effort >= EFFORT_PER_TURN_MAX:
                await asyncio.sleep(0)
                effort = 0
            self._call(done, result)
            effort += _effort(operation)
        self._settled += len(results)
        self._tell()

    def _tell(self) -> None:
        """Where operations went ahead of others, a count proves nothing until all of that time are done."""
        if self._settled < self._in_order_from:
            return
        while self._watching:
            submitted, moment, call = self._watching[0]
            if self._settled < submitted or (self._held and min(self._held) < moment):
                return
            self._watching.popleft()
            call()

    def _call(self, done: Callback, result: Result) -> None:
        try:
            done(result)
        except Exception:  # our bug in one flow must not silence the callbacks of everybody else in the batch
            log.exception("a callback failed after its operation was stored")

    async def _commit(self, operations: list[Operation]) -> tuple[Result, ...]:
        """Repeat under the same number until the store answers: an unknown outcome is safe to repeat (ports.py)."""
        pause_s = RETRY_S_FIRST
        while True:
            asked_at = self._loop.time()
            try:
                results = await self._store.commit(self._membership, self._number, operations)
            except StoreFull:
                raise
            except StoreUnavailable as problem:
                self._note_failure(problem)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S_MAX)
            else:
                self.calls += 1
                self.call_s += self._loop.time() - asked_at
                return results

    def _note_failure(self, problem: StoreUnavailable) -> None:
        self.failures += 1
        if self.available:
            self.available = False
            log.error("store unavailable, nothing is acknowledged until it answers: %s", problem)

    def _note_success(self) -> None:
        self.is_full = False
        if not self.available:
            self.available = True
            log.warning("store answers again")
