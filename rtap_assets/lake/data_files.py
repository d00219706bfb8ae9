"""Reads columns of a table's data files without Spark: those that a stream's batch appended, or those of the newest rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.expressions import GreaterThan
from pyiceberg.table import Table
from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.history.stream_offsets import BEFORE_THE_FIRST_SNAPSHOT
from rtap_assets.lake.maintenance import writable_table

Position = Mapping[str, Any]

MOST_BYTES = 2**63 - 1


@dataclass(frozen=True)
class DataFile:
    """A data file: where it is, and how many rows it has."""

    location: str
    rows: int


def appended_files(
    session: SparkSession, settings: Settings, spec: TableSpec, *, start: Position, end: Position
) -> list[DataFile]:
    """Return the files between two offsets of Iceberg's streaming source, oldest first.

    Counted by the class that the source itself counts with, so that they are the files that a micro-batch reads.

    Raises:
        StreamError: the table no longer has the snapshots in between.
    """
    if end["snapshot_id"] == BEFORE_THE_FIRST_SNAPSHOT:
        return []
    table = writable_table(session, settings, spec)
    batches = session.sparkContext._jvm.org.apache.iceberg.MicroBatches
    found: list[DataFile] = []
    snapshot = table.snapshot(end["snapshot_id"])
    while snapshot is not None:
        is_first, is_last = (snapshot.snapshotId() == offset["snapshot_id"] for offset in (start, end))
        if snapshot.operation() == "append":
            first = int(start["position"]) if is_first else 0
            after = int(end["position"]) if is_last else int(snapshot.summary().get("added-data-files") or 0)
            whole = is_first and bool(start["scan_all_files"])
            part = getattr(batches, "from")(snapshot, table.io()).specsById(table.specs())
            tasks = part.generate(first, after, MOST_BYTES, whole).tasks()
            files = [task.file() for task in tasks]
            found[:0] = [DataFile(str(file.location()), int(file.recordCount())) for file in files]
        if is_first or (snapshot.parentId() is None and start["snapshot_id"] == BEFORE_THE_FIRST_SNAPSHOT):
            return found
        snapshot = None if snapshot.parentId() is None else table.snapshot(snapshot.parentId())
    raise StreamError(
        f"The history of {spec.identifier} no longer reaches from snapshot {start['snapshot_id']} to {end['snapshot_id']}.",
        remedy="Rebuild the layer that reads it (`rtap rebuild`).",
    )


def stamped_rows(session: SparkSession, settings: Settings, spec: TableSpec, *, stamp: Mapping[str, str]) -> int | None:
    """Return how many rows the newest snapshot with this stamp in its summary added; None when there is none."""
    table = writable_table(session, settings, spec)
    snapshot = table.currentSnapshot()
    while snapshot is not None:
        summary = snapshot.summary()
        if all(summary.get(key) == value for key, value in stamp.items()):
            return int(summary.get("added-records") or 0)
        snapshot = None if snapshot.parentId() is None else table.snapshot(snapshot.parentId())
    return None


def files_after(table: Table, column: str, instant: datetime) -> list[str]:
    """Return the locations of the current snapshot's files that can hold a row whose column is after the instant."""
    scan = table.scan(row_filter=GreaterThan(column, instant.isoformat()), selected_fields=(column,))
    return [task.file.file_path for task in scan.plan_files()]


def read_columns(table: Table, locations: Sequence[str], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the columns of the files, batch by batch; a column that a file lacks is null in it."""
    schema = table.schema().as_arrow()
    for location in locations:
        with table.io.new_input(location).open() as file, pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            for batch in parquet.iter_batches(columns=[name for name in columns if name in names]):
                missing = {name: pa.nulls(len(batch), schema.field(name).type) for name in columns if name not in names}
                held = {name: batch.column(name) for name in columns if name in names}
                yield pa.RecordBatch.from_pydict({name: (held | missing)[name] for name in columns})
