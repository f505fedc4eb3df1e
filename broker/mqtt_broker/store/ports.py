"""The store as the broker sees it: one port, a contract that every adapter is tested against.

Knows operations, results and their atomicity; does not know SQLite, Redis or MQTT's rules of who may and who receives.

How a node uses it
1. `join` once. It gives the node's token; an earlier holder of the name is fenced out by it.
2. `load` once: sessions, subscriptions, the retained index and group backlogs as of now.
3. `commit` batches of operations, numbered from 1 per token, one outstanding at a time (group commit). The results come
   in the order of the operations. A batch whose reply never came is committed again with the same number: the
   store answers with the results it kept, so an unknown outcome is safe to repeat.
4. Reads (`read_queue`, `read_retained`, `due`) are idempotent.

Token and number decide for the batch; epoch, incarnation, QoS 2 duplicate and overflow decide per operation: one bad
operation never fails its neighbours. All operations of one batch become durable together, before `commit` returns.
Every method raises StoreUnavailable when the store cannot answer; nothing is known of the outcome then, and repeating
is safe. Times are seconds of the store's clock (`now`).
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from mqtt_api.policy import Facts
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import QueueBounds, SessionRecord, Subscription
from mqtt_broker.wire.packets import Will


class StoreError(Exception):
    """Root of what a store may raise."""


class StoreUnavailable(StoreError):  # noqa: N818 - the condition is the name
    """The world's fault: away, full, read-only. The outcome is unknown; repeat the same batch later."""


class StoreFull(StoreUnavailable):
    """There is no room for what a batch adds. Nothing of it was done: its number is free, also for other operations."""


class StoreMismatch(StoreError):  # noqa: N818 - the condition is the name
    """The store is not the one this node was told of: an empty or foreign world is refused, never served."""


class Fenced(StoreError):  # noqa: N818 - the condition is the name
    """A newer token exists for this node's name, or the batch number is out of step: stop writing, close everything."""


# Operations ----------------------------------------------------------------------------------------------------------

LAPSED_WILL_S = 30.0  # longer than a claim can wait for the session's previous owner


def lapsed_will_of(client_id: str, epoch: int) -> tuple[str, int]:
    """What stands for a session in `fires_will_of`, of the will that a claim made owed, left by the holder of `epoch`.

    No client id is like it: the character U+0000 is in none.
    """
    return f"\0{epoch} {client_id}", epoch


class Claim(Struct, frozen=True, kw_only=True):
    """CONNECT: take the session for this node, or make it. Atomic. Result: Claimed or ClaimRefused.

    Raises the epoch; that of a new session is the next number after its incarnation. `clean_start` ends the old session
    first: its queue, subscriptions and inbound ids go. A session past its expiry is not resumed, nor is one with expiry
    0 that is taken over: its old connection's end is its own (MQTT 5.0, 3.1.4). A session of another principal is never
    resumed, nor ended: ClaimRefused, nothing changed. Two principals are the same if their `facts` agree in `username`
    and `anonymous`. The will (or none) replaces the stored one, a due will and an expiry are cancelled.
    `Claimed.lapsed_will` is the old will if this claim makes it owed: the old session ends here [MQTT-3.1.2-8], or it
    goes on but the will's moment has passed (a takeover of a connected client starts the delay now). Whoever claims
    publishes it, as `fires_will_of=lapsed_will_of(client_id, previous_epoch)`; if that does not happen within
    LAPSED_WILL_S, `due` names it.
    """

    client_id: str
    facts: Facts
    protocol_version: int
    clean_start: bool
    expiry_interval_s: int
    will: Will | None
    bounds: QueueBounds


class Target(Struct, frozen=True, kw_only=True):
    """One receiving queue of an Accept: dropped in silence when the incarnation is not that of the session.

    `epoch`: the connection that whoever asks takes for the session's; 0 = it has none. If it is another, the result
    names the session as `stale`: the entry is there, but not that connection's to send, however far its mark is raised.
    `raises_mark`: it has room for the message. The mark (MarkSent) is raised to this entry in the same step, so that it
    may be sent once it is stored.
    """

    client_id: str
    incarnation: int
    qos: int
    retain: bool = False
    identifiers: tuple[int, ...] = ()
    epoch: int = 0
    raises_mark: bool = False


class GroupTarget(Struct, frozen=True, kw_only=True):
    """The queue of one shared subscription: dropped in silence when nobody is subscribed to it any more.

    `bounds` are those of the group's own queue, which has no mark; None = no bound. `wakes` are other nodes with
    connected members: each is told by its inbox (cluster.Backlog) that there is something to take. `turn`: the one of
    them that should, "" = none of them.
    """

    group: str
    filter: str
    bounds: QueueBounds | None = None
    wakes: tuple[str, ...] = ()
    turn: str = ""


class Forward(Struct, frozen=True, kw_only=True):
    """Copies for transient sessions that are connected to another node: appended to the inbox of (node, token).

    A node that is gone, or whose inbox is over its bound, does not get it: what had to be left out is counted there.
    """

    node: str
    token: int
    targets: tuple[Target, ...]
    group: tuple[str, str] | None = None


class RunForward(Struct, frozen=True, kw_only=True):
    """Copies of a run for sessions that are connected to another node: appended to the inbox of (node, token), as one.

    `head` is for that node: what all messages of the run have in common, and who receives them (`receivers`: how many).
    A store passes it on as it is. What a Forward may lose, this may: the last messages of the run are left out where
    not all find room.
    """

    node: str
    token: int
    head: bytes
    receivers: int


class Part(Struct, frozen=True, kw_only=True):
    """One of several Accepts that together are one message for more receivers than one call may carry.

    `token` names the message, the same in all its parts; the store remembers which queues have it, until the last part,
    so that parts which are sent again (after a crash too) append nothing twice: targets of one session belong into one
    part, and parts that come again may be cut otherwise. Marker, retained value and will record are those of the whole:
    the marker is set, unfinished, by the first part that arrives, the will goes with the last; once it was begun it is
    finished, whatever becomes of the session.
    `heard`: incarnations of receivers whose copies lie in no queue and in no Forward: they are connected to the node
    that writes. Which of them, and of the targets of Forwards, have the message is remembered as well; those that had
    it before are told (`Accepted.heard`), or left out of the Forward.
    """

    token: str
    is_last: bool
    heard: tuple[int, ...] = ()


class Marker(Struct, frozen=True, kw_only=True):
    """The inbound QoS 2 packet id of a persistent publisher, stored in the step that accepts its message."""

    client_id: str
    epoch: int
    packet_id: int


class Accept(Struct, frozen=True, kw_only=True):
    """One message into every queue that must hold it, the retained value, and the QoS 2 marker: all or nothing.

    Result: Accepted, Duplicate (the marker is there already: nothing changed), Rejected (a receiver's overflow policy
    is Reject and its queue is full: nothing changed) or Stale (the marker's epoch is not current: nothing changed).
    `retain` sets the retained message of the topic, or deletes it if the payload is empty. `fires_will_of` names a
    session (client id, incarnation) whose due will this is: removed in the same step; gone already means Duplicate.
    `position` is the feed position the receivers were planned at; it is kept with the retained value.
    `retained_before`, if not 0: Duplicate (nothing changed) unless the topic has a retained message that was planned
    before this position. An entry for a session that is connected to another node is announced in that node's inbox
    (cluster.Stored).
    """

    message: Message
    targets: tuple[Target, ...] = ()
    groups: tuple[GroupTarget, ...] = ()
    marker: Marker | None = None
    retain: bool = False
    fires_will_of: tuple[str, int] | None = None
    forwards: tuple[Forward, ...] = ()
    position: int = 0
    part: Part | None = None
    retained_before: int = 0


class AcceptRun(Struct, frozen=True, kw_only=True):
    """Messages that differ in nothing but their payloads, which are all of one length: one Accept for each, in order.

    `message` is each of them but for its payload, which is empty; `payloads` has at least one. Each session stands in
    `targets` at most once. `forwards` get what was not refused. Result: AcceptedRun.
    """

    message: Message
    payloads: tuple[bytes, ...]
    targets: tuple[Target, ...]
    forwards: tuple[RunForward, ...] = ()


class Release(Struct, frozen=True, kw_only=True):
    """PUBREL: forget an inbound QoS 2 packet id. Idempotent. Result: Done or Stale."""

    client_id: str
    epoch: int
    packet_id: int


class MarkSent(Struct, frozen=True, kw_only=True):
    """Written ahead of each window: entries up to `sequence` may have been sent. Never lowered.

    Result: Done or Stale.
    """

    client_id: str
    epoch: int
    sequence: int


class Received(Struct, frozen=True, kw_only=True):
    """PUBREC: entry `sequence` is the client's now; only PUBREL may follow, never PUBLISH again [MQTT-4.3.3-6].

    Result: Done or Stale.
    """

    client_id: str
    epoch: int
    sequence: int


class Acknowledge(Struct, frozen=True, kw_only=True):
    """PUBACK or PUBCOMP: remove entries. Idempotent; unknown sequences are ignored. Result: Done or Stale."""

    client_id: str
    epoch: int
    sequences: tuple[int, ...]


class Drop(Struct, frozen=True, kw_only=True):
    """Remove entries above the mark by a named policy (expiry, revocation). By incarnation: works on offline sessions.

    Entries at or below the mark are kept. Result: Dropped(count).
    """

    client_id: str
    incarnation: int
    sequences: tuple[int, ...]


class Subscribe(Struct, frozen=True, kw_only=True):
    """Write subscriptions; the same key is replaced. Result: Done with `position` and `existed`, or Stale.

    `epoch` None writes for an offline session (muting and unmuting after a policy change).
    `only_known`: those that are not there, for the client gave them up meanwhile, are left out.
    `owes`: topic filters, of subscriptions that are not shared, whose retained messages are still to be sent. A shared
    store keeps that in mind (`Claimed.owed`) until `Settle`, or until the subscription is replaced or removed.
    """

    client_id: str
    incarnation: int
    epoch: int | None
    subscriptions: tuple[Subscription, ...]
    only_known: bool = False
    owes: tuple[str, ...] = ()


class Settle(Struct, frozen=True, kw_only=True):
    """The retained messages of a subscription are in the session's queue, or sent. Idempotent. Result: Done.

    `position`: that of the Subscribe. Nothing happens if the filter was subscribed to again since.
    """

    client_id: str
    incarnation: int
    filter: str
    position: int


class Unsubscribe(Struct, frozen=True, kw_only=True):
    """Remove subscriptions by (filter, group). A group without one left ends, with its queue. Idempotent.

    Result: Done with `position` and `existed`, or Stale.
    """

    client_id: str
    incarnation: int
    epoch: int | None
    keys: tuple[tuple[str, str | None], ...]


class Take(Struct, frozen=True, kw_only=True):
    """Move up to `limit` oldest entries of a group's queue to the end of a member's. Atomic.

    Result: Taken(entries) or Stale. Entries keep their group, so that `Return` finds the way back. Bounds do not apply:
    the member took only what its window has room for. `qos`, `identifiers` and `retain_as_published` are the
    member's; an entry's QoS is the lower of its message's and `qos`.
    """

    group: str
    filter: str
    client_id: str
    epoch: int
    limit: int
    qos: int = 2
    identifiers: tuple[int, ...] = ()
    retain_as_published: bool = False


class Return(Struct, frozen=True, kw_only=True):
    """A member is lost: what it took and did not finish goes back to the front of its groups' queues, in order.

    QoS 2 entries at or below the sent mark stay with the member's session [MQTT-4.8.2-4] [MQTT-4.8.2-5]; QoS 1 goes
    back. Entries of a session whose group has no subscription left are dropped. Result: Done or Stale.
    `sequences`: only these, which the caller has not sent, whatever the mark says. None: all there are.
    """

    client_id: str
    epoch: int
    sequences: tuple[int, ...] | None = None


class Detach(Struct, frozen=True, kw_only=True):
    """The connection ended: nobody owns the session now. Result: Done or Stale.

    `expiry_interval_s` replaces the stored one. Expiry 0 ends the session in this step, except that a will that is
    still to fire keeps the bare record until then: no session any more, only `due`, `Claim` and `fires_will_of` see
    it. `will_due_at` None removes the will. `sent_up_to`: the connection ended in good order and knows what it sent:
    the mark, written ahead, is set to exactly this. None leaves the mark where it is.
    """

    client_id: str
    epoch: int
    expiry_interval_s: int
    will_due_at: float | None
    sent_up_to: int | None = None


class End(Struct, frozen=True, kw_only=True):
    """End a session: queue, subscriptions, inbound ids and will go. Idempotent. Result: Done.

    `if_expired`: only if its moment to expire has come and nobody owns it; else nothing happens.

    What it took from groups goes back as by Return, here and wherever else a session ends. A group without a
    subscription left ends too, with its queue.
    """

    client_id: str
    incarnation: int
    if_expired: bool = False


Operation = (
    Claim
    | Accept
    | AcceptRun
    | Release
    | MarkSent
    | Received
    | Acknowledge
    | Drop
    | Subscribe
    | Settle
    | Unsubscribe
    | Take
    | Return
    | Detach
    | End
)

# What a full store must still be able to do: what shrinks it, lets a client acknowledge more, or brings the client that
# will. Only messages and subscriptions wait.
FREEING = (Acknowledge, Claim, Detach, Drop, End, MarkSent, Received, Release, Return, Settle, Take, Unsubscribe)

# Results -------------------------------------------------------------------------------------------------------------


class Done(Struct, frozen=True, tag=True):
    """`position`: that of the batch's entry in the feed, 0 where there is no feed or it has nothing to tell.

    `existed`: for each subscription written or removed, in order, whether there was one of that key.
    """

    position: int = 0
    existed: tuple[bool, ...] = ()


class Stale(Struct, frozen=True, tag=True):
    """The epoch or incarnation is not current: somebody newer owns the session. The writer closes its connection."""


class Claimed(Struct, frozen=True, tag=True):
    """`record` is the session after the claim; `present` tells CONNACK. `previous_owner`: the node that held it.

    `previous_epoch` is that of the claim before, and `previous_token` the owner's: it was told, on its control stream,
    to let go (cluster.Evict). `position` is the feed's end and `inbox_end` that of this node's inbox, as of the claim:
    both are to be read up to there before CONNACK. `owed`: topic filters whose retained messages were never all sent,
    each with the position of its Subscribe.
    """

    record: SessionRecord
    present: bool
    previous_owner: str | None = None
    lapsed_will: Will | None = None
    queued: int = 0
    previous_token: int = 0
    previous_epoch: int = 0
    position: int = 0
    inbox_end: int = 0
    owed: tuple[tuple[str, int], ...] = ()


class ClaimRefused(Struct, frozen=True, tag=True):
    """The client id belongs to another principal's session that is not over, or whose will is still to fire."""


class Accepted(Struct, frozen=True, tag=True):
    """One sequence per target, in order; 0 = not stored there (gone, or the new message was dropped by DropNewest).

    `evicted` are older entries that overflow removed: (client id, sequence) each, so that a node forgets them too.
    For a group's own queue the name is `$share/group/filter`; sequence 0 there is the new message itself.
    `stale`: client ids of targets that hold the message, but whose `epoch` is not current, or nobody's.
    `heard`: those of `Part.heard` that had the message before.
    """

    sequences: tuple[int, ...] = ()
    evicted: tuple[tuple[str, int], ...] = ()
    stale: tuple[str, ...] = ()
    heard: tuple[int, ...] = ()


class AcceptedRun(Struct, frozen=True, tag=True):
    """For each target (first sequence, count): that many messages, the first ones, lie there in consecutive places.

    The others found no place. `evicted` are older entries that overflow removed, as in Accepted, each with the index of
    the message that it had to go for: (index, client id, sequence). `stale` as in Accepted. The last `refused` messages
    changed nothing: a receiver's queue is full under overflow: Reject.
    """

    stored: tuple[tuple[int, int], ...]
    evicted: tuple[tuple[int, str, int], ...] = ()
    stale: tuple[str, ...] = ()
    refused: int = 0


class Duplicate(Struct, frozen=True, tag=True):
    pass


class Rejected(Struct, frozen=True, tag=True):
    """`client_id` is the receiver whose queue is full under overflow: Reject."""

    client_id: str


class Dropped(Struct, frozen=True, tag=True):
    count: int


class QueueEntry(Struct, frozen=True, kw_only=True):
    """One message waiting in a session's queue. `received`: PUBREC came, only PUBREL is left to send.

    `group`: the shared subscription (group, filter) it was taken from.
    """

    sequence: int
    message: Message
    qos: int
    retain: bool = False
    identifiers: tuple[int, ...] = ()
    received: bool = False
    group: tuple[str, str] | None = None


class Taken(Struct, frozen=True, tag=True):
    """`left` is how many entries the group's queue still holds."""

    entries: tuple[QueueEntry, ...]
    left: int = 0


Result = Done | Stale | Claimed | ClaimRefused | Accepted | AcceptedRun | Duplicate | Rejected | Dropped | Taken

# Reads ---------------------------------------------------------------------------------------------------------------


class Membership(Struct, frozen=True, kw_only=True):
    """`token` fences every earlier holder of this node's name."""

    node: str
    token: int


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything a starting node must know, but retained payloads. `groups`: backlog per (group, filter), if any.

    `position`: the feed is to be followed from behind it. What it says may stand in the snapshot already: applying an
    entry twice changes nothing.
    """

    sessions: tuple[SessionRecord, ...]
    retained_topics: tuple[str, ...]
    groups: tuple[tuple[str, str, int], ...] = ()
    position: int = 0


class RetainedMessage(Struct, frozen=True):
    """A retained message, and the feed position that its receivers were planned at (0: there is no feed)."""

    message: Message
    planned_at: int = 0


class DueWill(Struct, frozen=True, kw_only=True):
    """`record` may be without subscriptions and inbound packet ids."""

    record: SessionRecord


class DueExpiry(Struct, frozen=True, kw_only=True):
    """A session to end. A will of it that is due stands in `Due.wills`: fire that first, for End removes it."""

    client_id: str
    incarnation: int


class Due(Struct, frozen=True, kw_only=True):
    """What has come due. `next_at` is the earliest moment of anything still ahead, or None.

    An answer is bounded: if `next_at` is not in the future there is more, once these are done. `retained_topics` are
    those whose messages this call removed.
    """

    wills: tuple[DueWill, ...] = ()
    expiries: tuple[DueExpiry, ...] = ()
    retained_topics: tuple[str, ...] = ()
    next_at: float | None = None


class Kept(Struct, frozen=True):
    """What a store holds: messages waiting in queues, one for each queue they wait in, and retained ones.

    `bytes` are those that the bounds of queues count, and for a retained message about its size.
    """

    messages: int
    bytes: int


class Store(Protocol):
    """See the module's docstring for the order of use and the errors."""

    def now(self) -> float:
        """The store's clock, seconds since the epoch. Never goes back while the store is open."""
        ...

    async def join(self, node: str, world: str) -> Membership:
        """Register this node's name and fence earlier holders. Atomic, not idempotent.

        An empty store takes `world` as its own. Sessions that an earlier token of the same name still owned become
        owner-less: their wills come due (delay counted from now), transient ones end.
        Raises StoreMismatch if the store's world is another, StoreUnavailable if it cannot be opened.
        """
        ...

    async def load(self) -> Snapshot:
        """Consistent as of one moment after `join`."""
        ...

    async def commit(self, membership: Membership, number: int, operations: Sequence[Operation]) -> tuple[Result, ...]:
        """Do the operations in order, durable before it returns. The same number again: the same results, nothing done.

        Raises Fenced for an old token, a number lower than the last or more than one higher; StoreUnavailable.
        """
        ...

    async def read_queue(
        self, client_id: str, incarnation: int, after: int, messages_max: int, bytes_max: int, *, epoch: int = 0
    ) -> tuple[QueueEntry, ...]:
        """Entries with a sequence above `after`, oldest first; at least one if there is any, whatever its size.

        None if the session's connection is not that of this `epoch`; 0 = whoever's it is.
        """
        ...

    async def read_retained(self, topics: Sequence[str]) -> tuple[RetainedMessage, ...]:
        """The retained messages of these topics; those that are gone or expired are left out."""
        ...

    async def kept(self) -> Kept:
        """How much there is, for people to look at now and then: it may take a pass over queues and retained topics."""
        ...

    async def due(self) -> Due:
        """Wills and sessions whose moment has come; retained messages past their lifetime are removed.

        Wills and expiries stand here again until they are fired and ended.
        """
        ...

    async def close(self) -> None:
        """Flush, let go of files and threads. Idempotent."""
        ...
