"""Gold as a plain folder of hive-partitioned Parquet, for tools that read no Iceberg.

    <export>/current -> versions/<version>        renamed atomically
    <export>/versions/<version>/window_date=2026-03-01/region=emea/revenue_5m.parquet

`read_parquet('<export>/current/**/*.parquet', hive_partitioning=true)` has one row per window and key at any moment, also
for a reader that lists the folder under one version and opens files under the next: a leaf that was ever published stays at
its path in all later versions (without rows when its windows are gone), each key has one leaf, an unchanged leaf is the same
file in both versions (a hard link), and a changed one serves readers of the older one as well (`leaf_files`).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import duckdb
import pyarrow as pa

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD
from rtap_assets.errors import ServingError
from rtap_assets.runtime.clock import from_microseconds
from rtap_assets.runtime.files import write_json
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.lake_files import TableFiles, plan_lake
from rtap_assets.serving.leaf_files import BUILDING, CURRENT, LEAF_NAME, Versions, content_digest, stored_digest, write_leaf
from rtap_assets.serving.one_writer import one_writer

CLOCK = "window_start"
FILES = ".files.json"
DAY_US = 86_400_000_000
PARTITION_COLUMNS = ("window_date", "region")


@dataclass(frozen=True)
class ExportReport:
    """What an export published; `version` is the folder that is current now, an older one when nothing had changed."""

    path: Path
    version: str
    rows: int
    leaves: int
    leaves_written: int
    versions_removed: int
    snapshot_id: int | None
    seconds: float


def export_gold(settings: Settings, *, now: datetime) -> ExportReport:
    """Publish gold's newest snapshot as the current version, and remove versions past their retention.

    Raises:
        ServingError: gold cannot be read or the folder not written; what is published stays as it was.
        DependencyUnavailable: the catalog did not answer.
    """
    started = time.perf_counter()
    folder = settings.export_dir
    with one_writer(folder / ".lock"):
        try:
            gold = plan_lake(settings, (GOLD,))[GOLD.view]
            days = _changed_days(folder, gold)
            with connect_lake(settings, {GOLD.view: gold if days is None else _of_days(gold, days)}) as connection:
                published = publish(
                    connection, folder, retention_seconds=settings.export_retention_seconds, now=now, days=days
                )
            _note_files(folder, gold, published.version)
        except (duckdb.Error, OSError) as error:
            raise ServingError(
                f"Gold could not be published in {folder}: {error}.",
                remedy="What was published before is untouched. Check the disk, then run `rtap marts refresh` again.",
            ) from error
    return ExportReport(
        path=folder / CURRENT,
        version=published.version,
        rows=gold.rows,
        leaves=published.leaves,
        leaves_written=published.written,
        versions_removed=published.removed,
        snapshot_id=gold.snapshot_id,
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True)
class Published:
    """What `publish` did."""

    version: str
    leaves: int
    written: int
    removed: int


def publish(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    *,
    retention_seconds: float,
    now: datetime,
    days: Collection[str] | None = None,
) -> Published:
    """Publish the connection's relation `gold`; the caller holds the folder's lock.

    With `days` (`2026-03-01`), the relation has at least the windows of these days, and the leaves of all others stay.
    """
    versions = Versions(folder)
    versions.remove_unpublished()
    removed = versions.remove_expired(retention_seconds=retention_seconds, now=now)
    building = folder / BUILDING
    written, names = 0, set()
    if versions.current is not None and days is not None:
        kept = {name for name in versions.current_leaves() if _day_of(name) not in days}
        if not days:
            return Published(versions.current.name, len(kept), 0, removed)
        for name in kept:
            _link_leaf(building, name, versions.current)
        names |= kept
    for name, table in _leaves(connection, days):
        names.add(name)
        written += _build_leaf(building, name, table, versions)
    empty = _gold_rows(connection, "WHERE false")
    for name in versions.current_leaves() - names:
        names.add(name)
        written += _build_leaf(building, name, empty, versions)
    if versions.current is not None and not written:
        shutil.rmtree(building, ignore_errors=True)
        return Published(versions.current.name, len(names), 0, removed)
    version = versions.make_current(building, now=now)
    return Published(version, len(names), written, removed)


def _build_leaf(building: Path, name: str, table: pa.Table, versions: Versions) -> bool:
    """Put a leaf into the building site: a link to the current one when its rows are the same, else a new file.

    Returns:
        Whether a file was written.
    """
    path = building / name
    digest = content_digest(table)
    current = versions.current
    if current is not None and (current / name).exists() and stored_digest(current / name) == digest:
        _link_leaf(building, name, current)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_leaf(path, table, digest=digest, kept=versions.retained_files(name))
    return True


def _link_leaf(building: Path, name: str, current: Path) -> None:
    (building / name).parent.mkdir(parents=True, exist_ok=True)
    os.link(current / name, building / name)


def _leaves(connection: duckdb.DuckDBPyConnection, days: Collection[str] | None) -> Iterator[tuple[str, pa.Table]]:
    """Each partition's folder and file name with its rows, in the order of the key; with `days`, of these alone."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE leaf_rows AS "
        "SELECT strftime(window_start AT TIME ZONE 'UTC', '%Y-%m-%d') AS window_date, * FROM gold"
    )
    keys = connection.execute("SELECT DISTINCT window_date, region FROM leaf_rows ORDER BY ALL").fetchall()
    for window_date, region in keys:
        if days is not None and window_date not in days:
            continue
        name = f"window_date={window_date}/region={quote(region, safe='')}/{LEAF_NAME}"
        yield (
            name,
            _gold_rows(connection, "WHERE window_date = ? AND region = ?", [window_date, region], relation="leaf_rows"),
        )


def _day_of(leaf: str) -> str:
    return leaf.partition("/")[0].removeprefix("window_date=")


def _changed_days(folder: Path, gold: TableFiles) -> set[str] | None:
    """Return the days of the files that came or went since the current version; None where that is not known.

    A data file never changes: a day of which gold has the same files has the same rows.
    """
    spans = gold.bounds.get(CLOCK, {})
    try:
        noted = json.loads((folder / FILES).read_text(encoding="utf-8"))
        version = os.readlink(folder / CURRENT)
    except FileNotFoundError:
        return None
    if noted["version"] != os.path.basename(version) or len(spans) < len(gold.paths):
        return None
    before = {path: tuple(span) for path, span in noted["files"].items()}
    differing = [spans.get(path) or before[path] for path in spans.keys() ^ before.keys()]
    return {day for first, last in differing for day in _days(first, last)}


def _days(first_us: int, last_us: int) -> Iterator[str]:
    for number in range(first_us // DAY_US, last_us // DAY_US + 1):
        yield from_microseconds(number * DAY_US).strftime("%Y-%m-%d")


def _of_days(gold: TableFiles, days: Collection[str]) -> TableFiles:
    """Return the plan with those files alone that can hold a window of these days."""
    spans = gold.bounds[CLOCK]
    return gold.only(path for path in gold.paths if any(day in days for day in _days(*spans[path])))


def _note_files(folder: Path, gold: TableFiles, version: str) -> None:
    """Write down from which files the current version was made; a version without that is built again as a whole."""
    spans = gold.bounds.get(CLOCK, {})
    if len(spans) == len(gold.paths):
        write_json(folder / FILES, {"version": version, "files": spans}, durable=True)


def _gold_rows(
    connection: duckdb.DuckDBPyConnection, where: str, values: list[str] | None = None, *, relation: str = "gold"
) -> pa.Table:
    columns = ", ".join(name for name in GOLD.column_names if name not in PARTITION_COLUMNS)
    query = f"SELECT {columns} FROM {relation} {where} ORDER BY window_start, plan_tier, currency"
    return connection.sql(query, params=values or []).to_arrow_table()
