"""Which subscriptions match a topic name: exact filters in a dictionary, filters with wildcards in a trie of levels.

Knows filters and who holds them; does not know messages, rights, sessions or how anything travels. Filters and names
are valid before they come here (mqtt_api.topics). A muted subscription is not in the tree: the caller takes it out.
"""

import sys
from collections.abc import Iterator

from mqtt_broker.session.session import Subscription

Match = tuple[str, Subscription]

NODES_PER_LOOK = 512  # nodes of the trie in one slice of a walk, some 0.2 ms
VERSION_BUCKETS = 1024  # first levels share these: clients choose the levels, so one counter each would be unbounded


class _Holders:
    """Who holds one filter: its own subscriptions and those of each shared group, by client id.

    Most filters have a single holder, `one`; `many` is empty then. With more of them it is the other way round.
    """

    __slots__ = ("many", "one", "shared")

    def __init__(self) -> None:
        self.one: Match | None = None
        self.many: dict[str, Match] = _NOBODY
        self.shared: dict[str, dict[str, Match]] = _NO_GROUPS

    def of(self, group: str) -> list[Match]:
        return list(self.shared.get(group, _NOBODY).values())

    def put(self, client_id: str, subscription: Subscription) -> bool:
        """True if it is new, False if it replaced one [MQTT-3.8.4-3]."""
        match = (client_id, subscription)
        if subscription.group is not None:
            return self._put_shared(subscription.group, match)
        if self.many:
            is_new = client_id not in self.many
            self.many[client_id] = match
            return is_new
        known = self.one
        if known is None or known[0] == client_id:
            self.one = match
            return known is None
        self.one, self.many = None, {known[0]: known, client_id: match}
        return True

    def _put_shared(self, group: str, match: Match) -> bool:
        if self.shared is _NO_GROUPS:
            self.shared = {}
        members = self.shared.setdefault(group, {})
        is_new = match[0] not in members
        members[match[0]] = match
        return is_new

    def drop(self, client_id: str, group: str | None) -> bool:
        """False if there was none."""
        if group is not None:
            return self._drop_shared(client_id, group)
        if self.one is not None and self.one[0] == client_id:
            self.one = None
            return True
        return self.many.pop(client_id, None) is not None

    def _drop_shared(self, client_id: str, group: str) -> bool:
        members = self.shared.get(group, _NOBODY)
        if members.pop(client_id, None) is None:
            return False
        if not members:
            del self.shared[group]
        return True

    def collect(self, into: list[Match]) -> None:
        if self.one is not None:
            into.append(self.one)
        into.extend(self.many.values())
        for members in self.shared.values():
            into.extend(members.values())

    @property
    def is_empty(self) -> bool:
        return self.one is None and not self.many and not self.shared


class _Node:
    """One level of the trie. `holders` hold the filter that ends here, `rest` the one that ends here with `/#`.

    Most nodes have a single child for a named level: `only` below `only_level`. With more of them it is `children`.
    """

    __slots__ = ("any_level", "children", "holders", "only", "only_level", "rest")

    def __init__(self) -> None:
        self.only_level: str | None = None
        self.only: _Node | None = None
        self.children: dict[str, _Node] = _NO_CHILDREN
        self.any_level: _Node | None = None
        self.holders: _Holders | None = None
        self.rest: _Holders | None = None

    @property
    def is_empty(self) -> bool:
        has_child = self.only is not None or self.any_level is not None or self.children
        return not has_child and self.holders is None and self.rest is None

    def child(self, level: str) -> "_Node | None":
        return self.any_level if level == "+" else self.named(level)

    def named(self, level: str) -> "_Node | None":
        return self.only if self.only_level == level else self.children.get(level)

    def child_or_new(self, level: str) -> "_Node":
        known = self.child(level)
        if known is not None:
            return known
        node = _Node()
        if level == "+":
            self.any_level = node
        else:
            self._add(sys.intern(level), node)  # the same few names stand below every device
        return node

    def _add(self, level: str, node: "_Node") -> None:
        if self.children:
            self.children[level] = node
        elif self.only_level is None or self.only is None:
            self.only_level, self.only = level, node
        else:
            self.children = {self.only_level: self.only, level: node}
            self.only_level = self.only = None

    def cut(self, level: str) -> None:
        if level == "+":
            self.any_level = None
        elif self.only_level == level:
            self.only_level = self.only = None
        else:
            del self.children[level]


# These stay empty: most nodes and filters have no use for dictionaries of their own, which are 64 bytes each.
_NOBODY: dict[str, Match] = {}
_NO_GROUPS: dict[str, dict[str, Match]] = {}
_NO_CHILDREN: dict[str, _Node] = {}


class SubscriptionTree:
    """All subscriptions that may receive, found by topic name.

    Not thread-safe. `match` takes time in the topic's levels times the trie nodes that match them; no recursion.
    """

    def __init__(self) -> None:
        self._exact: dict[str, _Holders] = {}
        self._root = _Node()
        self._count = 0
        self._shared_count = 0
        self._root_version = 0
        self._bucket_versions = [0] * VERSION_BUCKETS

    def __len__(self) -> int:
        return self._count

    @property
    def shared_count(self) -> int:
        """How many of them are members' subscriptions to a shared one."""
        return self._shared_count

    def add(self, client_id: str, subscription: Subscription) -> None:
        """Put a subscription in; one with the same client, filter and group is replaced [MQTT-3.8.4-3]."""
        if self._holders_or_new(subscription.filter).put(client_id, subscription):
            self._count += 1
            self._shared_count += subscription.group is not None
        self.renew(subscription.filter)

    def remove(self, client_id: str, key: tuple[str, str | None]) -> bool:
        """Take out the subscription with this `Subscription.key`. False if there is none; nothing changed then."""
        topic_filter, group = key
        holders = self._holders(topic_filter)
        if holders is None or not holders.drop(client_id, group):
            return False
        self._count -= 1
        self._shared_count -= group is not None
        if holders.is_empty:
            self._prune(topic_filter)
        self.renew(topic_filter)
        return True

    def match(self, topic: str) -> list[Match]:
        """Every (client id, subscription) whose filter matches, overlapping ones of one client each for itself."""
        found: list[Match] = []
        for some in self.walk(topic):
            found += some
        return found

    def match_some(self, topic: str, matches_max: int) -> list[Match] | None:
        """`match`, or None if that is more than so many, or more of the tree than one look may take."""
        found: list[Match] = []
        exact = self._exact.get(topic)
        if exact is not None:
            exact.collect(found)
        if not self._collect_wildcards(topic, found):
            return None
        return found if len(found) <= matches_max else None

    def walk(self, topic: str) -> Iterator[list[Match]]:
        """`match` in slices that each take a bounded look at the tree.

        The tree may change between two slices: what was there all the time is found once, the rest perhaps.
        """
        found: list[Match] = []
        exact = self._exact.get(topic)
        if exact is not None:
            exact.collect(found)
        for holders in self._wildcard_holders(topic):
            if holders is None:
                yield found
                found = []
            else:
                holders.collect(found)
        yield found

    def members(self, group: str, topic_filter: str) -> list[Match]:
        """The members of one shared subscription; `topic_filter` without its `$share/group/` prefix."""
        holders = self._holders(topic_filter)
        return [] if holders is None else holders.of(group)

    def version(self, topic: str) -> int:
        """A number that grows whenever what `match(topic)` answers may have changed, for whoever keeps an answer.

        It may grow without need: topics whose first levels share a bucket share its number.
        """
        return self.version_at(self.bucket(topic))

    def bucket(self, topic: str) -> int:
        """Where the topic's version is kept: for whoever asks for the version of one topic again and again."""
        return _bucket(topic)

    def version_at(self, bucket: int) -> int:
        """`version` of every topic in this bucket."""
        return self._root_version + self._bucket_versions[bucket]

    def renew(self, topic_filter: str) -> None:
        """Raise the version of every topic that the filter may match: the same answer means something else now."""
        if topic_filter.startswith(("+", "#")):
            self._root_version += 1
        else:
            self._bucket_versions[_bucket(topic_filter)] += 1

    def _collect_wildcards(self, topic: str, found: list[Match]) -> bool:
        """`_wildcard_holders` without a generator, for every publish whose topic is new. False: NODES_PER_LOOK seen."""
        here = [self._root]
        wildcards = not topic.startswith("$")  # [MQTT-4.7.2-1]
        for level in topic.split("/"):
            below = []
            for node in here:
                if wildcards and node.rest is not None:
                    node.rest.collect(found)
                if wildcards and node.any_level is not None:
                    below.append(node.any_level)
                child = node.only if node.only_level == level else node.children.get(level)  # [MQTT-3.3.2-3]
                if child is not None:
                    below.append(child)
            here = below
            if len(here) >= NODES_PER_LOOK:
                return False
            wildcards = True
        for node in here:
            if node.holders is not None:
                node.holders.collect(found)
            if node.rest is not None:  # `a/#` matches `a`, the parent, too (MQTT 5.0, 4.7.1.2)
                node.rest.collect(found)
        return True

    def _wildcard_holders(self, topic: str) -> Iterator[_Holders | None]:
        """Walk all matching branches at once, one topic level after the other; None after each NODES_PER_LOOK nodes."""
        here = [self._root]
        # A wildcard in the first level never matches a topic that starts with '$' [MQTT-4.7.2-1].
        wildcards = not topic.startswith("$")
        for level in topic.split("/"):
            below = []
            for passed, node in enumerate(here, 1):
                if passed % NODES_PER_LOOK == 0:
                    yield None
                if wildcards:
                    if node.rest is not None:
                        yield node.rest
                    if node.any_level is not None:
                        below.append(node.any_level)
                # `named`, without the call
                child = node.only if node.only_level == level else node.children.get(level)  # [MQTT-3.3.2-3]
                if child is not None:
                    below.append(child)
            here = below
            wildcards = True
        for passed, node in enumerate(here, 1):
            if passed % NODES_PER_LOOK == 0:
                yield None
            if node.holders is not None:
                yield node.holders
            if node.rest is not None:  # `a/#` matches `a`, the parent, too (MQTT 5.0, 4.7.1.2)
                yield node.rest

    def _holders(self, topic_filter: str) -> _Holders | None:
        if not has_wildcard(topic_filter):
            return self._exact.get(topic_filter)
        node = self._root
        for level in topic_filter.split("/"):
            if level == "#":
                return node.rest
            child = node.child(level)
            if child is None:
                return None
            node = child
        return node.holders

    def _holders_or_new(self, topic_filter: str) -> _Holders:
        if not has_wildcard(topic_filter):
            return self._exact.setdefault(topic_filter, _Holders())
        node = self._root
        for level in topic_filter.split("/"):
            if level == "#":
                if node.rest is None:
                    node.rest = _Holders()
                return node.rest
            node = node.child_or_new(level)
        if node.holders is None:
            node.holders = _Holders()
        return node.holders

    def _prune(self, topic_filter: str) -> None:
        """Let go of an empty filter and of every level that led to nothing else."""
        if not has_wildcard(topic_filter):
            del self._exact[topic_filter]
            return
        node = self._root
        path: list[tuple[_Node, str]] = []
        levels = topic_filter.split("/")
        is_rest = levels[-1] == "#"
        for level in levels[:-1] if is_rest else levels:
            path.append((node, level))
            node = node.child_or_new(level)
        if is_rest:
            node.rest = None
        else:
            node.holders = None
        while path and node.is_empty:
            node, level = path.pop()
            node.cut(level)


def has_wildcard(topic_filter: str) -> bool:
    return "+" in topic_filter or "#" in topic_filter


def _bucket(topic: str) -> int:
    return hash(topic.partition("/")[0]) % VERSION_BUCKETS
