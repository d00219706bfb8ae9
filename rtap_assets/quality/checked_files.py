"""Which files a pass of checks reads: those that can hold a row of the checked time, by the bounds in the tables' manifests.

What a check asks of all time is answered from few files too: the newest instants from the files that hold them, and the
watermark before the checked time from the files that can have raised it. A pass over everything reads everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import duckdb

from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER
from rtap_assets.serving.connection import create_view, with_first_epoch
from rtap_assets.serving.corrections import files_beyond
from rtap_assets.serving.duckdb_types import typed_empty_select
from rtap_assets.serving.lake_files import TableFiles

HOUR_US = 3_600_000_000
FIRST_INSTANT_US = -(2**62)
_NEWEST_VALID = "SELECT epoch_us(max(event_time)) FROM one_file WHERE error_reason IS NULL"
_HAS_VALID = "SELECT count(*) > 0 FROM (SELECT 1 FROM bronze WHERE error_reason IS NULL LIMIT 1)"
_EARLIER_FILE = """
INSERT INTO earlier_files
SELECT coalesce(any_value(sequence_number), -1), coalesce(any_value(file_index), 0), make_timestamptz(?)
FROM bronze_order WHERE path = ?
"""
# The hours of events that silver holds neither at the record's coordinates nor, among newer rows, by their id.
_UNRESOLVED = """
SELECT DISTINCT epoch_us(event_time) // 3_600_000_000
FROM (SELECT *, lower(event_id) AS id FROM bronze WHERE error_reason IS NULL AND kafka_timestamp >= ?) AS valid
ANTI JOIN silver USING (topic_epoch, kafka_partition, kafka_offset)
ANTI JOIN (SELECT event_id AS id FROM silver) AS held USING (id)
"""


def show_checked_files(
    connection: duckdb.DuckDBPyConnection, plans: Mapping[str, TableFiles], *, since: datetime, volume_since: datetime
) -> None:
    """Make the views of the tables show the files that can hold a row since then, and those that the checks need besides.

    `newest_<table>` have the newest commits and records (`newest_silver` all where gold is empty), `latest_bronze` the
    newest valid record, `silver_with_files` the events since then by their event time.
    """
    bronze, silver, gold = (plans[spec.view] for spec in (BRONZE, SILVER, GOLD))
    least = _us(since)
    recent = bronze.reaching("kafka_timestamp", min(least, _us(volume_since)))
    create_view(connection, "bronze", recent)
    create_view(connection, "silver", silver.reaching("kafka_timestamp", least))
    create_view(connection, "gold", gold.reaching("window_start", least))
    view_with_files(connection, "bronze", recent)
    view_with_files(connection, "silver", silver.reaching("event_time", least))
    create_view(connection, "newest_bronze", _newest(bronze, "kafka_timestamp"))
    newest_silver = _newest(silver, "kafka_timestamp", "processed_at") if gold.rows else silver
    create_view(connection, "newest_silver", newest_silver)
    create_view(connection, "newest_gold", _newest(gold, "updated_at"))
    has_valid = bool(silver.paths) and connection.execute(_HAS_VALID).fetchone() == (True,)
    create_view(connection, "latest_bronze", recent if has_valid else bronze)


def show_consumed_bronze(connection: duckdb.DuckDBPyConnection, bronze: TableFiles) -> None:
    """Make the view `consumed_bronze` of the files that can hold an offset from `bronze_starts` on."""
    starts = connection.execute("SELECT topic_epoch, kafka_partition, first_offset FROM bronze_starts").fetchall()
    epochs = {epoch for epoch, _, _ in starts}
    paths = {path for epoch in epochs for path in _from(bronze, starts, epoch).paths}
    create_view(connection, "consumed_bronze", bronze.only(paths))


def show_earlier_silver(
    connection: duckdb.DuckDBPyConnection, silver: TableFiles, *, since: datetime, everything: bool = False
) -> bool:
    """Make the view `earlier_silver` of the files without a newer row; return whether it shows all of them.

    Where the events of the checked time are copies of earlier ones, these are looked for among events of the same hours;
    with `everything`, in all files.
    """
    earlier = _without(silver, silver.reaching("kafka_timestamp", _us(since)))
    shown = earlier
    if not everything and earlier.paths:
        hours = {hour for (hour,) in connection.execute(_UNRESOLVED, [since]).fetchall() if hour is not None}
        spans = silver.bounds.get("event_time", {})
        shown = earlier.only(path for path in earlier.paths if path not in spans or _overlaps(spans[path], hours))
    create_view(connection, "earlier_silver", shown)
    return len(shown.paths) == len(earlier.paths)


def note_earlier_maximum(connection: duckdb.DuckDBPyConnection, bronze: TableFiles, *, since: datetime) -> None:
    """Make the table `earlier_files`: of files before the checked time, those with the newest valid event times.

    The files are read from the greatest possible event time down, until no other one can have a newer valid event.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE earlier_files (sequence_number BIGINT, file_index BIGINT, newest TIMESTAMPTZ)"
    )
    earlier, spans = _without(bronze, bronze.reaching("kafka_timestamp", _us(since))), bronze.bounds.get("event_time", {})
    newest = FIRST_INSTANT_US
    # A file without bounds has no valid row, or was written without statistics.
    for path in sorted(earlier.paths, key=lambda one: spans[one][1] if one in spans else 2**62, reverse=True):
        if path in spans and spans[path][1] <= newest:
            break
        create_view(connection, "one_file", bronze.only([path]))
        (found,) = connection.execute(_NEWEST_VALID).fetchone() or (None,)
        if found is not None:
            newest = max(newest, found)
            connection.execute(_EARLIER_FILE, [found, path])


def view_with_files(connection: duckdb.DuckDBPyConnection, name: str, files: TableFiles) -> None:
    """Make the view `<name>_with_files` of a table's rows with the name of the file that each is in."""
    select = f"SELECT *, NULL::VARCHAR AS filename FROM ({typed_empty_select(files.spec)})"
    if files.paths:
        connection.execute(f"SET VARIABLE {name}_with_files = ?", [list(files.paths)])
        options = "union_by_name = true, hive_partitioning = false, filename = true"
        select += f"\nUNION ALL BY NAME\nFROM read_parquet(getvariable('{name}_with_files'), {options})"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name}_with_files AS {with_first_epoch(files.spec, select)}")


def _newest(files: TableFiles, *columns: str) -> TableFiles:
    """Return the plan with the files that can hold the greatest value of a column."""
    paths: set[str] = set()
    for column in columns:
        greatest = max((last for _, last in files.bounds.get(column, {}).values()), default=0)
        paths |= set(files.reaching(column, greatest).paths)
    return files.only(paths)


def _from(bronze: TableFiles, starts: Iterable[tuple[int, int, int]], epoch: int) -> TableFiles:
    """Return the plan with the files that can hold an offset to check, in this epoch of the topic or a later one."""
    offsets = {partition: first for one, partition, first in starts if one == epoch}
    return files_beyond(bronze, offsets, topic_epoch=epoch, otherwise=None)


def _without(files: TableFiles, others: TableFiles) -> TableFiles:
    return files.only(set(files.paths) - set(others.paths))


def _overlaps(span: tuple[int, int], hours: Iterable[int]) -> bool:
    return any(span[0] // HOUR_US <= hour <= span[1] // HOUR_US for hour in hours)


def _us(instant: datetime) -> int:
    return round(instant.timestamp() * 1_000_000)
