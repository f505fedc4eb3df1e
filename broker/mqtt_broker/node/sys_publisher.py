"""Publishes the broker's own figures below $SYS: reads the node, and hands what changed to those who subscribed.

Nothing here writes to the store: the messages are QoS 0, and whoever subscribes later is shown those of the last
reading. Subscribers need a right to $SYS like to any topic. Without any, a reading is a few dozen short texts.
"""

import asyncio

from mqtt_broker.node import groups, readings
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.sys_topics import Figures
from mqtt_broker.store.ports import Kept

RECEIVERS_PER_SLICE = 500
LOOK_S = 1.0  # how often the setting is looked at: it may change while the node runs


async def follow_sys(hub: Hub) -> None:
    """Runs for as long as the node."""
    started_at = hub.loop.time()
    published_at = -float("inf")
    kept = Kept(0, 0)
    while True:
        interval_s, now = hub.settings.mqtt.sys_interval_s, hub.loop.time()
        if not interval_s:
            hub.sys_topics.clear()
        elif now - published_at >= interval_s:
            published_at = now
            kept = await readings.kept(hub) or kept
            await publish(hub, read_figures(hub, kept, int(now - started_at)), now)
        await asyncio.sleep(LOOK_S)


async def publish(hub: Hub, figures: Figures, now: float) -> None:
    """Take a reading and deliver what changed, as the node's own messages: nobody's right to publish is asked."""
    for message in hub.sys_topics.update(figures, now):
        plan = hub.plan(message)
        if plan is None:
            plan = await hub.plan_at_leisure(message)
        for start in range(0, len(plan.receivers), RECEIVERS_PER_SLICE):
            hub.deliver(message, plan.receivers[start : start + RECEIVERS_PER_SLICE], {}, hub.decisions)
            await hub.turns.share()
        for match in plan.groups:
            groups.deliver(hub, message, match, hub.decisions)


def read_figures(hub: Hub, kept: Kept, uptime_s: int) -> Figures:
    """The node as it is now."""
    counters, packets = hub.counters, readings.packets(hub)
    return Figures(
        version=readings.release(),
        uptime_s=uptime_s,
        clients_connected=len(hub.connections),
        sessions=len(hub.sessions),
        sessions_expired=counters.sessions_expired,
        subscriptions=len(hub.tree),
        shared_subscriptions=hub.tree.shared_count,
        retained_messages=len(hub.retained),
        kept_messages=kept.messages,
        kept_bytes=kept.bytes,
        connections_opened=counters.connections_opened,
        connects_received=counters.connects_received,
        packets_received=packets.received,
        packets_sent=packets.sent,
        publishes_received=counters.messages_received,
        publishes_sent=counters.messages_sent,
        publishes_dropped=counters.messages_dropped,
        payload_bytes_received=counters.payload_bytes_received,
        payload_bytes_sent=counters.payload_bytes_sent,
        bytes_received=counters.bytes_received,
        bytes_sent=counters.bytes_sent,
        memory_bytes=readings.memory_bytes(),
        memory_bytes_max=readings.memory_bytes_max(),
        cluster=_cluster(hub),
    )


def _cluster(hub: Hub) -> dict[str, int]:
    """Sums over all nodes: this one as it is now, the others as they told last. Empty for a node that is alone."""
    if not hub.peers.follow_feed:
        return {}
    others = hub.peers.totals()
    return {name: int(own + sum(each.get(name, 0) for each in others)) for name, own in hub.sys_totals().items()}
