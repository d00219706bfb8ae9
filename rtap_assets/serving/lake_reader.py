"""Reads the lake for programs that stay: quarantined rows and results of checks, planned again every few seconds.

A plan pins its snapshots for `reader_pin_seconds`, which is far longer than it is used here. One read at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import duckdb

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, DQ_RESULTS, TableSpec
from rtap_assets.errors import ServingError
from rtap_assets.serving.connection import connect_lake, lock_down
from rtap_assets.serving.lake_files import plan_lake

PLAN_SECONDS = 5.0


class LakeReader:
    """Reads one state folder's lake. `clock` counts seconds."""

    def __init__(
        self,
        settings: Settings,
        *,
        specs: Sequence[TableSpec] = (BRONZE, DQ_RESULTS),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._specs, self._clock = settings, specs, clock
        self._lock = Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._planned_at = 0.0
        self._identity = ""

    def identity(self) -> str:
        """Return what names the snapshots that a read would see now. Raises like `reading`."""
        with self.reading() as (_, identity):
            return identity

    @contextmanager
    def reading(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        """Yield a connection with the tables' views, and what names the snapshots that it reads.

        Raises:
            ServingError: the lake cannot be read, or a statement failed.
            DependencyUnavailable: the catalog did not answer.
        """
        with self._lock:
            try:
                yield self._current(), self._identity
            except duckdb.Error as error:
                self._close()
                raise ServingError(f"The lake cannot be read: {error}.", remedy="Try again; else check the disk.") from error

    def close(self) -> None:
        """Let the files go."""
        with self._lock:
            self._close()

    def _current(self) -> duckdb.DuckDBPyConnection:
        now = self._clock()
        if self._connection is not None and now - self._planned_at < PLAN_SECONDS:
            return self._connection
        plans = plan_lake(self._settings, self._specs)
        identity = "-".join(f"{plans[spec.view].snapshot_id or 0:x}" for spec in self._specs)
        if self._connection is None or identity != self._identity:
            self._close()
            self._connection = connect_lake(self._settings, plans)
            self._connection.execute("SET threads = 1")
            lock_down(self._connection, [path for files in plans.values() for path in files.paths])
        self._planned_at, self._identity = now, identity
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
