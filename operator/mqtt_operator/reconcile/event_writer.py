"""Events about clients and permissions: never more than a few, and nobody waits for them.

Knows how many are written, and that the others are left out: ten thousand objects may have news at one time, and the
status of each says the same. Does not know what is worth one (member_events.py).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import EventType, Kube
from mqtt_operator.reconcile.events import Said
from mqtt_operator.reconcile.keys import ObjectKey

log = logging.getLogger(__name__)

BURST_EVENTS_MAX = 100  # of each type, at once; so many wait at most while the API server is away
EVENT_S = 1.0  # after that, one of each type in this time
COMPLAINT_S = 600.0  # between two lines about events that were left out


class _Allowance(Struct):
    """How many may be told at `at`, in seconds of the clock."""

    at: float
    events: float = BURST_EVENTS_MAX

    def take(self, now: float) -> bool:
        self.events = min(self.events + (now - self.at) / EVENT_S, BURST_EVENTS_MAX)
        self.at = now
        if self.events < 1:
            return False
        self.events -= 1
        return True


class EventWriter:
    """One for the process. `run` it until it is cancelled; `tell` may be called before. `clock` in seconds."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        # Warnings have an allowance of their own: what is made at a first start must not use it up.
        self._allowances = {each: _Allowance(clock()) for each in EventType}
        self._waiting: deque[tuple[Manifest, Said]] = deque()
        self._more = asyncio.Event()
        self._complained_at = float("-inf")

    def tell(self, kind: Kind, key: ObjectKey, uid: str, said: Said) -> None:
        """Say this of that object soon, or leave it out. Never waits, never fails."""
        now = self._clock()
        if not self._allowances[said.type].take(now) or len(self._waiting) >= BURST_EVENTS_MAX * len(EventType):
            self._complain(now)
            return
        metadata = {"namespace": key.namespace, "name": key.name, "uid": uid}
        self._waiting.append(({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}, said))
        self._more.set()

    @property
    def waiting(self) -> int:
        """How many are to be written."""
        return len(self._waiting)

    async def run(self) -> None:
        while True:
            while self._waiting:
                about, said = self._waiting[0]
                await self._kube.event(about, said.type, said.reason, said.message)
                self._waiting.popleft()
            self._more.clear()
            await self._more.wait()

    def _complain(self, now: float) -> None:
        if now - self._complained_at >= COMPLAINT_S:
            self._complained_at = now
            log.warning(
                "More than %d clients and permissions have news at once: events about others are left out. The status "
                "of each says the same.",
                BURST_EVENTS_MAX,
                extra={"event": "events.left_out"},
            )
