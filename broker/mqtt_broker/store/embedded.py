"""The store for one node: an SQLite file, or memory.

Knows the thread, transactions, tokens and batch numbers; does not know what an operation does (operations.py), where a
value lies (the other files here) or MQTT's rules.

Everything runs on one thread of its own, so the event loop never waits for a disk. One batch is one transaction, synced
before `commit` returns. What is cached in memory is dropped after every rollback, so it cannot differ from the file.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, Self, TypeVar

from mqtt_api.keys import GROUP
from mqtt_broker.session.session import SessionRecord
from mqtt_broker.store.encoding import decode_results, encode
from mqtt_broker.store.operations import Batch, World
from mqtt_broker.store.ports import (
    Due,
    DueExpiry,
    DueWill,
    Fenced,
    Kept,
    Membership,
    Operation,
    QueueEntry,
    Result,
    RetainedMessage,
    Snapshot,
    StoreMismatch,
    StoreUnavailable,
)
from mqtt_broker.store.schema import LOCK_WAIT_S_MAX, open_database, path_of, unavailable
from mqtt_broker.store.sessions import Session

DUE_MAX = 1_000  # wills, and sessions, in one answer: bounds its memory and the batch that follows it

P = ParamSpec("P")
R = TypeVar("R")


class StoreClock:
    """A clock that never goes back, for any thread: when the machine's is set back, ours stands until it catches up."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latest = clock()

    def now(self) -> float:
        with self._lock:
            self._latest = max(self._latest, self._clock())
            return self._latest


class Database:
    """The store without its thread: every method blocks, and all run on one thread.

    Raises sqlite3's errors as they are; after one, the transaction is undone and the next call starts afresh.
    """

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], float]) -> None:
        self._connection = connection
        self._now = now
        self._world = World(connection)

    def join(self, node: str, world: str) -> Membership:
        with self._transaction():
            self._enter_world(world)
            token = self._world.ordinals.next()
            self._connection.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?, 0, NULL)", (node, token))
            Batch(self._world, node, self._now()).abandon()
        return Membership(node=node, token=token)

    def commit(self, membership: Membership, number: int, operations: Sequence[Operation]) -> tuple[Result, ...]:
        with self._transaction():
            last, kept = self._standing(membership)
            if number == last and kept is not None:
                return decode_results(kept)
            if number != last + 1:
                raise Fenced(f"batch {number} of node {membership.node} after batch {last}")
            batch = Batch(self._world, membership.node, self._now())
            results = tuple([batch.apply(operation) for operation in operations])
            self._connection.execute(
                "UPDATE nodes SET number = ?, results = ? WHERE name = ?", (number, encode(results), membership.node)
            )
        self._world.trim_caches()
        return results

    def load(self) -> Snapshot:
        world = self._world
        subscriptions = world.subscriptions.every()
        inbound = world.inbound.every()
        sessions = []
        for session in world.sessions.every():
            sent_up_to = world.queues.of(session.incarnation).sent_up_to
            key = session.incarnation
            sessions.append(session.record(sent_up_to, subscriptions.get(key, ()), inbound.get(key, ())))
        backlogs = [
            (share, topic_filter, world.queues.of(group_id).messages)
            for group_id, share, topic_filter in world.subscriptions.groups()
        ]
        world.trim_caches()
        return Snapshot(
            sessions=tuple(sessions),
            retained_topics=world.retained.topics(self._now()),
            groups=tuple(backlog for backlog in backlogs if backlog[2]),
        )

    def read_queue(
        self, client_id: str, incarnation: int, after: int, messages_max: int, bytes_max: int, epoch: int
    ) -> tuple[QueueEntry, ...]:
        session = self._world.sessions.find(client_id)
        if session is None or session.ended or session.incarnation != incarnation:
            return ()
        if epoch and (session.owner is None or session.epoch != epoch):
            return ()
        return self._world.queues.read(self._world.queues.of(incarnation), after, messages_max, bytes_max)

    def read_retained(self, topics: Sequence[str]) -> tuple[RetainedMessage, ...]:
        return tuple(RetainedMessage(message) for message in self._world.retained.read(topics, self._now()))

    def kept(self) -> Kept:
        queued, queued_bytes = self._world.queues.total()
        retained, retained_bytes = self._world.retained.total()
        return Kept(queued + retained, queued_bytes + retained_bytes)

    def due(self) -> Due:
        now = self._now()
        removed: tuple[str, ...] = ()
        if self._world.retained.has_expired(now):
            with self._transaction():
                removed = self._world.retained.remove_expired(now)
        wills = self._world.sessions.will_due(now, DUE_MAX)
        expiries = self._world.sessions.expired(now, DUE_MAX)
        moments = (self._world.sessions.next_moment(now), self._world.retained.next_moment(now))
        next_at = min((moment for moment in moments if moment is not None), default=None)
        if DUE_MAX in (len(wills), len(expiries)):
            next_at = now  # there may be more: ask again when these are done
        return Due(
            wills=tuple(DueWill(record=self._record(session)) for session in wills),
            expiries=tuple(
                DueExpiry(client_id=session.client_id, incarnation=session.incarnation) for session in expiries
            ),
            retained_topics=removed,
            next_at=next_at,
        )

    def close(self) -> None:
        self._connection.close()

    def _record(self, session: Session) -> SessionRecord:
        if session.ended:
            return session.record(0, (), ())
        key = session.incarnation
        sent_up_to = self._world.queues.of(key).sent_up_to
        return session.record(sent_up_to, self._world.subscriptions.of(key), self._world.inbound.of(key))

    def _enter_world(self, world: str) -> None:
        row = self._connection.execute("SELECT value FROM world WHERE name = 'id'").fetchone()
        if row is None:
            (sessions,) = self._connection.execute("SELECT count(*) FROM nodes").fetchone()
            if sessions:
                raise StoreMismatch("the store holds data but no world: it is damaged")
            self._connection.execute("INSERT INTO world VALUES ('id', ?)", (world,))
        elif row[0] != world:
            raise StoreMismatch(
                f"the store has identity {row[0]}, and this broker's is {world}: bring the right file back; if this "
                f"is it, and the broker runs in Kubernetes, annotate it with {GROUP}/accept-store={row[0]}"
            )

    def _standing(self, membership: Membership) -> tuple[int, bytes | None]:
        """The last batch number of this token and its results."""
        row = self._connection.execute(
            "SELECT token, number, results FROM nodes WHERE name = ?", (membership.node,)
        ).fetchone()
        if row is None or row[0] != membership.token:
            raise Fenced(f"node {membership.node} joined again: token {membership.token} is over")
        return row[1], row[2]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block, synced, or nothing of it."""
        self._undo()  # SQLite may have been unable to when the last one failed
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._world.flush()
            self._connection.execute("COMMIT")
        except BaseException:
            self._world.forget()
            self._undo()
            raise

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


class EmbeddedStore:
    """The port over one SQLite file. `await EmbeddedStore.open(url)`, then as the port says; see `Store`.

    Safe to use from one event loop; calls are done in the order they were made.
    """

    def __init__(self, database: Database, clock: StoreClock, thread: ThreadPoolExecutor, path: str) -> None:
        self._database = database
        self._clock = clock
        self._thread = thread
        self._path = path
        self._is_open = True

    @classmethod
    async def open(
        cls,
        url: str,
        clock: Callable[[], float] = time.time,
        *,
        lock_wait_s: float = LOCK_WAIT_S_MAX,
        bytes_max: int | None = None,
    ) -> Self:
        """Open `sqlite:/absolute/path` (made if missing, mode 0600) or `sqlite::memory:`; `join` comes next.

        `clock`: seconds since the epoch. `lock_wait_s`: how long to wait for another process to let go of the file.
        `bytes_max`: how large the file may grow; beyond it every write that grows is StoreUnavailable.
        Raises StoreMismatch (wrong url, foreign file, newer format) or StoreUnavailable; nothing is left open then.
        """
        path = path_of(url)
        store_clock = StoreClock(clock)
        thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(
                thread, open_database, path, lock_wait_s, bytes_max
            )
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(Database(connection, store_clock.now), store_clock, thread, path)

    def now(self) -> float:
        return self._clock.now()

    async def join(self, node: str, world: str) -> Membership:
        return await self._call(self._database.join, node, world)

    async def load(self) -> Snapshot:
        return await self._call(self._database.load)

    async def commit(self, membership: Membership, number: int, operations: Sequence[Operation]) -> tuple[Result, ...]:
        return await self._call(self._database.commit, membership, number, tuple(operations))

    async def read_queue(
        self, client_id: str, incarnation: int, after: int, messages_max: int, bytes_max: int, *, epoch: int = 0
    ) -> tuple[QueueEntry, ...]:
        return await self._call(
            self._database.read_queue, client_id, incarnation, after, messages_max, bytes_max, epoch
        )

    async def read_retained(self, topics: Sequence[str]) -> tuple[RetainedMessage, ...]:
        return await self._call(self._database.read_retained, tuple(topics))

    async def kept(self) -> Kept:
        return await self._call(self._database.kept)

    async def due(self) -> Due:
        return await self._call(self._database.due)

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
            self._thread.shutdown()

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if not self._is_open:
            raise StoreUnavailable(f"store {self._path}: closed")
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, call)

    def _guarded(self, call: Callable[[], R]) -> R:
        """Run on the store's thread. What the disk is to blame for becomes StoreUnavailable; a bug of ours does not."""
        try:
            return call()
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
            raise
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error
