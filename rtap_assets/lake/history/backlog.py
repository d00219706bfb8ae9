"""What of a table a stream that follows it has not read yet: how many rows, and since when the oldest of them waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from rtap_assets.lake.history.snapshots import added_files, ancestors, summary_value
from rtap_assets.runtime.clock import from_milliseconds


@dataclass(frozen=True)
class Backlog:
    """Rows not read yet; `oldest_at` is when the oldest of them was committed, None when there is none."""

    rows: int
    oldest_at: datetime | None


def backlog(table: Table, position: Mapping[str, Any] | None) -> Backlog | None:
    """What lies between a stream's committed position (None: nothing read yet) and the table's end.

    None when the position's snapshot is not in the table's history: how much is missing cannot be told then.
    """
    rows, oldest_ms = 0, None
    for snapshot in ancestors(table):
        is_reached = position is not None and snapshot.snapshot_id == position["snapshot_id"]
        added = added_files(snapshot)
        read = int(position["position"]) if is_reached and position is not None else 0
        if added > read:
            rows += _rows_from(table, snapshot, read) if read else int(summary_value(snapshot, "added-records") or 0)
            oldest_ms = snapshot.timestamp_ms
        if is_reached:
            break
    else:
        if position is not None:
            return None
    return Backlog(rows, None if oldest_ms is None else from_milliseconds(oldest_ms))


def _rows_from(table: Table, snapshot: Snapshot, first_file: int) -> int:
    """Rows of the files that the snapshot added, from this index on, in the order of Iceberg's streaming source."""
    rows = [
        entry.data_file.record_count
        for manifest in snapshot.manifests(table.io)
        if manifest.added_snapshot_id == snapshot.snapshot_id
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        if entry.status is ManifestEntryStatus.ADDED and entry.snapshot_id == snapshot.snapshot_id
    ]
    return sum(rows[first_file:])
