"""`quality.table_changes`: changes that others made to bronze, silver and gold, written down before their snapshots expire.

PyIceberg appends, so that no Spark session is needed; rows are never changed: an acknowledgement is one more row.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import OffsetGap
from rtap_assets.contracts.table_changes import TABLE_CHANGES, TableChange
from rtap_assets.contracts.tables import BRONZE, TABLES, TableSpec
from rtap_assets.errors import ServingError
from rtap_assets.lake.catalog import catalog_session
from rtap_assets.lake.history.foreign_changes import foreign_changes
from rtap_assets.lake.history.removed_offsets import removed_offsets
from rtap_assets.lake.offset_gaps import record_gaps
from rtap_assets.lake.record_table import RecordTable, as_rows
from rtap_assets.runtime.clock import utc_now

LOG = logging.getLogger(__name__)
RECORDS = RecordTable(TABLE_CHANGES)


def read_changes(settings: Settings, *, now: datetime | None = None) -> list[TableChange]:
    """Return every change by others, oldest first: those written down, and those that the tables' histories show now.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with catalog_session(settings) as catalog:
        recorded = _recorded(catalog)
        found = _found(catalog, TABLES, now=now or utc_now())
    known = {change.change_id for change in recorded}
    return sorted([*recorded, *(one for one in found if one.change_id not in known)], key=lambda one: one.changed_at)


def note_changes(settings: Settings, specs: Sequence[TableSpec] = TABLES, *, now: datetime) -> list[TableChange]:
    """Write down the changes of these tables that are not yet; returns the new ones.

    Offsets whose rows were removed from bronze are written down as gaps first, so that conservation can explain them.

    Raises:
        StreamError: another writer kept the table of gaps for long.
        DependencyUnavailable: the catalog does not answer, or another program changed the table at the same time.
    """
    with catalog_session(settings) as catalog:
        found = _found(catalog, specs, now=now)
        if not found:
            return []
        known = {change.change_id for change in _recorded(catalog)}
        new = [replace(change, noticed_at=now) for change in found if change.change_id not in known]
        if new:
            gaps = _removed_from_bronze(catalog, new)
            if gaps:
                record_gaps(settings, gaps)
            _append(catalog, new)
        return new


def acknowledge_change(settings: Settings, change_id: str, *, now: datetime) -> TableChange:
    """Write down that an operator knows of a change, so that the check no longer fails for it.

    Raises:
        ServingError: there is no such change.
        DependencyUnavailable: the catalog does not answer, or another program changed the table at the same time.
    """
    note_changes(settings, now=now)
    change = next((one for one in read_changes(settings, now=now) if one.change_id == change_id), None)
    if change is None:
        raise ServingError(f"There is no change {change_id}.", remedy="`rtap tables changes` lists them.")
    if change.acknowledged_at is not None:
        return change
    with catalog_session(settings) as catalog:
        done = replace(change, acknowledged_at=now)
        _append(catalog, [done])
    return done


def _found(catalog: Catalog, specs: Sequence[TableSpec], *, now: datetime) -> list[TableChange]:
    found = []
    for spec in specs:
        try:
            table = catalog.load_table(spec.identifier)
        except NoSuchTableError:
            continue
        found += foreign_changes(table, spec, now=now)
    return found


def _removed_from_bronze(catalog: Catalog, changes: Sequence[TableChange]) -> list[OffsetGap]:
    removing = [one for one in changes if one.table_name == BRONZE.identifier and one.files_deleted and one.snapshot_id]
    if not removing:
        return []
    table = catalog.load_table(BRONZE.identifier)
    gaps = []
    for change in removing:
        snapshot = table.snapshot_by_id(change.snapshot_id or 0)
        if snapshot is None:
            continue
        try:
            gaps += removed_offsets(table, snapshot, detail=f"by {change.engine}, {change.change_id}")
        except FileNotFoundError as error:  # conservation reports them as missing then, and this says where to look
            LOG.warning("the offsets removed by %s are not known, a file is gone: %s", change.change_id, error)
    return gaps


def _recorded(catalog: Catalog) -> list[TableChange]:
    """Return the changes written down, each once, acknowledged when any of its rows is."""
    table = RECORDS.find(catalog)
    changes: dict[str, TableChange] = {}
    for row in [] if table is None else table.scan().to_arrow().to_pylist():
        change = TableChange(**row)
        if change.change_id not in changes or change.acknowledged_at is not None:
            changes[change.change_id] = change
    return list(changes.values())


def _append(catalog: Catalog, changes: Sequence[TableChange]) -> None:
    table = RECORDS.ensure(catalog)
    table.append(as_rows(table, map(asdict, changes)))
