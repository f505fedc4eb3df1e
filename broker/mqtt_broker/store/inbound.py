"""Inbound QoS 2 packet ids in the embedded store.

Knows which ids of which session wait for PUBREL; does not know messages, epochs or clients.
"""

import sqlite3
from collections import defaultdict


class Inbound:
    """QoS 2 packet ids accepted and not yet released."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def holds(self, incarnation: int, packet_id: int) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM inbound WHERE incarnation = ? AND packet_id = ?", (incarnation, packet_id)
        ).fetchone()
        return row is not None

    def add(self, incarnation: int, packet_id: int) -> None:
        self._connection.execute("INSERT INTO inbound VALUES (?, ?)", (incarnation, packet_id))

    def remove(self, incarnation: int, packet_id: int) -> None:
        self._connection.execute(
            "DELETE FROM inbound WHERE incarnation = ? AND packet_id = ?", (incarnation, packet_id)
        )

    def clear(self, incarnation: int) -> None:
        self._connection.execute("DELETE FROM inbound WHERE incarnation = ?", (incarnation,))

    def of(self, incarnation: int) -> list[int]:
        rows = self._connection.execute("SELECT packet_id FROM inbound WHERE incarnation = ?", (incarnation,))
        return [packet_id for (packet_id,) in rows.fetchall()]

    def every(self) -> dict[int, list[int]]:
        ids: dict[int, list[int]] = defaultdict(list)
        for incarnation, packet_id in self._connection.execute("SELECT incarnation, packet_id FROM inbound").fetchall():
            ids[incarnation].append(packet_id)
        return ids
