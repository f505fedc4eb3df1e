"""How nodes of each broker fare that are behind its policy, from one pass to the next.

Knows whose it is; does not know how it is counted (status/lag.py). After a restart the status says it.
"""

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.status.lag import lag_now, lag_told
from mqtt_operator.status.observation import Lag, Observation


class Lags:
    """For one event loop; nothing here waits."""

    def __init__(self) -> None:
        self._lags: dict[BrokerKey, Lag | None] = {}

    def look(self, key: BrokerKey, seen: Observation, status: Manifest) -> Lag | None:
        """As it is now, and remembered. `status`: of the broker, as it stands."""
        before = self._lags[key] if key in self._lags else lag_told(status)
        now = self._lags[key] = lag_now(seen, before)
        return now

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone."""
        self._lags.pop(key, None)
