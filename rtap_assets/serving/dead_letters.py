"""Reads the quarantined rows of bronze, for operators and redrives: counts by group, or row by row. Read-only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import duckdb

from rtap_assets.config import Settings
from rtap_assets.contracts.dead_letters import PERIODS, REDRIVE_ATTEMPT, DeadLetter, Group
from rtap_assets.contracts.selection import Selection
from rtap_assets.errors import ServingError
from rtap_assets.runtime.clock import from_microseconds
from rtap_assets.serving.connection import open_lake

FETCHED = 500
ORDER = "kafka_timestamp, kafka_partition, kafka_offset"
COLUMNS = (
    "topic, kafka_partition, kafka_offset, epoch_us(kafka_timestamp), schema_id, error_reason, {detail}, raw_key, "
    "raw_value, kafka_headers"
)


def count_dead_letters(settings: Settings, selection: Selection, *, period: str = "day") -> list[Group]:
    """Return the selected rows counted by group, newest period first, then by number.

    Raises:
        ServingError: the lake cannot be read.
        DependencyUnavailable: the catalog did not answer.
    """
    if period not in PERIODS:
        raise ServingError(f"Rows cannot be grouped by {period}.", remedy=f"Group by one of {', '.join(PERIODS)}.")
    redriven = f"coalesce(list_contains(list_transform(kafka_headers, lambda h: h.key), '{REDRIVE_ATTEMPT}'), false)"
    statement = (
        f"SELECT epoch_us(date_trunc('{period}', kafka_timestamp)), error_reason, schema_id, count(*), count_if({redriven}) "
        f"FROM ({_selected(selection, '*')}) GROUP BY 1, 2, 3 ORDER BY 1 DESC, 4 DESC, 2, 3"
    )
    with open_lake(settings) as connection, _translated():
        rows = connection.execute(statement).fetchall()
    return [Group(_instant(row[0]), row[1], row[2], row[3], row[4]) for row in rows]


def read_dead_letters(settings: Settings, selection: Selection, *, newest_first: bool = False) -> Iterator[DeadLetter]:
    """Yield the selected rows, oldest first by default, with their raw bytes; holds a few hundred in memory.

    Raises:
        ServingError: the lake cannot be read.
        DependencyUnavailable: the catalog did not answer.
    """
    with open_lake(settings) as connection:
        columns = COLUMNS.format(detail=_detail(connection))
        with _translated():
            cursor = connection.execute(_selected(selection, columns, newest_first=newest_first))
        while True:
            with _translated():
                rows = cursor.fetchmany(FETCHED)
            if not rows:
                return
            yield from map(_dead_letter, rows)


def _selected(selection: Selection, columns: str, *, newest_first: bool = False) -> str:
    order = ", ".join(f"{name} DESC" for name in ORDER.split(", ")) if newest_first else ORDER
    limit = f" LIMIT {int(selection.limit)}" if selection.limit else ""
    return f"SELECT {columns} FROM bronze WHERE {selection.where()} ORDER BY {order}{limit}"


def _detail(connection: duckdb.DuckDBPyConnection) -> str:
    names = {name for name, *_ in connection.execute("DESCRIBE bronze").fetchall()}
    return "error_detail" if "error_detail" in names else "NULL"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise ServingError(
            f"The dead letters of bronze cannot be read: {error}.", remedy="Try again; if it persists, check the disk."
        ) from error


def _dead_letter(row: tuple[Any, ...]) -> DeadLetter:
    topic, partition, offset, appended, schema_id, reason, detail, key, value, headers = row
    return DeadLetter(
        topic, partition, offset, _instant(appended), schema_id, reason, detail or "", key, value,
        tuple((one["key"], one["value"]) for one in headers or ()),
    )  # fmt: skip


def _instant(microseconds: int) -> datetime:
    return from_microseconds(microseconds)
