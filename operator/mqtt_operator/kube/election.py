"""One leader among several instances of the operator, by a Lease that the leader renews.

Knows Leases and the three times of leader election; does not know what a leader does. A holder that cannot renew has to
stop before anybody else may take the Lease: that is what `renew_s_max` < `lease_s` buys.

The election that comes with the client library is not used: in 37.0.2 its LeaseLock cannot create a Lease (`pretty` is
passed as a boolean, which the generated API refuses), it measures by the wall clock, writes local time as UTC, and
bounds no call, so that a hung one outlives the lease.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple

from mqtt_operator.desired.kinds import LEASE
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import ConflictError, Kube, KubeError

log = logging.getLogger(__name__)

LEASE_S = 15
RENEW_S_MAX = 10.0
RETRY_S = 2.0
ATTEMPT_S_MAX = 5.0  # so that one that hangs leaves time for another

Sleep = Callable[[float], Awaitable[None]]


class LeaseLostError(Exception):
    """We are not the leader any more, or cannot know: stop at once, others may have begun."""


class Terms(NamedTuple):
    """`lease_s`: how long a holder is believed that does not renew. `renew_s_max`: when it stops believing itself."""

    lease_s: int = LEASE_S
    renew_s_max: float = RENEW_S_MAX
    retry_s: float = RETRY_S


USUAL_TERMS = Terms()


class _Record(NamedTuple):
    """What the Lease says, and when (by our clock) we first saw it say so."""

    version: str
    holder: str
    lease_s: float
    seen_at: float
    transitions: int


class Election:
    """One candidate. `acquire`, then `hold`; `release` when everything that a leader does has ended.

    `kube` should be used by nobody else: a renewal must not wait behind other calls.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        *,
        terms: Terms = USUAL_TERMS,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._terms = terms
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._record: _Record | None = None
        self._renewed_at = 0.0
        self._term: int | None = None  # the number of our leadership, while we lead

    async def acquire(self) -> None:
        """Wait until we are the leader. What goes wrong meanwhile is logged, and tried again."""
        while not await self._attempt(ATTEMPT_S_MAX):
            await self._sleep(self._terms.retry_s)
        assert self._record is not None
        self._term = self._record.transitions
        log.info("%s leads.", self._identity, extra={"event": "lease.acquired"})

    async def hold(self) -> None:
        """Renew for as long as it can be renewed. Never returns: raises LeaseLostError, or is cancelled."""
        while True:
            await self._sleep(self._terms.retry_s)
            await self._renew()

    async def release(self) -> None:
        """Let the next one begin at once. Best effort, idempotent."""
        if self._record is None or self._term is None:
            return
        self._term = None
        try:
            await self._write("", self._record, lease_s=1)
        except (KubeError, TimeoutError) as error:
            log.warning("The lease runs out by itself: %s", error, extra={"event": "lease.release"})

    async def _renew(self) -> None:
        deadline = self._renewed_at + self._terms.renew_s_max
        while (left_s := deadline - self._clock()) > 0:
            if await self._attempt(min(ATTEMPT_S_MAX, left_s)):
                return
            if not self._is_ours(self._record):
                raise LeaseLostError("another one holds the lease")
            await self._sleep(min(self._terms.retry_s, max(deadline - self._clock(), 0.0)))
        raise LeaseLostError(f"the lease could not be renewed for {self._terms.renew_s_max:.0f} s")

    async def _attempt(self, seconds_max: float) -> bool:
        """Take or renew the Lease if that can be. False: not now."""
        started_at = self._clock()
        try:
            async with asyncio.timeout(seconds_max):
                held = await self._take()
        except ConflictError:  # somebody was quicker
            return False
        except (KubeError, TimeoutError) as error:
            log.warning("The lease cannot be reached: %s", str(error) or "no answer", extra={"event": "lease.retry"})
            return False
        if held:
            self._renewed_at = started_at  # others count from when they see it, which is later
        return held

    async def _take(self) -> bool:
        lease = await self._kube.get(LEASE, self._namespace, self._name)
        if lease is None:
            self._record = self._read(await self._kube.create(self._lease(None)))
            return True
        now = self._read(lease)
        if self._record is None or self._record.version != now.version:
            self._record = now
        record = self._record
        if self._term is not None and not self._is_ours(record):
            return False
        if record.holder not in ("", self._identity) and self._clock() - record.seen_at < record.lease_s:
            return False
        await self._write(self._identity, record, lease_s=self._terms.lease_s)
        return True

    def _is_ours(self, record: _Record | None) -> bool:
        """Held by us in this very leadership: an instance of the same name that came after us has a later term."""
        return record is not None and record.holder == self._identity and record.transitions == self._term

    async def _write(self, holder: str, record: _Record, *, lease_s: int) -> None:
        body = self._lease(record, holder=holder, lease_s=lease_s)
        written = await self._kube.patch(LEASE, self._namespace, self._name, body)
        if written is None:
            raise ConflictError("The lease is gone.")
        self._record = self._read(written)

    def _read(self, lease: Manifest) -> _Record:
        spec = lease.get("spec") or {}
        return _Record(
            version=lease["metadata"]["resourceVersion"],
            holder=spec.get("holderIdentity") or "",
            lease_s=float(spec.get("leaseDurationSeconds") or self._terms.lease_s),
            seen_at=self._clock(),
            transitions=spec.get("leaseTransitions") or 0,
        )

    def _lease(self, record: _Record | None, *, holder: str | None = None, lease_s: int | None = None) -> Manifest:
        """The Lease as it is to be. With a record it is a patch that holds for exactly that state."""
        holder = self._identity if holder is None else holder
        moment = self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": self._terms.lease_s if lease_s is None else lease_s,
            "renewTime": moment,
        }
        if self._term is None and holder:
            spec["acquireTime"] = moment
            spec["leaseTransitions"] = 1 if record is None else record.transitions + 1
        metadata = {"name": self._name, "namespace": self._namespace}
        if record is not None:
            metadata["resourceVersion"] = record.version
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}
