"""Whether a rollout still moves.

Knows since when a broker's nodes look the same; does not know what they should look like. In memory: after a restart
the operator is patient anew.
"""

from collections.abc import Hashable
from datetime import datetime, timedelta

from mqtt_operator.reconcile.keys import BrokerKey

MOVES_WITHIN = timedelta(minutes=10)  # draining a full node takes most of it


class Progress:
    """For one event loop; nothing here waits."""

    def __init__(self) -> None:
        self._since: dict[BrokerKey, tuple[Hashable, datetime]] = {}

    def is_overdue(self, key: BrokerKey, looks: Hashable, now: datetime) -> bool:
        """True if it has looked like this for too long."""
        before, since = self._since.get(key, (None, now))
        if before != looks:
            self._since[key] = (looks, now)
            return False
        return now > since + MOVES_WITHIN

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone."""
        self._since.pop(key, None)
