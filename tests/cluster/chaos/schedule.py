"""Which faults strike when: drawn from a seed, so that the same seed strikes the same way again.

Pure. Knows names, targets and durations; does not know how a fault is done.
"""

import random
from collections.abc import Iterator

from msgspec import Struct

from cluster.chaos.faults.kind import ONE_NODE, Kind

GAP_S = (0.5, 2.0)
JOINS_SHARE = 0.3  # so many faults begin while the one before is still under way


class Planned(Struct, frozen=True):
    """`gap_s` is what passes before it strikes. `joins`: it does not wait for the end of the one before."""

    number: int
    kind: str
    target: str
    seconds: float
    gap_s: float
    joins: bool


def draw(seed: str, kinds: tuple[Kind, ...], nodes: tuple[str, ...]) -> Iterator[Planned]:
    """Without end. Every kind comes once before any comes twice."""
    chance = random.Random(seed)
    number = 0
    while True:
        for kind in chance.sample(kinds, len(kinds)):
            target = chance.choice(nodes) if kind.strikes == ONE_NODE else kind.strikes
            yield Planned(
                number,
                kind.name,
                target,
                round(chance.uniform(*kind.seconds), 2),
                round(chance.uniform(*GAP_S), 2),
                number > 0 and chance.random() < JOINS_SHARE,
            )
            number += 1
