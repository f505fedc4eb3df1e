"""The file of the embedded store: its tables, its identity, and what makes it safe to open.

Knows SQLite, paths and file modes; does not know sessions' rules, operations or threads.
"""

import os
import sqlite3
from pathlib import Path

from mqtt_broker.store.ports import StoreFull, StoreMismatch, StoreUnavailable

APPLICATION_ID = 0x4D515453  # "MQTS" in the file's header: tools and we ourselves can tell whose file it is
SCHEMA_VERSION = 1
SQLITE_VERSION_MIN = (3, 37)  # STRICT tables; RETURNING is older
FILE_MODE = 0o600
LOCK_WAIT_S_MAX = 1.0  # a predecessor that is just closing gets this long
STATEMENTS_CACHED_MAX = 128  # more than there are different statements
CHECKPOINT_PAGES = 4_000  # 16 MiB of log between checkpoints: rarer stalls, still a quick recovery

_MEMORY = ":memory:"
_SCHEME = "sqlite:"

# One table holds the queues of sessions and of groups alike. `home` is a session's incarnation or a group's id (both
# from one counter), `place` the sequence in it: Take and Return move rows and copy no message. A message lies in
# `bodies`, once, however many rows hold it. Measured against a copy in the row of an only holder: about as fast with 64
# bytes, twice as fast with 1 KiB (rows stay small, so the tree stays flat), and only one way to read and delete.
_TABLES = """
CREATE TABLE world (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE nodes (name TEXT PRIMARY KEY, token INTEGER NOT NULL, number INTEGER NOT NULL, results BLOB) STRICT;
CREATE TABLE sessions (
    client_id TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, epoch INTEGER NOT NULL, owner TEXT,
    ended INTEGER NOT NULL, expiry_interval_s INTEGER NOT NULL, will_due_at REAL, expires_at REAL, details BLOB NOT NULL
) STRICT;
CREATE INDEX sessions_by_owner ON sessions (owner) WHERE owner IS NOT NULL;
CREATE INDEX sessions_by_will ON sessions (will_due_at) WHERE will_due_at IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE subscriptions (
    incarnation INTEGER NOT NULL, filter TEXT NOT NULL, share TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (incarnation, filter, share)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscriptions_by_group ON subscriptions (share, filter) WHERE share <> '';
CREATE TABLE inbound (
    incarnation INTEGER NOT NULL, packet_id INTEGER NOT NULL, PRIMARY KEY (incarnation, packet_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE groups (id INTEGER PRIMARY KEY, share TEXT NOT NULL, filter TEXT NOT NULL, UNIQUE (share, filter)) STRICT;
CREATE TABLE counters (
    home INTEGER PRIMARY KEY, last INTEGER NOT NULL, messages INTEGER NOT NULL, bytes INTEGER NOT NULL,
    sent_up_to INTEGER NOT NULL
) STRICT;
CREATE TABLE queue (
    home INTEGER NOT NULL, place INTEGER NOT NULL, size INTEGER NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
    received INTEGER NOT NULL, group_id INTEGER, group_place INTEGER, identifiers BLOB, body_id INTEGER NOT NULL,
    PRIMARY KEY (home, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE bodies (id INTEGER PRIMARY KEY, holders INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE retained (topic TEXT PRIMARY KEY, expires_at REAL, body BLOB NOT NULL) STRICT;
CREATE INDEX retained_by_expiry ON retained (expires_at) WHERE expires_at IS NOT NULL;
"""


def path_of(url: str) -> str:
    """The file of `sqlite:/absolute/path`, or `:memory:`. Raises StoreMismatch for any other url."""
    path = url.removeprefix(_SCHEME)
    if url.startswith(_SCHEME) and (path == _MEMORY or Path(path).is_absolute()):
        return path
    raise StoreMismatch(f"store {url!r}: expected sqlite:/absolute/path or sqlite::memory:")


def open_database(path: str, lock_wait_s: float = LOCK_WAIT_S_MAX, bytes_max: int | None = None) -> sqlite3.Connection:
    """Open or create the file, lock it for this process alone, and make sure that it is ours.

    `bytes_max` bounds the file; None = the disk does. One that is larger already stays, and does not grow.

    Durable: a commit returns after fdatasync. Raises StoreUnavailable (no such folder, no permission, in use, out of
    space) or StoreMismatch (another program's file, a newer schema); the file is untouched then.
    """
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        needed = ".".join(map(str, SQLITE_VERSION_MIN))
        raise StoreUnavailable(
            f"store {path}: needs SQLite {needed} or newer, this Python has {sqlite3.sqlite_version}"
        )
    if path != _MEMORY:
        _create_private(path)
    try:
        connection = sqlite3.connect(
            path,
            timeout=lock_wait_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_CACHED_MAX,
        )
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    try:
        _prepare(connection, path)
        _bound(connection, bytes_max)
    except sqlite3.Error as error:
        connection.close()
        raise _at_open(path, error) from error
    except OSError as error:
        connection.close()
        raise _no_access(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _bound(connection: sqlite3.Connection, bytes_max: int | None) -> None:
    if bytes_max is not None:
        page_bytes: int = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {bytes_max // page_bytes}")


def unavailable(path: str, error: sqlite3.Error) -> StoreUnavailable:
    """What SQLite reports, as the port's error: which file, and what a person can do about it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind = StoreFull if code == sqlite3.SQLITE_FULL else StoreUnavailable
    return kind(f"store {path}: {_NEXT_STEP.get(code, str(error))}")


_NEXT_STEP = {
    sqlite3.SQLITE_BUSY: "another process has this file open; stop it, or choose another data folder",
    sqlite3.SQLITE_FULL: "the disk is full, or the storage that it may take; make room, it goes on by itself",
    sqlite3.SQLITE_READONLY: "the file is read-only; make it and its folder writable for this user",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its folder exists and is writable for this user",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error or has no room; check it, the store tries again",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup",
}


def _at_open(path: str, error: sqlite3.Error) -> StoreUnavailable | StoreMismatch:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB:
        return StoreMismatch(f"store {path}: not a store of this broker; choose another file")
    return unavailable(path, error)


def _no_access(path: str, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"store {path}: {error.strerror}; check the folder and its permissions")


def _create_private(path: str) -> None:
    """Make an empty file before SQLite would: with our mode, not the umask's. Its log files inherit the mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
    except OSError as error:
        raise _no_access(path, error) from error


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # before the first read: one file, one node
    is_new = _identify(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # in WAL mode: the log is synced by every commit
    connection.execute("PRAGMA fullfsync = ON")  # macOS: plain fsync leaves data in the drive's cache
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("BEGIN EXCLUSIVE")  # takes the lock now, not with the first message
    if is_new:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
    if path != _MEMORY:
        Path(path).chmod(FILE_MODE)  # a file that was restored or copied may be readable by others


def _identify(connection: sqlite3.Connection, path: str) -> bool:
    """True if the file is empty and free to take. Raises StoreMismatch if it is neither empty nor ours."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and version == 0 and tables == 0:
        return True
    if application != APPLICATION_ID:
        raise StoreMismatch(f"store {path}: a database of another program; choose another file")
    if version != SCHEMA_VERSION:
        raise StoreMismatch(f"store {path}: has format {version}, this broker reads {SCHEMA_VERSION}; update it")
    return False
