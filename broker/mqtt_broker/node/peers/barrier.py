"""Who has applied the feed how far, and what waits for everybody. Pure.

Knows positions and names of nodes; does not know the store, what an entry says, or time.

A change is in force everywhere when every node that held a lease at its position has applied the feed up to there, or
is gone [D7]. Nodes come and go by the feed itself, so whoever has applied a position knows whom to wait for.
"""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count

from msgspec import Struct

Call = Callable[[], None]


class Peer(Struct, frozen=True, order=True):
    """One life of a node: a node that starts again has the same name and a higher token."""

    token: int
    node: str


class Barrier:
    """`position` is how far this node has applied the feed; calls wait until every node is that far."""

    def __init__(self, own: Peer) -> None:
        self.own = own
        self.position = 0
        self._others: dict[Peer, int] = {}
        self._waiting: list[tuple[int, int, Call]] = []
        self._order = count()

    @property
    def others(self) -> Iterable[Peer]:
        return self._others

    @property
    def is_elder(self) -> bool:
        """True on one node of the cluster, which does what is to be done once. For a moment two may believe it."""
        return all(self.own < other for other in self._others)

    def find(self, node: str) -> Peer | None:
        """The living peer of this name."""
        return next((peer for peer in self._others if peer.node == node), None)

    def lag(self) -> int:
        """How many positions the slowest node is behind this one."""
        return max((self.position - applied for applied in self._others.values()), default=0)

    def wait(self, position: int, call: Call) -> None:
        """Call when `position` is applied everywhere; at once if it is. Calls run in the order of their positions."""
        heappush(self._waiting, (position, next(self._order), call))
        self._run()

    def advance(self, position: int) -> None:
        """This node has applied the feed up to here."""
        self.position = max(self.position, position)
        self._run()

    def applied(self, peer: Peer, position: int) -> None:
        """Another node says so of itself. One that is not known (any more) is not waited for."""
        if peer in self._others and self._others[peer] < position:
            self._others[peer] = position
            self._run()

    def entered(self, peer: Peer, position: int) -> None:
        """A node serves from this position on: it applied what came before. An earlier life of it is over."""
        if peer == self.own:
            return
        for other in [other for other in self._others if other.node == peer.node and other.token < peer.token]:
            del self._others[other]
        self._others[peer] = max(position, self._others.get(peer, 0))
        self._run()

    def left(self, peer: Peer) -> None:
        self._others.pop(peer, None)
        self._run()

    def _run(self) -> None:
        reached = min((self.position, *self._others.values()))
        while self._waiting and self._waiting[0][0] <= reached:
            heappop(self._waiting)[2]()
