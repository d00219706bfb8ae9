"""The proof that each valid record without a row in silver was late: older than the watermark that its batch used.

Lateness is not the generator's to decide. A record's bronze file tells which silver batch read it (Iceberg's history and
the batch's source offset), and the offset log tells the watermark which that batch judged late rows by.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.positions import FilePosition, end_of_batch, file_positions
from rtap_assets.serving.lake_files import local_path, plan_lake
from rtap_assets.streaming.checkpoints import LoggedBatch, planned_batches, read_batch
from rtap_assets.streaming.queries import SILVER_STREAM

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LATE_ROWS = """
SELECT b.kafka_partition, b.kafka_offset, b.event_id, b.event_time, b.filename
FROM read_parquet($paths, union_by_name = true, hive_partitioning = false, filename = true) AS b
JOIN (FROM classified WHERE class = 'late') AS late USING (kafka_partition, kafka_offset)
ORDER BY b.event_time
"""


@dataclass(frozen=True)
class LateRecord:
    """One valid record that silver lacks. `watermark` is None where the logs no longer reach back to its batch."""

    kafka_partition: int
    kafka_offset: int
    event_id: str
    event_time: datetime
    silver_batch: int | None
    watermark: datetime | None

    @property
    def is_proven(self) -> bool:
        return self.watermark is not None and self.event_time <= self.watermark


def late_records(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[LateRecord]:
    """Every valid record without a row in silver, with the batch that read it and the watermark that batch used.

    Call it after `reconcile` on the same connection, which must not be locked down: it reads `classified`.

    Time: Spark judges late rows by the watermark of the batch before (the batch's own watermark only clears the state).
    """
    paths = list(plan_lake(settings, [BRONZE])["bronze"].paths)
    if not paths:
        return []
    rows = connection.execute(LATE_ROWS, {"paths": paths}).fetchall()
    table = load_table(open_catalog(settings), BRONZE.identifier)
    positions = {local_path(location): position for location, position in file_positions(table).items()}
    batches = _Batches(settings)
    records = []
    for partition, offset, event_id, event_time, path in rows:
        batch, watermark = batches.reader_of(positions.get(path))
        records.append(LateRecord(partition, offset, event_id, event_time, batch, watermark))
    return records


class _Batches:
    """Silver's batches in order, by where each ends in bronze."""

    def __init__(self, settings: Settings) -> None:
        table = load_table(open_catalog(settings), BRONZE.identifier)
        checkpoint = SILVER_STREAM.checkpoint(settings)
        self.logged: dict[int, LoggedBatch] = {}
        ends: list[tuple[FilePosition, int]] = []
        for batch_id in planned_batches(checkpoint):
            self.logged[batch_id] = read_batch(checkpoint, batch_id)
            end = end_of_batch(table, self.logged[batch_id].source)
            if end is not None:
                ends.append((end, batch_id))
        self.ends = ends

    def reader_of(self, position: FilePosition | None) -> tuple[int | None, datetime | None]:
        """The batch that read the file at `position`, and the watermark by which it judged late rows."""
        if position is None:
            return None, None
        found = bisect_right([end for end, _ in self.ends], position)
        if found == len(self.ends):
            return None, None
        batch_id = self.ends[found][1]
        if batch_id == 0:
            return 0, EPOCH
        before = self.logged.get(batch_id - 1)
        return batch_id, None if before is None else EPOCH + timedelta(milliseconds=before.watermark_ms)
