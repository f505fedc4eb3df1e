"""A node is killed, and all of its clients come to the others at once.

Knows clients that try until they are in; does not know leases or how a session changes hands.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import accounting
from bench.driver import frames
from bench.driver.crowd import Crowd, Member, Target
from bench.driver.link import BrokenError, Link
from bench.figures import percentile
from bench.nodes import ClusterNode, Place, start_node
from bench.peers.stoa import policy
from bench.scale.table import Figure
from bench.world import World
from mqtt_api.policy import encode_policy

TITLE = "{count:,} clients of a killed node connect to the two others at once"
NODES = 3
LEASE_S = 6.0
SERVED_S_MAX = LEASE_S + 2.0
STORM_S_MAX = 120.0
RETRY_S = 0.5  # after a refusal, or a connection that was closed
QUIET_CONNECTS = 1_000


def run(folder: Path, world: World, count: int) -> list[Figure]:
    """Raises BrokenError if not all get in."""
    with ExitStack() as ends:
        place = ends.enter_context(Place(folder, "Disk"))
        place.write_policy(1, encode_policy(policy(1)))
        nodes = []
        for number in range(NODES):
            nodes.append(start_node(number, folder, world, place))
            ends.callback(nodes[-1].stop)
        targets = [node.target(tls=False, version=frames.V311) for node in nodes]
        with Crowd(targets[0], 0) as crowd:
            calm_us, calm_store_us = _calm(crowd, targets[1], nodes[1], place)
        with Crowd(targets[0], 0) as crowd:
            crowd.join([_member(number) for number in range(count)])
            nodes[0].kill()
            killed_at = time.monotonic()
        return [
            Figure("CPU of a CONNECT that claims a new session, node", f"{calm_us:.0f} µs"),
            Figure("the same, Redis", f"{calm_store_us:.0f} µs"),
            *_storm(nodes[1:], place, targets[1:], count, killed_at),
        ]


def _calm(crowd: Crowd, target: Target, node: ClusterNode, place: Place) -> tuple[float, float]:
    """Microseconds of the node and of Redis for a CONNECT that begins a persistent session."""
    node_s, store_s = accounting.cpu_seconds(node.pid), accounting.cpu_seconds(place.pid)
    crowd.join([Member(f"load-q{number}", clean=False) for number in range(QUIET_CONNECTS)], target)
    node_s, store_s = accounting.cpu_seconds(node.pid) - node_s, accounting.cpu_seconds(place.pid) - store_s
    return node_s / QUIET_CONNECTS * 1e6, store_s / QUIET_CONNECTS * 1e6


def _member(number: int) -> Member:
    return Member(f"load-r{number}", (f"bench/load-r{number}/#",), 1, clean=False)


@dataclass
class _Comer:
    """A client on its way in. `served_at` is when its CONNACK said yes; `resumed` that its session was there."""

    member: Member
    target: Target
    link: Link | None = None
    try_at: float = 0.0
    tries: int = 0
    served_at: float | None = None
    resumed: bool = False

    def step(self, crowd: Crowd, now: float) -> None:
        if self.link is None and now >= self.try_at:
            self._try(crowd, now)
        if self.link is not None and self.link.scanner.answers:
            self._hear(self.link, self.link.scanner.answers[0], now)

    def _try(self, crowd: Crowd, now: float) -> None:
        self.tries += 1
        try:
            self.link = crowd.connect(self.member, self.target)
        except (BrokenError, OSError):
            self.lost(now)

    def _hear(self, link: Link, connack: bytes, now: float) -> None:
        if connack[3] == 0:
            self.served_at, self.resumed = now, bool(connack[2])
        else:
            link.close()
            self.lost(now)

    def lost(self, now: float) -> None:
        self.link, self.try_at = None, now + RETRY_S


def _storm(
    nodes: Sequence[ClusterNode], place: Place, targets: Sequence[Target], count: int, killed_at: float
) -> list[Figure]:
    node_s = sum(accounting.cpu_seconds(node.pid) for node in nodes)
    store_s = accounting.cpu_seconds(place.pid)
    comers = [_Comer(_member(number), targets[number % len(targets)]) for number in range(count)]
    with Crowd(targets[0], 0) as crowd:
        waiting = list(comers)
        while waiting:
            _turn(crowd, waiting)
            waiting = [comer for comer in waiting if comer.served_at is None]
            if time.monotonic() - killed_at > STORM_S_MAX:
                raise BrokenError(f"{len(waiting)} of {count} are not in after {STORM_S_MAX:g} s")
        node_s = sum(accounting.cpu_seconds(node.pid) for node in nodes) - node_s
        store_s = accounting.cpu_seconds(place.pid) - store_s
    served_s = [comer.served_at - killed_at for comer in comers if comer.served_at is not None]
    tries = sum(comer.tries for comer in comers)
    return [
        Figure(
            "served, from the kill on",
            f"first {min(served_s):.1f} s, half {percentile(served_s, 0.5):.1f} s, all {max(served_s):.1f} s",
            f"<= {SERVED_S_MAX:g} s (lease and 2 s)",
        ),
        Figure("from the first to the last", f"{max(served_s) - min(served_s):.1f} s"),
        Figure("sessions resumed", f"{sum(comer.resumed for comer in comers):,} of {count:,}"),
        Figure("tries", f"{tries:,}"),
        Figure("CPU of the nodes, a client", f"{node_s / count * 1e6:,.0f} µs, waiting and lease included"),
        Figure("CPU of Redis, a client", f"{store_s / count * 1e6:,.0f} µs"),
    ]


def _turn(crowd: Crowd, waiting: Sequence[_Comer]) -> None:
    now = time.monotonic()
    for comer in waiting:
        comer.step(crowd, now)
    try:
        crowd.loop.turn(0.002)
    except BrokenError:  # one of them was closed: whose link is not open any more tries again
        for comer in waiting:
            if comer.link is not None and comer.link.is_over:
                comer.link.close()
                comer.lost(now)
