"""Publishes the broker's own figures below $SYS: reads the node, and hands what changed to those who subscribed.

Nothing here touches the store: the messages are QoS 0, and whoever subscribes later is shown those of the last reading.
Subscribers need a right to $SYS like to any topic. Without any, a reading is a few dozen short texts.
"""

import asyncio
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mqtt_broker.node import groups
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.sys_topics import Figures

DISTRIBUTION = "stoa-mqtt"
LOOK_S = 1.0  # how often the setting is looked at: it may change while the node runs

_STATM = Path("/proc/self/statm")
_MAXIMUM_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # of getrusage's ru_maxrss


async def follow_sys(hub: Hub) -> None:
    """Runs for as long as the node."""
    started_at = hub.loop.time()
    release = _release()
    published_at = -float("inf")
    while True:
        interval_s, now = hub.settings.mqtt.sys_interval_s, hub.loop.time()
        if not interval_s:
            hub.sys_topics.clear()
        elif now - published_at >= interval_s:
            published_at = now
            publish(hub, read_figures(hub, release, int(now - started_at)), now)
        await asyncio.sleep(LOOK_S)


def publish(hub: Hub, figures: Figures, now: float) -> None:
    """Take a reading and deliver what changed, as the node's own messages: nobody's right to publish is asked."""
    for message in hub.sys_topics.update(figures, now):
        plan = hub.plan(message)
        hub.deliver(message, plan.receivers, {}, hub.revision)
        for match in plan.groups:
            groups.deliver(hub, message, match, hub.revision)


def read_figures(hub: Hub, release: str, uptime_s: int) -> Figures:
    """The node as it is now."""
    counters = hub.counters
    return Figures(
        version=release,
        uptime_s=uptime_s,
        clients_connected=len(hub.connections),
        sessions=len(hub.sessions),
        sessions_expired=counters.sessions_expired,
        subscriptions=len(hub.tree),
        retained_messages=len(hub.retained),
        connections_accepted=counters.connections_accepted,
        publishes_received=counters.messages_received,
        publishes_sent=counters.messages_sent,
        publishes_dropped=counters.messages_dropped,
        bytes_received=counters.bytes_received,
        bytes_sent=counters.bytes_sent,
        memory_bytes=_memory_bytes(),
        memory_bytes_max=_memory_bytes_max(),
    )


def _memory_bytes() -> int:
    """Memory that is resident now; where the system does not tell, the highest so far."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return _memory_bytes_max()


def _memory_bytes_max() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXIMUM_UNIT_BYTES


def _release() -> str:
    """The version of the installed distribution; a source tree on PYTHONPATH has none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unreleased"
