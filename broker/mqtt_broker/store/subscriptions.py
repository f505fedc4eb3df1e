"""Subscriptions in the embedded store, and the groups that shared ones form.

Knows who is subscribed to what; does not know queues, epochs, matching or rights.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator

from mqtt_broker.session.session import Subscription
from mqtt_broker.store.encoding import decode_subscription, encode

GROUPS_CACHED_MAX = 20_000  # about 4 MB; more are read again when needed


class Subscriptions:
    """The subscriptions of all sessions. A group exists exactly while somebody is subscribed to it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._groups: dict[tuple[str, str], int | None] = {}

    def of(self, incarnation: int) -> list[Subscription]:
        rows = self._connection.execute("SELECT value FROM subscriptions WHERE incarnation = ?", (incarnation,))
        return [decode_subscription(value) for (value,) in rows.fetchall()]

    def every(self) -> dict[int, list[Subscription]]:
        found: dict[int, list[Subscription]] = defaultdict(list)
        for incarnation, value in self._connection.execute("SELECT incarnation, value FROM subscriptions").fetchall():
            found[incarnation].append(decode_subscription(value))
        return found

    def put(self, incarnation: int, subscription: Subscription, *, only_known: bool = False) -> bool:
        """Write or replace [MQTT-3.8.4-3]; True if it replaced one. `only_known`: not written if it does not."""
        known = self._connection.execute(
            "SELECT 1 FROM subscriptions WHERE incarnation = ? AND filter = ? AND share = ?",
            (incarnation, subscription.filter, subscription.group or ""),
        ).fetchone()
        if known is None and only_known:
            return False
        self._connection.execute(
            "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?)",
            (incarnation, subscription.filter, subscription.group or "", encode(subscription)),
        )
        return known is not None

    def remove(self, incarnation: int, keys: Iterable[tuple[str, str | None]]) -> tuple[tuple[bool, ...], list[int]]:
        """Remove by (filter, group): which of them there were, and the ids of groups that are without a subscription
        now: their queues go.
        """
        existed: list[bool] = []
        orphans: list[int] = []
        for topic_filter, group in keys:
            removed = self._connection.execute(
                "DELETE FROM subscriptions WHERE incarnation = ? AND filter = ? AND share = ?",
                (incarnation, topic_filter, group or ""),
            )
            existed.append(removed.rowcount > 0)
            if group is not None:
                orphans += self._disband(group, topic_filter)
        return tuple(existed), orphans

    def clear(self, incarnation: int) -> list[int]:
        """Remove all of a session: the ids of groups that are without a subscription now."""
        rows = self._connection.execute("SELECT filter, share FROM subscriptions WHERE incarnation = ?", (incarnation,))
        return self.remove(incarnation, [(topic_filter, share or None) for topic_filter, share in rows.fetchall()])[1]

    def group_id(self, group: str, topic_filter: str) -> int | None:
        """The id of an existing group."""
        key = (group, topic_filter)
        if key not in self._groups:
            row = self._connection.execute("SELECT id FROM groups WHERE share = ? AND filter = ?", key).fetchone()
            self._groups[key] = row[0] if row else None
        return self._groups[key]

    def found_group(self, group: str, topic_filter: str, group_id: int) -> None:
        self._connection.execute("INSERT INTO groups VALUES (?, ?, ?)", (group_id, group, topic_filter))
        self._groups[group, topic_filter] = group_id

    def groups(self) -> Iterator[tuple[int, str, str]]:
        """Every group: id, share name, filter."""
        yield from self._connection.execute("SELECT id, share, filter FROM groups").fetchall()

    def trim_cache(self) -> None:
        """Bound the memory. Only between batches."""
        if len(self._groups) > GROUPS_CACHED_MAX:
            self._groups.clear()

    def forget(self) -> None:
        self._groups.clear()

    def _disband(self, group: str, topic_filter: str) -> list[int]:
        group_id = self.group_id(group, topic_filter)
        left = self._connection.execute(
            "SELECT 1 FROM subscriptions WHERE share = ? AND share <> '' AND filter = ? LIMIT 1", (group, topic_filter)
        ).fetchone()
        if group_id is None or left is not None:
            return []
        self._connection.execute("DELETE FROM groups WHERE id = ?", (group_id,))
        self._groups[group, topic_filter] = None
        return [group_id]
