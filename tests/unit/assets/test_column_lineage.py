"""The column lineage against the contracts, and against the marts' own SQL over rows that are changed column by column."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import dagster as dg
import duckdb
import pytest

from rtap_assets.assets.column_lineage import (
    MART_SOURCES,
    STREAM_SOURCES,
    copied_from_gold,
    mart_lineage,
    stream_lineage,
    with_sources,
)
from rtap_assets.assets.keys import GOLD_KEY, data_key
from rtap_assets.contracts.corrections import CORRECTIONS
from rtap_assets.contracts.rules import EXPLANATIONS
from rtap_assets.contracts.streams import STREAM_NAMES, STREAM_SPECS, StreamSpec
from rtap_assets.contracts.tables import GOLD, TABLES, TableSpec
from rtap_assets.definitions import defs
from rtap_assets.serving.duckdb_types import typed_empty_select
from rtap_assets.serving.marts import MARTS, PARTS, MartSpec

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MARTS_BY_NAME = {mart.name: mart for mart in MARTS}


def dependencies(lineage: dg.TableColumnLineage) -> dict[str, list[tuple[str, str]]]:
    return {
        column: [(dep.asset_key.to_user_string(), dep.column_name) for dep in deps]
        for column, deps in lineage.deps_by_column.items()
    }


@pytest.mark.parametrize("stream", STREAM_SPECS, ids=STREAM_NAMES)
def test_every_column_of_a_stream_s_target_comes_from_columns_that_its_source_has(stream: StreamSpec) -> None:
    found = dependencies(stream_lineage(stream))
    assert list(found) == [column.name for column in stream.target.columns]
    known = {column.name for column in stream.reads.columns}
    assert {name for deps in found.values() for _, name in deps} - known == set()
    assert STREAM_SOURCES[stream.name].keys() - found.keys() == set()


def test_every_stream_and_every_mart_is_described() -> None:
    assert STREAM_SOURCES.keys() == set(STREAM_NAMES)
    assert MART_SOURCES.keys() == MARTS_BY_NAME.keys()


def test_what_is_copied_from_gold_has_its_columns() -> None:
    assert dependencies(copied_from_gold()) == {name: [(GOLD_KEY.to_user_string(), name)] for name in GOLD.column_names}


def test_a_column_s_description_ends_with_what_it_comes_from() -> None:
    lineage = dg.TableColumnLineage(
        {"net": [dg.TableColumnDep(GOLD_KEY, "gross"), dg.TableColumnDep(GOLD_KEY, "refund")], "made": []}
    )
    schema = dg.TableSchema([dg.TableColumn("net", "int", description="Net."), dg.TableColumn("made", "int")])
    assert [(column.name, column.type, column.description) for column in with_sources(schema, lineage).columns] == [
        ("net", "int", "Net. From gold/revenue_5m: gross, refund."),
        ("made", "int", "From no column of the source."),
    ]


def test_the_columns_of_every_layer_say_it() -> None:
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    for stream in STREAM_SPECS:
        for column in specs[data_key(stream.target)].metadata["dagster/column_schema"].columns:
            assert " From " in f" {column.description}", (stream.name, column.name)


def value(name: str, kind: str, row: int) -> Any:
    """A plausible value of a column, another in each row."""
    special = {
        "window_end": START + timedelta(minutes=5 * row + 5),
        "event_type": ("purchase", "refund")[row % 2],
        "plan_tier": "pro" if row < 3 else "free",
        "region": "emea" if row < 3 else "na",
        "currency": "EUR",
        "error_reason": (None, "too_short", "bad_magic")[row % 3],
        "topic_epoch": 0,
        "is_late": False,
        "revision": 0 if row < 3 else 1,
    }
    if name in special:
        return special[name]
    if kind == "timestamp":
        return START + timedelta(minutes=5 * row)
    if kind == "boolean":
        return row % 2 == 0
    if kind.startswith("decimal"):
        return Decimal(10 * (row + 1)) / 4
    if kind in {"int", "bigint"}:
        return row + 1
    return f"{name}-{row}" if kind == "string" else None


def changed(name: str, given: Any) -> Any:
    if name.endswith("_latency_ms") or given == "too_short":
        return None
    if isinstance(given, bool):
        return not given
    if isinstance(given, datetime):
        return given + timedelta(hours=3)
    if isinstance(given, str):
        return f"{given}-changed"
    return None if given is None else given + 1_000


def rows_of(spec: TableSpec, *, change: str = "") -> list[list[Any]]:
    rows = [[value(column.name, column.type, row) for column in spec.columns] for row in range(6)]
    place = spec.column_names.index(change) if change else -1
    for row in rows if change else []:
        row[place] = changed(change, row[place])
    return rows


def built(mart: MartSpec, *, change: tuple[str, str] = ("", "")) -> dict[str, list[Any]]:
    """The columns of a mart over tables of which one column may be changed."""
    return all_built(change)[mart.name]


@cache
def all_built(change: tuple[str, str]) -> dict[str, dict[str, list[Any]]]:
    """The columns of each mart over tables of which one column may be changed."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, spec in [*((spec.view, spec) for spec in TABLES), ("correction_entries", CORRECTIONS)]:
            connection.execute(f"CREATE TABLE {name} AS {typed_empty_select(spec)}")
        for spec in TABLES:
            rows = rows_of(spec, change=change[1] if change[0] == spec.view else "")
            connection.executemany(f"INSERT INTO {spec.view} VALUES ({', '.join('?' * len(spec.columns))})", rows)
        connection.execute("CREATE TABLE refresh AS SELECT TIMESTAMPTZ '2026-03-01 13:30:00+00' AS watermark")
        connection.execute("CREATE TABLE provisional_windows AS SELECT TIMESTAMPTZ '2026-03-01 15:00:00+00' AS window_start")
        connection.execute("CREATE TABLE reason_codes (reason VARCHAR, explanation VARCHAR)")
        connection.executemany(
            "INSERT INTO reason_codes VALUES (?, ?)", [[str(code), text] for code, text in EXPLANATIONS.items()]
        )
        for one in (*PARTS, *MARTS):
            connection.execute(one.sql)
        return {one.name: columns_of(connection, one.name) for one in MARTS}


def columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, list[Any]]:
    result = connection.execute(f"FROM {table}")
    names = [column[0] for column in result.description or []]
    rows = result.fetchall()
    return {name: sorted((row[place] for row in rows), key=str) for place, name in enumerate(names)}


def test_every_column_of_a_mart_comes_from_columns_that_its_source_has() -> None:
    for mart in MARTS:
        first = mart.reads[0]
        known = set(built(MARTS_BY_NAME[first])) if isinstance(first, str) else set(first.column_names)
        found = dependencies(mart_lineage(mart, built(mart)))
        unknown = {name for deps in found.values() for _, name in deps} - known
        unnamed = MART_SOURCES[mart.name].keys() - found.keys()
        assert (unknown, unnamed) == (set(), set()), mart.name


def edges() -> Iterator[tuple[str, str, str, str]]:
    """Every dependency of a mart column on a column of a table of the lake, through earlier marts."""
    for mart in MARTS:
        if mart.name == "corrections":
            continue  # from the record of corrections: its measures are gold's before and after, as its names say
        for column in built(mart):
            for table, source in origins(mart, column):
                yield mart.name, column, table, source


def origins(mart: MartSpec, column: str) -> set[tuple[str, str]]:
    first = mart.reads[0]
    names = MART_SOURCES[mart.name].get(column, (column,))
    if not isinstance(first, str):
        return {(first.view, name) for name in names}
    return {found for name in names for found in origins(MARTS_BY_NAME[first], name)}


def test_a_mart_column_changes_with_each_column_that_it_is_said_to_come_from() -> None:
    unmoved = [
        f"{mart}.{column} <- {table}.{source}"
        for mart, column, table, source in edges()
        if built(MARTS_BY_NAME[mart], change=(table, source))[column] == built(MARTS_BY_NAME[mart])[column]
    ]
    assert unmoved == []
