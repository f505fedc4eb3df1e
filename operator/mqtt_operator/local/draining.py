"""`stoa drain`: tells a node to leave by way of the store, and waits until it has.

Knows when a node has left; does not know terminals, or what the node does meanwhile.
"""

import time
from collections.abc import Callable
from typing import Protocol

from mqtt_operator.channel.terms import Members
from mqtt_operator.errors import NodeFailedError, UsageError
from mqtt_operator.local.run_document import Run

LOOK_S = 0.5


class Door(Protocol):
    """What is asked of the store that nodes share; channel/shared_store.py is the real one."""

    def members(self) -> Members: ...
    def order_to_drain(self, node: str, token: int) -> None: ...


def check_can_drain(run: Run, node: str) -> None:
    """Raises UsageError for a name that nobody has, and where there is only one node."""
    if run.store is None:
        raise UsageError(
            f"{run.broker} has one node, with its data in a file: there is nobody to take its clients.",
            to_do="Stop its `stoa up` (Ctrl-C) instead: that drains it, and nothing is lost.",
        )
    names = [each.node for each in run.nodes]
    if node not in names:
        raise UsageError(f"There is no node {node!r}.", to_do=f"Known: {', '.join(names)}.")


def drain(
    door: Door,
    node: str,
    say: Callable[[str], None],
    seconds_max: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Returns when it has left; False: it was not there. Raises UsageError for the last one that is there,
    SharedStoreError, and NodeFailedError when time is up: the node goes on leaving all the same.
    """
    there = door.members().nodes
    member = there.get(node)
    if member is None:
        return False
    if len(there) == 1:
        raise UsageError(
            f"{node} is the only node that is there: there is nobody to take its clients.",
            to_do="Stop its `stoa up` (Ctrl-C) instead: that drains it, and nothing is lost.",
        )
    door.order_to_drain(node, member.token)
    deadline, left = clock() + seconds_max, -1
    while True:
        now = door.members().nodes.get(node)
        if now is None or now.token != member.token:
            return True
        if now.facts.connections != left:
            left = now.facts.connections
            say(f"{node} is leaving: connections left: {left}")
        if clock() >= deadline:
            raise NodeFailedError(
                f"{node} has not left within {seconds_max:g} s.",
                to_do="It goes on leaving; `stoa nodes` shows how far it is. spec.drain says how fast clients are sent "
                "away.",
            )
        sleep(LOOK_S)
