"""The Iceberg tables: created and evolved from their specs, with one set of types from Avro through Spark to DuckDB."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from event_bytes import V2
from lake_fixtures import NOON, bronze_row, gold_row, iceberg_schema, silver_row
from pyspark.sql import SparkSession
from spark_fixtures import frame_of

from rtap_assets.config import PROJECT_ROOT, Settings
from rtap_assets.contracts.avro.schemas import REVENUE_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.tables import BRONZE, EVENT_COLUMNS, GOLD, SILVER, TABLES, Column, TableSpec
from rtap_assets.errors import ContractError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.tables import TABLE_PROPERTIES, create_statement, ensure_tables
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.duckdb_types import duckdb_type
from rtap_assets.serving.lake_files import plan_lake


def typed(columns: tuple[Column, ...]) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in columns]


def avro_types(schema: str) -> list[tuple[str, str]]:
    """The fields of an Avro record with their types in the contract's words."""
    return [(child["name"], _avro_type(child["type"])) for child in json.loads(schema)["fields"]]


def _avro_type(type_: Any) -> str:
    if isinstance(type_, list):
        (optional,) = [branch for branch in type_ if branch != "null"]
        return _avro_type(optional)
    if isinstance(type_, str):
        return {"string": "string", "int": "int", "long": "bigint"}[type_]
    if type_["logicalType"] == "decimal":
        return f"decimal({type_['precision']},{type_['scale']})"
    return {"timestamp-millis": "timestamp"}[type_["logicalType"]]


def test_the_avro_contract_and_the_tables_agree() -> None:
    assert avro_types(V2) == typed(EVENT_COLUMNS)
    assert typed(BRONZE.columns)[: len(EVENT_COLUMNS)] == typed(SILVER.columns)[: len(EVENT_COLUMNS)] == avro_types(V2)
    (revenue,) = load_subject(PROJECT_ROOT / "rtap_assets" / "schemas", REVENUE_SUBJECT_FOLDER)
    assert avro_types(revenue.text) == typed(GOLD.columns)


CODEC = "write.parquet.compression-codec"
ROWS = ((BRONZE, bronze_row(1)), (SILVER, silver_row("a")), (GOLD, gold_row(NOON)))


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "with a file"])
def test_iceberg_and_duckdb_have_the_types_and_comments_of_the_specs(
    spark: SparkSession, lake_settings: Settings, filled: bool
) -> None:
    ensure_tables(spark, lake_settings.catalog_name)
    for spec, row in ROWS if filled else ():
        frame_of(spark, spec, [row]).writeTo(f"{lake_settings.catalog_name}.{spec.identifier}").append()
    with open_catalog(lake_settings) as catalog:
        for spec in TABLES:
            table = load_table(catalog, spec.identifier)
            wanted = iceberg_schema(spec)
            assert [(child.name, child.doc) for child in table.schema().fields] == [
                (column.name, column.doc) for column in spec.columns
            ]
            assert _without_ids(table.schema()) == _without_ids(wanted)
            assert _partition(table) == spec.partition
            assert table.format_version == int(TABLE_PROPERTIES["format-version"])
            assert (TABLE_PROPERTIES | spec.properties).items() - table.properties.items() == {("format-version", "2")}
    with connect_lake(lake_settings, plan_lake(lake_settings)) as connection:
        for spec in TABLES:
            shown = connection.execute(f"DESCRIBE {spec.namespace}").fetchall()
            assert [(row[0], row[1]) for row in shown] == [(name, duckdb_type(type_)) for name, type_ in typed(spec.columns)]
            assert connection.execute(f"SELECT count(*) FROM {spec.namespace}").fetchone() == (int(filled),)


def _without_ids(schema: Any) -> list[str]:
    return [str(_spark_type(child.field_type)) for child in schema.fields]


def _spark_type(type_: Any) -> Any:
    """The type without the ids of nested fields."""
    if hasattr(type_, "element_type"):
        return ("list", _spark_type(type_.element_type))
    if hasattr(type_, "fields"):
        return tuple((child.name, _spark_type(child.field_type)) for child in type_.fields)
    return type_


def _partition(table: Any) -> str:
    (field,) = table.spec().fields
    return f"{field.transform}s({table.schema().find_column_name(field.source_id)})"


def metadata_files(settings: Settings) -> dict[str, str]:
    with open_catalog(settings) as catalog:
        return {spec.identifier: load_table(catalog, spec.identifier).metadata_location for spec in TABLES}


def test_ensuring_the_tables_again_changes_nothing(spark: SparkSession, lake_settings: Settings) -> None:
    ensure_tables(spark, lake_settings.catalog_name)
    before = metadata_files(lake_settings)
    ensure_tables(spark, lake_settings.catalog_name)
    assert metadata_files(lake_settings) == before


def test_a_column_that_a_spec_has_gained_is_added_and_old_rows_have_null_there(
    spark: SparkSession, lake_settings: Settings
) -> None:
    name = table_without(spark, lake_settings, SILVER, "sales_channel")
    spark.sql(f"INSERT INTO {name} (event_id, event_time) VALUES ('before', TIMESTAMP '2026-03-01 12:00:00')")
    ensure_tables(spark, lake_settings.catalog_name)
    frame_of(spark, SILVER, [silver_row("after", sales_channel="web")]).writeTo(name).append()
    rows = spark.table(name).select("event_id", "sales_channel").orderBy("event_id").collect()
    assert [tuple(row) for row in rows] == [("after", "web"), ("before", None)]
    added = load_table(open_catalog(lake_settings), SILVER.identifier).schema().find_field("sales_channel")
    assert added.doc == next(column.doc for column in SILVER.columns if column.name == "sales_channel")


def test_a_column_of_another_type_is_refused_and_left_alone(spark: SparkSession, lake_settings: Settings) -> None:
    name = table_without(spark, lake_settings, BRONZE, "quantity")
    spark.sql(f"ALTER TABLE {name} ADD COLUMN quantity bigint")
    before = metadata_files(lake_settings)
    with pytest.raises(ContractError, match=r"Column quantity of .*bronze\.sales_events is bigint, its spec says int"):
        ensure_tables(spark, lake_settings.catalog_name)
    assert metadata_files(lake_settings) == before


@pytest.mark.parametrize(("before", "after"), [("zstd", "lz4_raw"), ("gzip", "gzip")])
def test_a_table_of_an_earlier_version_gets_the_properties_of_its_spec_and_keeps_what_an_operator_set(
    spark: SparkSession, lake_settings: Settings, before: str, after: str
) -> None:
    ensure_tables(spark, lake_settings.catalog_name)
    name = f"{lake_settings.catalog_name}.{BRONZE.identifier}"
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('{CODEC}' = '{before}')")
    ensure_tables(spark, lake_settings.catalog_name)
    assert load_table(open_catalog(lake_settings), BRONZE.identifier).properties[CODEC] == after


def table_without(session: SparkSession, settings: Settings, spec: TableSpec, column: str) -> str:
    """The name of the spec's table as it was made before it had this column; the other tables are as they are now."""
    older = replace(spec, columns=tuple(one for one in spec.columns if one.name != column))
    for made in (older, *(one for one in TABLES if one is not spec)):
        session.sql(f"CREATE NAMESPACE IF NOT EXISTS {settings.catalog_name}.{made.namespace}")
        session.sql(create_statement(made, f"{settings.catalog_name}.{made.identifier}"))
    return f"{settings.catalog_name}.{spec.identifier}"
