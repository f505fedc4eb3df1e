"""Which faults hit something: messages that were acknowledged to their publisher and not yet at their receivers.

Pure. A fault that strikes an idle cluster proves nothing, so it does not count.
"""

from bisect import bisect_left, bisect_right
from collections import Counter

from msgspec import Struct

from cluster.chaos.history import History
from cluster.chaos.invariants.no_loss import debts


class Tally(Struct, frozen=True):
    """How often a kind of fault struck, how often it hit, and the messages in flight when it did, at most."""

    struck: int
    hit: int
    in_flight_max: int


def tally(history: History) -> dict[str, Tally]:
    """By kind of fault."""
    begins, ends = _flights(history)
    struck: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for fault in history.faults:
        in_flight = bisect_right(begins, fault.began_at) - bisect_left(ends, fault.began_at)
        struck[fault.kind] += 1
        hit[fault.kind] += in_flight > 0
        most[fault.kind] = max(most[fault.kind], in_flight)
    return {kind: Tally(count, hit[kind], most[kind]) for kind, count in sorted(struck.items())}


def _flights(history: History) -> tuple[list[float], list[float]]:
    """When acknowledged messages began and ceased to be on their way, each sorted: one flight per receiver."""
    begins: list[float] = []
    ends: list[float] = []
    for message, receivers in debts(history):
        arrived_at = min(history.first_receipt(client, message.name) for client in receivers)
        if arrived_at > message.acked_at:
            begins.append(message.acked_at)
            ends.append(arrived_at)
    return sorted(begins), sorted(ends)
