"""What a maintenance of the tables did, as data and as lines of a log."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rtap_assets.lake.compaction import Compaction
from rtap_assets.lake.table_metrics import TableMetrics


@dataclass(frozen=True)
class Expiry:
    """The result of an expiry: snapshots gone and kept, and the alerts of consumers that hold back more."""

    expired: int
    kept: int
    alerts: tuple[str, ...]


@dataclass(frozen=True)
class TableMaintenance:
    """The maintenance of one table; `faults` are steps that failed and are tried again next time."""

    before: TableMetrics
    after: TableMetrics
    compaction: Compaction
    manifests_rewritten: int
    expiry: Expiry
    orphans_removed: int
    seconds: float
    faults: tuple[str, ...]


@dataclass(frozen=True)
class MaintenanceReport:
    """One maintenance of all tables. `alerts` need an operator: consumers far behind, metrics above their bounds, faults."""

    tables: tuple[TableMaintenance, ...]
    alerts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as the host's API sends it."""
        return asdict(self)


def maintenance_line(done: TableMaintenance) -> str:
    """Return one line of a log: the maintenance of a table."""
    before, after, compaction = done.before, done.after, done.compaction
    parts = [
        f"{before.snapshots:,} -> {after.snapshots:,} snapshots ({done.expiry.expired:,} expired; compaction adds some)",
        f"{before.manifests:,} -> {after.manifests:,} manifests",
        f"{before.metadata_bytes:,} -> {after.metadata_bytes:,} bytes of metadata",
        f"{before.data_files:,} -> {after.data_files:,} data files ({compaction.replaced:,} compacted to {compaction.by:,})",
        f"{done.orphans_removed:,} orphan files removed",
        f"{done.seconds:.1f} s",
    ]
    return f"{after.table}: {', '.join(parts)}"
