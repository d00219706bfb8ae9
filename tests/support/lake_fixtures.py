"""A small lake without Spark: the three tables of the contract, made by PyIceberg, and rows given as dictionaries.

The tables are not partitioned: PyIceberg writes day partitions only with a package that nothing else here needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DecimalType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
)

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import EVENT_COLUMNS, TABLES, TableSpec
from rtap_assets.lake.catalog import open_catalog
from rtap_assets.lake.history.snapshots import STAMP_WATERMARK_MS
from rtap_assets.serving.duckdb_types import split_fields

Row = Mapping[str, Any]

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

_PRIMITIVES: dict[str, IcebergType] = {
    "string": StringType(),
    "int": IntegerType(),
    "bigint": LongType(),
    "boolean": BooleanType(),
    "binary": BinaryType(),
    "timestamp": TimestamptzType(),
}


def make_lake(
    settings: Settings,
    *,
    bronze: Sequence[Row] = (),
    silver: Sequence[Row] = (),
    gold: Sequence[Row] = (),
    watermark: datetime | None = None,
) -> None:
    """Create the tables that are missing and append the rows, one snapshot per table that gets some.

    A column that a row leaves out is null; `bronze_row`, `silver_row` and `gold_row` fill in plausible ones. `watermark` is
    stamped into gold's snapshot as the stream does.
    """
    rows = {"bronze": bronze, "silver": silver, "gold": gold}
    with open_catalog(settings) as catalog:
        for spec in TABLES:
            catalog.create_namespace_if_not_exists(spec.namespace)
            table = catalog.create_table_if_not_exists(spec.identifier, schema=iceberg_schema(spec))
            append_rows(table, rows.get(spec.view, ()), watermark=watermark if spec.view == "gold" else None)


def append_rows(table: Table, rows: Sequence[Row], *, watermark: datetime | None = None) -> None:
    """Append rows in one snapshot; none when there are no rows."""
    if rows:
        stamp = {"rtap.fixture": "1"}  # the platform's own commits have a stamp, or they are others' changes
        stamp |= {} if watermark is None else {STAMP_WATERMARK_MS: str(round(watermark.timestamp() * 1000))}
        schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
        table.append(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), snapshot_properties=stamp)


def iceberg_schema(spec: TableSpec) -> Schema:
    """Return the table's schema from its spec."""
    ids = count(1)
    fields = [(next(ids), column) for column in spec.columns]
    return Schema(
        *(
            NestedField(identifier, column.name, iceberg_type(column.type, ids=ids), required=False, doc=column.doc)
            for identifier, column in fields
        )
    )


def iceberg_type(contract_type: str, *, ids: count[int]) -> IcebergType:
    """Return a type of `contracts/tables.py` in Iceberg's terms; `ids` numbers nested fields."""
    text = contract_type.replace(" ", "")
    if match := re.fullmatch(r"decimal\((\d+),(\d+)\)", text):
        return DecimalType(int(match[1]), int(match[2]))
    if text.startswith("array<"):
        return ListType(next(ids), iceberg_type(text[6:-1], ids=ids), element_required=False)
    if text.startswith("struct<"):
        named = [field.split(":", 1) for field in split_fields(text[7:-1])]
        return StructType(
            *(NestedField(next(ids), name, iceberg_type(kind, ids=ids), required=False) for name, kind in named)
        )
    return _PRIMITIVES[text]


def gold_row(window_start: datetime, **columns: Any) -> dict[str, Any]:
    """Return one gold row: a five-minute window of the pro tier in EMEA, in EUR, 10 sold in one order."""
    row = {
        "window_start": window_start,
        "window_end": datetime.fromtimestamp(window_start.timestamp() + 300, tz=UTC),
        "plan_tier": "pro",
        "region": "emea",
        "currency": "EUR",
        "gross_amount": Decimal("10.0000"),
        "refund_amount": Decimal("0.0000"),
        "orders": 1,
        "refunds": 0,
        "revision": 0,
        "updated_at": window_start,
    } | columns
    return {"net_amount": row["gross_amount"] - row["refund_amount"]} | row


def silver_row(event_id: str, **columns: Any) -> dict[str, Any]:
    """Return one silver row: a purchase of 10 EUR at noon, delivered after 40 ms and processed after 2 s."""
    return {
        "event_id": event_id,
        "event_time": NOON,
        "ingest_time": NOON,
        "schema_version": 1,
        "event_type": "purchase",
        "account_id": "account-1",
        "plan_tier": "pro",
        "region": "emea",
        "product_id": "product-1",
        "quantity": 1,
        "amount": Decimal("10.0000"),
        "net_amount": Decimal("10.0000"),
        "currency": "EUR",
        "topic": "sales.events.v1",
        "kafka_partition": 0,
        "kafka_offset": 0,
        "kafka_timestamp": NOON,
        "schema_id": 1,
        "ingest_latency_ms": 15,
        "delivery_latency_ms": 40,
        "processing_latency_ms": 2000,
        "is_late": False,
        "processed_at": NOON,
    } | columns


def valid_bronze_row(kafka_offset: int, **columns: Any) -> dict[str, Any]:
    """Return a valid bronze row: the event of `silver_row`, with an id of its own."""
    event = silver_row(f"event-{kafka_offset}")
    return bronze_row(kafka_offset) | {column.name: event.get(column.name) for column in EVENT_COLUMNS} | columns


def bronze_row(kafka_offset: int, **columns: Any) -> dict[str, Any]:
    """Return one bronze row with coordinates and raw bytes; pass `error_reason` for a quarantined one."""
    return {
        "topic": "sales.events.v1",
        "kafka_partition": 0,
        "kafka_offset": kafka_offset,
        "kafka_timestamp": NOON,
        "raw_key": b"account-1",
        "raw_value": b"\x00",
        "kafka_headers": [{"key": "trace", "value": b"1"}],
        "processed_at": NOON,
    } | columns
