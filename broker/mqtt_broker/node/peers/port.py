"""What the flows ask of the other nodes of a cluster, and the answers of a node that is alone.

Knows the questions; does not know the store, streams or leases. A flow never asks whether there is a cluster, but for
one thing: whether routes are changed by itself or by the feed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from mqtt_broker.node.balance import Balance
from mqtt_broker.routing.delivery import Receiver
from mqtt_broker.session.message import Message
from mqtt_broker.store.ports import Claimed, Forward, Result, RunForward

if TYPE_CHECKING:
    from mqtt_broker.node.live import LiveSession
    from mqtt_broker.session.session import Subscription

Call = Callable[[], None]


class Figures(Struct, frozen=True, kw_only=True):
    """What is measured of the cluster, as this node sees it; of a node alone, what does no harm in an alert.

    `feed_lag`: entries that the slowest node has not applied yet. `barrier_*`: of answers that waited for all nodes.
    """

    lease_remaining_s: float = float("inf")
    lease_renewal_s: float = 0.0
    fenced_others: int = 0
    feed_lag: int = 0
    barrier_waits: int = 0
    barrier_wait_s: float = 0.0


class Runs(Struct, frozen=True):
    """One for each node, and of each kind: `forwards` must be there before the acknowledgement, `posts` are QoS 0."""

    forwards: tuple[RunForward, ...] = ()
    posts: tuple[RunForward, ...] = ()


NO_RUNS = Runs()


class Peers(Protocol):
    """The other nodes. All methods but `settled`, `announce` and `finished` return at once."""

    @property
    def follow_feed(self) -> bool:
        """True: subscriptions are routed and taken out when the feed says so, on every node in one order."""
        ...

    @property
    def position(self) -> int:
        """How far the feed is applied: what a plan of this moment knows of."""
        ...

    @property
    def is_elder(self) -> bool:
        """True on the one node that does what is to be done once for all."""
        ...

    @property
    def is_in_touch(self) -> bool:
        """False while the store does not answer what this node asks it all the time."""
        ...

    async def announce(self) -> None:
        """Tell the others now what they are told of this node now and then, and learn the same of them."""
        ...

    async def finished(self) -> None:
        """Return when this node waits for no other's answer, and owes none."""
        ...

    def in_force(self, result: Result, call: Call, /) -> None:
        """Call when what this result wrote holds on every node [D7]."""
        ...

    def claimed(self, claimed: Claimed, /) -> None:
        """The store gave this session to this node: from now on it is waited for that nobody else acts for it."""
        ...

    def when_settled(self, claimed: Claimed, call: Call, /) -> None:
        """Call when that is so, however long it takes: before, the store must not take this node's name off it."""
        ...

    def is_evicted(self, client_id: str, epoch: int, /) -> bool:
        """True if the session that this node claimed under `epoch` was claimed by another since."""
        ...

    async def settled(self, claimed: Claimed, /) -> bool:
        """Wait until the session's previous owner has let go, and what was sent to it here before has been read.

        False: it was claimed by yet another node meanwhile. Raises TimeoutError.
        """
        ...

    def keeps(self, session: "LiveSession", /) -> bool:
        """True if it is this node's business to write what a policy changed of this session."""
        ...

    def forwards(self, receivers: Iterable[Receiver], /) -> tuple[Forward, ...]:
        """Copies that other nodes must have before the message is acknowledged: QoS 1 and 2 for transient sessions."""
        ...

    def post(self, message: Message, receivers: Iterable[Receiver]) -> None:
        """Send QoS 0 copies to receivers that are connected elsewhere. Nothing is promised."""
        ...

    def post_shared(self, message: Message, key: tuple[str, str], client_id: str, subscription: "Subscription") -> None:
        """The same for one member of a shared subscription that is connected elsewhere."""
        ...

    @property
    def changes(self) -> int:
        """Grows with whatever `runs` goes by, but for sessions and subscriptions."""
        ...

    def press(self, receivers: Iterable[Receiver], /) -> None:
        """Something is on its way to these: whoever sends it pauses if an inbox on that way is crowded.

        `forwards`, `post` and `post_runs` do the same for theirs.
        """
        ...

    def runs(self, message: Message, receivers: Iterable[Receiver], /) -> "Runs | None":
        """How runs of this flow reach receivers elsewhere. None: one by one, for there is a node that reads no runs.

        `message` is each message of the flow but for its payload, which is empty.
        """
        ...

    def post_runs(self, posts: Iterable[RunForward], payloads: Sequence[bytes], /) -> None:
        """Send QoS 0 copies of a run, as `post`. The payloads are all of one length."""
        ...

    def nodes_of(self, client_ids: Iterable[str], /) -> tuple[str, ...]:
        """The other nodes that some of these clients are connected to."""
        ...

    def reference(self) -> str | None:
        """Where else a client may go, as another node tells it; None if nobody does."""
        ...

    @property
    def balance(self) -> Balance:
        """How many clients this node has beyond its share."""
        ...

    def status(self) -> dict[str, Any]:
        """For people: where this node stands among the others."""
        ...

    def totals(self) -> Sequence[Mapping[str, float]]:
        """The figures that the other nodes told of themselves last."""
        ...

    def figures(self) -> Figures:
        """For machines: the same and more."""
        ...


class Alone:
    """There is no other node: everything holds at once."""

    follow_feed = False
    position = 0
    is_elder = True
    is_in_touch = True
    changes = 0

    async def announce(self) -> None:
        """Nobody is there to be told."""

    async def finished(self) -> None:
        """Nobody is there to be waited for."""

    def in_force(self, _: Result, call: Call) -> None:
        call()

    def claimed(self, _: Claimed) -> None:
        """Nobody else has it."""

    def when_settled(self, _: Claimed, call: Call) -> None:
        call()

    def is_evicted(self, _client_id: str, _epoch: int) -> bool:
        return False

    async def settled(self, _: Claimed) -> bool:
        return True

    def keeps(self, _: "LiveSession") -> bool:
        return True

    def forwards(self, _: Iterable[Receiver]) -> tuple[Forward, ...]:
        return ()

    def post(self, message: Message, receivers: Iterable[Receiver]) -> None:
        """Nobody is connected elsewhere."""

    def post_shared(self, message: Message, key: tuple[str, str], client_id: str, subscription: "Subscription") -> None:
        """Nobody is connected elsewhere."""

    def press(self, _: Iterable[Receiver]) -> None:
        """There are no inboxes."""

    def runs(self, _message: Message, _receivers: Iterable[Receiver]) -> Runs | None:
        return NO_RUNS

    def post_runs(self, _posts: Iterable[RunForward], _payloads: Sequence[bytes]) -> None:
        """Nobody is connected elsewhere."""

    def nodes_of(self, _: Iterable[str]) -> tuple[str, ...]:
        return ()

    def reference(self) -> str | None:
        return None

    @property
    def balance(self) -> Balance:
        return Balance()  # which never knows

    def status(self) -> dict[str, Any]:
        return {}

    def totals(self) -> Sequence[Mapping[str, float]]:
        return ()

    def figures(self) -> Figures:
        return Figures()
