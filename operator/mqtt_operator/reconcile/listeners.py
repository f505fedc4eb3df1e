"""Who wants to hear of what about which broker.

Knows brokers by name and kinds of news; does not know what the news is.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import Flag, auto

from mqtt_operator.reconcile.keys import BrokerKey

Wake = Callable[[], None]


class Concern(Flag):
    """What about a broker somebody wants to hear of."""

    BROKER = auto()
    """The MQTTBroker itself, but not its status; that another one came or went."""
    MEMBERS = auto()
    """MQTTClients and TopicPermissions that name it, but not their status."""
    DATA = auto()
    """Secrets and ConfigMaps that it or one of its clients names, or that are made for it."""
    CHILDREN = auto()
    """Everything else that is made for it or its clients, pods included."""
    NAMESPACES = auto()
    """The labels of namespaces."""


class Listeners:
    """Wakes those concerned, in the order in which they came. A wake-up must not wait or raise."""

    def __init__(self) -> None:
        self._entries: defaultdict[BrokerKey, list[tuple[Concern, Wake]]] = defaultdict(list)

    @property
    def brokers(self) -> Iterable[BrokerKey]:
        """Those that somebody listens to."""
        return self._entries.keys()

    def add(self, key: BrokerKey, concerns: Concern, wake: Wake) -> Callable[[], None]:
        """Listen, until the returned function is called."""
        entry = (concerns, wake)
        self._entries[key].append(entry)

        def stop() -> None:
            entries = self._entries.get(key, [])
            if entry in entries:
                entries.remove(entry)
            if not entries:
                self._entries.pop(key, None)

        return stop

    def wake(self, key: BrokerKey, concern: Concern) -> None:
        """Something happened about this broker."""
        for concerns, wake in tuple(self._entries.get(key, ())):
            if concern & concerns:
                wake()

    def wake_all(self, concern: Concern) -> None:
        """Something happened that may be about any broker."""
        for key in tuple(self._entries):
            self.wake(key, concern)
