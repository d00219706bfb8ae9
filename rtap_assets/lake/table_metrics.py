"""The size of a table's metadata, and its bounds: planning and commits get slower as it grows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pyiceberg.table import Table

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TABLES, TableSpec
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import summary_value


@dataclass(frozen=True)
class TableMetrics:
    """Of the newest snapshot: manifests, data files and their bytes. Of the table: snapshots, bytes of the metadata file."""

    table: str
    snapshots: int
    manifests: int
    metadata_bytes: int
    data_files: int
    data_bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_table(table: Table, identifier: str) -> TableMetrics:
    """Return the metrics of a loaded table; reads its newest manifest list and the size of its metadata file."""
    snapshot = table.current_snapshot()
    files, size = (
        int((summary_value(snapshot, key) if snapshot else None) or 0) for key in ("total-data-files", "total-files-size")
    )
    return TableMetrics(
        table=identifier,
        snapshots=len(table.snapshots()),
        manifests=0 if snapshot is None else len(snapshot.manifests(table.io)),
        metadata_bytes=len(table.io.new_input(table.metadata_location)),
        data_files=files,
        data_bytes=size,
    )


def table_metrics(settings: Settings, specs: tuple[TableSpec, ...] = TABLES) -> list[TableMetrics]:
    """Return the current metrics of each table.

    Raises:
        ServingError: a table does not exist yet.
    """
    with open_catalog(settings) as catalog:
        return [measure_table(load_table(catalog, spec.identifier), spec.identifier) for spec in specs]


def bounds(settings: Settings) -> dict[str, int]:
    """Return the bound of each metric that has one, by the metric's name."""
    return {
        "snapshots": settings.table_most_snapshots,
        "manifests": settings.table_most_manifests,
        "metadata_bytes": settings.table_most_metadata_bytes,
        "data_files": settings.table_most_data_files,
    }


def breaches(metrics: TableMetrics, settings: Settings) -> list[str]:
    """Return a sentence for each metric that exceeds its bound."""
    return [
        f"{metrics.table} has {value:,} {name.replace('_', ' ')}, its bound is {most:,} (RTAP_TABLE_MOST_{name.upper()})."
        for name, most in bounds(settings).items()
        if (value := getattr(metrics, name)) > most
    ]
