"""The node's figures as Prometheus metrics, made when somebody asks: docs/metrics.md is the list.

Base units, `_total` behind what only grows (the library puts it there). No client id, user name, address or topic is
ever a label: listeners and reasons are few and none of a client's choosing.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mqtt_broker.node import readings
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.listener import Listener
from mqtt_broker.store.ports import Kept

_PAUSES = {"rate": "rate", "receivers": "receivers", "order": "store", "turn": "turn"}  # counters' name, operators'


class NodeCollector(Collector):
    """Turns the node's plain integers into metrics. `kept` is for the caller to set before each scrape."""

    def __init__(self, hub: Hub, listeners: Callable[[], list[Listener]]) -> None:
        self._hub = hub
        self._listeners = listeners
        self.kept: Kept | None = None

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry must not collect before the node runs."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._traffic()
        yield from self._connections()
        yield from self._refusals()
        yield from self._levels()
        yield from self._store()
        yield from self._cluster()
        yield from self._per_listener()

    def _traffic(self) -> Iterator[Metric]:
        counters, packets = self._hub.counters, readings.packets(self._hub)
        yield _total("stoa_received_bytes", "MQTT bytes read from clients", counters.bytes_received)
        yield _total("stoa_sent_bytes", "MQTT bytes written to clients", counters.bytes_sent)
        yield _total("stoa_packets_received", "Packets of every type received", packets.received)
        yield _total("stoa_packets_sent", "Packets of every type sent", packets.sent)
        yield _total("stoa_messages_received", "PUBLISH packets received", counters.messages_received)
        yield _total("stoa_messages_sent", "PUBLISH packets sent", counters.messages_sent)
        yield _total(
            "stoa_received_payload_bytes", "Payload of PUBLISH packets received", counters.payload_bytes_received
        )
        yield _total("stoa_sent_payload_bytes", "Payload of PUBLISH packets sent", counters.payload_bytes_sent)
        yield _totals(
            "stoa_messages_dropped",
            "Copies of messages that a receiver does not get",
            "reason",
            counters.dropped.items(),
        )
        yield _totals(
            "stoa_reading_pauses",
            "Times that a client was not read for a while",
            "reason",
            [(_PAUSES[why], count) for why, count in counters.pauses.items()],
        )

    def _connections(self) -> Iterator[Metric]:
        counters = self._hub.counters
        yield _total("stoa_connections_opened", "Sockets accepted", counters.connections_opened)
        yield _total(
            "stoa_connections_delayed",
            "Sockets that waited for their listener's connection rate",
            counters.connections_delayed,
        )
        yield _total("stoa_connects_received", "CONNECT packets received", counters.connects_received)
        yield _total("stoa_connections_accepted", "CONNECTs answered with success", counters.connections_accepted)
        yield _total("stoa_sessions_expired", "Sessions that ended because of their age", counters.sessions_expired)

    def _refusals(self) -> Iterator[Metric]:
        counters = self._hub.counters
        yield _total(
            "stoa_connections_refused",
            "Connections refused: listener full, PROXY header missing, CONNECT answered with an error",
            counters.connections_refused,
        )
        yield _total(
            "stoa_authentication_failures", "CONNECTs with a wrong or missing credential", counters.auth_failures
        )
        yield _total("stoa_tls_failures", "TLS handshakes that failed", counters.tls_failures)
        yield _total(
            "stoa_protocol_violations", "Connections ended because the peer broke the protocol", counters.violations
        )
        yield _total("stoa_denials", "Publishes, subscriptions and wills denied", counters.denials)

    def _levels(self) -> Iterator[Metric]:
        hub = self._hub
        build = GaugeMetricFamily("stoa_build_info", "1; the release is the label", labels=["version"])
        build.add_metric([readings.release()], 1)
        yield build
        yield _level("stoa_connections", "Clients connected", len(hub.connections))
        yield _level("stoa_sessions", "Sessions known to this node", len(hub.sessions))
        yield _level("stoa_subscriptions", "Subscriptions that are not muted", len(hub.tree))
        yield _level("stoa_shared_subscriptions", "Those of them that are shared", hub.tree.shared_count)
        yield _level("stoa_retained_messages", "Topics with a retained message", len(hub.retained))
        yield _level("stoa_buffered_bytes", "Message bytes waiting in memory for receivers", hub.buffered_bytes)
        yield _level("stoa_overload_level", "What is shed: 0 nothing to 3 subscriptions too", hub.overload.level)
        yield _level("stoa_policy_revision", "Policy revision in force, -1 before the first", hub.revision)

    def _store(self) -> Iterator[Metric]:
        pump, kept, in_touch = self._hub.pump, self.kept, self._hub.peers.is_in_touch
        yield _level("stoa_store_available", "1 if the store answers", int(pump.available and in_touch))
        yield _level("stoa_store_operations_waiting", "Operations not yet given to the store", pump.depth)
        yield _total("stoa_store_failures", "Calls that the store did not answer", pump.failures)
        yield _total("stoa_store_calls", "Batches of operations that it answered", pump.calls)
        yield _total("stoa_store_call_seconds", "How long these took, together", pump.call_s)
        if kept is not None:
            yield _level("stoa_store_messages", "Messages in queues and retained messages", kept.messages)
            yield _level("stoa_store_message_bytes", "Their size", kept.bytes)

    def _cluster(self) -> Iterator[Metric]:
        figures = self._hub.peers.figures()
        yield _level(
            "stoa_lease_remaining_seconds",
            "How long this node may act without the store; +Inf for a node alone",
            figures.lease_remaining_s,
        )
        yield _level("stoa_lease_renewal_seconds", "How long the last renewal took", figures.lease_renewal_s)
        yield _level("stoa_frozen", "1 while the lease has run out", int(self._hub.is_frozen))
        yield _total("stoa_nodes_fenced", "Other nodes that this one has fenced", figures.fenced_others)
        yield _level("stoa_feed_lag", "Feed entries that the slowest node has not applied", figures.feed_lag)
        yield _total("stoa_barrier_waits", "Answers that waited until all nodes were told", figures.barrier_waits)
        yield _total("stoa_barrier_wait_seconds", "How long these waited, together", figures.barrier_wait_s)

    def _per_listener(self) -> Iterator[Metric]:
        connections = GaugeMetricFamily("stoa_listener_connections", "Connections open", labels=["listener"])
        maximum = GaugeMetricFamily("stoa_listener_connections_max", "Connections it takes", labels=["listener"])
        expiry = GaugeMetricFamily(
            "stoa_certificate_not_after_timestamp_seconds",
            "End of the served certificate's validity, since the epoch",
            labels=["listener"],
        )
        for listener in self._listeners():
            connections.add_metric([listener.name], len(listener.connections))
            maximum.add_metric([listener.name], listener.settings.max_connections)
            if listener.tls is not None:
                expiry.add_metric([listener.name], listener.tls.not_after.timestamp())
        yield from (connections, maximum, expiry)


def _total(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _level(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _totals(name: str, text: str, label: str, values: Iterable[tuple[str, int]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values:
        family.add_metric([value], count)
    return family
