"""All kinds of faults by name, and which of them a cluster can suffer."""

from cluster.chaos.faults import of_clients, of_nodes, of_the_clock, of_the_disk, of_the_primary, of_the_store
from cluster.chaos.faults.kind import Kind

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        *of_nodes.KINDS,
        *of_the_store.KINDS,
        *of_the_disk.KINDS,
        *of_the_clock.KINDS,
        *of_the_primary.KINDS,
        *of_clients.KINDS,
    )
}


def possible(has: frozenset[str]) -> tuple[str, ...]:
    """The names of those that a place with these abilities can suffer, in the catalogue's order."""
    return tuple(name for name, kind in KINDS.items() if kind.needs <= has)
