"""One broker node from start to stop: join the store, follow policy and settings, open listeners, drain politely."""

import asyncio
import contextlib
import gc
import logging
import random
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from mqtt_api.node_settings import ListenerSettings, NodeSettings, RedisSettings
from mqtt_broker.auth.passwords import PasswordVerifier
from mqtt_broker.node.admin import Admin
from mqtt_broker.node.drain import follow_balance, last_writes_s, send_all_away
from mqtt_broker.node.due import follow_due
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.listener import Listener, ListenError
from mqtt_broker.node.peers.cluster import Cluster
from mqtt_broker.node.peers.succession import may_take
from mqtt_broker.node.policy_feed import PolicyFeed, offer
from mqtt_broker.node.serving import Serving
from mqtt_broker.node.sys_publisher import follow_sys
from mqtt_broker.node.tls import TLSConfigError
from mqtt_broker.node.watch import changes
from mqtt_broker.settings import SettingsError, read_settings
from mqtt_broker.store.cluster import FeedLost
from mqtt_broker.store.embedded import EmbeddedStore
from mqtt_broker.store.ports import Snapshot, Store, StoreUnavailable
from mqtt_broker.store.redis.store import RedisStore
from mqtt_broker.wire.reasons import ReasonCode

log = logging.getLogger("mqtt_broker.node")

PASSWORD_THREADS = 1  # Argon2id is meant to be slow: one core's worth at most, so that messages keep moving
PASSWORDS_WAITING_MAX = 256  # more than are hashed before the wait is over; beyond that clients are told to come back
TICK_S = 1.0
# The collector's generations. The middle one takes some 2 ms; all objects take far longer, and are looked at only after
# a million more than there were before: until then that is all that dead cycles can hold.
COLLECT_AFTER = (2_000, 5, 100)
MEASURE_S = 0.1
RETRY_LISTENERS_S = 1.0
NOT_LIVE = ("node", "broker", "world", "store", "store_bytes_max", "policy_file", "admin_socket", "http", "log_format")


STORE_RETRY_S_FIRST = 0.5
STORE_RETRY_S_MAX = 5.0  # a node whose store is there at last serves within so many seconds


class StartError(Exception):
    """The node cannot start; the text says why and what to do."""


class EndedError(Exception):
    """The node had to end though nobody told it to; the text says why. Started again it may well serve."""


class Node:
    """Composes the parts. `run` returns when the node was told to stop; else it raises one of the errors above."""

    def __init__(self, settings_file: Path, name: str | None = None) -> None:
        """`name` instead of the one in the file. Raises SettingsError."""
        self._file = settings_file
        self._name = name
        self._settings = read_settings(settings_file, name)
        self._admin = Admin(self._settings.node)
        self._listeners: dict[str, Listener] = {}
        self._stop = asyncio.Event()
        self._announced = False
        self._is_serving = False
        self._failed = ""
        self._due_listeners: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        """Begin to leave. Idempotent."""
        self._stop.set()

    async def run(self) -> None:
        try:
            await self._open_admin()
            if isinstance(self._settings.store, str):
                await self._run_alone(self._settings.store)
            else:
                await self._run_among_others(self._settings.store)
        finally:
            await self._admin.close()

    async def _open_admin(self) -> None:
        try:
            await self._admin.open(self._settings.admin_socket, self._settings.http)
        except OSError as problem:
            raise StartError(f"probes and metrics cannot be answered: {problem}") from problem

    async def _run_alone(self, url: str) -> None:
        store = await EmbeddedStore.open(url, bytes_max=self._settings.store_bytes_max)
        async with self._joined(store) as hub:
            serving = self._serving_of(hub)
            await _load(hub)
            feed = PolicyFeed(hub, Path(hub.settings.policy_file))
            await feed.read()
            await self._serve(serving, feed)

    async def _run_among_others(self, settings: RedisSettings) -> None:
        """Serve, as soon as the store answers: a store that is away is waited for, without end."""
        wait_s, told = STORE_RETRY_S_FIRST, ""
        while not self._stop.is_set():
            try:
                await self._join_others(settings)
                return
            except (StoreUnavailable, FeedLost) as problem:  # while it started: later these do not come this far
                if told != str(problem):
                    log.warning("waiting for the store: %s", problem, extra={"event": "store.waiting"})
                told = str(problem)
                self._admin.waits(f"waiting for the store: {told}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s * random.uniform(0.5, 1.0)):  # noqa: S311 - nodes come one by one
                    await self._stop.wait()
            wait_s = min(2 * wait_s, STORE_RETRY_S_MAX)

    async def _join_others(self, settings: RedisSettings) -> None:
        """One attempt to enter the cluster; returns when the node has left it. Raises StoreError while it starts."""
        store = await RedisStore.open(settings)
        async with contextlib.AsyncExitStack() as unless_joined:
            unless_joined.push_async_callback(store.close)
            await may_take(store, self._settings.node, settings.lease_s, self._stop)
            if self._stop.is_set():
                return
            unless_joined.pop_all()
        async with self._joined(store) as hub:

            async def offer_policy(document: Sequence[bytes]) -> None:
                await offer(hub, document, "the policy in the store")
                await hub.turns.next()
                self._announce(hub)

            serving = self._serving_of(hub)
            cluster = Cluster(serving, store, hub.membership, settings, self.stop, offer_policy)
            hub.peers = cluster
            try:
                await cluster.start(await _load(hub))
                await cluster.read_policy()
                for name, work in cluster.tasks():
                    self._start(work, name)
                await self._serve(serving, None)
            finally:
                await cluster.leave()  # whatever happened: nobody shall wait for this node

    @contextlib.asynccontextmanager
    async def _joined(self, store: Store) -> AsyncIterator[Hub]:
        """A hub whose store knows this node. Raises StoreError."""
        passwords = PasswordVerifier(PASSWORD_THREADS, PASSWORDS_WAITING_MAX)
        self._tasks = []
        try:
            membership = await store.join(self._settings.node, self._settings.world)
            yield Hub(self._settings, store, membership, passwords)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            passwords.close()
            await store.close()

    def _serving_of(self, hub: Hub) -> Serving:
        serving = Serving(hub, lambda: list(self._listeners.values()), lambda: bool(self._due_listeners))
        self._admin.joined(serving)
        return serving

    async def _serve(self, serving: Serving, feed: PolicyFeed | None) -> None:
        """`feed` None: the policy comes through the store."""
        hub = serving.hub
        try:
            self._open_listeners(hub, hub.settings.listeners)
        except (ListenError, TLSConfigError, ValueError) as problem:
            await self._close_listeners()
            raise StartError(str(problem)) from problem
        self._start(follow_due(hub), "due")
        self._start(_tick(hub), "tick")
        self._start(follow_sys(hub), "sys")
        self._start(_measure(hub), "overload")
        self._start(follow_balance(hub), "balance")
        self._start(self._watch(hub, feed), "watch")
        self._start(self._retry_listeners(hub), "listeners")
        gc.freeze()  # what is here now stays: the collector need not look at it again
        gc.set_threshold(*COLLECT_AFTER)
        self._is_serving = serving.has_begun = True
        self._announce(hub)
        fenced = asyncio.create_task(hub.fenced.wait())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([fenced, stopped], return_when=asyncio.FIRST_COMPLETED)
        fenced.cancel()
        stopped.cancel()
        await self._drain(hub)
        if hub.fenced.is_set() or self._failed:
            raise EndedError(f"{self._settings.node} has ended: {hub.fenced_because or self._failed}")

    def _start(self, work: Coroutine[object, object, None], name: str) -> None:
        """A background task whose failure stops the node: half a node is worse than none."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("%s failed, the node stops", task.get_name(), exc_info=task.exception())
            self._failed = f"its task {task.get_name()} failed"
            self._stop.set()

    def _announce(self, hub: Hub) -> None:
        """Say once that clients are served: not before there is a policy [D8], and listeners."""
        if self._announced or not self._is_serving:
            return
        if hub.policy is None:
            where = hub.settings.policy_file or "the store"
            log.warning("waiting for a policy at %s", where, extra={"event": "node.waiting"})
            return
        self._announced = True
        ports = {listener.name: listener.port for listener in self._listeners.values()}
        log.info(
            "ready: %s",
            ", ".join(f"{name} on port {port}" for name, port in ports.items()),
            extra={"event": "node.ready", "fields": {"listeners": ports}},
        )

    # Listeners and settings ------------------------------------------------------------------------------------------

    def _open_listeners(self, hub: Hub, wanted: Iterable[ListenerSettings]) -> None:
        for settings in wanted:
            listener = Listener(hub, settings)
            listener.start()
            self._listeners[settings.name] = listener

    async def _close_listeners(self) -> None:
        for listener in self._listeners.values():
            await listener.close()

    def _watched_files(self) -> list[str]:
        files = [str(self._file)]
        if self._settings.policy_file:
            files.append(self._settings.policy_file)
        for listener in self._settings.listeners:
            if listener.tls is not None:
                tls = listener.tls
                files += [tls.certificate_file, tls.key_file, *tls.client_ca_files, *tls.crl_files]
        return files

    async def _watch(self, hub: Hub, feed: PolicyFeed | None) -> None:
        async for _ in changes(self._watched_files, self._stop):
            await self._apply_settings(hub)
            if feed is not None:
                await feed.read()
            self._announce(hub)
            for listener in self._listeners.values():
                await listener.reload_tls()

    async def _apply_settings(self, hub: Hub) -> None:
        """Take a changed settings file while running. What cannot change live keeps its value, and the log says so."""
        try:
            wanted = read_settings(self._file, self._name)
        except SettingsError as problem:
            log.error("%s: the settings in force stay", problem, extra={"event": "settings.rejected"})
            return
        if wanted == self._settings:
            return
        fixed = [name for name in NOT_LIVE if getattr(wanted, name) != getattr(self._settings, name)]
        if fixed:
            log.error(
                "%s cannot change while the node runs: restart it",
                ", ".join(fixed),
                extra={"event": "settings.rejected", "fields": {"fixed": fixed}},
            )
            return
        hub.settings = self._settings = wanted
        self._due_listeners = set(await self._change_listeners(hub, wanted))
        if not self._due_listeners:
            log.info("settings applied", extra={"event": "settings.applied"})

    async def _change_listeners(self, hub: Hub, wanted: NodeSettings) -> list[str]:
        """Open what is new or moved before its old port closes, change the rest in place, close what is gone.

        Returns the names of those that are not as declared; what they were before goes on serving.
        """
        failed = [settings.name for settings in wanted.listeners if not await self._change_listener(hub, settings)]
        declared = {settings.name for settings in wanted.listeners}
        for name in [name for name in self._listeners if name not in declared]:
            await self._close_listener(self._listeners.pop(name))
        return failed

    async def _change_listener(self, hub: Hub, settings: ListenerSettings) -> bool:
        """Bring one listener to its settings; False (and a line in the log) if that failed, and nothing changed."""
        known = self._listeners.get(settings.name)
        try:
            if known is not None and (settings.host, settings.port) == (known.settings.host, known.settings.port):
                known.apply(settings)
                return True
            opened = Listener(hub, settings)
            opened.start()
        except (ListenError, TLSConfigError, ValueError) as problem:
            if settings.name not in self._due_listeners:
                log.error("%s", problem, extra={"event": "settings.rejected", "fields": {"problem": str(problem)}})
            return False
        self._listeners[settings.name] = opened
        if known is not None:
            await self._close_listener(known)
        return True

    async def _close_listener(self, listener: Listener) -> None:
        """Its port, and its connections with it: whoever comes back finds the new one."""
        await listener.close()
        for client in list(listener.connections):
            client.end(ReasonCode.SERVER_SHUTTING_DOWN, planned_stop=True)

    async def _retry_listeners(self, hub: Hub) -> None:
        """A port that was in use, or a certificate that did not fit: look again until all is as declared."""
        while True:
            await asyncio.sleep(RETRY_LISTENERS_S)
            if self._due_listeners:
                self._due_listeners = set(await self._change_listeners(hub, self._settings))
                if not self._due_listeners:
                    log.info("settings applied", extra={"event": "settings.applied"})

    # The end ---------------------------------------------------------------------------------------------------------

    async def _drain(self, hub: Hub) -> None:
        """Stop accepting, say goodbye with the reason, write what is owed, then let go of the store."""
        hub.draining = True  # from now on not ready
        hub.nobody_left.clear()
        await self._close_listeners()
        if hub.fenced.is_set():
            return
        await hub.peers.announce()
        log.info("leaving: %d connections", len(hub.all_connections), extra={"event": "node.draining"})
        await send_all_away(hub)
        patience_s = last_writes_s(hub.settings.drain.grace_s)
        try:
            async with asyncio.timeout(patience_s):
                await _settled(hub)
        except TimeoutError:
            log.warning("some connections or writes did not finish within %g s", patience_s)
            await hub.pump.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        log.info("stopped", extra={"event": "node.stopped"})


async def _settled(hub: Hub) -> None:
    await hub.pump.idle()
    if hub.all_connections:
        await hub.nobody_left.wait()
    await hub.peers.finished()


async def _load(hub: Hub) -> Snapshot:
    """Know every session, retained topic and group backlog before the first client is let in.

    Returns what the store gave, without the sessions: what each was made from is let go of at once.
    """
    snapshot = await hub.store.load()
    records, snapshot = list(snapshot.sessions), replace(snapshot, sessions=())
    if records:
        log.info("%d sessions and %d retained topics found", len(records), len(snapshot.retained_topics))
    while records:
        record = records.pop()
        if record.subscriptions or not hub.peers.follow_feed:  # of others the feed tells nothing, not even their end
            hub.adopt(record)
    for topic in snapshot.retained_topics:
        hub.retained.add(topic)
    for group, topic_filter, count in snapshot.groups:
        hub.group_backlog[(group, topic_filter)] = count
    return snapshot


async def _measure(hub: Hub) -> None:
    """Notice how late the loop is, and how much waits in memory, and set the overload level by it."""
    while True:
        due = hub.loop.time() + MEASURE_S
        await asyncio.sleep(MEASURE_S)
        now = hub.loop.time()
        if hub.overload.measure(now - due, hub.buffered_bytes, now):
            log.warning(
                "overload level %d: the loop is %.0f ms late, %d bytes wait for receivers",
                hub.overload.level,
                1000 * (now - due),
                hub.buffered_bytes,
                extra={"event": "node.overload", "fields": {"overload_level": hub.overload.level}},
            )


async def _tick(hub: Hub) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(TICK_S)
            hub.wheel.turn(hub.loop.time(), lambda error: log.error("a timer failed", exc_info=error))
