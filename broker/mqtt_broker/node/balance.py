"""How many connections this node has beyond its share, by figures of one age. Pure.

Knows what each node told of itself, and who has told anew; does not know leases, clients or a clock.

What the others told is up to a renewal old. Compared with the own figure of this moment every node would have too many
while clients come to all of them. So the own side of a comparison is the lowest figure that this node told in the time
in which all the others told theirs.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

SURPLUS_MIN = 10  # fewer connections than these are not worth a reconnect
COMPARISONS = 2  # in a row that must agree: what passes by itself is not worth one either


class Told(Struct, frozen=True):
    """What a node told of itself. `renewals` is another number whenever it tells anew."""

    renewals: int
    connections: int


class _Comparison(Struct, frozen=True):
    own: int
    others: tuple[int, ...]


class Balance:
    """The figures of one node, and of the others by any key that is another one for another process."""

    def __init__(self) -> None:
        self._own_least = 0
        self._renewals: Mapping[Any, int] | None = None
        self._comparisons: deque[_Comparison] = deque(maxlen=COMPARISONS)

    def note(self, own: int, others: Mapping[Any, Told]) -> None:
        """This node has told its own figure, and this is what the others, who take clients, told last."""
        before, now = self._renewals, {key: told.renewals for key, told in others.items()}
        self._own_least = min(own, self._own_least)
        if before is not None:
            if any(before.get(key) == renewals for key, renewals in now.items()):
                return
            figures = tuple([told.connections for told in others.values()])
            self._comparisons.append(_Comparison(self._own_least, figures))
        self._renewals, self._own_least = now, own

    def forget(self) -> None:
        """Connections were sent away: what was told until now proves nothing any more."""
        self._renewals = None
        self._comparisons.clear()

    def beyond(self, tolerance_percent: int) -> int | None:
        """How many connections this node has beyond its share, if that is more than the tolerance; else 0.

        0 too if they are not worth the trouble. None: there are not enough figures yet.
        """
        if len(self._comparisons) < COMPARISONS:
            return None
        return min(surplus(each.own, each.others, tolerance_percent) for each in self._comparisons)


def surplus(own: int, others: tuple[int, ...], tolerance_percent: int) -> int:
    """By one comparison."""
    if not others:
        return 0
    share = (own + sum(others)) / (len(others) + 1)
    if own <= share * (1 + tolerance_percent / 100):
        return 0
    return beyond if (beyond := int(own - share)) >= SURPLUS_MIN else 0
