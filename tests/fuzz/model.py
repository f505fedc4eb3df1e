"""A broker in dictionaries: what each client must be sent, and what it must not, by the words of the standard.

Knows sessions, subscriptions, messages and moments; does not know bytes, sockets, a store or how the broker under test
does anything. It is told what clients do, then shown what each client was sent (`observe`), and objects by an
AssertionError to what is not owed, and at `settled` to what is owed and did not come.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mqtt_broker.wire.packets import Properties, Publish
from support.topic_oracle import is_matched

NEVER = float("inf")

Key = tuple[str, str | None]  # filter, group


@dataclass(eq=False)
class Message:
    """`properties` are those that are passed on. `number` is the order of publishing."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    publisher: str
    expires_at: float = NEVER
    properties: tuple[object, ...] = ()
    number: int = 0


@dataclass(frozen=True)
class Sub:
    filter: str
    group: str | None
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int = 0

    @property
    def key(self) -> Key:
        return self.filter, self.group


@dataclass(frozen=True)
class Will:
    message: Message
    delay_s: int
    expiry_s: int | None = None


@dataclass(eq=False)
class Copy:
    """One message owed to one client. `state`: waiting, sent, or received (QoS 2 after PUBREC).

    `resend`: sent on an earlier connection, owed again with DUP on this one. `unsure`: a connection broke so early that
    the client may not have seen what was sent. `replayed`: a retained message for a new subscription.
    """

    message: Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    group: tuple[str, str] | None = None
    replayed: bool = False
    state: str = "waiting"
    packet_id: int = 0
    resend: bool = False
    unsure: bool = False

    @property
    def is_open(self) -> bool:
        return self.state != "waiting" and not self.resend


@dataclass(eq=False)
class Session:
    client_id: str
    version: int = 5
    expiry_s: int = 0
    connected: bool = True
    receive_maximum: int = 65_535
    subscriptions: dict[Key, Sub] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)  # QoS 1 and 2
    copies0: list[Copy] = field(default_factory=list)  # QoS 0, due at once
    maybe0: list[Copy] = field(
        default_factory=list
    )  # QoS 0 that a broken connection may have lost, or the next one gets
    inbound: set[int] = field(default_factory=set)
    will: Will | None = None
    will_due: float = NEVER
    expires_at: float = NEVER

    @property
    def open(self) -> int:
        return sum(copy.is_open for copy in self.copies)

    @property
    def has_room(self) -> bool:
        return self.open < self.receive_maximum


@dataclass(eq=False)
class Handed:
    """A shared copy that a member was sent, and the pool it is taken to come from."""

    session: Session
    packet: Publish
    owed: Copy
    mine: Copy


class Model:
    """`expiry_s_max` caps how long a session is kept; a session of MQTT 3 that is to be kept gets all of it."""

    def __init__(self, now: float, expiry_s_max: int) -> None:
        self.now = now
        self.compared_at = now  # whatever is shown next was sent since then
        self.expiry_s_max = expiry_s_max
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, Message] = {}
        self.pools: dict[tuple[str, str], list[Copy]] = {}  # shared subscriptions: owed to one of the members
        self.handed: list[Handed] = []  # what was taken out of the pools since the last comparison
        self.published = 0

    # What clients do -------------------------------------------------------------------------------------------------

    def connect(
        self, client_id: str, version: int, clean: bool, expiry_s: int, receive_maximum: int, will: Will | None
    ) -> bool:
        """Returns Session Present."""
        old = self.sessions.get(client_id)
        if old is not None and old.connected:  # taken over [MQTT-3.1.4-3]
            self.leave(client_id, with_will=True)
            old = self.sessions.get(client_id)
        present = old is not None and not clean
        owed = None if old is None or present else old.will
        if old is not None and not present:
            self._end(old)
        session = old if old is not None and present else Session(client_id)
        self.sessions[client_id] = session
        session.connected, session.version = True, version
        session.receive_maximum = receive_maximum
        session.expiry_s = min(expiry_s, self.expiry_s_max) if version == 5 else (0 if clean else self.expiry_s_max)
        session.will, session.will_due, session.expires_at = will, NEVER, NEVER
        for copy in session.copies:
            copy.resend = copy.state != "waiting"  # [MQTT-4.4.0-1]
        if owed is not None:  # the session ended before the will's delay [MQTT-3.1.2-8]
            self.publish_will(owed)
        return present

    def leave(self, client_id: str, *, with_will: bool, expiry_s: int | None = None, unseen: bool = False) -> None:
        """The connection is over. `unseen`: what was under way to the client may not have reached it."""
        session = self.sessions[client_id]
        session.connected = False
        session.maybe0, session.copies0 = session.copies0 if unseen else [], []
        if expiry_s is not None:
            session.expiry_s = min(expiry_s, self.expiry_s_max)
        if not with_will:  # [MQTT-3.14.4-3]
            session.will = None
        for copy in session.copies:
            copy.unsure = copy.unsure or (unseen and copy.state == "waiting")
        if unseen:
            self._may_have_taken(session)
        self._give_back(session)
        will = session.will
        if session.expiry_s == 0:
            self._end(session)
        else:
            session.expires_at = self.now + session.expiry_s
            if will is not None:
                session.will_due = self.now + min(will.delay_s, session.expiry_s)
        if will is not None and min(will.delay_s, session.expiry_s) == 0:
            session.will, session.will_due = None, NEVER
            self.publish_will(will)

    def subscribe(self, client_id: str, wanted: Iterable[Sub]) -> None:
        session = self.sessions[client_id]
        for sub in wanted:
            is_new = sub.key not in session.subscriptions
            session.subscriptions[sub.key] = sub  # [MQTT-3.8.4-3]
            if sub.group is None and (sub.retain_handling == 0 or (sub.retain_handling == 1 and is_new)):
                self._replay(session, sub)

    def unsubscribe(self, client_id: str, keys: Iterable[Key]) -> list[bool]:
        session = self.sessions[client_id]
        existed = [session.subscriptions.pop(key, None) is not None for key in keys]
        self._close_empty_pools()
        return existed

    def publish(self, message: Message) -> bool:
        """Returns whether any subscription matched."""
        self.published += 1
        message.number = self.published
        if message.retain:
            self.retained.pop(message.topic, None)
            if message.payload:  # [MQTT-3.3.1-6]
                self.retained[message.topic] = message
        plain = [self._copy_for(session, message) for session in list(self.sessions.values())]
        shared = [self._share(message, key) for key in self._groups_of(message.topic)]
        return any(plain) or any(shared)

    def publish_will(self, will: Will) -> None:
        message = will.message
        if will.expiry_s is not None:
            message.expires_at = self.now + will.expiry_s
        self.publish(message)

    def advance(self, seconds: float) -> None:
        """Let time pass: wills come due, sessions and messages expire."""
        until = self.now + seconds
        while True:
            moments = [m for s in self.sessions.values() for m in (s.will_due, s.expires_at) if m <= until]
            if not moments:
                break
            self.now = min(moments)
            for session in list(self.sessions.values()):
                if session.will_due <= self.now:
                    will, session.will, session.will_due = session.will, None, NEVER
                    assert will is not None
                    self.publish_will(will)
            for session in list(self.sessions.values()):
                if session.expires_at <= self.now:
                    self._end(session)
        self.now = until
        self._expire()

    # What clients answer ---------------------------------------------------------------------------------------------

    def open_copy(self, client_id: str, packet_id: int) -> Copy | None:
        session = self.sessions[client_id]
        return next((c for c in session.copies if c.is_open and c.packet_id == packet_id), None)

    def finished(self, client_id: str, copy: Copy) -> None:
        """PUBACK, PUBCOMP, or a PUBREC with an error."""
        self.sessions[client_id].copies.remove(copy)

    # What clients are sent -------------------------------------------------------------------------------------------

    def observe(self, client_id: str, packet: Publish) -> None:
        """A PUBLISH with its alias resolved."""
        session = self.sessions[client_id]
        if packet.qos == 0:
            self._observe_qos0(session, packet)
            return
        assert packet.packet_id, f"[MQTT-2.2.1-4] QoS {packet.qos} without a packet id"
        in_use = [c for c in session.copies if c.is_open and c.packet_id == packet.packet_id]
        assert not in_use, f"[MQTT-2.2.1-4] packet id {packet.packet_id} is in use: {packet}"
        if packet.dup:
            self._observe_again(session, packet)
        else:
            self._observe_first(session, packet)
        assert session.open <= session.receive_maximum, f"[MQTT-3.3.4-9] {session.open} open, {session.receive_maximum}"

    def observe_pubrel(self, client_id: str, packet_id: int) -> bool:
        """True if it releases a copy; it is owed once after PUBREC, and once more on a new connection."""
        for copy in self.sessions[client_id].copies:
            if copy.state == "received" and copy.packet_id == packet_id and copy.resend:
                copy.resend = False
                return True
        return False

    def settled(self, client_id: str) -> None:
        """Nothing more comes on its own to this client."""
        session = self.sessions[client_id]
        assert not session.copies0, f"{client_id} was not sent {session.copies0}"
        session.maybe0.clear()
        if session.open < session.receive_maximum:
            late = [copy for copy in session.copies if not copy.is_open]
            assert not late, (
                f"{client_id} has room for {session.receive_maximum - session.open} and was not sent {late}"
            )

    def settled_groups(self) -> None:
        """Each shared subscription whose connected members all have room has handed out everything; last of all."""
        self.compared_at = self.now
        self._prefer_what_cannot_wait()
        self.handed.clear()
        for pool in self.pools.values():
            pool[:] = [copy for copy in pool if not copy.unsure]
        for (group, topic_filter), pool in self.pools.items():
            members = [s for s in self.sessions.values() if s.connected and (topic_filter, group) in s.subscriptions]
            if members and all(member.has_room for member in members):
                assert not pool, f"no member of {group} was sent {pool}"
            elif members:
                assert not [c for c in pool if c.qos == 0], f"no member of {group} was sent {pool}"

    # Details ---------------------------------------------------------------------------------------------------------

    def _copy_for(self, session: Session, message: Message) -> bool:
        matching = [
            sub
            for sub in session.subscriptions.values()
            if sub.group is None
            and is_matched(sub.filter, message.topic)
            and not (sub.no_local and session.client_id == message.publisher)  # [MQTT-3.8.3-3]
        ]
        if not matching:
            return False
        qos = min(message.qos, max(sub.qos for sub in matching))  # [MQTT-3.3.4-2]
        retain = message.retain and any(sub.retain_as_published for sub in matching)  # [MQTT-3.3.1-12..13]
        identifiers = tuple(sorted(sub.identifier for sub in matching if sub.identifier))  # [MQTT-3.3.4-4]
        self._owe(session, Copy(message, qos, retain, identifiers))
        return True

    def _owe(self, session: Session, copy: Copy) -> None:
        if copy.qos:
            session.copies.append(copy)
        elif session.connected:
            session.copies0.append(copy)

    def _replay(self, session: Session, sub: Sub) -> None:
        identifiers = (sub.identifier,) if sub.identifier else ()
        for topic, message in self.retained.items():
            if sub.no_local and message.publisher == session.client_id:  # [MQTT-3.8.3-3]
                continue
            if is_matched(sub.filter, topic) and message.expires_at > self.now:
                qos = min(message.qos, sub.qos)
                copy = Copy(message, qos, retain=True, identifiers=identifiers, replayed=True)  # MQTT 5.0, 3.3.1.3
                self._owe(session, copy)

    def _groups_of(self, topic: str) -> set[tuple[str, str]]:
        return {
            (sub.group, sub.filter)
            for session in self.sessions.values()
            for sub in session.subscriptions.values()
            if sub.group is not None and is_matched(sub.filter, topic)
        }

    def _share(self, message: Message, key: tuple[str, str]) -> bool:
        """Owed to one member, whichever (MQTT 5.0, 4.8.2); QoS 0 only to one that is connected now."""
        members = [s for s in self.sessions.values() if (key[1], key[0]) in s.subscriptions]
        qos = min(message.qos, max(member.subscriptions[key[1], key[0]].qos for member in members))
        if qos or any(member.connected for member in members):
            self.pools.setdefault(key, []).append(Copy(message, qos, message.retain, (), group=key))
        return True

    def _give_back(self, session: Session) -> None:
        """A lost member: QoS 1 of its groups goes to another, QoS 2 stays [MQTT-4.8.2-4] [MQTT-4.8.2-5]."""
        for copy in list(session.copies):
            if copy.group is not None and copy.qos == 1:
                session.copies.remove(copy)
                if self._has_members(copy.group) and copy.message.expires_at > self.now:
                    again = Copy(copy.message, copy.message.qos, copy.message.retain, (), group=copy.group)
                    self.pools.setdefault(copy.group, []).insert(0, again)

    def _may_have_taken(self, session: Session) -> None:
        """What this member would get with QoS 0 may be lost with its connection."""
        for owed in (owed for pool in self.pools.values() for owed in pool):
            mine = self._share_of(session, owed)
            owed.unsure = owed.unsure or (mine is not None and mine.qos == 0)

    def _has_members(self, key: tuple[str, str]) -> bool:
        return any((key[1], key[0]) in s.subscriptions for s in self.sessions.values())

    def _end(self, session: Session) -> None:
        del self.sessions[session.client_id]
        self._close_empty_pools()

    def _close_empty_pools(self) -> None:
        for key in [key for key in self.pools if not self._has_members(key)]:
            del self.pools[key]

    def _expire(self) -> None:
        """Not delivered once its lifetime has passed [MQTT-3.3.2-5]; what was begun goes on [MQTT-4.4.0-1]."""
        for session in self.sessions.values():
            session.copies = [c for c in session.copies if c.state != "waiting" or c.message.expires_at > self.now]
        for pool in self.pools.values():
            pool[:] = [copy for copy in pool if copy.message.expires_at > self.now]
        self.retained = {t: m for t, m in self.retained.items() if m.expires_at > self.now}

    def _observe_qos0(self, session: Session, packet: Publish) -> None:
        assert not packet.dup, f"[MQTT-3.3.1-2] {packet}"
        assert not packet.packet_id, f"[MQTT-2.2.1-2] {packet}"
        copy = next((c for c in session.copies0 if self._says(session, c, packet)), None)
        if copy is None:
            maybe = next((c for c in session.maybe0 if self._says(session, c, packet)), None)
            if maybe is None:
                self._observe_shared(session, packet)
            else:
                session.maybe0.remove(maybe)
            return
        self._in_order(session.copies0, copy)
        session.copies0.remove(copy)

    def _observe_again(self, session: Session, packet: Publish) -> None:
        for copy in session.copies:
            fits = copy.packet_id == packet.packet_id if copy.resend else copy.unsure and copy.state == "waiting"
            if fits and copy.state != "received" and self._says(session, copy, packet):
                copy.resend = copy.unsure = False
                copy.state, copy.packet_id = "sent", packet.packet_id
                return
        raise AssertionError(f"{session.client_id} was sent again what is not owed again: {packet}")

    def _observe_first(self, session: Session, packet: Publish) -> None:
        waiting = [copy for copy in session.copies if copy.state == "waiting"]
        copy = next((c for c in waiting if self._says(session, c, packet)), None)
        if copy is None:
            copy = self._observe_shared(session, packet)
            session.copies.append(copy)
        else:
            self._in_order(waiting, copy)
        copy.state, copy.packet_id, copy.unsure = "sent", packet.packet_id, False

    def _observe_shared(self, session: Session, packet: Publish) -> Copy:
        """One of the copies that wait for any member of this client's groups."""
        owed = self._take_share(session, packet, set())
        if owed is None:
            raise AssertionError(f"{session.client_id} was sent what is not owed: {packet}; owed are {session}")
        mine = self._share_of(session, owed)
        assert mine is not None
        self.handed.append(Handed(session, packet, owed, mine))
        return mine

    def _take_share(self, session: Session, packet: Publish, tried: set[int]) -> Copy | None:
        """A copy that this packet may be; one that another member took already if that one can be another copy.

        Nothing in a packet names its group, so which is which is a matching in a bipartite graph.
        """
        for pool in self.pools.values():
            for owed in pool:
                if self._may_be(session, packet, owed):
                    pool.remove(owed)
                    return owed
        for handed in self.handed:
            if id(handed.owed) in tried or not self._may_be(session, packet, handed.owed):
                continue
            tried.add(id(handed.owed))
            other = self._take_share(handed.session, handed.packet, tried)
            if other is not None:
                freed, handed.owed, handed.mine.group = handed.owed, other, other.group
                return freed
        return None

    def _prefer_what_cannot_wait(self) -> None:
        """A copy of QoS 0 that nobody seems to have got may be one that was taken for another, which may still wait."""
        for pool in list(self.pools.values()):
            for left in [copy for copy in pool if copy.qos == 0]:
                for handed in self.handed:
                    if handed.owed.qos and self._may_be(handed.session, handed.packet, left):
                        assert handed.owed.group is not None
                        pool.remove(left)
                        self.pools.setdefault(handed.owed.group, []).insert(0, handed.owed)
                        handed.owed, handed.mine.group = left, left.group
                        break

    def _may_be(self, session: Session, packet: Publish, owed: Copy) -> bool:
        mine = self._share_of(session, owed)
        return mine is not None and self._says(session, mine, packet)

    def _share_of(self, session: Session, owed: Copy) -> Copy | None:
        """The copy as this client would get it; None if it is no member of the group."""
        assert owed.group is not None
        group, topic_filter = owed.group
        sub = session.subscriptions.get((topic_filter, group))
        if sub is None:
            return None
        message = owed.message
        retain = message.retain and sub.retain_as_published
        identifiers = (sub.identifier,) if sub.identifier else ()
        return Copy(message, min(message.qos, sub.qos), retain, identifiers, group=owed.group)

    def _in_order(self, owed: list[Copy], copy: Copy) -> None:
        """Messages of one publisher come in its order [MQTT-4.6.0-5..6]."""
        if copy.replayed:
            return
        for earlier in owed[: owed.index(copy)]:
            if earlier.message.publisher == copy.message.publisher and not earlier.replayed and not earlier.group:
                raise AssertionError(f"[MQTT-4.6.0-6] {copy} came before {earlier}")

    def _says(self, session: Session, copy: Copy, packet: Publish) -> bool:
        message = copy.message
        same = (packet.topic, packet.payload, packet.qos, packet.retain) == (
            message.topic,
            message.payload,
            copy.qos,
            copy.retain,
        )
        return same and (session.version != 5 or self._carries(copy, packet.properties))

    def _carries(self, copy: Copy, properties: Properties) -> bool:
        return (
            tuple(sorted(properties.subscription_identifiers)) == copy.identifiers
            and self._has_left(copy.message, properties.message_expiry_interval)
            and passed_on(properties) == (copy.message.properties or passed_on(Properties()))
        )

    def _has_left(self, message: Message, interval: int | None) -> bool:
        """The lifetime that was left when it was sent [MQTT-3.3.2-6]; one begun before it was over may go on."""
        if message.expires_at == NEVER or interval is None:
            return message.expires_at == NEVER and interval is None
        return message.expires_at - self.now <= interval <= max(1, message.expires_at - self.compared_at)


def passed_on(properties: Properties) -> tuple[Any, ...]:
    """The properties that travel with the message."""
    return (
        properties.payload_format_indicator,
        properties.content_type,
        properties.response_topic,
        properties.correlation_data,
        properties.user_properties,
    )
