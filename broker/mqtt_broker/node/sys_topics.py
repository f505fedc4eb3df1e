"""The broker's figures below $SYS: names as Mosquitto spells them, values, averages, what a new subscriber is shown.

Knows numbers and topic names; does not know where the numbers come from (sys_publisher.py), rights, or the store: these
messages are the node's own, made of what is true now, and die with it. Pure: `now` comes in.
"""

import math
from collections.abc import Mapping

from msgspec import Struct

from mqtt_broker.routing.retained import RetainedIndex
from mqtt_broker.session.message import Message

ROOT = "$SYS/broker/"
AVERAGED_OVER_MIN = (1, 5, 15)


class Figures(Struct, frozen=True, kw_only=True):
    """One reading of the node. Levels are of this moment, totals since the start.

    Bytes are those of MQTT packets, below TLS and WebSocket; payload bytes those of PUBLISH payloads alone. Packets are
    of every type, `connections_opened` counts sockets, `connects_received` CONNECTs, whatever came of them. `cluster`:
    sums over all nodes, by their names; empty if there is one.
    """

    version: str
    uptime_s: int
    clients_connected: int
    sessions: int
    sessions_expired: int
    subscriptions: int
    shared_subscriptions: int
    retained_messages: int
    kept_messages: int
    kept_bytes: int
    connections_opened: int
    connects_received: int
    packets_received: int
    packets_sent: int
    publishes_received: int
    publishes_sent: int
    publishes_dropped: int
    payload_bytes_received: int
    payload_bytes_sent: int
    bytes_received: int
    bytes_sent: int
    memory_bytes: int
    memory_bytes_max: int
    cluster: Mapping[str, int] = {}


class MovingAverage:
    """An exponentially weighted average of a total's growth per minute."""

    __slots__ = ("_total", "per_minute")

    def __init__(self) -> None:
        self._total = 0
        self.per_minute = [0.0] * len(AVERAGED_OVER_MIN)

    def update(self, total: int, elapsed_s: float) -> None:
        """`total` grew from its last value within `elapsed_s`, which is above zero."""
        rate = (total - self._total) * 60.0 / elapsed_s
        self._total = total
        for index, minutes in enumerate(AVERAGED_OVER_MIN):
            kept = math.exp(-elapsed_s / (60.0 * minutes))
            self.per_minute[index] = rate + kept * (self.per_minute[index] - rate)


class SysTopics:
    """What stands below $SYS now. Empty until the first `update`, and after `clear`."""

    def __init__(self, now: float) -> None:
        """`now`: seconds of any steady clock, when everything that is counted was zero."""
        self._messages: dict[str, Message] = {}
        self._index = RetainedIndex()
        self._averages: dict[str, MovingAverage] = {}
        self._updated_at = now
        self._clients_maximum = 0

    def __len__(self) -> int:
        return len(self._messages)

    def match(self, topic_filter: str) -> list[Message]:
        """What a new subscription to this filter is shown, in no promised order."""
        return [self._messages[topic] for topic in self._index.match(topic_filter)]

    def clear(self) -> None:
        """The topics are switched off: nothing stands there any more."""
        self._messages.clear()
        self._index = RetainedIndex()

    def update(self, figures: Figures, now: float) -> list[Message]:
        """Take a new reading. Returns the messages whose value changed: those are to be published."""
        changed = []
        for name, value in self._values(figures, now).items():
            topic, payload = ROOT + name, str(value).encode()
            known = self._messages.get(topic)
            if known is None or known.payload != payload:
                message = Message(topic=topic, payload=payload, qos=0, retain=True)
                self._messages[topic] = message
                self._index.add(topic)
                changed.append(message)
        return changed

    def _values(self, figures: Figures, now: float) -> Mapping[str, int | str]:
        self._clients_maximum = max(self._clients_maximum, figures.clients_connected)
        disconnected = figures.sessions - figures.clients_connected
        return {
            "version": f"stoa version {figures.version}",
            "uptime": f"{figures.uptime_s} seconds",
            "clients/connected": figures.clients_connected,
            "clients/active": figures.clients_connected,  # the old name, like the two below: tools still ask for them
            "clients/disconnected": disconnected,
            "clients/inactive": disconnected,
            "clients/total": figures.sessions,
            "clients/maximum": self._clients_maximum,
            "clients/expired": figures.sessions_expired,
            "subscriptions/count": figures.subscriptions,
            "shared_subscriptions/count": figures.shared_subscriptions,
            "retained messages/count": figures.retained_messages,
            "store/messages/count": figures.kept_messages,
            "store/messages/bytes": figures.kept_bytes,
            "messages/stored": figures.kept_messages,
            "messages/received": figures.packets_received,
            "messages/sent": figures.packets_sent,
            "publish/messages/received": figures.publishes_received,
            "publish/messages/sent": figures.publishes_sent,
            "publish/messages/dropped": figures.publishes_dropped,
            "publish/bytes/received": figures.payload_bytes_received,
            "publish/bytes/sent": figures.payload_bytes_sent,
            "bytes/received": figures.bytes_received,
            "bytes/sent": figures.bytes_sent,
            "heap/current": figures.memory_bytes,
            "heap/maximum": figures.memory_bytes_max,
            **{f"cluster/{name}": value for name, value in figures.cluster.items()},
            **self._loads(figures, now),
        }

    def _loads(self, figures: Figures, now: float) -> Mapping[str, str]:
        """Growth per minute, averaged since the last reading."""
        totals = {
            "load/connections": figures.connects_received,
            "load/sockets": figures.connections_opened,
            "load/messages/received": figures.packets_received,
            "load/messages/sent": figures.packets_sent,
            "load/publish/received": figures.publishes_received,
            "load/publish/sent": figures.publishes_sent,
            "load/publish/dropped": figures.publishes_dropped,
            "load/bytes/received": figures.bytes_received,
            "load/bytes/sent": figures.bytes_sent,
        }
        loads = {}
        for name, total in totals.items():
            average = self._averages.setdefault(name, MovingAverage())
            if now > self._updated_at:
                average.update(total, now - self._updated_at)
            for minutes, per_minute in zip(AVERAGED_OVER_MIN, average.per_minute, strict=True):
                loads[f"{name}/{minutes}min"] = f"{per_minute:.2f}"
        self._updated_at = now
        return loads
