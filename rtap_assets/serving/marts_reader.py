"""Reads the marts for programs that stay: one read-only connection to the file that is current, opened again when swapped.

A refresh moves a new file into place; the old one is let go as soon as the reads that began on it have ended. Nothing but
the marts can be read, and nothing written. Many threads may read at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb

from rtap_assets.config import Settings
from rtap_assets.errors import ServingError

MEMORY = "256MB"
NO_MARTS = "There are no marts yet."


@dataclass
class _Opened:
    """An open file: its identity on disk, the connection, and how many reads use it."""

    identity: str
    connection: duckdb.DuckDBPyConnection
    readers: int = 0
    is_current: bool = True


class MartsReader:
    """Reads one state folder's marts."""

    def __init__(self, settings: Settings) -> None:
        self._path: Path = settings.marts_path
        self._lock = Lock()
        self._opened: _Opened | None = None

    def identity(self) -> str:
        """Return what names the current file: another one after each refresh, empty while there are no marts."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return ""
        return f"{found.st_ino:x}-{found.st_mtime_ns:x}"

    @contextmanager
    def reading(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        """Yield a cursor over the current marts, in UTC, for the time of the block, and the identity of its file.

        Raises:
            ServingError: there are no marts, they cannot be opened, or a statement failed.
        """
        opened = self._enter()
        try:
            with opened.connection.cursor() as cursor:
                cursor.execute("USE marts")  # a cursor begins in the database that the connection began in
                yield cursor, opened.identity
        except duckdb.Error as error:
            raise ServingError(f"The marts cannot be read: {error}.", remedy="Rebuild: `rtap marts refresh`.") from error
        finally:
            self._leave(opened)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of one statement. Raises like `reading`."""
        with self.reading() as (cursor, _):
            return cursor.execute(statement, list(values)).fetchall()

    def close(self) -> None:
        """Let the file go once no read uses it."""
        with self._lock:
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.is_current = False
                _close_when_unused(opened)

    def _enter(self) -> _Opened:
        identity = self.identity()
        if not identity:
            self.close()
            raise ServingError(NO_MARTS, remedy="Build them: `rtap marts refresh`.")
        with self._lock:
            if self._opened is None or self._opened.identity != identity:
                # An in-memory database of its own: a second connection to the same path would share the old file.
                fresh = _Opened(identity, _connect(self._path))
                if self._opened is not None:
                    self._opened.is_current = False
                    _close_when_unused(self._opened)
                self._opened = fresh
            self._opened.readers += 1
            return self._opened

    def _leave(self, opened: _Opened) -> None:
        with self._lock:
            opened.readers -= 1
            _close_when_unused(opened)


def _close_when_unused(opened: _Opened) -> None:
    if not opened.is_current and opened.readers == 0:
        opened.connection.close()


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": MEMORY})
    quoted = str(path).replace("'", "''")
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET python_enable_replacements = false")
        connection.execute(f"ATTACH '{quoted}' AS marts (READ_ONLY)")
        connection.execute("SET autoinstall_known_extensions = false")
        connection.execute("SET autoload_known_extensions = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise ServingError(f"The marts in {path} cannot be opened: {error}.", remedy="`rtap marts refresh`.") from error
    return connection
