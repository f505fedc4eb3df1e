"""Taking over a node's name: when whoever had it cannot act any more.

Knows one name and its lease; does not know how a name is taken, or what its holder did.
"""

import asyncio
import contextlib
import logging
import time

from mqtt_broker.node.peers.lease import Watch
from mqtt_broker.store.cluster import ClusterStore

LOOK_S = 0.2

log = logging.getLogger("mqtt_broker.cluster")


async def may_take(store: ClusterStore, node: str, lease_s: float, stopped: asyncio.Event) -> None:
    """Return when nobody holds the lease of this name, or whoever does has been silent for `lease_s`.

    A node that ended without a word may as well be one that is only cut off from the store, with clients connected: it
    stops by itself, but not before its lease has run out, and until then nobody may answer for its sessions [D6].
    Returns at once if the holder lives and is in touch: to take its name ends it there and then. And when `stopped`.
    Raises StoreError.
    """
    watch, first, connected = Watch(lease_s), await store.standing(node), store.connected
    lease = first
    while lease is not None and first is not None and not stopped.is_set():
        if (lease.token, lease.renewals) != (first.token, first.renewals):
            log.warning("another process runs as %s: it ends now", node, extra={"event": "node.replaces"})
            return
        if store.connected != connected:
            watch, connected = Watch(lease_s), store.connected
        if watch.overdue([lease], time.monotonic()):
            return
        if lease is first:
            log.info("waiting until the lease of the earlier %s is over", node, extra={"event": "node.waits"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await stopped.wait()
        lease = await store.standing(node)
