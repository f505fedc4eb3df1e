"""Probes and metrics of the operator over HTTP.

Knows paths and what makes an instance ready; does not know how that comes about. Nothing here is secret or changes
anything.
"""

from collections.abc import Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

SHUTDOWN_S_MAX = 1.0


class Readiness:
    """What this instance still waits for, by topic. Ready when that is nothing.

    `remarks`: what a person should know though it is ready.
    """

    def __init__(self) -> None:
        self.remarks: Sequence[str] = ()
        self._waits: dict[str, str] = {}

    def wait_for(self, topic: str, sentence: str) -> None:
        """Not ready: it waits for this."""
        self._waits[topic] = sentence

    def has(self, topic: str) -> None:
        """It waits no longer for that."""
        self._waits.pop(topic, None)

    def sentences(self) -> list[str]:
        """What it waits for; empty when it is ready."""
        return list(self._waits.values())


class HealthServer:
    """/livez: the program runs. /readyz: it does its work, or stands by to. /metrics: for Prometheus."""

    def __init__(self, readiness: Readiness, metrics: CollectorRegistry) -> None:
        self._readiness = readiness
        self._metrics = metrics
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._live),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._measure),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S_MAX)

    async def start(self, host: str, port: int) -> None:
        """Listen. `host` "" = on all addresses. Raises OSError if that cannot be."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host or None, port).start()

    async def stop(self) -> None:
        """End all connections. Idempotent."""
        await self._runner.cleanup()

    async def _live(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        waits = self._readiness.sentences()
        lines = waits or ["ok", *self._readiness.remarks]
        return web.Response(text="\n".join(lines) + "\n", status=503 if waits else 200)

    async def _measure(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})
