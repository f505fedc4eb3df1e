"""Topic aliases: a number that stands for a topic name on one connection, in one direction (MQTT 5.0, 3.3.2.3.4).

Knows numbers and names; does not know whole packets, permissions or who reads them. A mapping lives as long as its
network connection and is never shared with another one [MQTT-3.3.2-7].
"""

from msgspec.structs import replace

from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import NO_PROPERTIES, Properties
from mqtt_broker.wire.reasons import ReasonCode

ALIAS_PROPERTY_BYTES = 3  # identifier and two bytes of number: a name not longer than that gains nothing


class InboundAliases:
    """What the client's aliases stand for. Holds at most `alias_maximum` names.

    `changes` grows whenever an alias comes to stand for another name.
    """

    __slots__ = ("_alias_maximum", "_names", "changes")

    def __init__(self, alias_maximum: int) -> None:
        self._alias_maximum = alias_maximum
        self._names: dict[int, str] = {}
        self.changes = 0

    def known(self, alias: int) -> str | None:
        """The name the alias stands for now."""
        return self._names.get(alias)

    def resolve(self, alias: int, topic: str) -> str:
        """The topic name meant by an alias; a `topic` that is not empty sets or replaces the mapping.

        Raises Violation (0x94) for 0 [MQTT-3.3.2-8], a number above our maximum [MQTT-3.3.2-9], and an empty topic
        with an alias that was never set. The table is unchanged then.
        """
        if not 0 < alias <= self._alias_maximum:  # [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.3.2-12]
            raise Violation(ReasonCode.TOPIC_ALIAS_INVALID, f"topic alias {alias} is not in 1..{self._alias_maximum}")
        if topic:
            if self._names.get(alias) != topic:
                self._names[alias] = topic
                self.changes += 1
            return topic
        known = self._names.get(alias)
        if known is None:
            raise Violation(ReasonCode.TOPIC_ALIAS_INVALID, f"topic alias {alias} stands for nothing yet")
        return known


class OutboundAliases:
    """Numbers for the first `alias_maximum` topics that are sent to the client; later topics go without.

    First come, first served: replacing a mapping costs the full name again, so only a client whose topics change for
    good would gain from a cleverer rule.
    """

    __slots__ = ("_alias_maximum", "_numbers")

    def __init__(self, alias_maximum: int) -> None:
        self._alias_maximum = alias_maximum
        self._numbers: dict[str, int] = {}

    def known(self, topic: str) -> int | None:
        """The number that already stands for the topic at the client."""
        return self._numbers.get(topic)

    def candidate(self, topic: str) -> int | None:
        """A free number for a topic that has none, or None if it gets none. Nothing is recorded: see `commit`."""
        if len(self._numbers) >= self._alias_maximum or len(topic.encode()) <= ALIAS_PROPERTY_BYTES:
            return None
        return len(self._numbers) + 1

    def commit(self, topic: str, alias: int) -> None:
        """Record a candidate. Call it only once the packet that tells the client is queued and will not be dropped."""
        self._numbers[topic] = alias


def without_topic_alias(properties: Properties) -> Properties:
    """The properties as they matter beyond the connection; NO_PROPERTIES itself if nothing else was there."""
    rest = replace(properties, topic_alias=None)
    return NO_PROPERTIES if rest == NO_PROPERTIES else rest
