"""This node among others: it follows the feed, its inbox and its orders, and answers what the flows ask of the others.

Knows the loops and what each answer means for the hub; what is decided stands in barrier.py and handover.py, what the
feed changes in feed.py, and whether this node may act at all in keeper.py.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_broker.node import readings
from mqtt_broker.node.balance import Balance, Told
from mqtt_broker.node.peers import feed, inbox
from mqtt_broker.node.peers.barrier import Barrier, Peer
from mqtt_broker.node.peers.handover import Handover
from mqtt_broker.node.peers.inboxes import Inboxes
from mqtt_broker.node.peers.keeper import LeaseKeeper
from mqtt_broker.node.peers.port import Figures, Runs
from mqtt_broker.node.peers.posting import Posting
from mqtt_broker.node.peers.runs import ReceivedRuns, run_head
from mqtt_broker.routing.delivery import Receiver
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.cluster import (
    FORMAT,
    TELLS_MORE,
    Applied,
    Change,
    ClusterStore,
    ControlEntry,
    Drain,
    Evict,
    Evicted,
    FeedEntry,
    GroupBacklog,
    Lease,
    NodeEntered,
    NodeLeft,
    PolicyWritten,
    Positions,
    Post,
    RetainedChanged,
    SessionSubscribed,
)
from mqtt_broker.store.ports import (
    Claimed,
    Done,
    Fenced,
    Forward,
    Membership,
    Result,
    RunForward,
    Snapshot,
    StoreError,
    StoreUnavailable,
    Target,
)

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection
    from mqtt_broker.node.live import LiveSession
    from mqtt_broker.node.serving import Serving

log = logging.getLogger("mqtt_broker.cluster")

FOLLOW_S = 1.0  # how long the store may hold a question for news
RETRY_S = 0.2
LEAVE_S_MAX = 1.0  # a store that is away then is not waited for: the lease ends by itself
LAST_WORD_S_MAX = 0.2  # who does not take the bytes before its DISCONNECT by then does not get that either
LAST_WORD_LOOK_S = 0.005
SETTLE_S_MAX = 15.0  # a lease and more: by then the previous owner has let go, or is fenced
HOUSEKEEPING_S = 5.0
POLICY_S = 5.0  # the policy is looked at this often even if the feed said nothing

Call = Callable[[], None]


class Cluster:
    """Peers (port.py) over a store that nodes share. `start`, then `tasks` for as long as the node lives, then `leave`.

    `stop` is called when an order came to leave.
    """

    follow_feed = True

    def __init__(
        self,
        serving: "Serving",
        store: ClusterStore,
        membership: Membership,
        settings: RedisSettings,
        stop: Call,
        offer_policy: Callable[[Sequence[bytes]], Coroutine[Any, Any, None]],
    ) -> None:
        self._serving = serving
        self._hub = hub = serving.hub
        self._store = store
        self._membership = membership
        self._stop = stop
        self._offer_policy = offer_policy
        self._barrier = Barrier(Peer(membership.token, membership.node))
        self._keeper = LeaseKeeper(
            hub, store, membership, settings, self._facts, self._note_leases, lambda: self.is_elder
        )
        self._handover = Handover()
        self._posting = Posting(store, membership, lambda count: hub.drop("overflow", count))
        self._inboxes = Inboxes(hub, store.inbox_level, settings.inbox_bytes_max)
        store.tell_crowded(self._inboxes.note)
        self._received_runs = ReceivedRuns(hub)
        self._reading_runs: frozenset[Peer] = frozenset()
        self.changes = 0
        self.balance = Balance()
        self._positions = Positions(feed=0)
        self._reached: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._answers: list[Evicted | Applied] = []
        self._owed: set[str] = set()
        self._reporting: asyncio.Task[None] | None = None
        self._policy_written = asyncio.Event()
        self._orders: set[asyncio.Task[None]] = set()
        self._settling: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._barrier_waits = 0
        self._barrier_wait_s = 0.0
        self._inbox_dropped = 0
        self._started_at = time.time()

    # What flows ask (port.py) ----------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        return self._positions.feed

    @property
    def is_elder(self) -> bool:
        return self._barrier.is_elder

    @property
    def is_in_touch(self) -> bool:
        return self._keeper.answers

    async def announce(self) -> None:
        await self._keeper.announce()

    async def finished(self) -> None:
        while under_way := (*self._settling.values(), *self._orders):
            await asyncio.wait(under_way)

    def in_force(self, result: Result, call: Call) -> None:
        position = result.position if isinstance(result, Done) else 0
        asked_at = self._hub.loop.time()

        def reached() -> None:
            self._barrier_waits += 1
            self._barrier_wait_s += self._hub.loop.time() - asked_at
            call()

        self._barrier.wait(position, reached)

    def claimed(self, claimed: Claimed) -> None:
        key = claimed.record.client_id, claimed.record.epoch
        settling = self._settling[key] = self._hub.loop.create_task(self._settle(claimed), name="settle")
        settling.add_done_callback(lambda _: self._settling.pop(key))

    def when_settled(self, claimed: Claimed, call: Call) -> None:
        settling = self._settling.get((claimed.record.client_id, claimed.record.epoch))
        if settling is None:
            call()
        else:
            settling.add_done_callback(lambda task: None if task.cancelled() else call())

    def is_evicted(self, client_id: str, epoch: int) -> bool:
        return self._handover.is_evicted(client_id, epoch)

    async def settled(self, claimed: Claimed) -> bool:
        client_id, epoch = claimed.record.client_id, claimed.record.epoch
        async with asyncio.timeout(SETTLE_S_MAX):
            await self._settled(client_id, epoch)
        return not self.is_evicted(client_id, epoch)

    async def _settled(self, client_id: str, epoch: int) -> None:
        """Wait until nobody acts for what this node claimed under `epoch`: at once if that is so, or it is not its."""
        settling = self._settling.get((client_id, epoch))
        if settling is not None:
            await asyncio.wait((settling,))

    async def _settle(self, claimed: Claimed) -> None:
        """Without a limit: who waits for this node to let go must not think so before those before it have."""
        client_id, previous = claimed.record.client_id, Peer(claimed.previous_token, claimed.previous_owner or "")
        await self._until(lambda: self._has_read(claimed))  # now this node knows who is there, as of the claim
        if previous in self._barrier.others:
            await self._let_go(previous, client_id, claimed.previous_epoch)
        elif previous == self._barrier.own:  # perhaps for a CONNECT that was given up before this was settled
            await self._settled(client_id, claimed.previous_epoch)

    def _has_read(self, claimed: Claimed) -> bool:
        return self._positions.feed >= claimed.position and self._positions.inbox >= claimed.inbox_end

    async def _let_go(self, previous: Peer, client_id: str, epoch: int) -> None:
        """Wait for the confirmation, or for the end of the one who owes it."""
        loop = self._hub.loop
        confirmed = loop.create_task(self._handover.wait(client_id, epoch))
        gone = loop.create_task(self._until(lambda: previous not in self._barrier.others))
        try:
            await asyncio.wait((confirmed, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            confirmed.cancel()
            gone.cancel()

    def keeps(self, session: "LiveSession") -> bool:
        return session.outlet is not None or (session.owner is None and self.is_elder)

    def forwards(self, receivers: Iterable[Receiver]) -> tuple[Forward, ...]:
        return self._copies(receivers, lambda receiver, session: receiver.qos > 0 and not session.is_persistent)

    def post(self, message: Message, receivers: Iterable[Receiver]) -> None:
        for forward in self._copies(receivers, lambda receiver, _: receiver.qos == 0):
            self._posting.add(Post(message, forward))

    def runs(self, message: Message, receivers: Iterable[Receiver]) -> Runs | None:
        receivers = tuple(receivers)
        posts = self._copies(receivers, lambda receiver, _: receiver.qos == 0)
        forwards = self.forwards(receivers)
        if any(Peer(each.token, each.node) not in self._reading_runs for each in (*posts, *forwards)):
            return None
        return Runs(_runs_of(message, forwards), _runs_of(message, posts))

    def post_runs(self, posts: Iterable[RunForward], payloads: Sequence[bytes]) -> None:
        for each in posts:
            self._inboxes.press(each.node)
            self._posting.add_run(each, payloads)

    def press(self, receivers: Iterable[Receiver]) -> None:
        if self._inboxes.are_crowded:
            for node in self.nodes_of(receiver.client_id for receiver in receivers):
                self._inboxes.press(node)

    def _note_leases(self, leases: Iterable[Lease]) -> None:
        self._note_formats(leases)
        by_node = {Peer(each.token, each.node): each for each in leases}
        own = by_node.pop(self._barrier.own, None)
        if own is not None:
            others = {
                peer: Told(each.renewals, each.facts.connections)
                for peer, each in by_node.items()
                if not each.facts.is_draining
            }
            self.balance.note(own.facts.connections, others)

    def _note_formats(self, leases: Iterable[Lease]) -> None:
        """Nodes of several versions meet: what one of them cannot read is not written to it [D12]."""
        reading = frozenset(Peer(each.token, each.node) for each in leases if each.facts.format >= TELLS_MORE)
        if reading != self._reading_runs:
            self._reading_runs = reading
            self.changes += 1

    def post_shared(self, message: Message, key: tuple[str, str], client_id: str, subscription: Subscription) -> None:
        session = self._hub.sessions.get(client_id)
        peer = None if session is None or session.owner is None else self._barrier.find(session.owner)
        if session is None or peer is None:
            self._hub.drop("no_receiver", 1)
            return
        target = Target(
            client_id=client_id,
            incarnation=session.incarnation,
            qos=0,
            retain=message.retain and subscription.retain_as_published,
            identifiers=subscription.identifiers,
        )
        self._posting.add(Post(message, Forward(node=peer.node, token=peer.token, targets=(target,), group=key)))

    def _copies(
        self, receivers: Iterable[Receiver], wanted: Callable[[Receiver, "LiveSession"], bool]
    ) -> tuple[Forward, ...]:
        by_node: dict[str, list[Target]] = {}
        for receiver in receivers:
            session = self._hub.sessions.get(receiver.client_id)
            if session is None or session.owner is None or not wanted(receiver, session):
                continue
            self._inboxes.press(session.owner)
            by_node.setdefault(session.owner, []).append(
                Target(
                    client_id=receiver.client_id,
                    incarnation=session.incarnation,
                    qos=receiver.qos,
                    retain=receiver.retain,
                    identifiers=receiver.identifiers,
                )
            )
        return tuple(
            Forward(node=node, token=peer.token, targets=tuple(targets))
            for node, targets in by_node.items()
            if (peer := self._barrier.find(node)) is not None
        )

    def nodes_of(self, client_ids: Iterable[str]) -> tuple[str, ...]:
        sessions = (self._hub.sessions.get(client_id) for client_id in client_ids)
        return tuple({session.owner for session in sessions if session is not None and session.owner is not None})

    def reference(self) -> str | None:
        references = [facts.server_reference for facts in self._taking() if facts.server_reference]
        return random.choice(references) if references else None  # noqa: S311 - to spread, not to hide

    def _taking(self) -> list[NodeFacts]:
        """The other nodes that take clients."""
        return [lease.facts for lease in self._keeper.others if not lease.facts.is_draining]

    def status(self) -> dict[str, Any]:
        return {
            "token": self._membership.token,
            "position": self._barrier.position,
            "lag": self._barrier.lag(),
            "elder": self.is_elder,
            "frozen": self._hub.is_frozen,
            "lease_s": round(self._keeper.remaining_s, 3),
            "nodes": [
                {
                    "node": lease.node,
                    "token": lease.token,
                    "position": lease.facts.applied,
                    "policy_revision": lease.facts.policy_revision,
                    "connections": lease.facts.connections,
                    "draining": lease.facts.is_draining,
                }
                for lease in self._keeper.leases
            ],
        }

    def totals(self) -> Sequence[Mapping[str, float]]:
        return [lease.facts.totals for lease in self._keeper.others]

    def figures(self) -> Figures:
        return Figures(
            lease_remaining_s=self._keeper.remaining_s,
            lease_renewal_s=self._keeper.renewal_s,
            fenced_others=self._keeper.fenced_others,
            feed_lag=self._barrier.lag(),
            barrier_waits=self._barrier_waits,
            barrier_wait_s=self._barrier_wait_s,
        )

    # From start to end -----------------------------------------------------------------------------------------------

    async def start(self, snapshot: Snapshot) -> None:
        """Catch up with the feed from the snapshot on, and enter; after that this node may serve. Raises StoreError."""
        self._positions = Positions(feed=snapshot.position)
        while await self._read_news(0.0):
            pass
        entered = await self._store.enter(self._membership, self._facts())
        await self._keeper.begin()
        for lease in self._keeper.leases:
            self._barrier.entered(Peer(lease.token, lease.node), lease.facts.applied)
        while self._positions.feed < entered:
            await self._read_news(FOLLOW_S)

    def tasks(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs for as long as the node."""
        return [
            ("follow", self._follow()),
            ("lease", self._keeper.keep()),
            ("lease-end", self._keeper.watch_end()),
            ("others", self._keeper.look_after()),
            ("housekeeping", self._keep_house()),
            ("policy", self._follow_policy()),
            ("inboxes", self._inboxes.watch()),
        ]

    async def leave(self) -> None:
        """Everything owed is written: end the lease, so that nobody waits for this node. Never raises.

        But while an earlier owner has not let go of what this node claimed: then the lease runs out by itself. Whoever
        claims such a session next would find the name of this node on it, and wait for nobody.
        """
        if self._settling:
            return
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LEAVE_S_MAX):
                await self._store.leave(self._membership)

    async def _keep_house(self) -> None:
        """Count what this node's inbox had no room for, and forget handovers that nobody waits for any more."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            self._handover.forget_old(self._hub.loop.time())
            with contextlib.suppress(StoreError):  # the keeper tells
                dropped = await self._store.inbox_dropped(self._membership)
                self._hub.drop("inbox", dropped - self._inbox_dropped)
                self._inbox_dropped = dropped

    def _facts(self) -> NodeFacts:
        hub, serving = self._hub, self._serving
        return NodeFacts(
            applied=self._barrier.position,
            policy_revision=hub.revision,
            connections=len(hub.connections),
            is_draining=hub.draining,
            started_at=self._started_at,
            server_reference=hub.settings.server_reference,
            format=FORMAT,
            ready=serving.is_ready,
            version=readings.release(),
            certificates=serving.certificates(),
            totals=hub.sys_totals(),
            purged=hub.purged,
        )

    # News ------------------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                await self._read_news(FOLLOW_S)
            except Fenced as fenced:
                self._hub.fence(str(fenced))
                return
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)
            except StoreError as problem:  # the feed is lost: what this node knows has a hole
                self._hub.fence(str(problem))
                return

    async def _read_news(self, wait_s: float) -> bool:
        """Ask once, and take what came; False if nothing did."""
        news = await self._store.follow(self._membership, self._positions, wait_s)
        for order in news.control:
            self._obey(order)
        await self._apply(news.feed)
        for entry in news.inbox:
            for delivery in entry.deliveries:
                self._hub.turns.spend(inbox.deliver(self._hub, self._received_runs, delivery))
            self._moved(inbox=entry.position)
            await self._hub.turns.share()
        if news.inbox:
            self._hub.flush()
        if news.is_all:
            self._believe()
        return bool(news.control or news.feed or news.inbox)

    async def _apply(self, entries: Sequence[FeedEntry]) -> None:
        for entry in entries:
            for change in entry.changes:
                self._change(change, entry.position)
            self._moved(feed=entry.position)
            await self._hub.turns.share()
        if entries:
            position, origins = self._positions.feed, {entry.origin for entry in entries} - {self._membership.node}
            self._hub.pump.when_written(lambda: self._everything_before_is_written(position, origins))

    def _change(self, change: Change, position: int) -> None:
        match change:
            case RetainedChanged():
                feed.apply_retained(self._hub, change)
            case GroupBacklog(group=group, filter=topic_filter):
                feed.apply_backlog(self._hub, (group, topic_filter))
            case PolicyWritten():
                self._policy_written.set()
            case NodeEntered(node=node, token=token):
                self._entered(Peer(token, node), position)
            case NodeLeft(node=node, token=token):
                self._left(Peer(token, node))
            case _:
                if isinstance(change, SessionSubscribed):
                    self._hub.turns.spend(len(change.subscriptions))
                feed.apply_session(self._hub, change)

    def _entered(self, peer: Peer, position: int) -> None:
        self._barrier.entered(peer, position)
        self.changes += 1
        if peer != self._barrier.own:
            log.info("%s is there", peer.node, extra={"event": "node.peer_entered", "fields": {"other": peer.node}})

    def _left(self, peer: Peer) -> None:
        if peer == self._barrier.own:  # fenced, or another process took the name: nothing this node does counts now
            self._hub.fence("the feed says that this node has left")
            return
        self._barrier.left(peer)
        self.changes += 1
        self._keeper.forget(peer.node, peer.token)
        self._inboxes.forget(peer.node)
        self._note_progress()
        log.info("%s is gone", peer.node, extra={"event": "node.peer_left", "fields": {"other": peer.node}})

    def _moved(self, *, feed: int | None = None, inbox: int | None = None, control: int | None = None) -> None:
        known = self._positions
        self._positions = Positions(
            feed=known.feed if feed is None else feed,
            inbox=known.inbox if inbox is None else inbox,
            control=known.control if control is None else control,
        )
        self._note_progress()

    def _note_progress(self) -> None:
        waiting, self._reached = self._reached, []
        for holds, future in waiting:
            if future.done():
                continue
            if holds():
                future.set_result(None)
            else:
                self._reached.append((holds, future))

    async def _until(self, holds: Callable[[], bool]) -> None:
        if not holds():
            future: asyncio.Future[None] = self._hub.loop.create_future()
            self._reached.append((holds, future))
            await future

    def _everything_before_is_written(self, position: int, origins: set[str]) -> None:
        """Whatever was planned before this position was applied is in the store: its origins may be told [D7]."""
        self._barrier.advance(position)
        self._owed |= origins
        if self._owed and self._reporting is None:
            self._reporting = self._hub.loop.create_task(self._report(), name="report")

    async def _report(self) -> None:
        try:
            while self._owed:
                owed, self._owed = self._owed, set()
                try:
                    await self._store.report(self._membership, self._barrier.position, tuple(owed))
                except StoreUnavailable:
                    self._owed |= owed
                    await asyncio.sleep(RETRY_S)
        except StoreError as problem:
            self._hub.fence(str(problem))
        finally:
            self._reporting = None

    # Orders ----------------------------------------------------------------------------------------------------------

    def _obey(self, entry: ControlEntry) -> None:
        match entry.command:
            case Evict() as evict:
                self._evict(evict)
            case Evicted() | Applied() as answer:
                self._answers.append(answer)
            case Drain():
                self._stop()
        self._moved(control=entry.position)

    def _believe(self) -> None:
        """What other nodes confirmed comes into force when this one has read what they wrote before they said so."""
        answers, self._answers = self._answers, []
        for answer in answers:
            match answer:
                case Evicted(client_id=client_id, epoch=epoch):
                    self._handover.confirmed(client_id, epoch, self._hub.loop.time())
                case Applied(node=node, token=token, position=position):
                    self._barrier.applied(Peer(token, node), position)

    def _evict(self, evict: Evict) -> None:
        """Let go of a session that was claimed elsewhere: its DISCONNECT is the last it hears of us [MQTT-3.1.4-3]."""
        self._handover.evicted(evict.client_id, evict.epoch, self._hub.loop.time())
        client = self._hub.connections.get(evict.client_id)
        if client is not None and client.session.epoch > evict.epoch:
            client = None  # it came back here since
        if client is not None:
            client.close_stale()
        task = self._hub.loop.create_task(self._confirm(evict, client), name="evicted")
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    async def _confirm(self, evict: Evict, client: "ClientConnection | None") -> None:
        if client is not None:
            await self._last_word(client)
        await self._written()  # or what it published here would come behind what it publishes there
        await self._written()  # and what the answers to that made this node write: that a will is not owed
        await self._settled(evict.client_id, evict.epoch)  # or it would be let go that an earlier owner still has
        node, token = evict.claimant
        while True:
            try:
                await self._store.command(self._membership, node, token, Evicted(evict.client_id, evict.epoch))
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)
            except StoreError:
                return  # this node is fenced: nobody waits for it
            else:
                return

    async def _written(self) -> None:
        """Wait until everything submitted so far is in the store."""
        written: asyncio.Future[None] = self._hub.loop.create_future()
        self._hub.pump.when_written(lambda: None if written.done() else written.set_result(None))
        await written

    async def _last_word(self, client: "ClientConnection") -> None:
        """Wait until what was written has left: what is still here would follow the other node's CONNACK."""
        ends_at = self._hub.loop.time() + LAST_WORD_S_MAX
        await asyncio.sleep(0)
        while client.has_unsent:
            if self._hub.loop.time() >= ends_at:
                client.abort()
                return
            await asyncio.sleep(LAST_WORD_LOOK_S)

    # The policy ------------------------------------------------------------------------------------------------------

    async def _follow_policy(self) -> None:
        while True:
            self._policy_written.clear()
            try:
                await self.read_policy()
            except StoreUnavailable:  # the keeper tells that the store is away; the policy in force stays
                await asyncio.sleep(RETRY_S)
                continue
            except StoreError as problem:
                self._hub.fence(str(problem))
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLICY_S):
                    await self._policy_written.wait()

    async def read_policy(self) -> None:
        """Take the store's policy if it is newer. Raises StoreError."""
        newest = self._hub.next_policy or self._hub.policy
        document = await self._store.read_policy(-1 if newest is None else newest.revision)
        if document is not None:
            await self._offer_policy(document)


def _runs_of(message: Message, forwards: Iterable[Forward]) -> tuple[RunForward, ...]:
    return tuple(
        RunForward(node=each.node, token=each.token, head=run_head(message, each.targets), receivers=len(each.targets))
        for each in forwards
    )
