from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_fixtures import NOON, bronze_row, gold_row, make_lake, silver_row

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import GOLD, TABLES, TableSpec
from rtap_assets.errors import ServingError
from rtap_assets.serving.connection import connect_lake, open_lake
from rtap_assets.serving.duckdb_types import duckdb_type
from rtap_assets.serving.lake_files import TableFiles, plan_lake
from rtap_assets.serving.marts import refresh_marts
from rtap_assets.serving.query import answer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One lake with marts for all tests of the module, which only read it, or try in vain to change it."""
    settings = load_settings(state_dir=tmp_path_factory.mktemp("filled"))
    make_lake(settings, bronze=[bronze_row(1)], silver=[silver_row("a")], gold=[gold_row(NOON)], watermark=NOON)
    refresh_marts(settings, refreshed_at=NOON)
    return settings


def described(connection: duckdb.DuckDBPyConnection, relation: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in connection.execute(f"DESCRIBE FROM {relation}").fetchall()]


def declared(spec: TableSpec) -> list[tuple[str, str]]:
    return [(column.name, duckdb_type(column.type)) for column in spec.columns]


@pytest.mark.parametrize("spec", TABLES, ids=lambda spec: spec.identifier)
def test_a_view_of_a_missing_table_has_the_contracts_columns_and_no_rows(settings: Settings, spec: TableSpec) -> None:
    with open_lake(settings) as connection:
        assert described(connection, spec.namespace) == declared(spec)
        assert connection.execute(f"SELECT count(*) FROM {spec.namespace}").fetchone() == (0,)


@pytest.mark.parametrize("spec", TABLES, ids=lambda spec: spec.identifier)
def test_contract_iceberg_and_duckdb_agree_on_columns_and_types(filled: Settings, spec: TableSpec) -> None:
    with open_lake(filled) as connection:
        # What Iceberg wrote, without the view's typed columns, and the view itself.
        assert described(connection, f"read_parquet(getvariable('{spec.namespace}_files'))") == declared(spec)
        assert described(connection, spec.namespace) == declared(spec)


def test_instants_come_back_in_utc_and_money_as_decimals(filled: Settings) -> None:
    with open_lake(filled) as connection:
        row = connection.execute("SELECT window_start, window_start::VARCHAR, net_amount::VARCHAR FROM gold").fetchone()
    assert row == (NOON, "2026-03-01 12:00:00+00", "10.0000")
    assert isinstance(row[0], datetime)
    assert row[0].utcoffset() == NOON.utcoffset()


def test_an_old_file_without_a_column_and_a_partition_folder_read_as_the_contract_says(settings: Settings) -> None:
    folder = settings.state_dir / "it's [1] odd" / "window_start_day=2026-03-01" / "revision=9"
    folder.mkdir(parents=True)
    row = {name: value for name, value in gold_row(NOON).items() if name in {"window_start", "plan_tier", "net_amount"}}
    path = folder / "old.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    with connect_lake(settings, {"gold": TableFiles(GOLD, 1, None, (str(path),))}) as connection:
        assert described(connection, "gold") == declared(GOLD)
        assert connection.execute("SELECT plan_tier, revision, net_amount FROM gold").fetchall() == [
            ("pro", None, row["net_amount"])
        ]


ESCAPES = [
    "FROM read_text('{secret}')",
    "FROM read_csv('{secret}')",
    "FROM '{secret}'",
    "FROM glob('/*')",
    "FROM parquet_metadata('{other}')",
    "COPY (SELECT 1) TO '{target}'",
    "COPY gold TO '{target}' (FORMAT parquet)",
    "EXPORT DATABASE '{target}'",
    "ATTACH '{target}' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET allowed_paths",
    "SET temp_directory = '/tmp'",
    "CALL enable_logging(storage = 'file', storage_path = '{target}')",
    "INSERT INTO marts.rolling_revenue FROM marts.rolling_revenue",
    "DROP TABLE marts.rolling_revenue",
]


@pytest.mark.parametrize("escape", ESCAPES)
def test_the_lake_connection_reaches_nothing_but_the_planned_files(filled: Settings, escape: str) -> None:
    secret, target = filled.state_dir / "secret.csv", filled.state_dir / "target"
    secret.write_text("a,b\n1,2\n")
    other = filled.lake_dir / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    with open_lake(filled) as connection, pytest.raises(duckdb.Error):
        connection.execute(escape.format(secret=secret, target=target, other=other)).fetchall()
    assert not target.exists()


OVERWRITE = "COPY (SELECT 1 AS a) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)"


@pytest.mark.parametrize(
    "statement",
    [
        OVERWRITE,
        f"WITH x AS ({OVERWRITE}) SELECT 1",
        f"EXPLAIN ANALYZE WITH x AS ({OVERWRITE}) SELECT 1",
        f"EXPLAIN (ANALYZE) {OVERWRITE}",
        f"SELECT 1; {OVERWRITE}",
        f"SELECT 1) ; {OVERWRITE}; FROM (SELECT 1",
        "DETACH marts",
        "ATTACH '{marts}' AS writable",
        "SET VARIABLE gold_files = []",
        "CREATE TABLE t AS SELECT 1",
        "PREPARE q AS SELECT 1",
        "PRAGMA version",
        "",
    ],
)
def test_a_question_that_is_not_a_single_query_is_refused(filled: Settings, statement: str) -> None:
    (file,) = plan_lake(filled)["gold"].paths
    before = {path: path.read_bytes() for path in (Path(file), filled.marts_path)}
    with open_lake(filled) as connection, pytest.raises(ServingError):
        answer(connection, statement.format(file=file, marts=filled.marts_path), max_rows=1)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 -- a comment",
        "FROM gold;",
        "WITH g AS (FROM gold) SELECT count(*) FROM g",
        "DESCRIBE gold",
        "SUMMARIZE silver",
        "SHOW ALL TABLES",
        "PIVOT gold ON plan_tier USING sum(net_amount) GROUP BY region",
        "EXPLAIN ANALYZE FROM gold",
        "EXPLAIN (ANALYZE, FORMAT json) FROM gold",
        "FROM marts.tumbling_revenue",
        "SELECT watermark FROM marts.refresh",
    ],
)
def test_every_kind_of_query_is_answered(filled: Settings, statement: str) -> None:
    with open_lake(filled) as connection:
        assert answer(connection, statement, max_rows=100).rows


def test_an_answer_is_cut_at_the_rows_asked_for_and_says_so(settings: Settings) -> None:
    with open_lake(settings) as connection:
        cut = answer(connection, "SELECT n FROM range(5) t(n)", max_rows=4)
        whole = answer(connection, "SELECT n FROM range(5) t(n)", max_rows=5)
        unlimited = answer(connection, "SELECT n FROM range(5) t(n)", max_rows=0)
    assert (len(cut.rows), cut.is_cut) == (4, True)
    assert (len(whole.rows), whole.is_cut) == (5, False)
    assert (len(unlimited.rows), unlimited.is_cut, unlimited.columns, unlimited.types) == (5, False, ("n",), ("BIGINT",))


def test_a_question_about_an_unknown_table_names_the_tables_there_are(filled: Settings) -> None:
    with open_lake(filled) as connection, pytest.raises(ServingError) as refused:
        answer(connection, "SELECT 1\nFROM revenue", max_rows=1)
    assert "LINE 2: FROM revenue" in refused.value.message
    assert "bronze, silver, gold, quality, marts.corrections, marts.dlq_by_reason" in refused.value.remedy


def test_before_the_first_refresh_the_remedy_is_to_refresh(settings: Settings) -> None:
    with open_lake(settings) as connection, pytest.raises(ServingError) as refused:
        answer(connection, "FROM marts.rolling_revenue", max_rows=1)
    assert "rtap marts refresh" in refused.value.remedy


def test_marts_that_are_no_database_are_an_error_with_a_remedy(settings: Settings) -> None:
    settings.marts_path.parent.mkdir()
    settings.marts_path.write_bytes(b"not a database" * 1000)
    with pytest.raises(ServingError, match="cannot be opened"), open_lake(settings):
        pass
