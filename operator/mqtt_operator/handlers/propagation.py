"""How long a policy takes to reach the last node.

Knows reports of how far a policy has come; does not know how it gets there. For metrics only.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from mqtt_operator.reconcile.exchange import Exchange, PolicyReport
from mqtt_operator.reconcile.keys import BrokerKey


class _OnItsWay(NamedTuple):
    revision: int
    since: float


class Propagation:
    """Watches one broker. `start` it; the function that it returns stops it."""

    def __init__(
        self,
        exchange: Exchange,
        key: BrokerKey,
        arrived: Callable[[float], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exchange = exchange
        self._key = key
        self._arrived = arrived
        self._clock = clock
        self._known = -1
        self._on_its_way: _OnItsWay | None = None

    def start(self) -> Callable[[], None]:
        """What is in force already is not measured: nobody knows since when."""
        self._known = self._exchange.report(self._key).revision
        return self._exchange.on_report(self._key, self._look)

    def _look(self) -> None:
        report = self._exchange.report(self._key)
        if report.revision != self._known:
            # The first revision that is heard of may have been in force before we began.
            is_new = self._known >= 0
            self._known = report.revision
            self._on_its_way = _OnItsWay(report.revision, self._clock()) if is_new else None
        if self._on_its_way is not None and _is_everywhere(report):
            self._arrived(self._clock() - self._on_its_way.since)
            self._on_its_way = None


def _is_everywhere(report: PolicyReport) -> bool:
    return 0 < report.nodes_total == report.nodes_current
