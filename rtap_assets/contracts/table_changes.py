"""Changes of bronze, silver and gold by programs other than the platform: one record, and the table that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rtap_assets.contracts.tables import Column, TableSpec


@dataclass(frozen=True)
class TableChange:
    """One change; times are UTC. `snapshot_id` is None for a layout change, which creates no snapshot."""

    change_id: str
    table_name: str
    operation: str
    snapshot_id: int | None
    rows_added: int
    rows_deleted: int
    files_added: int
    files_deleted: int
    engine: str
    detail: str
    changed_at: datetime
    noticed_at: datetime | None = None
    acknowledged_at: datetime | None = None

    @property
    def sentence(self) -> str:
        """Return the change as one line, for checks, logs and the command line."""
        if self.snapshot_id is None:
            return f"{self.table_name}: {self.detail} ({self.change_id})"
        counts = f"{self.rows_added:,} rows added, {self.rows_deleted:,} deleted"
        what = self.detail or counts
        at = self.changed_at.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
        return f"{self.table_name}: {self.operation} by {self.engine} at {at}, {what} ({self.change_id})"


TABLE_CHANGES = TableSpec(
    namespace="quality",
    name="table_changes",
    view="table_changes",
    doc="Changes of bronze, silver and gold by other programs than the platform; an acknowledgement is a row of its own.",
    grain="one change, and one more row when it is acknowledged",
    key=("change_id", "acknowledged_at"),
    partition="",
    columns=(
        Column("change_id", "string", "Identity of the change: its snapshot, or a digest of what is different."),
        Column("table_name", "string", "Table that was changed."),
        Column("operation", "string", "append, overwrite, delete, rollback, columns or partitioning."),
        Column("snapshot_id", "bigint", "Snapshot that the change created; null for a layout change."),
        Column("rows_added", "bigint", "Rows that the snapshot added, from its summary."),
        Column("rows_deleted", "bigint", "Rows that the snapshot removed, from its summary."),
        Column("files_added", "bigint", "Data files that the snapshot added."),
        Column("files_deleted", "bigint", "Data files that the snapshot removed."),
        Column("engine", "string", "Program that made the change, as far as the snapshot's summary names it."),
        Column("detail", "string", "What was changed, if the counts do not show it; else empty."),
        Column("changed_at", "timestamp", "When the change was made, UTC; for a layout change, when it was detected."),
        Column("noticed_at", "timestamp", "When the platform recorded it, UTC."),
        Column("acknowledged_at", "timestamp", "When an operator acknowledged it, UTC; null before."),
    ),
)
