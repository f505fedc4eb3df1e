"""What the node knows of itself where a plain counter does not say it: memory, release, packets, what the store holds.

Reads; knows neither topics nor metrics' names.
"""

import asyncio
import resource
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mqtt_broker.node.counters import Packets, all_packets
from mqtt_broker.node.hub import Hub
from mqtt_broker.store.ports import Kept, StoreUnavailable

DISTRIBUTION = "stoa-mqtt"
KEPT_S_MAX = 1.0  # a figure is not worth a longer wait for the store

_STATM = Path("/proc/self/statm")
_MAXIMUM_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # of getrusage's ru_maxrss


def packets(hub: Hub) -> Packets:
    """All packets since the start: a pass over the connections, some 0.1 ms for a thousand."""
    return all_packets(hub.counters, (client.connection for client in hub.all_connections))


async def kept(hub: Hub) -> Kept | None:
    """What the store holds now; None: it does not answer within KEPT_S_MAX."""
    try:
        async with asyncio.timeout(KEPT_S_MAX):
            return await hub.store.kept()
    except (StoreUnavailable, TimeoutError):
        return None


def memory_bytes() -> int:
    """Memory that is resident now; where the system does not tell, the highest so far."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return memory_bytes_max()


def memory_bytes_max() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXIMUM_UNIT_BYTES


@cache
def release() -> str:
    """The version of the installed distribution; a source tree on PYTHONPATH has none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unreleased"
