"""Health, status and metrics of one node, over HTTP on a Unix socket that only its owner can open.

Reads; never changes anything. What is measured stands in metrics.py.
"""

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

from mqtt_broker.node import readings
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.listener import Listener
from mqtt_broker.node.metrics import NodeCollector

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
        self._collector = NodeCollector(hub, listeners)
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)
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
        return not self.lacks

    @property
    def lacks(self) -> str:
        """Why new clients are not served as declared, for people; "" if they are.

        A store without room is no reason: clients that take what waits for them are what makes room again.
        """
        hub = self._hub
        reasons = {
            "this node is fenced": hub.fenced.is_set(),
            "this node is leaving": hub.draining,
            "the lease has run out, and the store does not answer": hub.is_frozen,
            "the store does not answer": not (hub.peers.is_in_touch and (hub.pump.available or hub.pump.is_full)),
            "there is no policy yet": hub.policy is None,
            "a listener is not as declared": self._lacks_listeners(),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        lacks = self.lacks
        return web.Response(status=503, text=f"not ready: {lacks}\n") if lacks else web.Response(text="ok\n")

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(self.status())

    async def _metrics(self, _: web.Request) -> web.Response:
        self._collector.kept = await readings.kept(self._hub)
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def status(self) -> dict[str, Any]:
        """What `stoa up` shows: totals since the start, and what each listener serves."""
        hub, counters = self._hub, self._hub.counters
        return {
            "node": hub.settings.node,
            "ready": self.is_ready,
            "policy_revision": hub.revision,
            "store_available": hub.pump.available and hub.peers.is_in_touch,
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
            "draining": hub.draining,
            "cluster": hub.peers.status(),
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
