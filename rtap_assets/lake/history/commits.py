"""Commits without rows, which only carry properties in the snapshot's summary."""

from __future__ import annotations

from collections.abc import Mapping

from pyiceberg.table.snapshots import Operation, Snapshot
from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import STAMP_REBUILD
from rtap_assets.lake.maintenance import writable_table


def append_nothing(session: SparkSession, settings: Settings, spec: TableSpec, properties: Mapping[str, str]) -> None:
    """Add an append snapshot without files, with the properties in its summary."""
    append = writable_table(session, settings, spec).newAppend()
    for key, value in properties.items():
        append.set(key, value)
    append.commit()


def current_append(session: SparkSession, settings: Settings, spec: TableSpec, *, reader: str) -> int | None:
    """Return the id of the table's current snapshot, appending an empty one if it is not an append; None if there is none.

    `reader` is the stream that will begin there; the summary of an empty append names it.
    """
    current = _current(settings, spec)
    if current is not None and (current.summary is None or current.summary.operation is not Operation.APPEND):
        append_nothing(session, settings, spec, {STAMP_REBUILD: reader})
        current = _current(settings, spec)
    return None if current is None else current.snapshot_id


def _current(settings: Settings, spec: TableSpec) -> Snapshot | None:
    with open_catalog(settings) as catalog:
        return load_table(catalog, spec.identifier).current_snapshot()
