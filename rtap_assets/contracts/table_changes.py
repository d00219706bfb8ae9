"""Changes of bronze, silver and gold that others than the platform made: the table they are written down in, and its row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rtap_assets.contracts.tables import Column, TableSpec


@dataclass(frozen=True)
class TableChange:
    """One change; times are UTC. `snapshot_id` is None for a change of the layout, which makes no snapshot."""

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
        """The change in a line, as checks, logs and the shell show it."""
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
        Column("snapshot_id", "bigint", "Snapshot that the change made; null for a change of the layout."),
        Column("rows_added", "bigint", "Rows that the snapshot added, as its summary says."),
        Column("rows_deleted", "bigint", "Rows that the snapshot removed, as its summary says."),
        Column("files_added", "bigint", "Data files that the snapshot added."),
        Column("files_deleted", "bigint", "Data files that the snapshot removed."),
        Column("engine", "string", "Program that made it, as far as its summary says."),
        Column("detail", "string", "What was changed, where the figures do not say it; else empty."),
        Column("changed_at", "timestamp", "When it was made, UTC; of a layout, when it was noticed."),
        Column("noticed_at", "timestamp", "When the platform wrote it down, UTC."),
        Column("acknowledged_at", "timestamp", "When an operator acknowledged it, UTC; null before."),
    ),
)
