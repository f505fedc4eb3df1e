"""The hub: the one place where sessions, routing, rights and the store of this node meet.

Holds them and offers the few actions every flow needs (plan, deliver, flush); it makes no decision of its own: who
receives is routing's, who may is the policy's, what is durable is the store's.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mqtt_api.node_settings import NodeSettings, QueueSettings
from mqtt_api.policy import NO_LIMITS, ClientLimits, Facts, Policy, Principal, Rights
from mqtt_broker.auth.authorize import RightsCache
from mqtt_broker.auth.passwords import PasswordVerifier
from mqtt_broker.node.counters import Counters, DropReason
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.outlet import Delivery, Outlet
from mqtt_broker.node.overload import Overload
from mqtt_broker.node.pump import CommitPump
from mqtt_broker.node.sys_topics import SysTopics
from mqtt_broker.node.timers import TimingWheel
from mqtt_broker.node.turns import Turns
from mqtt_broker.routing.delivery import Plan, Receiver, plan
from mqtt_broker.routing.retained import RetainedIndex
from mqtt_broker.routing.shared import MemberPicker
from mqtt_broker.routing.tree import SubscriptionTree
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import QueueBounds, SessionRecord, Subscription
from mqtt_broker.store.ports import Membership, Store

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

log = logging.getLogger("mqtt_broker.node")

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
        self.picker = MemberPicker()
        self.group_backlog: dict[tuple[str, str], int] = {}
        self.group_taking: set[tuple[str, str]] = set()
        self.policy: Policy | None = None
        self.congested: dict[Outlet, None] = {}
        self.buffered_bytes = 0
        self.overload = Overload()
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self.wheel = TimingWheel(self.loop.time())
        self.due_changed = asyncio.Event()
        self.fenced = asyncio.Event()
        self.nobody_left = asyncio.Event()
        self.pump = CommitPump(store, membership, self._on_fenced)
        self.turns = Turns(self.loop)
        self._dirty: list[ClientConnection] = []
        self._rights = RightsCache()

    # Policy ----------------------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """The policy revision in force; -1: none was ever seen, and everybody is refused [D8]."""
        return -1 if self.policy is None else self.policy.revision

    def swap_policy(self, policy: Policy) -> None:
        """One assignment changes what holds. Sessions are decided again by the caller (policy_feed.py)."""
        self.policy = policy

    def principal(self, facts: Facts) -> Principal | None:
        return None if self.policy is None or facts.anonymous else self.policy.principals.get(facts.username)

    def rights_of(self, facts: Facts) -> Rights:
        """The rights of these facts under the policy in force; with no policy, those of an empty one: none."""
        return self._rights.rights(self.policy or NO_POLICY, facts)

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
        session = LiveSession(record, self.rights_of, self.limits_of(record.facts))
        known = self.sessions.get(record.client_id)
        self.sessions[record.client_id] = session
        gone = [] if known is None else [key for key in known.subscriptions if key not in session.subscriptions]
        for key in gone:
            self.tree.remove(record.client_id, key)
        for subscription in session.subscriptions.values():
            self.route(session, subscription)
        for key in gone:
            self._left_group(key)
        return session

    def forget(self, session: LiveSession) -> None:
        """The session ended: no route leads to it any more. One that another has replaced already is left alone."""
        if self.sessions.get(session.client_id) is not session:
            return
        del self.sessions[session.client_id]
        for key in session.subscriptions:
            self.tree.remove(session.client_id, key)
            self._left_group(key)

    def _left_group(self, key: tuple[str, str | None]) -> None:
        """A group ends with its last subscription, and what waits for it with it."""
        topic_filter, group = key
        if group is not None and not self.tree.members(group, topic_filter):
            self.group_backlog.pop((group, topic_filter), None)
            self.picker.forget((group, topic_filter))

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

    def plan(self, message: Message) -> Plan:
        """Who receives this message, by the subscriptions and rights of this moment."""
        return plan(message, self.tree.match(message.topic), lambda *match: self.may_receive(message.topic, *match))

    def may_receive(self, topic: str, client_id: str, subscription: Subscription) -> bool:
        """The decision at delivery, for a subscription that a deny rule overlaps."""
        session = self.sessions.get(client_id)
        if session is None:
            return False
        return session.rights.may_receive(topic, subscription.qos, subscription.group).allowed

    def deliver(
        self, message: Message, receivers: Iterable[Receiver], sequences: dict[str, int], revision: int
    ) -> None:
        """Hand over to connected receivers. `sequences` has the queue position where the store holds a copy.

        `revision` is the policy the plan was made under: an outlet decides again if it is not the one in force.
        """
        for receiver in receivers:
            session = self.sessions.get(receiver.client_id)
            outlet = None if session is None else session.outlet
            if outlet is None:
                continue
            sequence = sequences.get(receiver.client_id, 0)
            delivery = Delivery(message, receiver.qos, receiver.retain, receiver.identifiers, revision, sequence)
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
                session.outlet.forget(sequence)
        if count:
            self.drop("overflow", count)

    def note_retained_planned(self, topic: str) -> None:
        """A retained publish to this topic is under way: a subscriber that is routed already gets it live."""
        self.retained_plans += 1
        self.retained_planned[topic] = self.retained_plans

    def drop(self, reason: DropReason, count: int) -> None:
        self.counters.dropped[reason] += count

    # Writing ---------------------------------------------------------------------------------------------------------

    def dirty(self, connection: "ClientConnection") -> None:
        """This connection has bytes to send: it is written once, at the end of the loop turn."""
        if not self._dirty:
            self.loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        connections, self._dirty = self._dirty, []
        for connection in connections:
            try:
                connection.flush()
            except Exception:  # our bug in one connection must not keep the others of this turn from their bytes
                log.exception("a connection could not be written")
                connection.abort()

    def _on_fenced(self, why: str) -> None:
        log.critical("fenced out of the store, closing every connection: %s", why, extra={"event": "node.fenced"})
        self.fenced.set()
