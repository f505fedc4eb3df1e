"""Topic filters of many owners, asked for those that share a topic with another filter.

Knows the grammar of filters; does not know rules. A placeholder is a level like any other text: what it stands for is
not known here, so that only the same placeholder, or a wildcard, is taken to mean it. Pure.
"""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from mqtt_api.topics import filter_levels

Owner = TypeVar("Owner", bound=Hashable)


class _Node(Generic[Owner]):
    __slots__ = ("children", "owners")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Owner]] = {}
        self.owners: dict[Owner, None] = {}  # in the order they came


class TopicTrie(Generic[Owner]):
    """An owner may have several filters, each once."""

    def __init__(self) -> None:
        self._root: _Node[Owner] = _Node()

    def add(self, topic_filter: str, owner: Owner) -> None:
        node = self._root
        for level in filter_levels(topic_filter):
            node = node.children.setdefault(level, _Node())
        node.owners[owner] = None

    def discard(self, topic_filter: str, owner: Owner) -> None:
        """Idempotent."""
        path: list[tuple[_Node[Owner], str]] = []
        node = self._root
        for level in filter_levels(topic_filter):
            if level not in node.children:
                return
            path.append((node, level))
            node = node.children[level]
        node.owners.pop(owner, None)
        for parent, level in reversed(path):
            child = parent.children[level]
            if child.owners or child.children:
                return
            del parent.children[level]

    def overlapping(self, topic_filter: str) -> Iterator[Owner]:
        """The owners of all filters that share a topic with this one; an owner of several of them comes as often."""
        levels = filter_levels(topic_filter)
        reached = [self._root]
        for depth, level in enumerate(levels):
            if level == "#":
                for node in reached:
                    yield from _all_below(node)
                return
            for node in reached:
                if "#" in node.children:
                    yield from node.children["#"].owners
            reached = [child for node in reached for child in _fitting(node, level, is_root=depth == 0)]
        for node in reached:
            yield from node.owners
            if "#" in node.children:  # which means no level, too
                yield from node.children["#"].owners


def _fitting(node: _Node[Owner], level: str, *, is_root: bool) -> Iterator[_Node[Owner]]:
    for own, child in node.children.items():
        if own == "#":
            continue
        is_wild = "+" in (own, level)
        hides = is_root and is_wild and "$" in (own[:1], level[:1])  # [MQTT-4.7.2-1]
        if own == level or (is_wild and not hides):
            yield child


def _all_below(node: _Node[Owner]) -> Iterator[Owner]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield from one.owners
        waiting += one.children.values()
