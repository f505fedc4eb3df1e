"""Health, status and metrics of one node, over HTTP on a Unix socket that only its owner can open.

Reads; never changes anything. No client id, user name or topic is ever a label.
"""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mqtt_broker.node.hub import Hub
from mqtt_broker.node.listener import Listener

log = logging.getLogger("mqtt_broker.admin")

SOCKET_MODE = 0o600


class Admin:
    """`/livez`, `/readyz`, `/status` and `/metrics`."""

    def __init__(self, hub: Hub, listeners: Callable[[], list[Listener]], lacks_listeners: Callable[[], bool]) -> None:
        """`lacks_listeners`: True while one is not as declared."""
        self._hub = hub
        self._listeners = listeners
        self._lacks_listeners = lacks_listeners
        self._registry = CollectorRegistry()
        self._registry.register(_NodeCollector(hub, listeners))
        application = web.Application()
        application.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/status", self._status),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self, path: str) -> None:
        """Serve on the Unix socket at `path`, replacing a stale one. Raises OSError if it cannot be made."""
        await self._runner.setup()
        await web.SockSite(self._runner, _private_socket(Path(path))).start()

    async def close(self) -> None:
        await self._runner.cleanup()

    @property
    def is_ready(self) -> bool:
        """True if new clients are served as declared: policy, store and listeners are there, nobody drains."""
        hub = self._hub
        if self._lacks_listeners():
            return False
        return hub.policy is not None and hub.pump.available and not hub.draining and not hub.fenced.is_set()

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n") if self.is_ready else web.Response(status=503, text="not ready\n")

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(self.status())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), content_type="text/plain", charset="utf-8")

    def status(self) -> dict[str, Any]:
        """What `stoa up` shows: totals since the start, and what each listener serves."""
        hub, counters = self._hub, self._hub.counters
        return {
            "node": hub.settings.node,
            "ready": self.is_ready,
            "policy_revision": hub.revision,
            "store_available": hub.pump.available,
            "connections": len(hub.connections),
            "sessions": len(hub.sessions),
            "subscriptions": len(hub.tree),
            "retained": len(hub.retained),
            "messages_received": counters.messages_received,
            "messages_sent": counters.messages_sent,
            "messages_dropped": counters.messages_dropped,
            "dropped": counters.dropped,
            "denials": counters.denials,
            "overload_level": hub.overload.level,
            "listeners": {
                listener.name: {
                    "port": listener.port,
                    "connections": len(listener.connections),
                    "serial": None if listener.tls is None else listener.tls.serial,
                    "not_after": None if listener.tls is None else listener.tls.not_after.isoformat(),
                }
                for listener in self._listeners()
            },
        }


def _private_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    path.chmod(SOCKET_MODE)
    return server


class _NodeCollector(Collector):
    """Turns the node's plain integers into metrics when somebody asks."""

    def __init__(self, hub: Hub, listeners: Callable[[], list[Listener]]) -> None:
        self._hub = hub
        self._listeners = listeners
        self._started_at = time.time()

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry must not collect before the node runs."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._totals()
        yield from self._levels()

    def _totals(self) -> Iterator[Metric]:
        counters = self._hub.counters
        for name, text, value in (
            ("stoa_bytes_received", "Bytes read from clients", counters.bytes_received),
            ("stoa_bytes_sent", "Bytes written to clients", counters.bytes_sent),
            ("stoa_connections_accepted", "CONNECTs answered with success", counters.connections_accepted),
            ("stoa_connections_refused", "Connections refused", counters.connections_refused),
            ("stoa_authentication_failures", "CONNECTs with a wrong or missing credential", counters.auth_failures),
            ("stoa_tls_failures", "TLS handshakes that failed", counters.tls_failures),
            ("stoa_protocol_violations", "Connections ended because the peer broke the protocol", counters.violations),
            ("stoa_messages_received", "PUBLISH packets received", counters.messages_received),
            ("stoa_messages_sent", "PUBLISH packets sent", counters.messages_sent),
            ("stoa_denials", "Publishes, subscriptions and wills denied by the policy", counters.denials),
            ("stoa_store_failures", "Calls that the store did not answer", self._hub.pump.failures),
        ):
            yield CounterMetricFamily(name, text, value=value)
        dropped = CounterMetricFamily("stoa_messages_dropped", "Messages dropped, by reason", labels=["reason"])
        for reason, count in counters.dropped.items():
            dropped.add_metric([reason], count)
        yield dropped

    def _levels(self) -> Iterator[Metric]:
        hub = self._hub
        for name, text, value in (
            ("stoa_connections", "Clients connected", len(hub.connections)),
            ("stoa_sessions", "Sessions known to this node", len(hub.sessions)),
            ("stoa_subscriptions", "Subscriptions that are not muted", len(hub.tree)),
            ("stoa_retained_messages", "Topics with a retained message", len(hub.retained)),
            ("stoa_overload_level", "What is shed: 0 nothing ... 3 subscriptions", hub.overload.level),
            ("stoa_buffered_bytes", "Message bytes waiting in memory for receivers", hub.buffered_bytes),
            ("stoa_policy_revision", "Policy revision in force, -1 before the first", hub.revision),
            ("stoa_store_available", "1 if the store answers", int(hub.pump.available)),
            ("stoa_process_start_time_seconds", "Start of the process, seconds since the epoch", self._started_at),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        expiry = GaugeMetricFamily(
            "stoa_certificate_not_after_seconds", "End of the served certificate's validity", labels=["listener"]
        )
        for listener in self._listeners():
            if listener.tls is not None:
                expiry.add_metric([listener.name], listener.tls.not_after.timestamp())
        yield expiry
