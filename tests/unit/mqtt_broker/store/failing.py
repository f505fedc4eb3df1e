"""An SQLite connection on a disk that fails when a test says so."""

import sqlite3
from typing import Any


class Failing:
    """The store's connection, with one statement that fails as often as `errors` says."""

    def __init__(self, connection: sqlite3.Connection, statement: str, errors: list[sqlite3.Error]) -> None:
        self._connection = connection
        self._statement = statement
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if self._errors and statement.startswith(self._statement):
            raise self._errors.pop()
        return self._connection.execute(statement, *values)


def io_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR | 4 << 8
    return error
