"""Which topics hold a retained message, found by a filter: what a new subscriber is shown.

Knows topic names only; does not know payloads (the store has them), expiry, rights or who asks. Names and filters are
valid before they come here (mqtt_api.topics).
"""

from collections.abc import Iterable

from mqtt_broker.routing.tree import has_wildcard


class _Node:
    """One level. `topic` is the name that ends here, if one does."""

    __slots__ = ("children", "topic")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.topic: str | None = None

    @property
    def is_empty(self) -> bool:
        return self.topic is None and not self.children


class RetainedIndex:
    """A trie of topic names. Not thread-safe. `match` takes time in the nodes it visits; no recursion."""

    def __init__(self) -> None:
        self._topics: set[str] = set()
        self._root = _Node()

    def __len__(self) -> int:
        return len(self._topics)

    def __contains__(self, topic: object) -> bool:
        return topic in self._topics

    def add(self, topic: str) -> None:
        """Idempotent."""
        if topic in self._topics:
            return
        self._topics.add(topic)
        node = self._root
        for level in topic.split("/"):
            node = node.children.setdefault(level, _Node())
        node.topic = topic

    def remove(self, topic: str) -> None:
        """Idempotent. Levels that lead to no other topic go with it."""
        if topic not in self._topics:
            return
        self._topics.remove(topic)
        node = self._root
        path: list[tuple[_Node, str]] = []
        for level in topic.split("/"):
            path.append((node, level))
            node = node.children[level]
        node.topic = None
        while path and node.is_empty:
            node, level = path.pop()
            del node.children[level]

    def match(self, topic_filter: str) -> list[str]:
        """Every topic the filter matches, in no promised order."""
        if not has_wildcard(topic_filter):
            return [topic_filter] if topic_filter in self._topics else []
        here = [self._root]
        levels = topic_filter.split("/")
        for depth, level in enumerate(levels):
            if level == "#":
                # `a/#` matches `a`, the parent, too (MQTT 5.0, 4.7.1.2); `#` alone has no parent.
                return _collected(here) if depth else _collected(_first_levels(self._root))
            if level == "+":
                # A wildcard in the first level never matches a topic that starts with '$' [MQTT-4.7.2-1].
                here = [node for above in here for node in above.children.values()] if depth else _first_levels(here[0])
            else:
                here = [above.children[level] for above in here if level in above.children]
        return [node.topic for node in here if node.topic is not None]


def _first_levels(root: _Node) -> list[_Node]:
    """What a wildcard in the first level reaches."""
    return [node for level, node in root.children.items() if not level.startswith("$")]


def _collected(roots: Iterable[_Node]) -> list[str]:
    """The topics at and below these nodes."""
    found: list[str] = []
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node.topic is not None:
            found.append(node.topic)
        waiting.extend(node.children.values())
    return found
