"""Retained messages in the embedded store.

Knows one message per topic and its lifetime; does not know who may read it or who is subscribed.
"""

import sqlite3
from collections.abc import Sequence

from mqtt_broker.session.message import Message
from mqtt_broker.store.encoding import decode_message, encode


class Retained:
    """The retained message of each topic that has one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, message: Message) -> None:
        """The topic's new retained message; an empty payload removes the old one."""
        if not message.payload:  # [MQTT-3.3.1-7]
            self._connection.execute("DELETE FROM retained WHERE topic = ?", (message.topic,))  # [MQTT-3.3.1-6]
            return
        self._connection.execute(  # [MQTT-3.3.1-5]
            "INSERT OR REPLACE INTO retained VALUES (?, ?, ?)", (message.topic, message.expires_at, encode(message))
        )

    def read(self, topics: Sequence[str], now: float) -> tuple[Message, ...]:
        """In the order asked for; gone and expired ones are left out."""
        found = []
        for topic in topics:
            row = self._connection.execute(
                "SELECT body FROM retained WHERE topic = ? AND (expires_at IS NULL OR expires_at > ?)", (topic, now)
            ).fetchone()
            if row is not None:
                found.append(decode_message(row[0]))
        return tuple(found)

    def topics(self, now: float) -> tuple[str, ...]:
        rows = self._connection.execute("SELECT topic FROM retained WHERE expires_at IS NULL OR expires_at > ?", (now,))
        return tuple(topic for (topic,) in rows.fetchall())

    def total(self) -> tuple[int, int]:
        """How many there are, and their bytes."""
        count, size = self._connection.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM retained"
        ).fetchone()
        return count, size

    def has_expired(self, now: float) -> bool:
        return self._connection.execute("SELECT 1 FROM retained WHERE expires_at <= ?", (now,)).fetchone() is not None

    def remove_expired(self, now: float) -> tuple[str, ...]:
        """Delete those past their lifetime. Their topics."""
        rows = self._connection.execute("DELETE FROM retained WHERE expires_at <= ? RETURNING topic", (now,))
        return tuple(topic for (topic,) in rows.fetchall())

    def next_moment(self, now: float) -> float | None:
        """The earliest end of a lifetime after `now`."""
        (moment,) = self._connection.execute(
            "SELECT min(expires_at) FROM retained WHERE expires_at > ?", (now,)
        ).fetchone()
        return None if moment is None else float(moment)
