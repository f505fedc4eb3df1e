"""What a kind of fault is: a name, what it needs, how long it lasts, and one coroutine that does it and undoes it.

Knows the shape only; the kinds are beside it, by what they strike.
"""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Struct

from cluster.chaos.population import Population
from cluster.chaos.world import World

STORE = "store"
CLIENTS = "clients"
NODES = "nodes"


class Stage(Struct, frozen=True):
    """What a fault may touch. `begin` is to be called in the moment it strikes: from then on it counts."""

    world: World
    population: Population
    target: str
    seconds: float
    begin: Callable[[], None]


class Kind(Struct, frozen=True, kw_only=True):
    """`strikes`: one node (its name is drawn), the store, all nodes in turn, or clients. `needs`: see Place.has."""

    name: str
    strikes: str
    seconds: tuple[float, float]
    strike: Callable[[Stage], Awaitable[None]]
    needs: frozenset[str] = frozenset()


ONE_NODE = "node"


async def in_thread(call: Callable[[], object]) -> None:
    """What blocks must not stop the clients."""
    await asyncio.to_thread(call)
