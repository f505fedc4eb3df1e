"""Which topics hold a retained message, found by a filter: what a new subscriber is shown.

Knows topic names only; does not know payloads (the store has them), expiry, rights or who asks. Names and filters are
valid before they come here (mqtt_api.topics).
"""

from collections.abc import Iterator

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
    """A trie of topic names. Not thread-safe. A walk takes time in the nodes it visits; no recursion."""

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
        return [topic for topic in self.walk(topic_filter) if topic is not None]

    def walk(self, topic_filter: str) -> Iterator[str | None]:
        """The topics of `match` one by one, and None for each node passed on the way: every step is short.

        The index may change between two steps. A topic that is there all the while comes exactly once; one that is
        added or removed meanwhile comes once or never.
        """
        if not has_wildcard(topic_filter):
            yield topic_filter if topic_filter in self._topics else None
            return
        levels = topic_filter.split("/")
        here: list[tuple[Iterator[_Node], int]] = [(iter((self._root,)), 0)]
        while here:
            nodes, depth = here[-1]
            node = next(nodes, None)
            if node is None:
                here.pop()
            elif depth == len(levels):
                yield node.topic
            elif levels[depth] == "#":
                # `a/#` matches `a`, the parent, too (MQTT 5.0, 4.7.1.2); `#` alone has no parent, and the root no name.
                yield node.topic
                here.append((self._below(node), depth))
            elif levels[depth] == "+":
                yield None
                here.append((self._below(node), depth + 1))
            else:
                yield None
                child = node.children.get(levels[depth])
                if child is not None:
                    here.append((iter((child,)), depth + 1))

    def _below(self, node: _Node) -> Iterator[_Node]:
        """What a wildcard reaches from this node, as of now."""
        if node is not self._root:
            return iter(list(node.children.values()))
        # A wildcard in the first level never matches a topic that starts with '$' [MQTT-4.7.2-1].
        return (child for level, child in list(node.children.items()) if not level.startswith("$"))
