"""Gold as a plain folder of hive-partitioned Parquet, for tools that read no Iceberg.

    <export>/current -> versions/<version>        renamed atomically
    <export>/versions/<version>/window_date=2026-03-01/region=emea/revenue_5m.parquet

`read_parquet('<export>/current/**/*.parquet', hive_partitioning=true)` has one row per window and key at any moment, also
for a reader that lists the folder under one version and opens files under the next: a leaf that was ever published stays at
its path in all later versions (without rows when its windows are gone), each key has one leaf, an unchanged leaf is the same
file in both versions (a hard link), and a changed one serves readers of the older one as well (`leaf_files`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import duckdb
import pyarrow as pa

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD
from rtap_assets.errors import ServingError
from rtap_assets.runtime.files import sync_folder
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.lake_files import plan_lake
from rtap_assets.serving.leaf_files import content_digest, stored_digest, write_leaf
from rtap_assets.serving.one_writer import one_writer

LEAF_NAME = "revenue_5m.parquet"
PARTITION_COLUMNS = ("window_date", "region")
CURRENT, VERSIONS, BUILDING = "current", "versions", ".building"
TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"


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
            plans = plan_lake(settings, (GOLD,))
            with connect_lake(settings, plans) as connection:
                published = publish(connection, folder, retention_seconds=settings.export_retention_seconds, now=now)
        except (duckdb.Error, OSError) as error:
            raise ServingError(
                f"Gold could not be published in {folder}: {error}.",
                remedy="What was published before is untouched. Check the disk, then run `rtap marts refresh` again.",
            ) from error
    return ExportReport(
        path=folder / CURRENT,
        version=published.version,
        rows=published.rows,
        leaves=published.leaves,
        leaves_written=published.written,
        versions_removed=published.removed,
        snapshot_id=plans["gold"].snapshot_id,
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True)
class Published:
    """What `publish` did."""

    version: str
    rows: int
    leaves: int
    written: int
    removed: int


def publish(connection: duckdb.DuckDBPyConnection, folder: Path, *, retention_seconds: float, now: datetime) -> Published:
    """Publish the connection's relation `gold`; the caller holds the folder's lock."""
    versions = _Versions(folder)
    versions.remove_unpublished()
    removed = versions.remove_expired(retention_seconds=retention_seconds, now=now)
    building = folder / BUILDING
    rows, written, names = 0, 0, set()
    for name, table in _leaves(connection):
        rows += table.num_rows
        names.add(name)
        written += _build_leaf(building, name, table, versions)
    empty = _gold_rows(connection, "WHERE false")
    for name in versions.current_leaves() - names:
        names.add(name)
        written += _build_leaf(building, name, empty, versions)
    if versions.current is not None and not written:
        shutil.rmtree(building, ignore_errors=True)
        return Published(versions.current.name, rows, len(names), 0, removed)
    version = versions.make_current(building, now=now)
    return Published(version, rows, len(names), written, removed)


class _Versions:
    """The version folders, oldest first, and which of them is current."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / VERSIONS).mkdir(parents=True, exist_ok=True)
        self.retained = sorted((folder / VERSIONS).iterdir())
        link = folder / CURRENT
        self.current = folder / os.readlink(link) if link.is_symlink() else None

    def remove_unpublished(self) -> None:
        """Remove what an export that died has left: its building site, and a version that never became current."""
        shutil.rmtree(self.folder / BUILDING, ignore_errors=True)
        published = self.current.name if self.current else ""
        for path in [path for path in self.retained if path.name > published]:
            shutil.rmtree(path)
            self.retained.remove(path)

    def remove_expired(self, *, retention_seconds: float, now: datetime) -> int:
        """Remove versions that were superseded longer ago than the retention."""
        removed = 0
        while len(self.retained) > 1 and (now - _published_at(self.retained[1])).total_seconds() >= retention_seconds:
            shutil.rmtree(self.retained.pop(0))
            removed += 1
        return removed

    def current_leaves(self) -> set[str]:
        """The leaves of the current version, relative to it."""
        if self.current is None:
            return set()
        return {str(path.relative_to(self.current)) for path in self.current.rglob(LEAF_NAME)}

    def retained_files(self, leaf: str) -> list[Path]:
        """The distinct files that the retained versions have for a leaf."""
        files = {path.stat().st_ino: path for version in self.retained if (path := version / leaf).exists()}
        return list(files.values())

    def make_current(self, building: Path, *, now: datetime) -> str:
        """Name the built folder and let the link point at it, in one rename."""
        sequence = 1 + (int(self.retained[-1].name.partition("-")[0]) if self.retained else 0)
        version = f"{sequence:012d}-{now.astimezone(UTC).strftime(TIME_FORMAT)}"
        building.mkdir(exist_ok=True)
        for path in [building, *(path for path in building.rglob("*") if path.is_dir())]:
            sync_folder(path)
        building.rename(self.folder / VERSIONS / version)
        new_link = self.folder / f".{CURRENT}"
        new_link.unlink(missing_ok=True)
        new_link.symlink_to(Path(VERSIONS) / version)
        os.replace(new_link, self.folder / CURRENT)
        sync_folder(self.folder)
        return version


def _published_at(version: Path) -> datetime:
    return datetime.strptime(version.name.partition("-")[2], TIME_FORMAT).replace(tzinfo=UTC)


def _build_leaf(building: Path, name: str, table: pa.Table, versions: _Versions) -> bool:
    """Put a leaf into the building site: a link to the current one when its rows are the same, else a new file.

    Returns:
        Whether a file was written.
    """
    path = building / name
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = content_digest(table)
    current = None if versions.current is None else versions.current / name
    if current is not None and current.exists() and stored_digest(current) == digest:
        os.link(current, path)
        return False
    write_leaf(path, table, digest=digest, kept=versions.retained_files(name))
    return True


def _leaves(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, pa.Table]]:
    """Each partition's folder and file name with its rows, in the order of the key."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE leaf_rows AS "
        "SELECT strftime(window_start AT TIME ZONE 'UTC', '%Y-%m-%d') AS window_date, * FROM gold"
    )
    keys = connection.execute("SELECT DISTINCT window_date, region FROM leaf_rows ORDER BY ALL").fetchall()
    for window_date, region in keys:
        name = f"window_date={window_date}/region={quote(region, safe='')}/{LEAF_NAME}"
        yield (
            name,
            _gold_rows(connection, "WHERE window_date = ? AND region = ?", [window_date, region], relation="leaf_rows"),
        )


def _gold_rows(
    connection: duckdb.DuckDBPyConnection, where: str, values: list[str] | None = None, *, relation: str = "gold"
) -> pa.Table:
    columns = ", ".join(name for name in GOLD.column_names if name not in PARTITION_COLUMNS)
    query = f"SELECT {columns} FROM {relation} {where} ORDER BY window_start, plan_tier, currency"
    return connection.sql(query, params=values or []).to_arrow_table()
