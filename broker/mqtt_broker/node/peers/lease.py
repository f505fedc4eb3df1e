"""Leases as seen from one node: how long the own one lasts, and whose has stood still for too long. Pure.

Knows counters and moments; does not know the store or a clock: moments come in as arguments, in seconds. Nothing here
compares the clocks of two machines: each node watches, on its own clock, whether a counter moves.
"""

from collections.abc import Iterable

from mqtt_broker.store.cluster import Lease

RENEW_S = 1.5
STOP_EARLY_S = 1.0  # the holder stops this long before anybody else may fence it


class Tenure:
    """The own lease. It counts from when a renewal was sent, for the answer may have been on its way for long [D6]."""

    def __init__(self, lease_s: float) -> None:
        self._lasts_s = lease_s - STOP_EARLY_S
        self.ends_at = float("-inf")

    def renewed(self, sent_at: float) -> None:
        self.ends_at = max(self.ends_at, sent_at + self._lasts_s)


class Watch:
    """The leases of the others: who stood still for `lease_s`, seen over one connection to the store, may be fenced."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: dict[tuple[str, int], tuple[int, float]] = {}

    def interrupted(self) -> None:
        """The store did not answer, or another server does: nobody's silence until now counts."""
        self._seen.clear()

    def overdue(self, leases: Iterable[Lease], now: float) -> list[Lease]:
        """The leases that have not moved for long enough, after taking note of these."""
        seen = {}
        overdue = []
        for lease in leases:
            key = (lease.node, lease.token)
            renewals, since = self._seen.get(key, (None, now))
            if renewals != lease.renewals:
                since = now
            elif now - since >= self._lease_s:
                overdue.append(lease)
            seen[key] = (lease.renewals, since)
        self._seen = seen
        return overdue
