"""Changes elsewhere while a stream runs: other clients subscribe and unsubscribe, the policy of others is written.

Knows rates; does not know what the stream does.
"""

import time

from bench.driver import frames
from bench.driver.crowd import Crowd, Member, check_subacks
from bench.workloads.base import Broker

CLIENTS = 10
SUBSCRIBES_PER_S = 500
POLICIES_PER_S = 5
KEPT_PER_CLIENT = 50  # a subscription lives for as many of its client's next ones


class Churn:
    """Ten clients besides the stream. Call `due` every turn of the loop; it does what the rates ask for."""

    def __init__(self, crowd: Crowd, broker: Broker, version: int) -> None:
        self._links = crowd.join([Member(f"load-c{number:02d}") for number in range(CLIENTS)])
        self._broker = broker
        self._version = version
        self._started = time.monotonic()
        self._subscribed = 0
        self._written = 0
        self._can_write = True

    @property
    def note(self) -> str | None:
        return None if self._can_write else "subscribes only: it cannot change its policy while it runs"

    def due(self, now: float) -> None:
        elapsed = now - self._started
        for _ in range(int(elapsed * SUBSCRIBES_PER_S) - self._subscribed):
            self._subscribe()
        if self._can_write and elapsed * POLICIES_PER_S >= self._written + 1:
            self._written += 1
            self._can_write = self._broker.rewrite_policy()

    def _subscribe(self) -> None:
        turn, number = divmod(self._subscribed, CLIENTS)
        self._subscribed += 1
        link = self._links[number]
        check_subacks(link)
        packet_id = frames.packet_id_of(2 * turn)
        link.send(frames.subscribe(packet_id, f"churn/{number}/{turn}/+", 0, self._version))
        if turn >= KEPT_PER_CLIENT:
            old = f"churn/{number}/{turn - KEPT_PER_CLIENT}/+"
            link.send(frames.unsubscribe(packet_id + 1, old, self._version))
