"""Session rows in the embedded store.

Knows which session stands under a client id and when its moments are; does not know operations, queues,
subscriptions or transactions.
"""

import sqlite3
from collections.abc import Iterable

from mqtt_api.policy import Facts
from mqtt_broker.session.session import QueueBounds, SessionRecord, Subscription
from mqtt_broker.store.encoding import Details, decode_details, encode
from mqtt_broker.wire.packets import Will

SESSIONS_CACHED_MAX = 20_000  # about 30 MB; more are read again when needed

_COLUMNS = "client_id, incarnation, epoch, owner, ended, expiry_interval_s, will_due_at, expires_at, details"


class Session:
    """One session's row. `ended`: only the will is left, waiting for its moment; nothing else of it lives.

    Numbers and moments as in SessionRecord.
    """

    __slots__ = (
        "bounds",
        "client_id",
        "ended",
        "epoch",
        "expires_at",
        "expiry_interval_s",
        "facts",
        "incarnation",
        "owner",
        "protocol_version",
        "will",
        "will_due_at",
    )

    def __init__(self, client_id: str, incarnation: int, details: Details) -> None:
        self.client_id = client_id
        self.incarnation = incarnation
        self.epoch = 0
        self.owner: str | None = None
        self.ended = False
        self.expiry_interval_s = 0
        self.will_due_at: float | None = None
        self.expires_at: float | None = None
        self.facts: Facts = details.facts
        self.protocol_version: int = details.protocol_version
        self.bounds: QueueBounds = details.bounds
        self.will: Will | None = details.will

    def has_expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def record(self, sent_up_to: int, subscriptions: Iterable[Subscription], inbound: Iterable[int]) -> SessionRecord:
        return SessionRecord(
            client_id=self.client_id,
            incarnation=self.incarnation,
            epoch=self.epoch,
            facts=self.facts,
            protocol_version=self.protocol_version,
            expiry_interval_s=self.expiry_interval_s,
            bounds=self.bounds,
            owner=self.owner,
            will=self.will,
            will_due_at=self.will_due_at,
            expires_at=self.expires_at,
            subscriptions=tuple(subscriptions),
            sent_up_to=sent_up_to,
            inbound_qos2=tuple(inbound),
        )


SessionRow = tuple[str, int, int, str | None, int, int, float | None, float | None, bytes]


def _from_row(row: SessionRow) -> Session:
    session = Session(row[0], row[1], decode_details(row[8]))
    session.epoch, session.owner, session.ended, session.expiry_interval_s = row[2], row[3], bool(row[4]), row[5]
    session.will_due_at, session.expires_at = row[6], row[7]
    return session


class Sessions:
    """All sessions of the world. Rows are written at once and cached; `forget` after a rollback."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cache: dict[str, Session] = {}

    def find(self, client_id: str) -> Session | None:
        """The row of this client id, ended or not."""
        session = self._cache.get(client_id)
        if session is None:
            for session in self._select("WHERE client_id = ?", (client_id,)):
                self._cache[client_id] = session
        return session

    def owned_by(self, node: str) -> list[Session]:
        return self._select("WHERE owner = ?", (node,))

    def every(self) -> list[Session]:
        return self._select("WHERE ended = 0", ())

    def will_due(self, now: float, limit: int) -> list[Session]:
        return self._select("WHERE will_due_at <= ? ORDER BY will_due_at LIMIT ?", (now, limit))

    def expired(self, now: float, limit: int) -> list[Session]:
        return self._select("WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", (now, limit))

    def next_moment(self, now: float) -> float | None:
        """The earliest will or expiry after `now`."""
        moments = self._connection.execute(
            "SELECT (SELECT min(will_due_at) FROM sessions WHERE will_due_at > ?),"
            " (SELECT min(expires_at) FROM sessions WHERE expires_at > ?)",
            (now, now),
        ).fetchone()
        return min((moment for moment in moments if moment is not None), default=None)

    def write(self, session: Session) -> None:
        details = Details(
            facts=session.facts,
            protocol_version=session.protocol_version,
            bounds=session.bounds,
            will=session.will,
        )
        self._connection.execute(
            f"INSERT OR REPLACE INTO sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                session.client_id,
                session.incarnation,
                session.epoch,
                session.owner,
                session.ended,
                session.expiry_interval_s,
                session.will_due_at,
                session.expires_at,
                encode(details),
            ),
        )
        self._cache[session.client_id] = session

    def delete(self, session: Session) -> None:
        self._connection.execute("DELETE FROM sessions WHERE client_id = ?", (session.client_id,))
        self._cache.pop(session.client_id, None)

    def trim_cache(self) -> None:
        """Bound the memory. Only between batches."""
        if len(self._cache) > SESSIONS_CACHED_MAX:
            self._cache.clear()

    def forget(self) -> None:
        self._cache.clear()

    def _select(self, where: str, values: tuple[object, ...]) -> list[Session]:
        """Rows of the database, or what the cache holds for them: one session is one object."""
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM sessions {where}", values).fetchall()  # noqa: S608
        return [self._cache.get(row[0]) or _from_row(row) for row in rows]
