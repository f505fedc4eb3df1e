"""Two nodes that are fed the same bytes: one with the fast lane, one that takes the slow road for every packet.

Knows how to switch the lane off and what an effect is; does not know what a right answer is, nor how clients behave.
Effects are compared connection by connection: what was published to it, what else it was sent, and whether it was
closed; and node by node: counters and log lines. Three differences are by design, and left out of the comparison:

- The lane acknowledges a run and then forwards it, the slow road does both for each message. So on a connection that
  publishes to itself acknowledgements and messages may stand in another order towards each other; each kind keeps its
  own order, which is all that MQTT asks for (MQTT 5.0, 4.6).
- The lane sends topic names in full, the slow road uses topic aliases where the receiver takes them. Both are the
  server's choice (MQTT 5.0, 3.3.2.3.4); compared is the topic that the receiver understands.
- A message that waits for the store may come before or after one of QoS 0 that was published later. Messages of
  QoS 0 have an order among themselves, and those of QoS 1 and 2 have one (MQTT 5.0, 4.6): these two are compared.
"""

import difflib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from msgspec.structs import replace

from mqtt_api.node_settings import MQTTSettings
from mqtt_api.policy import Policy
from mqtt_broker.node import client as client_module
from mqtt_broker.node import policy_feed
from mqtt_broker.node.counters import all_packets
from mqtt_broker.node.fastlane import FastLane
from mqtt_broker.node.flows import publish as publish_flow
from mqtt_broker.node.hub import Hub
from mqtt_broker.wire.packets import NO_PROPERTIES, Packet, Publish
from support.inprocess import InProcessClient, InProcessNode

_LOGGER = logging.getLogger("mqtt_broker")
_NOT_COMPARED = ("bytes_sent", "dropped", "other_packets_received", "other_packets_sent")  # by themselves


def _misses(lane: FastLane, data: bytes, position: int) -> int:
    return position


def _misses_alone(lane: FastLane, data: bytes) -> bool:
    return False


class Seen:
    """What one connection was sent in one step."""

    def __init__(self) -> None:
        self.publishes: list[Publish] = []
        self.others: list[Packet] = []
        self.is_closed = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return "\n".join(["closed" if self.is_closed else "open", *map(_short, [*self.publishes, *self.others])])

    __hash__ = None  # type: ignore[assignment]


class Road(logging.Handler):
    """One node and its connections by client id. Everything it does happens inside `at_work`."""

    def __init__(
        self,
        mqtt: MQTTSettings,
        policy: Policy,
        *,
        has_lane: bool,
        gathers_writes: bool,
        configure: Callable[[Hub], None],
    ) -> None:
        super().__init__(logging.INFO)
        self.has_lane = has_lane
        self.gathers_writes = gathers_writes
        self.node = InProcessNode(mqtt, policy, configure)
        self.wires: dict[str, InProcessClient] = {}
        self.slow_publishes = 0
        self._aliases: dict[InProcessClient, dict[int, str]] = {}
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """With the lane or without it; its log lines are noted and its slow publishes counted."""
        on_publish = publish_flow.on_publish

        def counted(*args: Any) -> None:
            self.slow_publishes += 1
            on_publish(*args)

        level, propagate = _LOGGER.level, _LOGGER.propagate
        _LOGGER.setLevel(logging.INFO)
        _LOGGER.propagate = False
        _LOGGER.addHandler(self)
        try:
            with (
                mock.patch.object(publish_flow, "on_publish", counted),
                mock.patch.object(client_module, "gathers_writes", return_value=self.gathers_writes),
            ):
                if self.has_lane:
                    yield
                else:
                    with (
                        mock.patch.object(FastLane, "run", _misses),
                        mock.patch.object(FastLane, "run_alone", _misses_alone),
                    ):
                        yield
        finally:
            _LOGGER.removeHandler(self)
            _LOGGER.setLevel(level)
            _LOGGER.propagate = propagate

    def stall(self, client_id: str) -> None:
        """The receiver reads nothing from now on, and its write buffer is full at once."""
        wire = self.wires[client_id]
        wire.transport.stall()
        wire.connection.pause_writing()

    def resume(self, client_id: str) -> None:
        wire = self.wires[client_id]
        self.in_loop(wire.transport.resume)
        self.in_loop(wire.connection.resume_writing)

    def apply(self, policy: Policy) -> None:
        self.in_loop(lambda: policy_feed.apply(self.node.hub, policy))

    def in_loop(self, call: Callable[[], None]) -> None:
        """As a callback of the node's loop."""
        self.node.loop.call_soon(call)
        self.node.turns(1)

    def seen(self, client_id: str) -> Seen:
        """What this connection was sent since the last call."""
        wire = self.wires[client_id]
        aliases = self._aliases.setdefault(wire, {})
        seen = Seen()
        for packet in self.node.output(wire):
            if isinstance(packet, Publish):
                seen.publishes.append(_resolved(packet, aliases))
            else:
                seen.others.append(packet)
        seen.publishes.sort(key=lambda packet: packet.qos > 0)  # each of the two in its order
        seen.is_closed = wire.is_closed
        return seen

    def totals(self) -> dict[str, object]:
        """Every counter but bytes sent, which aliases change, and what lies in memory."""
        hub, counters = self.node.hub, self.node.hub.counters
        totals: dict[str, object] = {
            name: getattr(counters, name) for name in counters.__slots__ if name not in _NOT_COMPARED
        }
        packets = all_packets(counters, [client.connection for client in hub.all_connections])
        return {**totals, **dict(counters.dropped.items()), "packets": packets, "buffered_bytes": hub.buffered_bytes}

    def lines(self) -> list[str]:
        """The log lines since the last call."""
        lines, self._lines = self._lines, []
        return lines


def _short(packet: Packet) -> str:
    """What of it is not empty."""
    fields = {name: getattr(packet, name) for name in packet.__struct_fields__}
    properties = fields.pop("properties", NO_PROPERTIES)
    fields |= {name: getattr(properties, name) for name in properties.__struct_fields__}
    return f"{type(packet).__name__} { ({name: value for name, value in fields.items() if value}) }"


def _difference(one: Seen, other: Seen) -> str:
    return "\n".join(difflib.ndiff(repr(one).splitlines(), repr(other).splitlines()))


def _resolved(packet: Publish, aliases: dict[int, str]) -> Publish:
    alias = packet.properties.topic_alias
    if alias is None:
        return packet
    if packet.topic:
        aliases[alias] = packet.topic
    return replace(packet, topic=aliases[alias], properties=replace(packet.properties, topic_alias=None))


class TwoRoads:
    """Does everything twice, and demands equal effects. `close` when done.

    `gathers_writes`: the transports on the lane's side do that, as those of uvloop do.
    """

    def __init__(
        self,
        mqtt: MQTTSettings,
        policy: Policy,
        configure: Callable[[Hub], None] = lambda _: None,
        *,
        gathers_writes: bool = False,
    ) -> None:
        self.lane = Road(mqtt, policy, has_lane=True, gathers_writes=gathers_writes, configure=configure)
        self.slow = Road(mqtt, policy, has_lane=False, gathers_writes=False, configure=configure)

    @property
    def carried(self) -> int:
        """Messages that the lane took."""
        return self.lane.node.hub.counters.messages_received - self.lane.slow_publishes

    def both(self, call: Callable[[Road], None]) -> None:
        for road in (self.lane, self.slow):
            with road.at_work():
                call(road)

    def open(self, client_id: str) -> None:
        """A new connection under this name; the one before it is not looked at any more."""

        def open_on(road: Road) -> None:
            road.wires[client_id] = road.node.open()

        self.both(open_on)

    def feed(self, client_id: str, *reads: bytes, turns: int = 0) -> None:
        """Each of `reads` as the client's next one, and that many turns of the loop after each."""

        def feed_on(road: Road) -> None:
            for data in reads:
                road.node.feed(road.wires[client_id], data)
                road.node.turns(turns)

        self.both(feed_on)

    def lag(self, turns: int) -> None:
        """The store answers so many turns later from now on."""

        def lag_on(road: Road) -> None:
            road.node.loop.executor_lag_turns = turns

        self.both(lag_on)

    def settle(self, seconds: float = 0.0) -> dict[str, Seen]:
        """Let time pass and the nodes come to rest, compare, and return what each connection was sent."""
        self.both(lambda road: road.node.advance(seconds))
        seen = {client_id: self.lane.seen(client_id) for client_id in self.lane.wires}
        for client_id, by_lane in seen.items():
            by_slow = self.slow.seen(client_id)
            assert by_lane == by_slow, f"to {client_id}, lane and slow road:\n{_difference(by_lane, by_slow)}"
        assert self.lane.totals() == self.slow.totals()
        assert self.lane.lines() == self.slow.lines()
        return seen

    def close(self) -> None:
        try:
            self.lane.node.close()
        finally:
            self.slow.node.close()
