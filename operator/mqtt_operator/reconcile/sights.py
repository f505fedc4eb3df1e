"""What was made for each broker as it was last looked at, for as long as nothing says that it changed.

Knows when to look again; does not know what is seen. The registry wakes whoever works on a broker and tells nothing; so
each pass could look at everything, and fifty brokers at rest would keep an API server busy.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.observe import Found
from mqtt_operator.reconcile.registry import Concern, Registry

LOOK_AGAIN_AFTER = timedelta(minutes=5)  # an object that lost its labels wakes nobody


class Sights:
    """For one event loop."""

    def __init__(self, registry: Registry, look_again_after: timedelta = LOOK_AGAIN_AFTER) -> None:
        self._registry = registry
        self._look_again_after = look_again_after
        self._found: dict[BrokerKey, tuple[Found, datetime]] = {}
        self._changes: Counter[BrokerKey] = Counter()
        self._stops: dict[BrokerKey, Callable[[], None]] = {}

    async def look(self, key: BrokerKey, now: datetime, observe: Callable[[], Awaitable[Found]]) -> Found:
        """What `observe` found the last time, or finds now. What it raises changes nothing."""
        if key not in self._stops:
            concerns = Concern.CHILDREN | Concern.DATA | Concern.BROKER
            self._stops[key] = self._registry.listen(key, concerns, lambda: self.spoil(key))
        known = self._found.get(key)
        if known is not None and now < known[1] + self._look_again_after:
            return known[0]
        changes = self._changes[key]
        found = await observe()
        if changes == self._changes[key]:  # else nobody knows whether it was seen before or after the change
            self._found[key] = (found, now)
        return found

    def spoil(self, key: BrokerKey) -> None:
        """Something has changed: look again."""
        self._changes[key] += 1
        self._found.pop(key, None)

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone."""
        self.spoil(key)
        self._changes.pop(key)
        if key in self._stops:
            self._stops.pop(key)()
