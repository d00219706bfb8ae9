"""Reads a table's history: its newest appended files, and the query and batch that wrote a snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.catalog import load_table, open_catalog

# Written by Iceberg's streaming sink, and by gold's MERGE under the platform's names.
NATIVE_QUERY_ID, NATIVE_EPOCH_ID = "spark.sql.streaming.queryId", "spark.sql.streaming.epochId"
STAMP_QUERY_ID, STAMP_EPOCH_ID, STAMP_WATERMARK_MS = "rtap.query-id", "rtap.epoch-id", "rtap.watermark-ms"
# Written by a correction: its id, and the cause.
STAMP_CORRECTION_ID, STAMP_CAUSE = "rtap.correction-id", "rtap.cause"
# Written by a rebuild, on an empty append where a stream can begin: the stream's name.
STAMP_REBUILD = "rtap.rebuild"


@dataclass(frozen=True)
class StreamCommit:
    """A snapshot that a streaming query committed."""

    snapshot_id: int
    query_id: str
    epoch_id: int


def ancestors(table: Table) -> list[Snapshot]:
    """Return the current snapshot and its retained ancestors, newest first."""
    # Indexed by id: PyIceberg's own look-up scans all snapshots.
    retained = {snapshot.snapshot_id: snapshot for snapshot in table.snapshots()}
    chain = []
    snapshot = table.current_snapshot()
    while snapshot is not None:
        chain.append(snapshot)
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else retained.get(parent)
    return chain


def summary_value(snapshot: Snapshot, key: str) -> str | None:
    """Return one entry of a snapshot's summary; None if it is missing."""
    return None if snapshot.summary is None else snapshot.summary.additional_properties.get(key)


def added_files(snapshot: Snapshot) -> int:
    """Return how many data files the snapshot appended; 0 for compactions and empty commits."""
    if snapshot.summary is None or snapshot.summary.operation is not Operation.APPEND:
        return 0
    return int(summary_value(snapshot, "added-data-files") or 0)


def newest_append(table: Table) -> Snapshot | None:
    """Return the newest snapshot that appended files: the furthest that a stream can read."""
    return next((snapshot for snapshot in ancestors(table) if added_files(snapshot)), None)


def newest_stream_commit(table: Table) -> StreamCommit | None:
    """Return the newest snapshot that a streaming query wrote, natively or with the platform's stamp."""
    for snapshot in ancestors(table):
        for query_key, epoch_key in ((NATIVE_QUERY_ID, NATIVE_EPOCH_ID), (STAMP_QUERY_ID, STAMP_EPOCH_ID)):
            query, epoch = summary_value(snapshot, query_key), summary_value(snapshot, epoch_key)
            if query is not None and epoch is not None:
                return StreamCommit(snapshot.snapshot_id, query, int(epoch))
    return None


def newest_watermark_ms(table: Table) -> int | None:
    """Return the newest watermark stamped into the snapshot or an ancestor (compactions carry none); None before one.

    Units: milliseconds since the epoch.
    """
    stamps = (summary_value(snapshot, STAMP_WATERMARK_MS) for snapshot in ancestors(table))
    return next((int(stamp) for stamp in stamps if stamp is not None), None)


def has_read_to(table: Table, position: dict[str, Any] | None, target: Snapshot) -> bool:
    """Return true when a consumer's committed Iceberg offset is at the end of `target` or beyond it."""
    if position is None:
        return False
    snapshot = table.snapshot_by_id(position["snapshot_id"])
    if snapshot is None:
        return False
    if snapshot.snapshot_id == target.snapshot_id:
        return int(position["position"]) >= added_files(target)
    return (snapshot.sequence_number or 0) > (target.sequence_number or 0)


def newest_read(table: Table, position: dict[str, Any] | None) -> Snapshot | None:
    """Return the newest retained snapshot whose appends a consumer has read completely; None before the first.

    It includes removals after the consumer's position, up to the first append that the consumer has not read.
    """
    found = None
    for snapshot in ancestors(table):
        if has_read_to(table, position, snapshot):
            return found or snapshot
        found = None if added_files(snapshot) else found or snapshot
    return None


def newest_commit_at(settings: Settings, specs: Iterable[TableSpec]) -> datetime | None:
    """Return when the newest snapshot of these tables was committed, by any program; None before the first.

    Raises:
        ServingError: a table does not exist yet.
    """
    catalog = open_catalog(settings)
    snapshots = [load_table(catalog, spec.identifier).current_snapshot() for spec in specs]
    newest = max((snapshot.timestamp_ms for snapshot in snapshots if snapshot is not None), default=None)
    return None if newest is None else datetime.fromtimestamp(newest / 1000, UTC)


@dataclass(frozen=True)
class TableState:
    """A table as its newest snapshot describes it; zeros and None before the first commit.

    `watermark_ms` is the newest one that a stream stamped into the table, milliseconds since the epoch; None without one.
    """

    snapshot_id: int | None
    rows: int
    files: int
    watermark_ms: int | None = None


def table_state(settings: Settings, spec: TableSpec) -> TableState:
    """Return the current state of a table.

    Raises:
        ServingError: the table does not exist yet.
    """
    table = load_table(open_catalog(settings), spec.identifier)
    snapshot = table.current_snapshot()
    if snapshot is None:
        return TableState(None, 0, 0)
    rows, files = (int(summary_value(snapshot, key) or 0) for key in ("total-records", "total-data-files"))
    return TableState(snapshot.snapshot_id, rows, files, newest_watermark_ms(table))
