"""What a store that several nodes share offers beyond ports.Store: how nodes know of each other, and talk.

Knows peers, leases, and the three streams every node follows; does not know Redis, or what a node does with an entry.

- The **feed** is one ordered log for all nodes. Positions are integers that grow; each batch that changes what nodes
  must know adds one entry of one or more changes. Whoever applied it up to a position knows all that happened before.
- An **inbox** belongs to one (node, token): what other nodes accepted for sessions that are connected there.
- **Control** belongs to one (node, token) too: orders and confirmations, never behind data.

How a node uses it: `Store.join`, `Store.load`, then `follow` in a loop from the snapshot's position; `enter` once it
has caught up, and `renew` in another loop from then on; it serves when it has applied the feed up to the position that
`enter` gave.
Every method raises StoreUnavailable when the store cannot answer, and Fenced when this node's token is over.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from mqtt_api.node_facts import NodeFacts
from mqtt_api.policy import Facts
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import Forward, Membership, QueueEntry, RunForward, Store, StoreError


class FeedLost(StoreError):  # noqa: N818 - the condition is the name
    """The feed was trimmed past the position asked for: this node knows too little, and must join anew."""


# What the feed tells -------------------------------------------------------------------------------------------------


class SessionSubscribed(Struct, frozen=True, tag=True, kw_only=True):
    """Subscriptions were written. `owner` is the node the session is connected to, None: to none."""

    client_id: str
    incarnation: int
    epoch: int
    owner: str | None
    expiry_interval_s: int
    facts: Facts
    subscriptions: tuple[Subscription, ...]


class SessionUnsubscribed(Struct, frozen=True, tag=True, kw_only=True):
    client_id: str
    incarnation: int
    keys: tuple[tuple[str, str | None], ...]


class SessionOwned(Struct, frozen=True, tag=True, kw_only=True):
    """A session with subscriptions was claimed by a node, or left by it (`owner` None). Its facts may have changed."""

    client_id: str
    incarnation: int
    epoch: int
    owner: str | None
    expiry_interval_s: int
    facts: Facts


class SessionEnded(Struct, frozen=True, tag=True, kw_only=True):
    """A session with subscriptions is over: nothing of it is left."""

    client_id: str
    incarnation: int


class RetainedChanged(Struct, frozen=True, tag=True, kw_only=True):
    """A topic got its first retained message, or lost it. A value that replaces another is not told."""

    topic: str
    is_set: bool


class GroupBacklog(Struct, frozen=True, tag=True, kw_only=True):
    """Something waits in the queue of a shared subscription that no member was told of: a lost one gave it back."""

    group: str
    filter: str


class PolicyWritten(Struct, frozen=True, tag=True, kw_only=True):
    revision: int


class NodeEntered(Struct, frozen=True, tag=True, kw_only=True):
    """From this entry on this node must have applied what is to be in force everywhere."""

    node: str
    token: int


class NodeLeft(Struct, frozen=True, tag=True, kw_only=True):
    """This (node, token) does nothing any more: it left, was fenced, or its name was joined again."""

    node: str
    token: int


Change = (
    SessionSubscribed
    | SessionUnsubscribed
    | SessionOwned
    | SessionEnded
    | RetainedChanged
    | GroupBacklog
    | PolicyWritten
    | NodeEntered
    | NodeLeft
)


class FeedEntry(Struct, frozen=True):
    """`origin` is the node whose batch wrote it ("" = an operator): it waits to hear that it was applied."""

    position: int
    origin: str
    changes: tuple[Change, ...]


# What an inbox brings ------------------------------------------------------------------------------------------------


class Forwarded(Struct, frozen=True, tag=True):
    """A message for sessions connected here: transient ones, or QoS 0 for anybody. `group`: taken from it."""

    message: Message
    forward: Forward


class ForwardedRun(Struct, frozen=True, tag=True):
    """Messages that differ in nothing but their payloads, all of one length. `head` as in ports.RunForward."""

    head: bytes
    payloads: list[bytes]


class Stored(Struct, frozen=True, tag=True):
    """An entry was appended to the queue of a session connected here. `entry` None: too large to bring along."""

    client_id: str
    incarnation: int
    sequence: int
    entry: QueueEntry | None


class Overflowed(Struct, frozen=True, tag=True):
    """Entries of a session that is connected here are not in its queue any more: newer ones took their place."""

    client_id: str
    incarnation: int
    sequences: tuple[int, ...]


class Backlog(Struct, frozen=True, tag=True):
    """Something waits for members of this shared subscription. `turns`: so many of it are for this node to take."""

    group: str
    filter: str
    turns: int = 0


Delivery = Forwarded | ForwardedRun | Stored | Overflowed | Backlog

# NodeFacts.format of nodes that understand ForwardedRun and Overflowed, at least; and what this version reads.
TELLS_MORE = 2
FORMAT = TELLS_MORE


class InboxEntry(Struct, frozen=True):
    position: int
    deliveries: tuple[Delivery, ...]


# What control says ---------------------------------------------------------------------------------------------------


class Evict(Struct, frozen=True, tag=True):
    """The session of this epoch was claimed elsewhere: end its connection, then confirm to `claimant` (node, token)."""

    client_id: str
    epoch: int
    claimant: tuple[str, int]


class Evicted(Struct, frozen=True, tag=True):
    """The connection that held this epoch is over: not a byte follows its DISCONNECT."""

    client_id: str
    epoch: int


class Applied(Struct, frozen=True, tag=True):
    """(node, token) has applied the feed up to `position`, and all it planned before is in the store."""

    node: str
    token: int
    position: int


class Drain(Struct, frozen=True, tag=True):
    """Leave: as on SIGTERM."""


Command = Evict | Evicted | Applied | Drain


class ControlEntry(Struct, frozen=True):
    position: int
    command: Command


# Membership ----------------------------------------------------------------------------------------------------------


class Positions(Struct, frozen=True, kw_only=True):
    """How far a node has read: positions of the feed, its inbox and its control stream."""

    feed: int
    inbox: int = 0
    control: int = 0


class News(Struct, frozen=True, kw_only=True):
    """What came after the positions asked for; empty tuples if nothing did in time.

    `is_all`: nothing was left out, so whatever stood in any of them before an entry told here is told, or was.
    """

    feed: tuple[FeedEntry, ...] = ()
    inbox: tuple[InboxEntry, ...] = ()
    control: tuple[ControlEntry, ...] = ()
    is_all: bool = True


class Lease(Struct, frozen=True, kw_only=True):
    """`renewals` grows with each renewal: who sees it stand still for long enough may fence its holder."""

    node: str
    token: int
    renewals: int
    facts: NodeFacts


class InboxLevel(Struct, frozen=True):
    """Bytes: what waits in an inbox, and what was taken out of it since its node joined."""

    waiting: int
    taken: int


class Post(Struct, frozen=True):
    """A message for an inbox that nobody waits for: QoS 0."""

    message: Message
    forward: Forward


class PostRun(Struct, frozen=True):
    """The same for a run: `payloads` has at least one, and all are of one length."""

    payloads: tuple[bytes, ...]
    forward: RunForward


class ClusterStore(Store, Protocol):
    """A store shared by nodes. See the module's docstring for the order of use."""

    @property
    def connected(self) -> int:
        """How often the connection was made that leases are read over: another number, maybe another server.

        A replica that has taken over may not have the last renewals: what was seen before proves nothing there.
        """
        ...

    async def standing(self, node: str) -> Lease | None:
        """The lease that stands under this name, for whoever wants to `join` with it; None: nobody holds it."""
        ...

    async def inbox_dropped(self, membership: Membership) -> int:
        """How many copies for sessions of this node found no room in its inbox, since it joined."""
        ...

    def tell_crowded(self, call: Callable[[Sequence[str]], None], /) -> None:
        """Call with the nodes whose inboxes a `commit` or `post` of this one has found more than half full."""
        ...

    async def inbox_level(self, node: str) -> InboxLevel:
        """How full the inbox of this node is, if anybody holds its name."""
        ...

    async def enter(self, membership: Membership, facts: NodeFacts) -> int:
        """Begin the lease, and say so in the feed: the position of that entry. Atomic. Idempotent per token."""
        ...

    async def leave(self, membership: Membership) -> None:
        """End the lease and say so in the feed; the token is over. Idempotent. The caller wrote all it owed before."""
        ...

    async def renew(self, membership: Membership, facts: NodeFacts) -> tuple[Lease, ...]:
        """Renew the own lease; the leases of all nodes, the own one among them."""
        ...

    async def follow(self, membership: Membership, positions: Positions, wait_s: float) -> News:
        """What stands behind these positions, waiting up to `wait_s` for anything. Bounded in count; ask again.

        What lies at or below the inbox and control positions was taken care of: the store forgets it before long.
        Raises FeedLost.
        """
        ...

    async def fence(self, membership: Membership, lease: Lease) -> bool:
        """End another node's token if its lease still stands at `lease.renewals`. Atomic. False: it does not."""
        ...

    async def reap(self, membership: Membership, sessions_max: int) -> int:
        """Let go of sessions whose owner holds no lease any more, as if each connection had broken now.

        At most `sessions_max` at once, atomic for each; how many were let go. 0: there is none left. A session is
        handled once, however many nodes reap at the same time.
        """
        ...

    async def post(self, membership: Membership, posts: Sequence[Post | PostRun]) -> None:
        """Append to inboxes; what does not fit is dropped and counted. Not repeated on failure: QoS 0."""
        ...

    async def command(self, membership: Membership, node: str, token: int, command: Command) -> None:
        """Append to the control stream of (node, token); nothing happens if that token is over."""
        ...

    async def report(self, membership: Membership, position: int, origins: Sequence[str]) -> None:
        """Tell the origins of feed entries, by control, that this node applied the feed up to `position`."""
        ...

    async def read_policy(self, known_revision: int) -> tuple[bytes, ...] | None:
        """The lines of the policy document (mqtt_api.policy) if its revision is higher than the one known; else None.

        A line that the last document had too is the same object: nothing of it was fetched, or needs to be decoded.
        """
        ...
