"""Creates and evolves the Iceberg tables from their specs. Only columns are added; any other change is a new table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import SparkSession

from rtap_assets.contracts.tables import TABLES, Column, TableSpec
from rtap_assets.errors import ContractError
from rtap_assets.lake.staged_files import load_java_table

TABLE_PROPERTIES = {
    "format-version": "2",
    # No shuffle before the write, but one open file per table partition. Partitions are days, so there are few files.
    "write.distribution-mode": "none",
    "write.spark.fanout.enabled": "true",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
    # Streaming appends merge manifests; planning time grows with their number.
    "commit.manifest.min-count-to-merge": "20",
    # Copy-on-write only, so that the data files of a snapshot can be read directly.
    "write.delete.mode": "copy-on-write",
    "write.update.mode": "copy-on-write",
    "write.merge.mode": "copy-on-write",
    # A correction deletes existing rows; concurrent appends of the streams are not conflicts.
    "write.delete.isolation-level": "snapshot",
}


def ensure_tables(session: SparkSession, catalog: str, *, specs: Sequence[TableSpec] = TABLES) -> None:
    """Create missing tables, add the columns that a spec has gained and the properties of its own; idempotent.

    A column that the table had once and another tool dropped is not added again: it would be null in every row there is.
    The streams refuse such a table (`streaming/queries/bindings.py`).

    Raises:
        ContractError: a column exists with a type other than its spec's.
    """
    for spec in specs:
        name = f"{catalog}.{spec.identifier}"
        if not session.catalog.tableExists(name):
            session.sql(f"CREATE NAMESPACE IF NOT EXISTS {catalog}.{spec.namespace}")
            session.sql(create_statement(spec, name))
        else:
            _evolve(session, spec, name)
            _set_properties(session, spec, name)


def create_statement(spec: TableSpec, name: str) -> str:
    """Return the `CREATE TABLE` statement of a spec."""
    columns = ",\n  ".join(_declared(column) for column in spec.columns)
    # The writer would hash each value of such a column into a dictionary, and then discard it.
    plain = {f"write.parquet.dict-encoding-enabled.column.{name}": "false" for name in spec.mostly_unique}
    properties = _listed(TABLE_PROPERTIES | plain | spec.properties)
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (\n  {columns}\n) USING iceberg\n"
        f"PARTITIONED BY ({spec.partition})\nCOMMENT {_quoted(spec.doc)}\nTBLPROPERTIES ({properties})"
    )


def _evolve(session: SparkSession, spec: TableSpec, name: str) -> None:
    existing = {field.name: field.dataType.simpleString() for field in session.table(name).schema.fields}
    had = _columns_ever(session, name) if set(spec.column_names) - set(existing) else set()
    for before, column in zip((None, *spec.columns), spec.columns, strict=False):
        if column.name not in existing and column.name not in had:
            # In its position: a streaming append matches columns by order.
            place = "FIRST" if before is None else f"AFTER {before.name}"
            session.sql(f"ALTER TABLE {name} ADD COLUMN {_declared(column)} {place}")
        elif existing.get(column.name, column.type) != column.type:
            raise ContractError(
                f"Column {column.name} of {name} is {existing[column.name]}, its spec says {column.type}.",
                remedy="A type is never changed in place: add a new column, or build a new table (`rtap rebuild`).",
            )


def _set_properties(session: SparkSession, spec: TableSpec, name: str) -> None:
    """Give an older table the properties in which its spec differs from the other tables; another value is an operator's."""
    present = {row.key: row.value for row in session.sql(f"SHOW TBLPROPERTIES {name}").collect()}
    due = {key: value for key, value in spec.properties.items() if present.get(key) == TABLE_PROPERTIES.get(key) != value}
    if due:
        session.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({_listed(due)})")


def _listed(properties: Mapping[str, str]) -> str:
    return ", ".join(f"'{key}'='{value}'" for key, value in properties.items())


def _columns_ever(session: SparkSession, name: str) -> set[str]:
    """Return the names of all columns that the table has or had."""
    schemas = [*load_java_table(session, name).schemas().values()]
    return {field.name() for schema in schemas for field in schema.columns()}


def _declared(column: Column) -> str:
    return f"{column.name} {column.type} COMMENT {_quoted(column.doc)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
