"""The hub: the one place where sessions, routing, rights and the store of this node meet.

Holds them and offers the few actions every flow needs (plan, deliver, flush); it makes no decision of its own: who
receives is routing's, who may is the policy's, what is durable is the store's.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mqtt_api.node_facts import NOTHING_PURGED
from mqtt_api.node_settings import NodeSettings, QueueSettings
from mqtt_api.policy import NO_LIMITS, ClientLimits, Facts, Policy, PolicyDecoder, Principal, Rights
from mqtt_broker.auth.authorize import RightsCache
from mqtt_broker.auth.passwords import PasswordVerifier
from mqtt_broker.node.counters import Counters, DropReason
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.outlet import Awaited, Delivery
from mqtt_broker.node.overload import Overload
from mqtt_broker.node.peers.port import Alone, Peers
from mqtt_broker.node.pump import CommitPump
from mqtt_broker.node.sys_topics import SysTopics
from mqtt_broker.node.timers import TimingWheel
from mqtt_broker.node.turns import Turns
from mqtt_broker.routing.delivery import Plan, Planning, Receiver, plan
from mqtt_broker.routing.retained import RetainedIndex
from mqtt_broker.routing.shared import MemberPicker
from mqtt_broker.routing.tree import SubscriptionTree
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import QueueBounds, SessionRecord, Subscription
from mqtt_broker.store.boottime import boottime
from mqtt_broker.store.ports import Membership, Result, Store

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

log = logging.getLogger("mqtt_broker.node")

RECEIVERS_AT_ONCE_MAX = 1_000  # matches that are planned, written and delivered in one go: some milliseconds
STORED_BYTES_AT_ONCE_MAX = 4 * 1024 * 1024  # of payloads: while the store takes them it does nothing for other nodes
MATCHES_PER_SLICE = 512
MATCHES_PER_EFFORT = 32
# How much of it costs as much as one unit of `turns`, some 50 µs.
ROUTES_PER_EFFORT = 16  # subscriptions taken out of the tree
RULES_PER_EFFORT = 10  # rules resolved for one client

NO_POLICY = Policy()  # no rule means no: what holds before the first policy was seen


class ConnectTurn:
    """The CONNECTs of one client id take turns; `users` are those that hold or await it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Hub:
    """Everything the flows of one node share. Made once by node.py, after the store was joined."""

    def __init__(
        self, settings: NodeSettings, store: Store, membership: Membership, passwords: PasswordVerifier
    ) -> None:
        self.settings = settings
        self.store = store
        self.membership = membership
        self.passwords = passwords
        self.counters = Counters()
        self.sessions: dict[str, LiveSession] = {}
        self.connections: dict[str, ClientConnection] = {}
        self.connections_per_user: dict[str, int] = {}
        self.all_connections: set[ClientConnection] = set()
        self.connecting: dict[str, ConnectTurn] = {}
        self.connecting_per_user: dict[str, int] = {}
        self.tree = SubscriptionTree()
        self.retained = RetainedIndex()
        self.sys_topics = SysTopics(asyncio.get_running_loop().time())
        self.retained_planned: dict[str, int] = {}
        self.retained_plans = 0
        self.retained_under_way = 0  # planned, and not answered by the store
        self.retained_sending = 0  # subscribers that are being sent what is retained
        self._retained_live: dict[str, int] = {}
        self.picker = MemberPicker()
        self.adoptions = 0  # sessions that became known, each with a new incarnation
        self.group_backlog: dict[tuple[str, str], int] = {}
        self.group_taking: set[tuple[str, str]] = set()
        self.group_in_turns: set[tuple[str, str]] = set()
        self.group_noted: set[tuple[str, str]] = set()  # something was stored since the last Take was submitted
        self.group_timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self.group_forgiving: set[tuple[str, str]] = set()
        self.turn_picker = MemberPicker()
        self.policy: Policy | None = None
        self.policy_decoder = PolicyDecoder()
        self.next_policy: Policy | None = None
        self.is_deciding = False
        self.revision = -1
        self.decisions = 0
        self.purged = NOTHING_PURGED
        self.congested: dict[Awaited, None] = {}
        self.buffered_bytes = 0
        self.overload = Overload()
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self.wheel = TimingWheel(self.loop.time())
        self.due_changed = asyncio.Event()
        self.fenced = asyncio.Event()
        self.fenced_because = ""
        self.nobody_left = asyncio.Event()
        self.pump = CommitPump(store, membership, self.fence)
        self.peers: Peers = Alone()
        self.lease_ends_at = float("inf")  # boottime
        self.is_frozen = False
        self.turns = Turns(self.loop)
        self.spreading: set[asyncio.Task[Result]] = set()
        self.firing: set[tuple[str, int]] = set()  # sessions (client id, incarnation) whose will is being spread
        self._leaving: dict[str, Iterator[int]] = {}
        self._dirty: list[ClientConnection] = []
        self._rights = RightsCache()
        self._resolve = self.rights_of  # one bound method for all sessions

    # Policy ----------------------------------------------------------------------------------------------------------

    # `policy` decides whatever is asked from now on; None: none was ever seen, and everybody is refused [D8].
    # `revision` is the one that every session was decided by; -1 before the first. `decisions` grows whenever sessions
    # were decided: what a plan or a delivery says under an older number is asked again when it takes effect [D9].

    def swap_policy(self, policy: Policy) -> None:
        """One assignment changes what holds. Sessions are decided again by the caller (policy_feed.py)."""
        self.policy = policy
        self.decisions += 1

    def principal(self, facts: Facts) -> Principal | None:
        return None if self.policy is None or facts.anonymous else self.policy.principals.get(facts.username)

    def rights_of(self, facts: Facts) -> Rights:
        """The rights of these facts under the policy in force; with no policy, those of an empty one: none."""
        return self._rights.rights(self.policy or NO_POLICY, facts)

    def release_rights(self, session: LiveSession) -> None:
        """Decided for now: a session that is not connected here may not ask for days, and its rights are a KiB.

        One that is about to be is left alone. Idempotent.
        """
        if session.outlet is None and session.client_id not in self.connecting:
            session.forget_rights()
            self._rights.forget(session.facts)

    @property
    def rules_resolved(self) -> int:
        """How many rules `rights_of` had to go through since the start: what asking it cost."""
        return self._rights.rules_resolved

    def refreshed(self, facts: Facts) -> Facts:
        """The facts with what the policy in force says of their principal."""
        principal = self.principal(facts)
        if principal is None:
            return facts
        return replace(facts, namespace=principal.namespace, attributes=principal.attributes)

    def limits_of(self, facts: Facts) -> ClientLimits:
        principal = self.principal(facts)
        return NO_LIMITS if principal is None else principal.limits

    def bounds_for(self, limits: ClientLimits) -> QueueBounds:
        queue: QueueSettings = self.settings.mqtt.queue
        messages = queue.messages_max
        if limits.queued_messages_max is not None:
            messages = min(messages, limits.queued_messages_max)
        return QueueBounds(messages_max=messages, bytes_max=queue.bytes_max, overflow=queue.overflow)

    # Sessions --------------------------------------------------------------------------------------------------------

    def adopt(self, record: SessionRecord) -> LiveSession:
        """Know this session from now on: register it and route to its subscriptions that are not muted."""
        session = LiveSession(record, self._resolve, self.limits_of(record.facts))
        if record.owner != self.settings.node:
            session.owner = record.owner
        for _ in self._leaving.get(record.client_id, ()):
            pass  # what leads to the session before it must not lead to this one
        known = self.sessions.get(record.client_id)
        before = {} if known is None else known.subscriptions
        if known is None or known.incarnation != record.incarnation:
            self.adoptions += 1
            session.known_since = self.adoptions
        else:
            session.known_since = known.known_since
        self.sessions[session.client_id] = session
        gone = [key for key in before if key not in session.subscriptions]
        for key in gone:
            self.tree.remove(record.client_id, key)
        for subscription in session.subscriptions.values():
            if before.get(subscription.key) == subscription:
                self.tree.renew(subscription.filter)  # whoever keeps an answer knows the session of before by it
            else:
                self.route(session, subscription)
        for key in gone:
            self._left_group(key)
        return session

    def was_known(self, client_id: str, as_of: int) -> bool:
        """True if the session that this client has now is the one it had when `adoptions` was `as_of`."""
        session = self.sessions.get(client_id)
        return session is not None and session.known_since <= as_of

    def forget(self, session: LiveSession) -> None:
        """The session ended: nothing is delivered to it any more. One that another has replaced already is left alone.

        Its routes are taken out in slices; until then they lead to nobody. `left` tells when they are gone.
        """
        if self.sessions.get(session.client_id) is not session:
            return
        del self.sessions[session.client_id]
        slices = self._unroute_all(session.client_id, list(session.subscriptions))
        self._leaving[session.client_id] = slices
        self.turns.run(slices)

    async def left(self, client_id: str) -> None:
        """Return when no route leads to an earlier session of this client id."""
        while client_id in self._leaving:
            await self.turns.next()

    def _unroute_all(self, client_id: str, keys: Collection[tuple[str, str | None]]) -> Iterator[int]:
        for count, key in enumerate(keys, 1):
            self.tree.remove(client_id, key)
            self._left_group(key)
            if count % ROUTES_PER_EFFORT == 0:
                yield 1
        del self._leaving[client_id]

    def _left_group(self, key: tuple[str, str | None]) -> None:
        """A group ends with its last subscription, and what waits for it with it."""
        topic_filter, group = key
        if group is not None and not self.tree.members(group, topic_filter):
            self.forget_backlog((group, topic_filter))
            self.picker.forget((group, topic_filter))
            self.turn_picker.forget((group, topic_filter))

    def forget_backlog(self, key: tuple[str, str]) -> None:
        """Nothing waits in the queue of this shared subscription, as far as this node knows. Idempotent."""
        self.group_backlog.pop(key, None)
        self.group_in_turns.discard(key)
        self.group_noted.discard(key)
        timer = self.group_timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def route(self, session: LiveSession, subscription: Subscription) -> None:
        """Replace the session's subscription of this key; a muted one is kept but leads nowhere."""
        session.put(subscription)
        if subscription.muted:
            self.tree.remove(session.client_id, subscription.key)
        else:
            self.tree.add(session.client_id, subscription)

    def unroute(self, session: LiveSession, key: tuple[str, str | None]) -> bool:
        """Drop a subscription; False if there was none."""
        self.tree.remove(session.client_id, key)
        self._left_group(key)
        return session.drop(key)

    # Messages --------------------------------------------------------------------------------------------------------

    def store_now(self) -> float:
        return self.store.now()

    def plan(self, message: Message) -> Plan | None:
        """Who receives this message, by the subscriptions and rights of this moment.

        None: so many, or so much, that it is not for one loop turn and one call of the store (spread.py).
        """
        matches = self.tree.match_some(message.topic, RECEIVERS_AT_ONCE_MAX)
        if matches is None:
            return None
        made = plan(message, matches, lambda *match: self.may_receive(message.topic, *match), self.adoptions)
        return None if self._is_too_much(made, len(message.payload)) else made

    def _is_too_much(self, made: Plan, payload_bytes: int) -> bool:
        """True if its copies in the store take more than one call may bring."""
        if len(made.receivers) < 2 or len(made.receivers) * payload_bytes <= STORED_BYTES_AT_ONCE_MAX:
            return False
        sessions = self.sessions
        kept = sum(
            (session := sessions.get(receiver.client_id)) is not None and receiver.qos > 0 and session.is_persistent
            for receiver in made.receivers
        )
        return kept > 1 and kept * payload_bytes > STORED_BYTES_AT_ONCE_MAX

    async def plan_at_leisure(self, message: Message) -> Plan:
        """`plan` for any number of receivers, in slices between which others have their turn."""
        as_of = self.adoptions
        planning = Planning(message, lambda *match: self.may_receive(message.topic, *match))
        for matches in self.tree.walk(message.topic):
            for start in range(0, len(matches), MATCHES_PER_SLICE):
                planning.add(matches[start : start + MATCHES_PER_SLICE])
                self.turns.spend(MATCHES_PER_SLICE // MATCHES_PER_EFFORT)
                await self.turns.share()
            self.turns.spend(4)
            await self.turns.share()
        return planning.plan(as_of)

    def may_receive(self, topic: str, client_id: str, subscription: Subscription) -> bool:
        """The decision at delivery, for a subscription that a deny rule overlaps."""
        session = self.sessions.get(client_id)
        if session is None:
            return False
        return session.rights.may_receive(topic, subscription.qos, subscription.group).allowed

    def deliver(
        self, message: Message, receivers: Iterable[Receiver], sequences: dict[str, int], decisions: int
    ) -> None:
        """Hand over to connected receivers. `sequences` has the queue position where the store holds a copy.

        `decisions` are those the plan was made under: an outlet decides again if others were taken since.
        """
        for receiver in receivers:
            session = self.sessions.get(receiver.client_id)
            outlet = None if session is None else session.outlet
            if outlet is None:
                continue
            sequence = sequences.get(receiver.client_id, 0)
            delivery = Delivery(message, receiver.qos, receiver.retain, receiver.identifiers, decisions, sequence)
            if receiver.qos == 0:
                outlet.offer_qos0(delivery)
            elif sequence:
                outlet.offer_stored(delivery)
            elif receiver.client_id not in sequences:  # there with 0: the queue's bounds refused it
                outlet.offer(delivery)

    def note_evicted(self, evicted: Iterable[tuple[str, int]]) -> None:
        """Queue overflow removed these entries: connected sessions forget them too."""
        count = 0
        for client_id, sequence in evicted:
            count += 1
            session = self.sessions.get(client_id)
            if session is not None and session.outlet is not None:
                session.outlet.forget((sequence,))
        if count:
            self.drop("overflow", count)

    def note_retained_planned(self, topic: str) -> None:
        """A retained publish to this topic is under way: a subscriber that is routed already gets it live."""
        self.retained_under_way += 1
        self.retained_plans += 1
        self.retained_planned[topic] = self.retained_plans

    def note_retained_live(self, topic: str) -> None:
        """A retained publish was handed to its receivers: what it replaced must not come to them after that."""
        if self.retained_sending:
            self.retained_plans += 1
            self._retained_live[topic] = self.retained_plans

    def note_retained_sent(self) -> None:
        """One of `retained_sending` is done."""
        self.retained_sending -= 1
        if not self.retained_sending:
            self._retained_live.clear()

    def has_come_live(self, topic: str, plans: int) -> bool:
        """True if a retained publish to this topic was planned or handed over here after so many others."""
        return max(self.retained_planned.get(topic, 0), self._retained_live.get(topic, 0)) > plans

    def forget_retained(self, topic: str) -> None:
        """The topic has no retained message any more."""
        self.note_retained_live(topic)
        self.retained.remove(topic)
        self.retained_planned.pop(topic, None)

    def drop(self, reason: DropReason, count: int) -> None:
        self.counters.dropped[reason] += count

    # Writing ---------------------------------------------------------------------------------------------------------

    def dirty(self, connection: "ClientConnection") -> None:
        """This connection has bytes to send: it is written once, at the end of the loop turn."""
        if not self._dirty and not self.is_frozen:
            self.loop.call_soon(self._flush)
        self._dirty.append(connection)

    def may_write(self) -> bool:
        """True while this node is who it was. Asked after reading and before anything is written [D6]."""
        if boottime() >= self.lease_ends_at:
            self.freeze()
        return not self.is_frozen

    def flush(self) -> None:
        """Write to all that have bytes to send. It is done at the end of each turn: now, if nothing more will come."""
        if self._dirty and not self.is_frozen:
            self._flush()

    def _flush(self) -> None:
        if not self.may_write():
            return
        connections, self._dirty = self._dirty, []
        for connection in connections:
            try:
                connection.flush()
            except Exception:  # our bug in one connection must not keep the others of this turn from their bytes
                log.exception("a connection could not be written")
                connection.abort()

    def sys_totals(self) -> dict[str, float]:
        """What is told to the other nodes, for sums over the cluster, by its name below $SYS/broker/cluster/."""
        counters = self.counters
        return {
            "nodes": 1,
            "clients/connected": len(self.connections),
            "publish/messages/received": counters.messages_received,
            "publish/messages/sent": counters.messages_sent,
            "publish/messages/dropped": counters.messages_dropped,
            "bytes/received": counters.bytes_received,
            "bytes/sent": counters.bytes_sent,
        }

    # Whether this node may act ---------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """The lease has run out: nothing is read, nothing is written, nobody's keep-alive runs. Idempotent.

        Who is not connected yet is answered all the same: with a refusal (flows/connect.py).
        """
        if not self.is_frozen:
            self.is_frozen = True
            for client in self.all_connections:
                client.freeze()

    def thaw(self) -> None:
        """The store says that this node still is who it was: go on where it stopped."""
        self.is_frozen = False
        if self._dirty:
            self.loop.call_soon(self._flush)
        for client in self.all_connections:
            client.thaw()

    def fence(self, why: str) -> None:
        """Somebody else may act in this node's place now: not a byte leaves it any more. It stops. Idempotent."""
        if self.fenced.is_set():
            return
        log.critical(
            "this node may not act any more, all %d connections are closed: %s",
            len(self.all_connections),
            why,
            extra={"event": "node.fenced", "fields": {"why": why}},
        )
        self.freeze()
        for client in list(self.all_connections):
            client.sever()
        self.fenced_because = why
        self.fenced.set()

    def abort_all(self, why: str) -> None:
        """Cut every connection without a word: whatever could be said is not known to be true any more."""
        for client in list(self.all_connections):
            client.cut(why)
