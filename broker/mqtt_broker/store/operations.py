"""What each operation of the port does to the embedded store, within the transaction of its batch.

Knows the operations' conditions and effects; does not know transactions, tokens, batch numbers or threads.
Every method first decides, then writes: an operation that is refused has changed nothing.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from mqtt_broker.session import will as wills
from mqtt_broker.session.session import NEVER_S, QueueBounds
from mqtt_broker.store.encoding import Details
from mqtt_broker.store.inbound import Inbound
from mqtt_broker.store.ordinals import Ordinals
from mqtt_broker.store.ports import (
    LAPSED_WILL_S,
    Accept,
    Accepted,
    AcceptedRun,
    AcceptRun,
    Acknowledge,
    Claim,
    Claimed,
    ClaimRefused,
    Detach,
    Done,
    Drop,
    Dropped,
    Duplicate,
    End,
    GroupTarget,
    Marker,
    MarkSent,
    Operation,
    Received,
    Rejected,
    Release,
    Result,
    Return,
    Settle,
    Stale,
    Subscribe,
    Take,
    Taken,
    Target,
    Unsubscribe,
    lapsed_will_of,
)
from mqtt_broker.store.queues import Queue, Queues
from mqtt_broker.store.retained import Retained
from mqtt_broker.store.sessions import Session, Sessions
from mqtt_broker.store.subscriptions import Subscriptions
from mqtt_broker.wire.packets import Will

_UNBOUNDED = 2**62  # for reads that are bounded by their limit alone


class World:
    """The parts of the store that operations change, over one connection."""

    __slots__ = ("inbound", "ordinals", "queues", "retained", "sessions", "subscriptions")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.ordinals = Ordinals(connection)
        self.sessions = Sessions(connection)
        self.subscriptions = Subscriptions(connection)
        self.inbound = Inbound(connection)
        self.queues = Queues(connection, self.ordinals)
        self.retained = Retained(connection)

    def flush(self) -> None:
        """Write what is kept in memory within a batch: the last step of its transaction."""
        self.queues.flush()
        self.ordinals.flush()

    def forget(self) -> None:
        """After a rollback: what is in memory may not be what is in the file."""
        self.queues.forget()
        self.ordinals.forget()
        self.sessions.forget()
        self.subscriptions.forget()

    def trim_caches(self) -> None:
        self.queues.trim_cache()
        self.sessions.trim_cache()
        self.subscriptions.trim_cache()


class Receiver:
    """One queue that an Accept goes to. `name` is the client id, or the `$share/...` filter of a group.

    `marks`: the mark is raised to what is appended. `is_stale`: it was to be, for a connection that is over.
    """

    __slots__ = ("bounds", "is_stale", "marks", "name", "queue")

    def __init__(self, name: str, queue: Queue, bounds: QueueBounds | None) -> None:
        self.name = name
        self.queue = queue
        self.bounds = bounds
        self.marks = False
        self.is_stale = False


class Batch:
    """One batch of one node: `now` is the store time of all its operations."""

    def __init__(self, world: World, node: str, now: float) -> None:
        self._node = node
        self._now = now
        self._ordinals = world.ordinals
        self._sessions = world.sessions
        self._subscriptions = world.subscriptions
        self._inbound = world.inbound
        self._queues = world.queues
        self._retained = world.retained

    def apply(self, operation: Operation) -> Result:
        return _HANDLERS[type(operation)](self, operation)

    def abandon(self) -> None:
        """Nobody owns the sessions of this node any more, as if each connection had broken now."""
        for session in self._sessions.owned_by(self._node):
            self._queues.give_back(self._queues.of(session.incarnation))
            self._leave(
                session,
                session.expiry_interval_s,
                wills.due_at(session.will, session.expiry_interval_s, self._now),
            )

    # Owning a session ------------------------------------------------------------------------------------------------

    def claim(self, operation: Claim) -> Claimed | ClaimRefused:
        old = self._sessions.find(operation.client_id)
        if old is not None and self._belongs_to_another(old, operation):
            return ClaimRefused()
        # [MQTT-3.1.2-4] [MQTT-3.1.2-5]
        present = old is not None and not operation.clean_start and self._is_resumable(old)
        lapsed_will = None if old is None else self._lapsed_will(old, present)
        previous_owner, previous_epoch = (None, 0) if old is None else (old.owner, old.epoch)
        if old is not None and lapsed_will is not None:
            self._keep_lapsed(old, lapsed_will)
        if old is None or not present:
            if old is not None:
                self._end(old)
            session = self._begin(operation)  # [MQTT-3.1.2-6]
        else:
            session = old
        session.epoch = self._ordinals.next()
        session.owner = self._node
        session.facts = operation.facts
        session.protocol_version = operation.protocol_version
        session.expiry_interval_s = operation.expiry_interval_s
        session.bounds = operation.bounds
        session.will = operation.will  # [MQTT-3.1.2-7]
        session.will_due_at = session.expires_at = None  # [MQTT-3.1.3-9]
        self._sessions.write(session)
        queue = self._queues.of(session.incarnation)
        if queue.sent_up_to > queue.last:  # written ahead: what is not there yet was not sent
            self._queues.set_mark(queue, queue.last)
        record = session.record(
            queue.sent_up_to,
            self._subscriptions.of(session.incarnation),
            self._inbound.of(session.incarnation),
        )
        return Claimed(record, present, previous_owner, lapsed_will, queue.messages, previous_epoch=previous_epoch)

    def _belongs_to_another(self, session: Session, operation: Claim) -> bool:
        """True also for a session that is over but whose will, under its own principal, is still owed."""
        if (session.facts.username, session.facts.anonymous) == (operation.facts.username, operation.facts.anonymous):
            return False
        return session.will_due_at is not None or not session.has_expired(self._now)

    def _is_resumable(self, session: Session) -> bool:
        if session.ended or session.has_expired(self._now):
            return False
        # Taking over closes the old connection, and with expiry 0 its session ends there (MQTT 5.0, 3.1.2.11.2).
        return session.owner is None or session.expiry_interval_s > 0

    def _lapsed_will(self, session: Session, resumed: bool) -> Will | None:
        """The stored will, if it is owed now: the session ends here [MQTT-3.1.2-8], or its moment has passed."""
        if session.will is None or not resumed:
            return session.will
        due_at = session.will_due_at
        if session.owner is not None:  # the claim closes that connection: its delay begins, and ends, now
            due_at = wills.due_at(session.will, session.expiry_interval_s, self._now)
        return session.will if due_at is not None and due_at <= self._now else None

    def _keep_lapsed(self, session: Session, will: Will) -> None:
        """As a record of its own: somebody fires it though whoever claims is lost."""
        name, number = lapsed_will_of(session.client_id, session.epoch)
        details = Details(
            facts=session.facts, protocol_version=session.protocol_version, bounds=session.bounds, will=will
        )
        kept = Session(name, number, details)
        kept.epoch, kept.ended, kept.will_due_at = number, True, self._now + LAPSED_WILL_S
        self._sessions.write(kept)

    def _begin(self, operation: Claim) -> Session:
        details = Details(facts=operation.facts, protocol_version=operation.protocol_version, bounds=operation.bounds)
        session = Session(operation.client_id, self._ordinals.next(), details)
        self._queues.create(session.incarnation)
        return session

    def detach(self, operation: Detach) -> Done | Stale:
        session = self._at_epoch(operation.client_id, operation.epoch)
        if session is None:
            return Stale()
        if operation.sent_up_to is not None:
            self._queues.set_mark(self._queues.of(session.incarnation), operation.sent_up_to)
        self._leave(session, operation.expiry_interval_s, operation.will_due_at)
        return Done()

    def _leave(self, session: Session, expiry_interval_s: int, will_due_at: float | None) -> None:
        session.owner = None
        session.expiry_interval_s = expiry_interval_s
        session.will_due_at = None if session.will is None else will_due_at
        if session.will_due_at is None:
            session.will = None  # [MQTT-3.1.2-10]
        if expiry_interval_s > 0:  # [MQTT-3.1.2-23] [MQTT-4.1.0-2]
            session.expires_at = None if expiry_interval_s == NEVER_S else self._now + expiry_interval_s
            self._sessions.write(session)
        elif session.will is None:
            self._end(session)
        else:
            self._strip(session)
            session.ended = True
            self._sessions.write(session)

    def end(self, operation: End) -> Done:
        session = self._sessions.find(operation.client_id)
        if session is None or session.incarnation != operation.incarnation:
            return Done()
        if not operation.if_expired or (session.owner is None and session.has_expired(self._now)):
            self._end(session)
        return Done()

    def _end(self, session: Session) -> None:
        if not session.ended:
            self._strip(session)
        self._sessions.delete(session)

    def _strip(self, session: Session) -> None:
        """Take everything but the row. Subscriptions first: a group that this leaves empty takes nothing back."""
        for group_id in self._subscriptions.clear(session.incarnation):
            self._queues.discard(group_id)
        self._queues.give_back(self._queues.of(session.incarnation))
        self._queues.discard(session.incarnation)
        self._inbound.clear(session.incarnation)

    # Messages --------------------------------------------------------------------------------------------------------

    def accept(self, operation: Accept) -> Accepted | Duplicate | Rejected | Stale:
        refusal = self._marker_refusal(operation.marker)
        if refusal is not None:
            return refusal
        testator = None
        if operation.fires_will_of is not None:
            testator = self._testator(*operation.fires_will_of)
            if testator is None:
                return Duplicate()
        message = operation.message
        if operation.retained_before and not self._retained.read((message.topic,), self._now):
            return Duplicate()
        targets = [self._receiver(target) for target in operation.targets]
        groups = [receiver for group in operation.groups if (receiver := self._group_receiver(group)) is not None]
        receivers = [receiver for receiver in targets if receiver is not None] + groups
        full = _first_full(receivers, message.size)
        if full is not None:
            return Rejected(full)
        # Nothing is refused below this line.
        if testator is not None:
            self._forget_will(testator)  # [MQTT-3.1.2-10]
        if operation.marker is not None:
            publisher = self._at_epoch(operation.marker.client_id, operation.marker.epoch)
            if publisher is not None:
                self._inbound.add(publisher.incarnation, operation.marker.packet_id)
        if operation.retain:  # [MQTT-3.3.1-8]
            self._retained.put(message)
        if not receivers:
            return Accepted((0,) * len(targets))
        return self._store(operation, targets, groups, len(receivers))

    def _store(
        self, operation: Accept, targets: Sequence[Receiver | None], groups: Iterable[Receiver], holders: int
    ) -> Accepted:
        body_id, size = self._queues.hold(operation.message, holders), operation.message.size
        sequences: list[int] = []
        evicted: list[tuple[str, int]] = []
        stale: list[str] = []
        for target, receiver in zip(operation.targets, targets, strict=True):
            sequence = 0
            if receiver is not None and self._make_room(receiver, size, evicted):
                sequence = self._queues.append(
                    receiver.queue, body_id, size, target.qos, retain=target.retain, identifiers=target.identifiers
                )
                self._mark(receiver, stale)
            elif receiver is not None:
                self._queues.let_go(body_id)
            sequences.append(sequence)
        for receiver in groups:
            if self._make_room(receiver, size, evicted):
                self._queues.append(receiver.queue, body_id, size, operation.message.qos)
            else:
                evicted.append((receiver.name, 0))
                self._queues.let_go(body_id)
        return Accepted(tuple(sequences), tuple(evicted), tuple(stale))

    def _mark(self, receiver: Receiver, stale: list[str]) -> None:
        """Raise the mark to what was just appended, where that was asked for; or add whose connection is over."""
        queue = receiver.queue
        if receiver.is_stale:
            stale.append(receiver.name)
        elif receiver.marks and queue.sent_up_to < queue.last:
            self._queues.set_mark(queue, queue.last)

    def accept_run(self, operation: AcceptRun) -> AcceptedRun:
        receivers = [self._receiver(target) for target in operation.targets]
        payloads = operation.payloads
        size, count = operation.message.size + len(payloads[0]), len(payloads)
        if not all(_has_room(receiver, size, count) for receiver in receivers):
            return self._accept_one_by_one(operation)
        holders = len(receivers) - receivers.count(None)
        if not holders:
            return AcceptedRun(((0, 0),) * len(receivers))
        body_ids = self._queues.hold_run(operation.message, payloads, holders)
        stored = []
        stale: list[str] = []
        for target, receiver in zip(operation.targets, receivers, strict=True):
            if receiver is None:
                stored.append((0, 0))
                continue
            stored.append((self._queues.append_run(receiver.queue, body_ids, size, target), count))
            self._mark(receiver, stale)
        return AcceptedRun(tuple(stored), stale=tuple(stale))

    def _accept_one_by_one(self, operation: AcceptRun) -> AcceptedRun:
        """Some queue is nearly full. What one message found no place for, or was refused, so are those behind it."""
        stored = [(0, 0)] * len(operation.targets)
        evicted: list[tuple[int, str, int]] = []
        stale: dict[str, None] = {}
        for index, payload in enumerate(operation.payloads):
            result = self.accept(Accept(message=replace(operation.message, payload=payload), targets=operation.targets))
            if not isinstance(result, Accepted):
                return AcceptedRun(tuple(stored), tuple(evicted), tuple(stale), len(operation.payloads) - index)
            for number, sequence in enumerate(result.sequences):
                if sequence:
                    first, count = stored[number]
                    stored[number] = (first or sequence, count + 1)
            evicted += [(index, client_id, sequence) for client_id, sequence in result.evicted]
            stale.update(dict.fromkeys(result.stale))
        return AcceptedRun(tuple(stored), tuple(evicted), tuple(stale))

    def _make_room(self, receiver: Receiver, size: int, evicted: list[tuple[str, int]]) -> bool:
        """True if `size` bytes may be appended; what had to go for it is added to `evicted`."""
        queue, bounds = receiver.queue, receiver.bounds
        if bounds is None or queue.has_room(bounds, size):
            return True
        if bounds.overflow != "DropOldest":
            return False
        places = self._queues.make_room(queue, bounds, size)
        if places is None:
            return False
        evicted.extend((receiver.name, place) for place in places)
        return True

    def _marker_refusal(self, marker: Marker | None) -> Stale | Duplicate | None:
        if marker is None:
            return None
        publisher = self._at_epoch(marker.client_id, marker.epoch)
        if publisher is None:
            return Stale()
        if self._inbound.holds(publisher.incarnation, marker.packet_id):  # [MQTT-4.3.3-10]
            return Duplicate()
        return None

    def _testator(self, client_id: str, incarnation: int) -> Session | None:
        """The session whose will is due."""
        session = self._sessions.find(client_id)
        if session is None or session.incarnation != incarnation or session.will_due_at is None:
            return None
        return session

    def _forget_will(self, session: Session) -> None:
        if session.ended:
            self._sessions.delete(session)
            return
        session.will = session.will_due_at = None
        self._sessions.write(session)

    def _receiver(self, target: Target) -> Receiver | None:
        session = self._living(target.client_id)
        if session is None or session.incarnation != target.incarnation:
            return None
        receiver = Receiver(session.client_id, self._queues.of(session.incarnation), session.bounds)
        if target.epoch:
            receiver.is_stale = session.owner is None or session.epoch != target.epoch
            receiver.marks = target.raises_mark and not receiver.is_stale
        return receiver

    def _group_receiver(self, target: GroupTarget) -> Receiver | None:
        group_id = self._subscriptions.group_id(target.group, target.filter)
        if group_id is None:
            return None
        return Receiver(f"$share/{target.group}/{target.filter}", self._queues.of(group_id), target.bounds)

    def release(self, operation: Release) -> Done | Stale:
        session = self._at_epoch(operation.client_id, operation.epoch)
        if session is None:
            return Stale()
        self._inbound.remove(session.incarnation, operation.packet_id)
        return Done()

    def mark_sent(self, operation: MarkSent) -> Done | Stale:
        session = self._at_epoch(operation.client_id, operation.epoch)
        if session is None:
            return Stale()
        queue = self._queues.of(session.incarnation)
        if operation.sequence > queue.sent_up_to:
            self._queues.set_mark(queue, operation.sequence)
        return Done()

    def received(self, operation: Received) -> Done | Stale:
        session = self._at_epoch(operation.client_id, operation.epoch)
        if session is None:
            return Stale()
        self._queues.mark_received(self._queues.of(session.incarnation), operation.sequence)
        return Done()

    def acknowledge(self, operation: Acknowledge) -> Done | Stale:
        session = self._at_epoch(operation.client_id, operation.epoch)
        if session is None:
            return Stale()
        self._queues.remove(self._queues.of(session.incarnation), operation.sequences)
        return Done()

    def drop(self, operation: Drop) -> Dropped:
        session = self._living(operation.client_id)
        if session is None or session.incarnation != operation.incarnation:
            return Dropped(0)
        queue = self._queues.of(session.incarnation)
        return Dropped(self._queues.remove(queue, [place for place in operation.sequences if place > queue.sent_up_to]))

    # Subscriptions and groups ----------------------------------------------------------------------------------------

    def subscribe(self, operation: Subscribe) -> Done | Stale:
        session = self._at_incarnation(operation.client_id, operation.incarnation, operation.epoch)
        if session is None:
            return Stale()
        existed = []
        for subscription in operation.subscriptions:
            only_known = operation.only_known
            existed.append(self._subscriptions.put(session.incarnation, subscription, only_known=only_known))
            group = None if only_known else subscription.group
            if group is not None and self._subscriptions.group_id(group, subscription.filter) is None:
                group_id = self._ordinals.next()
                self._subscriptions.found_group(group, subscription.filter, group_id)
                self._queues.create(group_id)
        return Done(existed=tuple(existed))

    def settle(self, _: Settle) -> Done:
        """Nothing is kept in mind: what a node of its own had not sent when it ended, the next SUBSCRIBE asks for."""
        return Done()

    def unsubscribe(self, operation: Unsubscribe) -> Done | Stale:
        session = self._at_incarnation(operation.client_id, operation.incarnation, operation.epoch)
        if session is None:
            return Stale()
        existed, orphans = self._subscriptions.remove(session.incarnation, operation.keys)
        for group_id in orphans:
            self._queues.discard(group_id)
        return Done(existed=existed)

    def take(self, operation: Take) -> Taken | Stale:
        session = self._at_epoch(operation.client_id, operation.epoch)
        if session is None:
            return Stale()
        group_id = self._subscriptions.group_id(operation.group, operation.filter)
        if group_id is None:
            return Taken(())
        group = self._queues.of(group_id)
        member = self._queues.of(session.incarnation)
        before = member.last
        count = self._queues.take(group, member, operation)
        entries = self._queues.read(member, before, count, _UNBOUNDED) if count else ()
        return Taken(entries, group.messages)

    def give_back(self, operation: Return) -> Done | Stale:
        session = self._at_epoch(operation.client_id, operation.epoch)
        if session is None:
            return Stale()
        self._queues.give_back(self._queues.of(session.incarnation), operation.sequences)
        return Done()

    # Who is meant ----------------------------------------------------------------------------------------------------

    def _living(self, client_id: str) -> Session | None:
        session = self._sessions.find(client_id)
        return None if session is None or session.ended else session

    def _at_epoch(self, client_id: str, epoch: int) -> Session | None:
        session = self._living(client_id)
        return None if session is None or session.epoch != epoch else session

    def _at_incarnation(self, client_id: str, incarnation: int, epoch: int | None) -> Session | None:
        session = self._living(client_id)
        if session is None or session.incarnation != incarnation:
            return None
        return session if epoch is None or session.epoch == epoch else None


def _has_room(receiver: Receiver | None, size: int, count: int) -> bool:
    return receiver is None or receiver.bounds is None or receiver.queue.has_room(receiver.bounds, size, count)


def _first_full(receivers: Iterable[Receiver], size: int) -> str | None:
    """The first receiver whose overflow policy refuses the message. One that is named twice needs room for both."""
    copies: dict[int, int] = {}
    for receiver in receivers:
        if receiver.bounds is None or receiver.bounds.overflow != "Reject":
            continue
        home = receiver.queue.home
        copies[home] = copies.get(home, 0) + 1
        if not receiver.queue.has_room(receiver.bounds, size, copies[home]):
            return receiver.name
    return None


_HANDLERS: dict[type, Callable[[Batch, Any], Result]] = {
    Claim: Batch.claim,
    Accept: Batch.accept,
    AcceptRun: Batch.accept_run,
    Release: Batch.release,
    MarkSent: Batch.mark_sent,
    Received: Batch.received,
    Acknowledge: Batch.acknowledge,
    Drop: Batch.drop,
    Subscribe: Batch.subscribe,
    Settle: Batch.settle,
    Unsubscribe: Batch.unsubscribe,
    Take: Batch.take,
    Return: Batch.give_back,
    Detach: Batch.detach,
    End: Batch.end,
}
