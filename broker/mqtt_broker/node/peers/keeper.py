"""Keeps this node's lease, freezes and thaws the node by it, and looks after nodes whose lease stands still.

Knows the loops, and what each answer of the store means for whether this node may act; what is decided stands in
lease.py. A node whose lease has run out reads nothing and writes nothing until the store says that it still is who it
was; if that takes too long, all connections are closed, so that clients look for another node [D6].
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_broker.node.peers.lease import RENEW_S, Tenure, Watch
from mqtt_broker.store.boottime import boottime
from mqtt_broker.store.cluster import ClusterStore, Lease
from mqtt_broker.store.ports import Membership, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub

log = logging.getLogger("mqtt_broker.cluster")

RETRY_S = 0.2
REAP_AT_ONCE = 200  # sessions of a lost node in one call of the store: a few milliseconds
ANNOUNCE_S_MAX = 0.5  # it is a courtesy: who leaves does not wait long for it
LOOK_S_MIN = 0.05  # at the end of a lease


class LeaseKeeper:
    """One node's. `begin` once, then `keep`, `watch_end` and `look_after` as tasks for as long as the node lives.

    `facts` are told with each renewal, and `note` is told what it brings; `is_elder`: whether this node does what is to
    be done once for all.
    """

    def __init__(
        self,
        hub: "Hub",
        store: ClusterStore,
        membership: Membership,
        settings: RedisSettings,
        facts: Callable[[], NodeFacts],
        note: Callable[[Iterable[Lease]], None],
        is_elder: Callable[[], bool],
    ) -> None:
        self._hub = hub
        self._store = store
        self._membership = membership
        self._outage_s_max = settings.outage_s_max
        self._facts = facts
        self._note = note
        self._is_elder = is_elder
        self._tenure = Tenure(settings.lease_s)
        self._watch = Watch(settings.lease_s)
        self._connected = 0
        self._seen = asyncio.Event()
        self._news = asyncio.Event()
        self._to_tell: list[asyncio.Future[None]] = []
        self._frozen_since: float | None = None
        self._has_given_up = False
        self.leases: tuple[Lease, ...] = ()
        self.answers = True
        self.fenced_others = 0
        self.renewal_s = 0.0

    @property
    def others(self) -> list[Lease]:
        """The leases of the other nodes, as the store told them last."""
        return [lease for lease in self.leases if lease.node != self._membership.node]

    @property
    def remaining_s(self) -> float:
        """How long this node may act without hearing from the store; negative while it is frozen."""
        return self._tenure.ends_at - boottime()

    def forget(self, node: str, token: int) -> None:
        """The feed says that this one is gone: no client is sent there any more."""
        self.leases = tuple(lease for lease in self.leases if (lease.node, lease.token) != (node, token))

    async def announce(self) -> None:
        """What the others are told of this node has changed: renew now, and learn what they say of themselves.

        Returns when that is done, or after ANNOUNCE_S_MAX.
        """
        told: asyncio.Future[None] = self._hub.loop.create_future()
        self._to_tell.append(told)
        self._news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANNOUNCE_S_MAX):
                await told

    # The own lease ---------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """The first renewal. Raises StoreError."""
        await self._renew()

    async def keep(self) -> None:
        """Renew for ever; returns when this node is fenced."""
        while True:
            self._news.clear()
            to_tell = list(self._to_tell)
            try:
                await self._renew()
            except StoreUnavailable as problem:
                self._watch.interrupted()
                self._note_away(problem)
                await asyncio.sleep(RETRY_S)
                continue
            except StoreError as problem:
                self._hub.fence(str(problem))
                return
            self._note_back()
            self._seen.set()
            for told in to_tell:
                self._to_tell.remove(told)
                if not told.done():
                    told.set_result(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_S):
                    await self._news.wait()

    async def _renew(self) -> None:
        sent_at = boottime()
        self.leases = await self._store.renew(self._membership, self._facts())
        self._note(self.leases)
        if self._store.connected != self._connected:
            self._connected = self._store.connected
            self._watch.interrupted()
        self.renewal_s = boottime() - sent_at
        self._tenure.renewed(sent_at)
        self._hub.lease_ends_at = self._tenure.ends_at
        if self._hub.is_frozen and self.remaining_s > 0:
            self._thaw()

    def _note_away(self, problem: StoreUnavailable) -> None:
        if self.answers:
            self.answers = False
            log.warning(
                "the store does not answer, this node goes on for another %.1f s: %s",
                max(0.0, self.remaining_s),
                problem,
                extra={"event": "store.away"},
            )

    def _note_back(self) -> None:
        if not self.answers:
            self.answers = True
            log.warning("the store answers again", extra={"event": "store.back"})

    # Its end ---------------------------------------------------------------------------------------------------------

    async def watch_end(self) -> None:
        """Freeze when the lease ends, also while nothing is read or written; close all when it lasts too long."""
        while True:
            await asyncio.sleep(max(LOOK_S_MIN, min(RENEW_S, self.remaining_s)))
            if self.remaining_s > 0:
                continue
            self._hub.freeze()
            now = boottime()
            if self._frozen_since is None:
                self._freeze(now)
            elif not self._has_given_up and now - self._frozen_since > self._outage_s_max:
                self._give_up()

    def _freeze(self, now: float) -> None:
        self._frozen_since = now
        log.error(
            "the lease has run out: nothing is read or delivered until the store answers, for at most %g s",
            self._outage_s_max,
            extra={"event": "node.frozen"},
        )

    def _give_up(self) -> None:
        self._has_given_up = True
        log.error(
            "the store has been away for too long: %d connections are closed",
            len(self._hub.all_connections),
            extra={"event": "node.gave_up"},
        )
        self._hub.abort_all("the store was away for too long")

    def _thaw(self) -> None:
        lasted_s = 0.0 if self._frozen_since is None else boottime() - self._frozen_since
        self._frozen_since, self._has_given_up = None, False
        self._hub.thaw()
        log.warning("the lease is renewed, the node goes on after %.1f s", lasted_s, extra={"event": "node.thawed"})

    # The others ------------------------------------------------------------------------------------------------------

    async def look_after(self) -> None:
        """After each renewal. Beside `keep`: to let go of many sessions must not cost this node its own lease."""
        while True:
            await self._seen.wait()
            self._seen.clear()
            with contextlib.suppress(StoreError):  # the next renewal tells
                await self._look_after()

    async def _look_after(self) -> None:
        overdue = self._watch.overdue(self.others, time.monotonic())
        has_fenced = [lease for lease in overdue if await self._fence(lease)]
        if has_fenced or self._is_elder():
            await self._reap()

    async def _fence(self, lease: Lease) -> bool:
        if not await self._store.fence(self._membership, lease):
            return False
        self.fenced_others += 1
        log.warning(
            "%s has been silent for too long and is fenced: others serve its clients",
            lease.node,
            extra={"event": "node.fenced_other", "fields": {"other": lease.node, "token": lease.token}},
        )
        return True

    async def _reap(self) -> None:
        """Let go of what lost nodes held: wills become due, persistent sessions wait, others end."""
        count = 0
        while reaped := await self._store.reap(self._membership, REAP_AT_ONCE):
            count += reaped
            await self._hub.turns.next()
        if count:
            self._hub.due_changed.set()
            log.info(
                "%d sessions of lost nodes are let go",
                count,
                extra={"event": "node.reaped", "fields": {"sessions": count}},
            )
