"""Which hours and days of the marts a refresh builds again: those of files that came or went, and those still provisional.

A data file never changes, so the same files of an hour are the same rows: appends, restatements, erasures, compactions,
rebuilds and rollbacks all show as other files. The file of the marts keeps, in its schema `parts`, the files that it was
built from. Where that does not suffice (another recipe, a file without statistics, a watermark that went back, a file that
cannot be opened) everything is built again.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TABLES, TableSpec
from rtap_assets.runtime.clock import from_microseconds
from rtap_assets.serving.connection import create_view
from rtap_assets.serving.lake_files import TableFiles

# The oldest format that has everything we write, so that older tools open the file.
STORAGE_VERSION = "v1.5.0"
CATALOG = "building"
# The instant of a row that says to which period it belongs.
CLOCKS = {BRONZE.view: "kafka_timestamp", SILVER.view: "kafka_timestamp", GOLD.view: "window_start"}
FILES_SCHEMA = pa.schema(
    [
        ("view", pa.string()),
        ("path", pa.string()),
        ("first_at", pa.timestamp("us", tz="UTC")),
        ("last_at", pa.timestamp("us", tz="UTC")),
    ]
)
# Hours of windows whose status can be another one now although no file is.
_UNSETTLED = f"""
CREATE TEMP TABLE unsettled_hours AS
SELECT date_trunc('hour', window_start) AS period FROM {CATALOG}.main.rolling_revenue WHERE status = 'provisional'
UNION
SELECT date_trunc('hour', window_start) FROM provisional_windows
UNION
SELECT unnest(generate_series(
    date_trunc('hour', $settled_until::TIMESTAMPTZ),
    (SELECT max(last_at) FROM (FROM files_now UNION ALL FROM files_before) WHERE view = 'gold'),
    INTERVAL 1 HOUR
))
"""
_CHANGED = """
CREATE TEMP TABLE {changed} AS
WITH own_now AS (FROM files_now WHERE view = '{view}'),
own_before AS (FROM files_before WHERE view = '{view}'),
differing AS ((FROM own_now EXCEPT FROM own_before) UNION ALL (FROM own_before EXCEPT FROM own_now))
SELECT unnest(generate_series(date_trunc('{unit}', first_at), last_at, INTERVAL 1 {unit})) AS period FROM differing
UNION
SELECT period FROM unsettled_hours WHERE '{view}' = 'gold'
"""


@dataclass(frozen=True)
class Periods:
    """A mart whose rows of a period are made from those rows of the table `of` alone whose instant is in that period.

    `column` says to which period a row of the mart belongs; `unit` is `hour` or `day`, in UTC.
    """

    column: str
    of: TableSpec
    unit: str = "hour"

    @property
    def changed(self) -> str:
        """Name of the table of the periods that have changed."""
        return f"changed_{self.of.view}_{self.unit}s"


def begin(
    connection: duckdb.DuckDBPyConnection,
    building: Path,
    last: Path,
    plans: Mapping[str, TableFiles],
    *,
    recipe: str,
    window_seconds: int,
) -> bool:
    """Attach the file to build; return whether it goes on from a copy of the last one, so that changed periods suffice.

    `recipe` names what rows depend on besides the lake. The tables of `corrections.py` must be there.
    """
    connection.register("files_planned", _files_now(plans))
    connection.execute("CREATE TEMP TABLE files_now AS FROM files_planned")
    connection.unregister("files_planned")
    has_bounds = all(path in files.bounds[CLOCKS[view]] for view, files in plans.items() for path in files.paths)
    is_continued = has_bounds and last.exists() and _continue(
        connection, building, last, recipe=recipe, watermark=plans[GOLD.view].watermark, window_seconds=window_seconds
    )  # fmt: skip
    if not is_continued:
        _attach(connection, building)
        connection.execute(f"CREATE SCHEMA {CATALOG}.parts")
    connection.execute(f"CREATE OR REPLACE TABLE {CATALOG}.parts.files AS FROM files_now")
    connection.execute(
        f"CREATE OR REPLACE TABLE {CATALOG}.parts.recipe AS SELECT ? AS digest", [recipe if has_bounds else ""]
    )
    return is_continued


def create_whole(
    connection: duckdb.DuckDBPyConnection, plans: Mapping[str, TableFiles], schema: str, name: str, statement: str
) -> None:
    """Build a mart from all of the tables that its statement names."""
    for view, files in plans.items():
        if re.search(rf"\b{view}\b", statement):  # making a view reads the footer of each of its files
            create_view(connection, view, files)
    connection.execute(f"SET search_path = '{CATALOG}.{schema},{CATALOG}.main,{CATALOG}.parts'")
    kind = "VIEW" if statement.lstrip().startswith("CREATE VIEW") else "TABLE"
    connection.execute(f"DROP {kind} IF EXISTS {CATALOG}.{schema}.{name}")
    connection.execute(statement)


def replace_periods(
    connection: duckdb.DuckDBPyConnection,
    plans: Mapping[str, TableFiles],
    target: str,
    statement: str,
    periods: Periods,
    *,
    source: TableSpec | str,
) -> None:
    """Build the changed periods of a mart, `target` being `<schema>.<name>`, in place of what it has of them.

    Its statement is run over a view of its source, a table or an earlier mart, that shows these periods alone.
    """
    view, unit, changed = periods.of.view, periods.unit, periods.changed
    exists = "SELECT count(*) FROM duckdb_tables() WHERE temporary AND table_name = ?"
    if connection.execute(exists, [changed]).fetchone() == (0,):
        connection.execute(_CHANGED.format(changed=changed, view=view, unit=unit))
    if connection.execute(f"SELECT count(*) FROM {changed}").fetchone() == (0,):
        return
    rows = f"date_trunc('{unit}', {CLOCKS[view]}) IN (FROM {changed})"
    if isinstance(source, str):
        connection.execute(f"CREATE TEMP VIEW {source} AS FROM {CATALOG}.main.{source} WHERE {rows}")
    else:
        create_view(connection, view, _holding(connection, plans[view], periods), rows=rows)
    connection.execute(f"CREATE SCHEMA {CATALOG}.fresh")
    connection.execute(f"SET search_path = '{CATALOG}.fresh,{CATALOG}.main,{CATALOG}.parts'")
    connection.execute(statement)
    name = target.rpartition(".")[2]
    connection.execute(f"DELETE FROM {CATALOG}.{target} WHERE date_trunc('{unit}', {periods.column}) IN (FROM {changed})")
    connection.execute(f"INSERT INTO {CATALOG}.{target} FROM {CATALOG}.fresh.{name}")
    connection.execute(f"DROP SCHEMA {CATALOG}.fresh CASCADE")
    if isinstance(source, str):
        connection.execute(f"DROP VIEW temp.{source}")


def finish(connection: duckdb.DuckDBPyConnection) -> None:
    """Detach the file, which writes its checkpoint: no write-ahead log is left beside it."""
    connection.execute("USE memory")
    connection.execute(f"DETACH {CATALOG}")


def remove_building(building: Path) -> None:
    """Remove what an interrupted refresh has left."""
    for leftover in (building, building.with_name(building.name + ".wal")):
        leftover.unlink(missing_ok=True)


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    quoted = str(path).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS {CATALOG} (STORAGE_VERSION '{STORAGE_VERSION}')")


def _continue(
    connection: duckdb.DuckDBPyConnection,
    building: Path,
    last: Path,
    *,
    recipe: str,
    watermark: datetime | None,
    window_seconds: int,
) -> bool:
    """Attach a copy of the last file and make the tables of what has changed; leave nothing behind where that cannot be."""
    shutil.copyfile(last, building)
    try:
        _attach(connection, building)
    except duckdb.Error:  # it is damaged, or of a newer version: built again
        building.unlink()
        return False
    before = _watermark_of(connection, recipe)
    if before is not None and watermark is not None and before <= watermark:
        connection.execute(f"CREATE TEMP TABLE files_before AS FROM {CATALOG}.parts.files")
        connection.execute(_UNSETTLED, {"settled_until": before - timedelta(seconds=window_seconds)})
        return True
    connection.execute(f"DETACH {CATALOG}")
    building.unlink()
    return False


def _watermark_of(connection: duckdb.DuckDBPyConnection, recipe: str) -> datetime | None:
    """Return the watermark of the attached file; None where it has none, or was built by another recipe."""
    tables = (
        "SELECT count(*) FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'parts' AND table_name = 'recipe'"
    )
    if connection.execute(tables, [CATALOG]).fetchone() == (0,):
        return None
    query = f"SELECT epoch_us(watermark) FROM {CATALOG}.main.refresh, {CATALOG}.parts.recipe WHERE digest = ?"
    row = connection.execute(query, [recipe]).fetchone()
    return None if row is None or row[0] is None else from_microseconds(row[0])


def _files_now(plans: Mapping[str, TableFiles]) -> pa.Table:
    rows = [
        (spec.view, path, *plans[spec.view].bounds.get(CLOCKS[spec.view], {}).get(path, (None, None)))
        for spec in TABLES
        for path in plans[spec.view].paths
    ]
    columns = [pa.array([row[index] for row in rows], kind.type) for index, kind in enumerate(FILES_SCHEMA)]
    return pa.Table.from_arrays(columns, schema=FILES_SCHEMA)


def _holding(connection: duckdb.DuckDBPyConnection, files: TableFiles, periods: Periods) -> TableFiles:
    """Return the plan with those files alone that can hold a row of a changed period."""
    found = connection.execute(
        f"SELECT path FROM files_now WHERE view = ? AND EXISTS (SELECT 1 FROM {periods.changed} "
        f"WHERE period BETWEEN date_trunc('{periods.unit}', first_at) AND last_at)",
        [files.spec.view],
    ).fetchall()
    return files.only(path for (path,) in found)
