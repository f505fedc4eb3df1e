"""A cluster under test: nodes on a store, and how to bring both back to health.

Knows processes; does not know clients, the schedule, or what is right. Methods block: a loop calls them in threads.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.chaos.node import ClusterNode
from cluster.chaos.stores import OwnFile, Place
from mqtt_api.policy import Policy


class World:
    """Use as `start` and `stop`. Nodes are node-0 and on."""

    def __init__(self, folder: Path, place: Place, names: tuple[str, ...]) -> None:
        self.place = place
        policy_file = place.policy_file if isinstance(place, OwnFile) else None
        self._folder = folder
        self._policy_file = policy_file
        self.names = names
        self.nodes: dict[str, ClusterNode] = {}

    @property
    def doors(self) -> dict[str, int]:
        """Ports of all nodes, also of those that are down."""
        return {name: node.port for name, node in self.nodes.items()}

    def start(self, policy: Policy) -> None:
        """The store, its policy, then all nodes at once."""
        self.place.start(policy)
        for name in self.names:
            settings = self.place.settings(name)
            self.nodes[name] = ClusterNode(name, self._folder / name, settings, policy_file=self._policy_file)
        self._all_at_once(list(self.nodes.values()))

    def stop(self) -> None:
        """End everything that was started. What the nodes would say at their end does not matter any more."""
        for node in self.nodes.values():
            node.close()
        self.place.stop()

    def heal(self) -> None:
        """No fault is left, and every node serves."""
        self.place.heal()
        for node in self.nodes.values():
            node.resume()
        self._all_at_once([node for node in self.nodes.values() if node.is_down])
        self.wait_until_ready(self.names)

    def wait_until_ready(self, names: Iterable[str]) -> None:
        """Until these nodes listen."""
        for name in names:
            self.nodes[name].wait_until_ready()

    def supervise(self) -> list[str]:
        """Start again who has given up, as whatever runs nodes in earnest would; their names."""
        return [name for name, node in self.nodes.items() if node.revive()]

    def complaints(self) -> list[tuple[str, str]]:
        """What no fault excuses, by the name of the process."""
        return [(name, what) for name, node in self.nodes.items() for what in node.complaints()]

    def samples(self) -> list[tuple[str, int, int]]:
        """Name, bytes and descriptors of each node that runs."""
        found = ((name, node.sample()) for name, node in self.nodes.items())
        return [(name, *sample) for name, sample in found if sample is not None]

    @staticmethod
    def _all_at_once(nodes: list[ClusterNode]) -> None:
        if nodes:
            with ThreadPoolExecutor(len(nodes)) as threads:
                list(threads.map(ClusterNode.start, nodes))
