"""`quality.corrections`: the record of corrections as an Iceberg table, read and written with PyIceberg.

Entries are only ever appended. Up to where corrections have looked at silver's source is a property of the table: Kafka
offsets, since those of a Kafka partition only grow, whatever happens to snapshots and files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import And, EqualTo, In, NotEqualTo, Or
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    DecimalType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)
from sqlalchemy.exc import SQLAlchemyError

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import CORRECTIONS, Cause, Change, Entry
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.lake.catalog import open_catalog

POSITION_PROPERTY = "rtap.corrections-position"
TABLE_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
_TYPES: dict[str, IcebergType] = {
    "string": StringType(),
    "int": IntegerType(),
    "bigint": LongType(),
    "timestamp": TimestamptzType(),
    "decimal(18,4)": DecimalType(18, 4),
    "decimal(28,4)": DecimalType(28, 4),
}
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
        catalog.create_namespace_if_not_exists(CORRECTIONS.namespace)
        table = catalog.create_table_if_not_exists(CORRECTIONS.identifier, schema=_schema(), properties=TABLE_PROPERTIES)
        if {column.name for column in CORRECTIONS.columns} - set(table.schema().column_names):
            with table.update_schema() as update:
                update.union_by_name(_schema())


def append_entries(settings: Settings, entries: Sequence[Mapping[str, Any]]) -> None:
    """Append entries in one commit; a column that an entry leaves out is null.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with _catalog(settings) as catalog:
        table = catalog.load_table(CORRECTIONS.identifier)
        schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
        table.append(pa.Table.from_pylist([dict(entry) for entry in entries], schema=schema))


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
    """What is pending and up to where was looked; empty where nothing was ever corrected.

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
    """The record's entries of these kinds, with all columns; no rows where nothing was ever corrected.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    table = _table(settings)
    if table is None:
        return schema_to_pyarrow(_schema(), include_field_ids=False).empty_table()
    return _read(table, entries)


def read_rows(settings: Settings, pending: Sequence[str]) -> pa.Table:
    """The rows of these corrections, and those that were removed for another reason than being a copy.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    table = _table(settings)
    if table is None:
        return schema_to_pyarrow(_schema(), include_field_ids=False).empty_table()
    withdrawn = And(EqualTo("action", str(Change.REMOVE)), NotEqualTo("cause", str(Cause.LATER_COPY)))
    wanted = Or(withdrawn, In("correction_id", list(pending))) if pending else withdrawn
    return table.scan(row_filter=And(EqualTo("entry", str(Entry.ROW)), wanted)).to_arrow()


def has_pending_corrections(settings: Settings) -> bool:
    """Whether a correction was begun and not ended: gold's snapshots are kept until then, since they say what it did."""
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
        try:
            return catalog.load_table(CORRECTIONS.identifier)
        except NoSuchTableError:
            return None


def _schema() -> Schema:
    numbers = count(1)
    return Schema(
        *(
            NestedField(next(numbers), column.name, _TYPES[column.type], required=False, doc=column.doc)
            for column in CORRECTIONS.columns
        )
    )


@contextmanager
def _catalog(settings: Settings) -> Iterator[Catalog]:
    try:
        with open_catalog(settings) as catalog:
            yield catalog
    except SQLAlchemyError as error:
        raise DependencyUnavailable(
            f"The Iceberg catalog of {settings.state_dir} did not answer: {error}.",
            remedy="Try again; a correction under way is finished by the next run.",
            dependency="catalog",
        ) from error
