"""`quality.corrections`: the record of corrections as an Iceberg table, read and written with PyIceberg.

Entries are only ever appended. Up to where corrections have looked at silver's source is a property of the table: Kafka
offsets, since those of a Kafka partition only grow, whatever happens to snapshots and files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, EqualTo, In, NotEqualTo, Or
from pyiceberg.table import Table

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import CORRECTIONS, Cause, Change, Entry
from rtap_assets.lake.catalog import catalog_session
from rtap_assets.lake.record_table import RecordTable, as_rows

POSITION_PROPERTY = "rtap.corrections-position"
RECORDS = RecordTable(CORRECTIONS)
REMEDY = "Try again; a correction under way is finished by the next run."
_HEADERS = (Entry.PLANNED, Entry.DONE, Entry.ABANDONED)


@dataclass(frozen=True)
class Position:
    """Up to where the records that silver has read were looked at: the next offset of each Kafka partition of the topic.

    Epochs of the topic before `topic_epoch` were looked at to their end.
    """

    topic: str = ""
    topic_epoch: int = 0
    offsets: Mapping[int, int] = field(default_factory=dict)
    looked_at: datetime | None = None


@dataclass(frozen=True)
class CorrectionsState:
    """The record as its newest snapshot has it: the plans' headers without an end, and the position."""

    pending: tuple[dict[str, Any], ...] = ()
    position: Position = Position()


def ensure_corrections(settings: Settings) -> None:
    """Create the table where it is missing and add the columns that its spec has gained; idempotent.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with _catalog(settings) as catalog:
        table = RECORDS.ensure(catalog)
        if {column.name for column in CORRECTIONS.columns} - set(table.schema().column_names):
            with table.update_schema() as update:
                update.union_by_name(RECORDS.schema)


def append_entries(settings: Settings, entries: Sequence[Mapping[str, Any]]) -> None:
    """Append entries in one commit; a column that an entry leaves out is null.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with _catalog(settings) as catalog:
        table = catalog.load_table(CORRECTIONS.identifier)
        table.append(as_rows(table, entries))


def set_position(settings: Settings, position: Position) -> None:
    """Note up to where was looked.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    looked_at = None if position.looked_at is None else position.looked_at.isoformat()
    document = {
        "topic": position.topic,
        "topic_epoch": position.topic_epoch,
        "offsets": dict(position.offsets),
        "looked_at": looked_at,
    }
    with _catalog(settings) as catalog, catalog.load_table(CORRECTIONS.identifier).transaction() as transaction:
        transaction.set_properties({POSITION_PROPERTY: json.dumps(document)})


def read_state(settings: Settings) -> CorrectionsState:
    """Return what is pending, and up to where records were looked at; empty where nothing was ever corrected.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    table = _table(settings)
    if table is None:
        return CorrectionsState()
    headers = _read(table, _HEADERS).to_pylist()
    ended = {header["correction_id"] for header in headers if header["entry"] != Entry.PLANNED}
    planned = [header for header in headers if header["entry"] == Entry.PLANNED]
    pending = sorted((one for one in planned if one["correction_id"] not in ended), key=lambda one: one["recorded_at"])
    return CorrectionsState(tuple(pending), _position(table))


def read_entries(settings: Settings, *entries: Entry) -> pa.Table:
    """Return the record's entries of these kinds, with all columns; no rows where nothing was ever corrected.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    table = _table(settings)
    if table is None:
        return RECORDS.no_rows
    return _read(table, entries)


def read_rows(settings: Settings, pending: Sequence[str]) -> pa.Table:
    """Return the rows of these corrections, and those that were removed for another reason than being a copy.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    table = _table(settings)
    if table is None:
        return RECORDS.no_rows
    withdrawn = And(EqualTo("action", str(Change.REMOVE)), NotEqualTo("cause", str(Cause.LATER_COPY)))
    wanted = Or(withdrawn, In("correction_id", list(pending))) if pending else withdrawn
    return table.scan(row_filter=And(EqualTo("entry", str(Entry.ROW)), wanted)).to_arrow()


def has_pending_corrections(settings: Settings) -> bool:
    """Return whether a correction was begun and not ended: until then gold's snapshots, which say what it did, are kept."""
    return bool(read_state(settings).pending)


def _read(table: Table, entries: Sequence[Entry]) -> pa.Table:
    return table.scan(row_filter=In("entry", [str(entry) for entry in entries])).to_arrow()


def _position(table: Table) -> Position:
    text = table.properties.get(POSITION_PROPERTY)
    if text is None:
        return Position()
    document = json.loads(text)
    offsets = {int(partition): int(offset) for partition, offset in document["offsets"].items()}
    looked_at = document["looked_at"]
    when = None if looked_at is None else datetime.fromisoformat(looked_at)
    return Position(document["topic"], document["topic_epoch"], offsets, when)


def _table(settings: Settings) -> Table | None:
    with _catalog(settings) as catalog:
        return RECORDS.find(catalog)


def _catalog(settings: Settings) -> AbstractContextManager[Catalog]:
    return catalog_session(settings, remedy=REMEDY)
