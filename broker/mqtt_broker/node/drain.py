"""Sending clients elsewhere, politely: all of them when the node leaves, some when it has more than its share.

Knows reasons and pace; does not know why the node leaves. Whoever is sent away finds its session at any other node, and
its will waits for its return.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection
    from mqtt_broker.node.hub import Hub

log = logging.getLogger("mqtt_broker.drain")

STEP_S = 0.1
LAST_WRITES_S_MAX = 5.0  # how long last bytes and last writes may take when all were sent away
LEAVE_S = 2.0  # for the end of the lease, and of the process
REBALANCE_S = 5.0  # some renewals of leases: by then the figures that a move has changed are told
REBALANCE_S_MAX = 600.0  # between two attempts where none of them helped
HELPED = 0.5  # an attempt helped if less than this part of what was too much is still too much


def last_writes_s(grace_s: float) -> float:
    """How much of the time that a node has to leave is for what it still has to write."""
    return min(LAST_WRITES_S_MAX, grace_s / 3)


def paced_s(grace_s: float) -> float:
    """How long clients may be sent away one after the other, so that the process has left within `grace_s`."""
    return max(STEP_S, grace_s - last_writes_s(grace_s) - LEAVE_S)


async def send_all_away(hub: "Hub") -> None:
    """Every connection ends, at the pace of the settings where there are other nodes to take them."""
    clients = [client for client in hub.all_connections if not client.closed]
    if not hub.peers.follow_feed or hub.is_frozen:  # nobody takes them, or nothing may be said to them
        _send_away(hub, clients)
        return
    settings = hub.settings.drain
    per_s = max(settings.connections_per_s, len(clients) / paced_s(settings.grace_s))
    per_step = max(1, ceil(STEP_S * per_s))
    while clients:
        _send_away(hub, clients[:per_step])
        clients = [client for client in hub.all_connections if not client.closed]
        if clients:
            await asyncio.sleep(STEP_S)


def _send_away(hub: "Hub", clients: Iterable["ClientConnection"]) -> None:
    """MQTT 5 clients learn where else to go, if that is known (MQTT 5.0, 4.11)."""
    for client in clients:
        reference = hub.peers.reference() if hub.settings.drain.server_reference else None
        is_leaving = hub.draining and reference is None
        reason = ReasonCode.SERVER_SHUTTING_DOWN if is_leaving else ReasonCode.USE_ANOTHER_SERVER
        client.end(reason, planned_stop=True, server_reference=reference)


class Patience:
    """How long to wait before clients are sent away again: longer each time that did not help.

    Where clients go is not this node's to say. If they come back here, because they know no other address, to send
    them away again would disturb them for nothing. `chance` gives numbers from 0 to 1.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._wait_s = REBALANCE_S
        self._beyond = 0

    def next_s(self, beyond: int) -> float:
        """Seconds until the next look, if `beyond` clients are too many now and are sent away."""
        if beyond and self._beyond and beyond > HELPED * self._beyond:
            self._wait_s = min(2 * self._wait_s, REBALANCE_S_MAX)
        elif not beyond:
            self._wait_s = REBALANCE_S
        self._beyond = beyond
        return self._wait_s * (1 + self._chance())  # nodes with too many must not all look at one moment


async def follow_balance(hub: "Hub") -> None:
    """Runs for as long as the node: after a scale-out, or the return of a node, some clients move there."""
    patience, wait_s = Patience(random.random), REBALANCE_S
    while True:
        await asyncio.sleep(wait_s)
        settings = hub.settings.rebalance
        if hub.draining or hub.is_frozen or not (hub.peers.is_in_touch and settings.connections_per_s):
            continue
        beyond = hub.peers.balance.beyond(settings.tolerance_percent)
        if beyond is None:
            wait_s = REBALANCE_S
            continue
        wait_s = patience.next_s(beyond)
        if beyond:
            log.info(
                "%d connections more than this node's share are sent to others",
                beyond,
                extra={"event": "node.rebalance", "fields": {"surplus": beyond}},
            )
            await _move(hub, beyond, settings.connections_per_s)
            hub.peers.balance.forget()


async def _move(hub: "Hub", count: int, per_s: int) -> None:
    for start in range(0, count, per_s):
        if hub.draining or hub.is_frozen:
            return
        clients = list(islice(hub.connections.values(), min(per_s, count - start)))
        _send_away(hub, clients)
        await asyncio.sleep(1.0)
