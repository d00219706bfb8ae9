"""The Kafka offsets that a snapshot removed from bronze: those in its removed files, less those in its new files.

Reads only four columns of the files that the snapshot replaced.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.parquet as pq
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from rtap_assets.contracts.offset_gaps import GapKind, OffsetGap

COLUMNS = ("topic", "topic_epoch", "kafka_partition", "kafka_offset")
Coordinates = tuple[str, int, int, int]


def removed_offsets(table: Table, snapshot: Snapshot, *, detail: str) -> list[OffsetGap]:
    """Return the removed offsets as contiguous ranges. Rows hidden by a delete file are not found.

    Raises:
        FileNotFoundError: a removed file is already gone: the previous snapshot has expired.
    """
    held: dict[ManifestEntryStatus, set[Coordinates]] = {
        ManifestEntryStatus.DELETED: set(),
        ManifestEntryStatus.ADDED: set(),
    }
    for status, path in _changed_files(table, snapshot):
        held[status].update(_coordinates(table, path))
    gone = sorted(held[ManifestEntryStatus.DELETED] - held[ManifestEntryStatus.ADDED])
    return _ranges(gone, detail=detail)


def _changed_files(table: Table, snapshot: Snapshot) -> Iterator[tuple[ManifestEntryStatus, str]]:
    for manifest in snapshot.manifests(table.io):
        if manifest.added_snapshot_id != snapshot.snapshot_id:
            continue
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
            if entry.status is not ManifestEntryStatus.EXISTING and entry.snapshot_id == snapshot.snapshot_id:
                yield entry.status, entry.data_file.file_path


def _coordinates(table: Table, path: str) -> Iterator[Coordinates]:
    with table.io.new_input(path).open() as file, pq.ParquetFile(file) as parquet:
        names = [name for name in COLUMNS if name in parquet.schema_arrow.names]  # older files have no epoch
        for batch in parquet.iter_batches(columns=names):
            for row in batch.to_pylist():
                yield row["topic"], row.get("topic_epoch") or 0, row["kafka_partition"], row["kafka_offset"]


def _ranges(coordinates: list[Coordinates], *, detail: str) -> list[OffsetGap]:
    ranges: list[list[Coordinates]] = []
    for one in coordinates:
        if ranges and ranges[-1][-1] == (*one[:3], one[3] - 1):
            ranges[-1].append(one)
        else:
            ranges.append([one])
    return [
        OffsetGap(
            topic=found[0][0],
            kafka_partition=found[0][2],
            first_offset=found[0][3],
            last_offset=found[-1][3],
            records=len(found),
            kind=GapKind.REMOVED,
            detail=detail,
            topic_epoch=found[0][1],
        )
        for found in ranges
    ]
