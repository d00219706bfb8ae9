"""Iceberg tables of records about the platform: PyIceberg appends, so that no Spark session is needed; rows never change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    BooleanType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from rtap_assets.contracts.tables import TableSpec

PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
TYPES: dict[str, IcebergType] = {
    "string": StringType(),
    "boolean": BooleanType(),
    "int": IntegerType(),
    "bigint": LongType(),
    "double": DoubleType(),
    "timestamp": TimestamptzType(),
    "decimal(18,4)": DecimalType(18, 4),
    "decimal(28,4)": DecimalType(28, 4),
}


@dataclass(frozen=True)
class RecordTable:
    """A table of records by its spec; `properties` are its own besides those that all of them have."""

    spec: TableSpec
    properties: Mapping[str, str] = field(default_factory=dict)

    def find(self, catalog: Catalog) -> Table | None:
        """Return the table, or None before its first record."""
        try:
            return catalog.load_table(self.spec.identifier)
        except NoSuchTableError:
            return None

    def ensure(self, catalog: Catalog) -> Table:
        """Return the table, created when it is missing."""
        catalog.create_namespace_if_not_exists(self.spec.namespace)
        return catalog.create_table_if_not_exists(
            self.spec.identifier, schema=self.schema, properties=PROPERTIES | dict(self.properties)
        )

    @property
    def schema(self) -> Schema:
        fields = (
            NestedField(number, column.name, TYPES[column.type], required=False, doc=column.doc)
            for number, column in enumerate(self.spec.columns, start=1)
        )
        return Schema(*fields)

    @property
    def no_rows(self) -> pa.Table:
        return schema_to_pyarrow(self.schema, include_field_ids=False).empty_table()


def as_rows(table: Table, records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return the records with the columns of the table; a column that a record leaves out is null."""
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    return pa.Table.from_pylist([dict(record) for record in records], schema=schema)
