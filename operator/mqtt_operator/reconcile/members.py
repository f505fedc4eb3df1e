"""The clients, or the permissions, by name and by the broker that they name.

Knows both ways to find one; does not know what they say.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Generic

from mqtt_operator.reconcile.keys import BrokerKey, ObjectKey
from mqtt_operator.reconcile.seen import R, Seen


class Members(Generic[R]):
    """Objects of one kind."""

    def __init__(self) -> None:
        self._all: dict[ObjectKey, Seen[R]] = {}
        self._by_broker: dict[BrokerKey, dict[ObjectKey, Seen[R]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def get(self, key: ObjectKey) -> Seen[R] | None:
        """None: there is none of this name."""
        return self._all.get(key)

    def of(self, broker: BrokerKey) -> Mapping[ObjectKey, Seen[R]]:
        """Those that name this broker: a live view."""
        return MappingProxyType(self._by_broker.get(broker, {}))

    def brokers(self) -> set[BrokerKey]:
        """Every broker that one of them names."""
        return set(self._by_broker)

    def put(self, now: Seen[R]) -> None:
        """This is how it is now."""
        self.take(now.key)
        self._all[now.key] = now
        if now.broker is not None:
            self._by_broker.setdefault(now.broker, {})[now.key] = now

    def take(self, key: ObjectKey) -> Seen[R] | None:
        """It is gone. Returns how it was, None if there was none."""
        before = self._all.pop(key, None)
        if before is not None and before.broker is not None:
            members = self._by_broker[before.broker]
            del members[key]
            if not members:
                del self._by_broker[before.broker]
        return before
