"""The same tables read by DuckDB, PyIceberg and Spark: what is in them must be readable, and be the same, for all."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pyspark.sql import SparkSession
from stream_fixtures import ask

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TableSpec
from rtap_assets.lake.catalog import load_table, open_catalog

Rows = Counter[tuple[Any, ...]]


def text_columns(spec: TableSpec) -> list[str]:
    """Return the columns of text."""
    return [column.name for column in spec.columns if column.type == "string"]


def assert_all_readers_agree(session: SparkSession, settings: Settings) -> None:
    """Assert that three readers get the same valid text from every text column of bronze, silver and gold."""
    for spec in (BRONZE, SILVER, GOLD):
        duckdb, pyiceberg, spark = (read(spec, session, settings) for read in (_by_duckdb, _by_pyiceberg, _by_spark))
        assert duckdb == pyiceberg == spark
        assert duckdb.total() > 0


def _by_duckdb(spec: TableSpec, _session: SparkSession, settings: Settings) -> Rows:
    names = text_columns(spec)
    for name in names:  # functions that look at the characters, not at the bytes alone
        ask(settings, f"SELECT {name}, count(*) FROM {spec.namespace} WHERE upper(trim({name})) > '' GROUP BY 1 ORDER BY 1")
    return Counter(ask(settings, f"SELECT {', '.join(names)} FROM {spec.namespace}"))


def _by_pyiceberg(spec: TableSpec, _session: SparkSession, settings: Settings) -> Rows:
    names = text_columns(spec)
    with open_catalog(settings) as catalog:
        table = load_table(catalog, spec.identifier)
        rows = table.scan(selected_fields=tuple(names)).to_arrow()
        for name in names:
            table.scan(row_filter=f"{name} >= 'a'", selected_fields=(name,)).to_arrow().validate(full=True)
    rows.validate(full=True)
    return Counter(tuple(row[name] for name in names) for row in rows.to_pylist())


def _by_spark(spec: TableSpec, session: SparkSession, settings: Settings) -> Rows:
    names = text_columns(spec)
    rows = session.table(f"{settings.catalog_name}.{spec.identifier}").select(*names).toArrow()
    rows.validate(full=True)
    return Counter(tuple(row[name] for name in names) for row in rows.to_pylist())
