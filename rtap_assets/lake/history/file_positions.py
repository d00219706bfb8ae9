"""The position of a data file in a table's history, as Iceberg's streaming source counts: by snapshot, then by file."""

from __future__ import annotations

from dataclasses import dataclass

from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import Table

from rtap_assets.lake.history.snapshots import added_files, ancestors


@dataclass(frozen=True, order=True)
class FilePosition:
    """A data file's position: the sequence number of the snapshot that added it, and its index among the added files."""

    sequence_number: int
    index: int


def file_positions(table: Table) -> dict[str, FilePosition]:
    """Return the position of each data file that a retained snapshot appended, by the file's location.

    Source: Iceberg's MicroBatches: manifests that the snapshot itself wrote, in order, entries that it added.
    """
    positions = {}
    for snapshot in ancestors(table):
        if not added_files(snapshot):
            continue
        index = 0
        for manifest in snapshot.manifests(table.io):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
                if entry.status is ManifestEntryStatus.ADDED and entry.snapshot_id == snapshot.snapshot_id:
                    positions[entry.data_file.file_path] = FilePosition(snapshot.sequence_number or 0, index)
                    index += 1
    return positions


def end_of_batch(table: Table, source: dict[str, int]) -> FilePosition | None:
    """Return the exclusive end position of a batch's source offset; None when its snapshot has expired."""
    snapshot = table.snapshot_by_id(source["snapshot_id"])
    return None if snapshot is None else FilePosition(snapshot.sequence_number or 0, int(source["position"]))
