"""Silver's sink: of a micro-batch of valid rows, those that are not late are appended, each event once, in one commit.

The batch is read from bronze's files by its offsets, not from the frame that Spark passes: its streaming source decodes
every column of every row, one by one. What is late, and what is a copy, is found from a few columns: by the ids of the
batch itself, and by the index of the ids that silver remembers (`seen_ids.py`), which is rebuilt from silver at a start. The
rows to leave out, a few percent, are then taken out by their coordinates as the batch is written. No row is shuffled, and no
state is kept besides the table: a batch that is repeated finds its commit in the table, or an index that lacks its ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, SILVER
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.data_files import files_after, read_columns, stamped_rows
from rtap_assets.lake.history.snapshots import NATIVE_EPOCH_ID, NATIVE_QUERY_ID, newest_stream_commit
from rtap_assets.lake.staged_files import StagedTable
from rtap_assets.runtime.clock import from_microseconds
from rtap_assets.streaming.checkpoints.files import query_id, read_batch, source_range
from rtap_assets.streaming.checkpoints.state_handover import leave_empty_state, replace_state
from rtap_assets.streaming.model.batch_metrics import BatchMetrics
from rtap_assets.streaming.queries.event_ids import EventIds, Numbers, as_numbers, ids_after, read_event_ids
from rtap_assets.streaming.queries.seen_ids import SeenIds
from rtap_assets.transforms.batch_constant import batch_constant
from rtap_assets.transforms.projections import Projections
from rtap_assets.transforms.silver import (
    IS_VALID,
    RECORD_KEY,
    first_copies,
    normalised_columns,
    stamped_columns,
    without_rows,
)

SNAPSHOT_PROPERTY = "spark.sql.iceberg.snapshot-property."
# Above this, which only a rebuild reaches, Spark finds the copies within the batch, for it can do so on disk.
MOST_ROWS_IN_MEMORY = 3_000_000
# A batch is read and written in as many tasks as it has splits; Iceberg's own, of 128 MB, would leave cores idle.
SPLIT_BYTES = 16 * 1024 * 1024
NUMBERS = ("event_time", "kafka_timestamp", *RECORD_KEY)
COLUMNS = ("event_id", *NUMBERS, "error_reason")
KEY_SCHEMA = pa.schema([("topic_epoch", pa.int32()), ("kafka_partition", pa.int32()), ("kafka_offset", pa.int64())])
# Takes a query's id, and event times of valid rows in the batch that it runs, microseconds since the epoch.
ReportEventTimes = Callable[[str, Numbers], None]


def silver_sink(settings: Settings, checkpoint: Path, report: ReportEventTimes) -> Callable[[DataFrame, int], None]:
    """Return the function that `foreachBatch` calls with each micro-batch; `report` gets what moves its watermark."""
    return _SilverSink(settings, checkpoint, report).write


@dataclass(frozen=True)
class _Arrivals:
    """Valid rows of bronze: what they are, when, and where they are from; times in microseconds since the epoch."""

    ids: EventIds
    columns: dict[str, Numbers]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: npt.NDArray[np.bool_]) -> _Arrivals:
        return _Arrivals(self.ids[rows], {name: column[rows] for name, column in self.columns.items()})

    @property
    def event_times(self) -> Numbers:
        return self.columns["event_time"]

    @property
    def order(self) -> tuple[Numbers, ...]:
        """What decides which of the copies of an event came first (`ARRIVAL_ORDER` of the transform)."""
        return self.columns["kafka_timestamp"], self.columns["kafka_partition"], self.columns["kafka_offset"]

    def coordinates(self) -> pa.Table:
        return pa.table({name: self.columns[name] for name in RECORD_KEY}).cast(KEY_SCHEMA)


class _SilverSink:
    def __init__(self, settings: Settings, checkpoint: Path, report: ReportEventTimes) -> None:
        self._settings, self._checkpoint, self._report_event_times = settings, checkpoint, report
        self._seen: SeenIds | None = None
        self._is_first = True
        self._normalised, self._stamped = Projections([normalised_columns()]), Projections([stamped_columns()])
        replace_state(checkpoint)
        with open_catalog(settings) as catalog:
            self._bronze = load_table(catalog, BRONZE.identifier)

    def write(self, source: DataFrame, batch_id: int) -> None:
        query = str(query_id(self._checkpoint))
        # Only the first batch after a start can be one that was committed before.
        if self._is_first and self._is_committed(query, batch_id):
            leave_empty_state(self._checkpoint, after_batch=batch_id)
            return
        watermark_us = self._watermark_us(batch_id)
        bronze = StagedTable(source.sparkSession, f"{self._settings.catalog_name}.{BRONZE.identifier}")
        tasks = bronze.appended(*source_range(self._checkpoint, batch_id))
        rows = sum(int(task.file().recordCount()) for task in tasks)
        with bronze.staged(tasks) as files:
            batch = self._normalised.apply(files.rows(split_bytes=SPLIT_BYTES).where(IS_VALID))
            locations = [str(task.file().location()) for task in tasks]
            write = self._write if rows <= MOST_ROWS_IN_MEMORY else self._write_large
            write(batch, batch_id, query, locations, watermark_us=watermark_us)
        BatchMetrics.put_read(query, batch_id, rows=rows, watermark_ms=None)
        leave_empty_state(self._checkpoint, after_batch=batch_id)
        self._is_first = False

    def _write(self, batch: DataFrame, batch_id: int, query: str, locations: Sequence[str], *, watermark_us: int) -> None:
        rows = _together([*self._read(locations)])
        seen, self._seen = self._index(watermark_us) if len(rows) else self._seen, None  # lost if this batch fails
        late = rows.event_times <= watermark_us
        timely = rows[~late]
        kept = np.zeros(len(rows), bool)
        if seen is not None:
            kept[~late] = seen.first_copies(timely.ids, timely.order, watermark_us=watermark_us)
        events = batch if kept.all() else without_rows(batch, batch.sparkSession.createDataFrame(rows[~kept].coordinates()))
        self._append(events, batch_id, query)
        self._verify(batch, batch_id, query, expected=int(kept.sum()))
        if seen is not None:
            seen.add(rows[kept].ids, rows[kept].event_times, watermark_us=watermark_us)
        self._seen = seen
        self._report_event_times(query, rows.event_times)
        self._report(batch_id, query, late=int(late.sum()), copies=int((~late).sum() - kept.sum()))

    def _write_large(
        self, batch: DataFrame, batch_id: int, query: str, locations: Sequence[str], *, watermark_us: int
    ) -> None:
        """Write a batch whose ids would take too much memory: Spark finds the copies within it, the index the others."""
        seen = self._index(watermark_us)
        self._seen = None
        left_out: list[pa.Table] = []
        late = known = valid = 0
        for rows in self._read(locations):
            is_late = rows.event_times <= watermark_us
            is_known = ~is_late & seen.knows(rows.ids, watermark_us=watermark_us)
            late, known, valid = late + int(is_late.sum()), known + int(is_known.sum()), valid + len(rows)
            left_out.append(rows[is_late | is_known].coordinates())
            self._report_event_times(query, rows.event_times)
        events = without_rows(batch, batch.sparkSession.createDataFrame(pa.concat_tables(left_out)))
        self._append(first_copies(events), batch_id, query)
        self._report(batch_id, query, late=late, copies=valid - late - (self._written(batch, batch_id, query) or 0))

    def _append(self, events: DataFrame, batch_id: int, query: str) -> None:
        # In the session of this query, since options lose the case of their names.
        for key, value in _stamp(query, batch_id).items():
            events.sparkSession.conf.set(SNAPSHOT_PROPERTY + key, value)
        began_ms = F.lit(read_batch(self._checkpoint, batch_id).timestamp_ms)
        began = batch_constant(F.timestamp_millis(began_ms), beside="kafka_partition")
        rows = self._stamped.apply(events.withColumn("processed_at", began))
        rows.writeTo(f"{self._settings.catalog_name}.{SILVER.identifier}").append()

    def _verify(self, batch: DataFrame, batch_id: int, query: str, *, expected: int) -> None:
        written = self._written(batch, batch_id, query)
        if written != expected:
            raise StreamError(
                f"Batch {batch_id} of silver has {written} rows where {expected} were to be written: Spark and "
                "Arrow read its files differently.",
                remedy="Rebuild the layer: `rtap rebuild silver`.",
                stream="silver",
            )

    def _written(self, batch: DataFrame, batch_id: int, query: str) -> int | None:
        return stamped_rows(batch.sparkSession, self._settings, SILVER, stamp=_stamp(query, batch_id))

    def _report(self, batch_id: int, query: str, *, late: int, copies: int) -> None:
        seen = self._seen
        BatchMetrics.put_state(
            query,
            batch_id,
            rows=0 if seen is None else len(seen),
            memory_bytes=0 if seen is None else seen.bytes,
            late=late,
            copies=copies,
        )

    def _is_committed(self, query: str, batch_id: int) -> bool:
        with open_catalog(self._settings) as catalog:
            commit = newest_stream_commit(load_table(catalog, SILVER.identifier))
        return commit is not None and commit.query_id == query and commit.epoch_id >= batch_id

    def _watermark_us(self, batch_id: int) -> int:
        """Return what the batch's rows must be newer than: the watermark of the batch before; 0 for the first."""
        return 1_000 * read_batch(self._checkpoint, batch_id - 1).watermark_ms if batch_id else 0

    def _read(self, locations: Sequence[str]) -> Iterator[_Arrivals]:
        for rows in read_columns(self._bronze, locations, COLUMNS):
            valid = rows.filter(pc.is_null(rows["error_reason"]))
            numbers = {name: as_numbers(valid[name]) for name in NUMBERS}
            yield _Arrivals(read_event_ids(valid["event_id"]), numbers)

    def _index(self, watermark_us: int) -> SeenIds:
        """Return the index; made from silver when there is none."""
        if self._seen is not None:
            return self._seen
        seen = SeenIds(horizon_seconds=self._settings.watermark_delay_seconds)
        oldest_us = watermark_us - self._settings.watermark_delay_seconds * 1_000_000
        with open_catalog(self._settings) as catalog:
            silver = load_table(catalog, SILVER.identifier)
            files = files_after(silver, "event_time", from_microseconds(oldest_us))
            seen.add_all(ids_after(read_columns(silver, files, COLUMNS[:2]), oldest_us), watermark_us=watermark_us)
        return seen


def _stamp(query: str, batch_id: int) -> dict[str, str]:
    return {NATIVE_QUERY_ID: query, NATIVE_EPOCH_ID: str(batch_id)}


def _together(parts: Sequence[_Arrivals]) -> _Arrivals:
    upper, lower = (
        np.concatenate([np.zeros(0, np.uint64), *(getattr(part.ids, half) for part in parts)]) for half in ("upper", "lower")
    )
    columns = {name: np.concatenate([np.zeros(0, np.int64), *(part.columns[name] for part in parts)]) for name in NUMBERS}
    return _Arrivals(EventIds(upper, lower), columns)
