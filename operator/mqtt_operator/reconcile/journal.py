"""Which objects of a broker are others than before: so that a pass over ten thousand looks at the few that changed.

Knows names; does not know what changed about them. Bounded by what there is: a name stands in it once.
"""

from typing import NamedTuple

from mqtt_operator.reconcile.keys import BrokerKey, DataKey, ObjectKey


class Changes(NamedTuple):
    """Those that came, went, or were seen anew, if only with another status."""

    clients: set[ObjectKey]
    permissions: set[ObjectKey]
    data: set[DataKey]


class Journal:
    """For one reader for each broker."""

    def __init__(self) -> None:
        self._of: dict[BrokerKey, Changes] = {}

    def of(self, broker: BrokerKey) -> Changes:
        """To be added to."""
        changes = self._of.get(broker)
        if changes is None:
            changes = self._of[broker] = Changes(set(), set(), set())
        return changes

    def take(self, broker: BrokerKey) -> Changes:
        """What changed since this was called last, or ever. It is the caller's from now on."""
        return self._of.pop(broker, None) or Changes(set(), set(), set())
