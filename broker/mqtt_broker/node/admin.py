"""Probes, status and metrics of one node, over HTTP: on a Unix socket that only its owner can open, and on a port.

Reads; never changes anything, and says nothing secret: on the port whoever gets there may ask. What is measured stands
in metrics.py, what the node says of itself in serving.py.
"""

import asyncio
import json
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

from mqtt_api.node_settings import HTTPSettings
from mqtt_broker.node import readings
from mqtt_broker.node.http_door import Answer, HTTPDoor, text
from mqtt_broker.node.metrics import NodeCollector
from mqtt_broker.node.serving import Serving


class Admin:
    """`/startupz`, `/livez`, `/readyz`, `/status` and `/metrics`.

    They are answered from `open` on, which is before the node has a store: `/livez` as long as the process answers at
    all, `/startupz` once it serves or `waits`. For a node that waits for its store a restart is no help.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._serving: Serving | None = None
        self._waits_for = ""
        self._collector: NodeCollector | None = None
        self._registry = _registry()
        self._measuring = asyncio.Lock()
        self._door = HTTPDoor(
            {
                "/startupz": self._startupz,
                "/livez": self._livez,
                "/readyz": self._readyz,
                "/status": self._status,
                "/metrics": self._metrics,
            }
        )

    async def open(self, socket: str, http: HTTPSettings | None) -> None:
        """Answer on the Unix socket at this path, and over TCP. Raises OSError if one cannot be opened."""
        if http is not None:
            await self._door.listen_tcp(http.host, http.port)
        await self._door.listen_unix(socket)

    async def close(self) -> None:
        await self._door.close()

    def waits(self, what_for: str) -> None:
        """The node has done what it can: something outside has to happen before it serves."""
        self._serving, self._waits_for = None, what_for

    def joined(self, serving: Serving) -> None:
        """The node has its store."""
        self._serving, self._waits_for = serving, ""
        self._registry = _registry()
        self._collector = NodeCollector(serving.hub, serving.listeners)
        self._registry.register(self._collector)

    @property
    def _lacks(self) -> str:
        if self._serving is None:
            return self._waits_for or "the node is starting"
        return self._serving.lacks

    async def _startupz(self) -> Answer:
        has_started = self._waits_for if self._serving is None else self._serving.has_begun
        return text("ok") if has_started else text(self._lacks, HTTPStatus.SERVICE_UNAVAILABLE)

    async def _livez(self) -> Answer:
        return text("ok")

    async def _readyz(self) -> Answer:
        lacks = self._lacks
        return text(f"not ready: {lacks}", HTTPStatus.SERVICE_UNAVAILABLE) if lacks else text("ok")

    async def _status(self) -> Answer:
        if self._serving is None:
            said = {"node": self._node, "version": readings.release(), "ready": False, "lacks": self._lacks}
            return _document(said, HTTPStatus.SERVICE_UNAVAILABLE)
        return _document(self._serving.status())

    async def _metrics(self) -> Answer:
        async with self._measuring:  # one at a time: it asks the store
            if self._serving is not None and self._collector is not None:
                self._collector.kept = await readings.kept(self._serving.hub)
            return Answer(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def _document(said: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(json.dumps(said).encode(), status, "application/json; charset=utf-8")
