"""Writes a correction down before anything is changed, and reads it back: what the next run goes on from after a kill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rtap_assets.contracts.corrections import CORRECTIONS, Cause, Change, Entry
from rtap_assets.lake.corrections import RECORDS, append_entries
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.transforms.silver import COORDINATES

# What the record keeps of a row: enough to find it, and to say what it means for gold.
ROW_COLUMNS = ("event_id", *COORDINATES, "event_time", "event_type", "plan_tier", "region", "currency", "net_amount")


@dataclass(frozen=True)
class Correction:
    """The header of a correction."""

    correction_id: str
    cause: Cause
    why: str
    run_id: str
    requested_by: str
    rows_added: int = 0
    rows_removed: int = 0
    bronze_rows_removed: int = 0
    subject_hash: str | None = None

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> Correction:
        """The correction of a `planned` entry."""
        return cls(
            header["correction_id"],
            Cause(header["cause"]),
            header["why"],
            header["run_id"],
            header["requested_by"],
            rows_added=header["rows_added"] or 0,
            rows_removed=header["rows_removed"] or 0,
            bronze_rows_removed=header["bronze_rows_removed"] or 0,
            subject_hash=header["subject_hash"],
        )

    def entry(self, entry: Entry, run: CorrectionRun, **columns: Any) -> dict[str, Any]:
        """An entry of the record with what all entries of the correction have."""
        own = ("correction_id", "why", "run_id", "requested_by", "rows_added", "rows_removed", "bronze_rows_removed")
        fixed = {name: getattr(self, name) for name in own}
        cause, now = str(self.cause), run.clock()
        return fixed | {"entry": str(entry), "cause": cause, "recorded_at": now, "subject_hash": self.subject_hash} | columns


@dataclass(frozen=True)
class PlannedRows:
    """The rows of a correction before it is written down; `amounts` are what an erasure keeps of the money."""

    adds: DataFrame | None = None
    removes: DataFrame | None = None
    amounts: list[dict[str, Any]] = field(default_factory=list)


def write_plan(run: CorrectionRun, correction: Correction, rows: PlannedRows) -> None:
    """Write the header and all rows of the correction in one commit."""
    changes = ((rows.adds, Change.ADD), (rows.removes, Change.REMOVE))
    parts = [_rows(frame, action) for frame, action in changes if frame is not None]
    header = correction.entry(Entry.PLANNED, run)
    amounts = [correction.entry(Entry.AMOUNT, run, **amount) for amount in rows.amounts]
    entries = _frame(run, [header, *amounts])
    for part in parts:
        entries = entries.unionByName(_completed(run, correction, part))
    entries.writeTo(run.name(CORRECTIONS)).append()


def planned_rows(run: CorrectionRun, correction: Correction, action: Change) -> DataFrame:
    """The rows of a correction as they were written down, cut off from the table."""
    ours = (F.col("correction_id") == correction.correction_id) & (F.col("entry") == str(Entry.ROW))
    return run.table(CORRECTIONS).where(ours & (F.col("action") == str(action))).select(*ROW_COLUMNS).localCheckpoint()


def write_end(run: CorrectionRun, correction: Correction, entry: Entry, windows: list[dict[str, Any]]) -> None:
    """End the correction: its restated windows and its last entry in one commit."""
    restated = [correction.entry(Entry.WINDOW, run, **window) for window in windows]
    append_entries(run.settings, [*restated, correction.entry(entry, run)])


def _rows(rows: DataFrame, action: Change) -> DataFrame:
    held = set(rows.columns)
    types = {column.name: column.type for column in CORRECTIONS.columns}
    kept = [F.col(name) if name in held else F.lit(None).cast(types[name]).alias(name) for name in ROW_COLUMNS]
    return rows.select(*kept, F.lit(str(action)).alias("action"))


def _completed(run: CorrectionRun, correction: Correction, rows: DataFrame) -> DataFrame:
    """Rows with all columns of the record."""
    fixed = correction.entry(Entry.ROW, run, rows_added=None, rows_removed=None, bronze_rows_removed=None)
    given = set(rows.columns)
    columns = []
    for column in CORRECTIONS.columns:
        value = F.col(column.name) if column.name in given else F.lit(fixed.get(column.name)).cast(column.type)
        columns.append(value.alias(column.name))
    return rows.select(*columns)


def _frame(run: CorrectionRun, entries: list[dict[str, Any]]) -> DataFrame:
    """Return the entries as rows of the record. Through Arrow: for Python objects, Spark would start Python workers."""
    return run.session.createDataFrame(pa.Table.from_pylist(entries, schema=RECORDS.no_rows.schema))
