"""The newest row of a table of raw records per Kafka partition, which the broker must still have at that offset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThanOrEqual, LessThan, Or
from pyiceberg.table import Table

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.catalog import load_table, open_catalog

# How far below the position a row is searched: the newest offsets may be transaction markers, which have no row.
LOOK_BACK_OFFSETS = 1_000
COLUMNS = ("topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "raw_key", "raw_value")


@dataclass(frozen=True)
class RawRow:
    """A record as the table holds it."""

    kafka_partition: int
    kafka_offset: int
    kafka_timestamp: datetime
    raw_key: bytes | None
    raw_value: bytes | None


def holds_raw_records(spec: TableSpec) -> bool:
    """Return whether the table keeps each record's place and bytes, as bronze does."""
    return {column.name for column in spec.columns} >= set(COLUMNS)


def newest_rows(
    settings: Settings, spec: TableSpec, topic: str, positions: Mapping[int, int], *, topic_epoch: int
) -> dict[int, RawRow]:
    """Return the newest row below each position, by Kafka partition; one without a nearby row is left out.

    Raises:
        ServingError: the table does not exist yet.
        DependencyUnavailable: the catalog did not answer.
    """
    with open_catalog(settings) as catalog:
        table = load_table(catalog, spec.identifier)
        near = [_near(partition, position) for partition, position in positions.items() if position > 0]
        if not near or table.current_snapshot() is None:
            return {}
        epoch = {"topic_epoch"} & {field.name for field in table.schema().fields}
        places = _read(table, reduce(Or, near), ("topic", "kafka_partition", "kafka_offset", *epoch))
        newest: dict[int, int] = {}
        for row in places.to_pylist():
            if row["topic"] == topic and (row.get("topic_epoch") or 0) == topic_epoch:
                partition, offset = row["kafka_partition"], row["kafka_offset"]
                newest[partition] = max(offset, newest.get(partition, -1))
        if not newest:
            return {}
        exact = reduce(Or, [_at(partition, offset) for partition, offset in newest.items()])
        rows = _read(table, exact, (*COLUMNS, *epoch)).to_pylist()
    return {
        row["kafka_partition"]: RawRow(
            row["kafka_partition"], row["kafka_offset"], row["kafka_timestamp"], row["raw_key"], row["raw_value"]
        )
        for row in rows
        if row["topic"] == topic and (row.get("topic_epoch") or 0) == topic_epoch
    }


def _near(partition: int, position: int) -> BooleanExpression:
    place: Any = EqualTo("kafka_partition", partition)
    return And(place, GreaterThanOrEqual("kafka_offset", position - LOOK_BACK_OFFSETS), LessThan("kafka_offset", position))


def _at(partition: int, offset: int) -> BooleanExpression:
    return And(EqualTo("kafka_partition", partition), EqualTo("kafka_offset", offset))


def _read(table: Table, rows: BooleanExpression, columns: tuple[str, ...]) -> pa.Table:
    return table.scan(row_filter=rows, selected_fields=columns).to_arrow()
