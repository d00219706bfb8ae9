"""Reads columns of a table's data files without Spark, batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import GreaterThan
from pyiceberg.table import Table
from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.maintenance import writable_table


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


def count_values(table: Table, locations: Sequence[str], column: str) -> dict[str, int]:
    """Return how often each value of a column occurs in the files, null left out; only that column is read."""
    counts: Counter[str] = Counter()
    for rows in read_columns(table, locations, (column,)):
        for found in pc.value_counts(rows[column].drop_null()).to_pylist():
            counts[found["values"]] += found["counts"]
    return dict(counts)
