from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lake_fixtures import NOON, bronze_row, gold_row, make_lake, silver_row

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.rules import EXPLANATIONS, Reason
from rtap_assets.errors import ServingError
from rtap_assets.serving.lake_files import plan_lake
from rtap_assets.serving.marts import MARTS, MartSpec, check_marts, refresh_marts
from rtap_assets.serving.one_writer import one_writer

ONE_PM = NOON + timedelta(hours=1)


def money(text: str) -> Decimal:
    return Decimal(text).quantize(Decimal("0.0001"))


GOLD_ROWS = [
    gold_row(NOON, gross_amount=money("100"), refund_amount=money("25"), orders=4, refunds=1),
    gold_row(NOON + timedelta(minutes=1), gross_amount=money("999"), orders=9),  # overlaps: not in the tumbling view
    gold_row(NOON + timedelta(minutes=55), region="na", gross_amount=money("50.0001"), orders=2),
    gold_row(
        NOON + timedelta(minutes=55), region="na", plan_tier="free", currency="USD", gross_amount=money("7"), revision=2
    ),
    gold_row(ONE_PM, region="na", gross_amount=money("0"), refund_amount=money("5"), orders=0, refunds=1, revision=1),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def fill(settings: Settings) -> Settings:
    make_lake(
        settings,
        gold=GOLD_ROWS,
        watermark=ONE_PM,
        bronze=[
            bronze_row(0),
            bronze_row(1, error_reason=str(Reason.TOO_SHORT), kafka_timestamp=ONE_PM),
            bronze_row(2, error_reason=str(Reason.TOO_SHORT)),
            bronze_row(3, error_reason=str(Reason.BAD_MAGIC)),
        ],
        silver=[
            silver_row(f"event-{n}", ingest_latency_ms=n, delivery_latency_ms=2 * n, processing_latency_ms=1000 - n)
            for n in range(1, 101)
        ]
        + [silver_row("later", kafka_timestamp=ONE_PM, processing_latency_ms=50_000)],
    )
    refresh_marts(settings, refreshed_at=ONE_PM)
    return settings


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Shared by the tests that only read."""
    return fill(load_settings(state_dir=tmp_path_factory.mktemp("refreshed")))


@pytest.fixture
def own(settings: Settings) -> Settings:
    """The same marts, for one test to change."""
    return fill(settings)


def ask(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(query).fetchall()


def test_rolling_revenue_has_every_window_and_the_watermark_decides_what_is_final(refreshed: Settings) -> None:
    assert ask(refreshed, "SELECT window_start, region, net_amount, is_final, status FROM rolling_revenue ORDER BY ALL") == [
        (NOON, "emea", money("75"), True, "final"),
        (NOON + timedelta(minutes=1), "emea", money("999"), True, "final"),
        (NOON + timedelta(minutes=55), "na", money("7"), True, "restated"),
        (NOON + timedelta(minutes=55), "na", money("50.0001"), True, "final"),
        (ONE_PM, "na", money("-5"), False, "provisional"),
    ]


def test_tumbling_revenue_has_the_windows_that_do_not_overlap(refreshed: Settings) -> None:
    starts = ask(refreshed, "SELECT DISTINCT window_start FROM tumbling_revenue ORDER BY ALL")
    assert starts == [(NOON,), (NOON + timedelta(minutes=55),), (ONE_PM,)]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_tumbling_revenue_does_not_depend_on_the_readers_time_zone(refreshed: Settings, zone: str) -> None:
    with duckdb.connect(str(refreshed.marts_path), read_only=True) as connection:
        connection.execute(f"SET TimeZone = '{zone}'")
        assert connection.execute("SELECT count(*) FROM tumbling_revenue").fetchone() == (4,)


def test_revenue_by_region_hour_counts_each_event_once_per_currency(refreshed: Settings) -> None:
    columns = "hour, region, currency, gross_amount, refund_amount, net_amount, orders, refunds, is_final"
    assert ask(refreshed, f"SELECT {columns} FROM revenue_by_region_hour ORDER BY ALL") == [
        (NOON, "emea", "EUR", money("100"), money("25"), money("75"), 4, 1, True),
        (NOON, "na", "EUR", money("50.0001"), money("0"), money("50.0001"), 2, 0, True),
        (NOON, "na", "USD", money("7"), money("0"), money("7"), 1, 0, True),
        (ONE_PM, "na", "EUR", money("0"), money("5"), money("-5"), 0, 1, False),
    ]


def test_revenue_by_plan_hour_counts_each_event_once_per_currency(refreshed: Settings) -> None:
    assert ask(
        refreshed, "SELECT hour, plan_tier, currency, net_amount, orders, is_final FROM revenue_by_plan_hour ORDER BY ALL"
    ) == [
        (NOON, "free", "USD", money("7"), 1, True),
        (NOON, "pro", "EUR", money("125.0001"), 6, True),
        (ONE_PM, "pro", "EUR", money("-5"), 0, False),
    ]


def test_an_hour_is_not_final_while_windows_of_it_may_still_come(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON)], watermark=NOON + timedelta(minutes=30))
    refresh_marts(settings, refreshed_at=ONE_PM)
    assert ask(settings, "SELECT is_final FROM tumbling_revenue") == [(True,)]
    assert ask(settings, "SELECT is_final FROM revenue_by_plan_hour") == [(False,)]


def test_a_window_whose_events_were_taken_back_stays_with_zeros(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON, gross_amount=money("0"), orders=0, revision=1)], watermark=ONE_PM)
    refresh_marts(settings, refreshed_at=ONE_PM)
    assert ask(settings, "SELECT net_amount, orders, status FROM tumbling_revenue") == [(money("0"), 0, "restated")]
    assert ask(settings, "SELECT refund_amount_share, refund_count_share FROM refund_share") == [(None, None)]


def test_refund_share_is_exact_and_null_where_nothing_was_sold(refreshed: Settings) -> None:
    query = (
        "SELECT hour, plan_tier, currency, refund_amount_share::VARCHAR, refund_count_share::VARCHAR "
        "FROM refund_share ORDER BY ALL"
    )
    assert ask(refreshed, query) == [
        (NOON, "free", "USD", "0.000000", "0.000000"),
        (NOON, "pro", "EUR", "0.166667", "0.142857"),
        (ONE_PM, "pro", "EUR", None, "1.000000"),
    ]


def test_dlq_by_reason_counts_the_quarantined_rows_of_bronze(refreshed: Settings) -> None:
    assert ask(
        refreshed, "SELECT reason, explanation, records, share_of_records::VARCHAR, first_seen, last_seen FROM dlq_by_reason"
    ) == [
        ("too_short", EXPLANATIONS[Reason.TOO_SHORT], 2, "0.500000", NOON, ONE_PM),
        ("bad_magic", EXPLANATIONS[Reason.BAD_MAGIC], 1, "0.250000", NOON, NOON),
    ]


def test_latency_percentiles_are_observed_values_per_hour_and_over_all(refreshed: Settings) -> None:
    query = "FROM latency_percentiles WHERE latency = ? ORDER BY hour"
    with duckdb.connect(str(refreshed.marts_path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET default_null_order = 'nulls_last'")
        by_latency = {
            latency: connection.execute(query, [latency]).fetchall()
            for latency in ("ingest", "delivery", "processing", "end_to_end")
        }
    assert by_latency == {
        "ingest": [
            row("ingest", NOON, 100, 50, 90, 99, 100),
            row("ingest", ONE_PM, 1, 15),
            row("ingest", None, 101, 50, 90, 99, 100),
        ],
        "delivery": [
            row("delivery", NOON, 100, 100, 180, 198, 200),
            row("delivery", ONE_PM, 1, 40),
            row("delivery", None, 101, 100, 180, 198, 200),
        ],
        "processing": [
            row("processing", NOON, 100, 949, 989, 998, 999),
            row("processing", ONE_PM, 1, 50_000),
            row("processing", None, 101, 950, 990, 999, 50_000),
        ],
        "end_to_end": [
            row("end_to_end", NOON, 100, 1050, 1090, 1099, 1100),
            row("end_to_end", ONE_PM, 1, 50_040),
            row("end_to_end", None, 101, 1051, 1091, 1100, 50_040),
        ],
    }


def row(latency: str, hour: datetime | None, events: int, *milliseconds: int) -> tuple[Any, ...]:
    return (latency, hour, events, *(milliseconds if len(milliseconds) == 4 else milliseconds * 4))


def test_the_file_tells_what_it_was_built_from(refreshed: Settings) -> None:
    plans = plan_lake(refreshed)
    assert ask(
        refreshed, "SELECT refreshed_at, watermark, bronze_snapshot_id, silver_snapshot_id, gold_snapshot_id FROM refresh"
    ) == [(ONE_PM, ONE_PM, *(plans[layer].snapshot_id for layer in ("bronze", "silver", "gold")))]


def test_no_mart_holds_a_float(refreshed: Settings) -> None:
    query = "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND data_type IN ('FLOAT', 'DOUBLE')"
    assert ask(refreshed, query) == []
    amounts = ask(refreshed, "SELECT DISTINCT data_type FROM duckdb_columns() WHERE column_name LIKE '%_amount'")
    assert {kind for (kind,) in amounts} == {"DECIMAL(28,4)", "DECIMAL(38,4)"}


@pytest.mark.parametrize("mart", MARTS, ids=lambda mart: mart.name)
def test_each_mart_says_its_grain_and_units(mart: MartSpec) -> None:
    assert "\n-- Grain: " in mart.sql
    assert "\n-- Units: " in mart.sql


def test_without_a_lake_the_marts_are_empty(settings: Settings) -> None:
    report = refresh_marts(settings, refreshed_at=NOON)
    assert report.rows == {mart.name: 0 for mart in MARTS}
    assert report.watermark is None
    assert set(report.snapshot_ids.values()) == {None}


def test_a_second_refresh_of_the_same_snapshots_gives_the_same_marts(own: Settings) -> None:
    before = {mart.name: ask(own, f"FROM {mart.name}") for mart in MARTS}
    report = refresh_marts(own, refreshed_at=ONE_PM + timedelta(hours=1))
    assert {mart.name: ask(own, f"FROM {mart.name}") for mart in MARTS} == before
    assert report.rows == {mart: len(rows) for mart, rows in before.items()}


def test_a_reader_keeps_the_marts_it_opened_while_they_are_swapped(own: Settings) -> None:
    count = "SELECT count(*), sum(net_amount) FROM rolling_revenue"
    with duckdb.connect(str(own.marts_path), read_only=True) as reader:
        before = reader.execute(count).fetchone()
        make_lake(own, gold=[gold_row(ONE_PM, region="apac")])
        refresh_marts(own, refreshed_at=ONE_PM)
        assert reader.execute(count).fetchone() == before == (5, money("1126.0001"))
        assert reader.execute("SELECT count(*) FROM tumbling_revenue").fetchone() == (4,)
    assert ask(own, count) == [(6, money("1136.0001"))]


def test_what_a_refresh_that_died_has_left_is_removed(own: Settings) -> None:
    building = own.marts_path.with_name("marts.duckdb.building")
    building.write_bytes(b"half a database")
    Path(f"{building}.wal").write_bytes(b"half a log")
    assert refresh_marts(own, refreshed_at=NOON).rows["rolling_revenue"] == 5
    assert {path.name for path in own.marts_path.parent.iterdir()} == {"marts.duckdb", "marts.duckdb.lock"}


def test_a_refresh_that_fails_leaves_the_old_marts(own: Settings) -> None:
    before = own.marts_path.read_bytes()
    make_lake(own, silver=[silver_row("new")])
    for path in plan_lake(own)["silver"].paths:
        Path(path).write_bytes(b"not parquet")
    with pytest.raises(ServingError):
        refresh_marts(own, refreshed_at=NOON)
    assert own.marts_path.read_bytes() == before
    assert {path.name for path in own.marts_path.parent.iterdir()} == {"marts.duckdb", "marts.duckdb.lock"}


def test_a_second_writer_is_told_who_is_in_its_way(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with one_writer(lock), pytest.raises(ServingError, match="Another refresh has held"), one_writer(lock, seconds=0):
        pass
    with one_writer(lock, seconds=0):
        pass


def test_every_column_of_every_mart_is_described_in_the_file(settings: Settings) -> None:
    fill(settings)
    with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
    marts = {mart.name for mart in MARTS}
    missing = [f"{table}.{column}" for table, column, meaning in columns if table in marts and not meaning]
    assert missing == [], "describe them below `-- Columns:` in serving/sql/<mart>.sql"


def test_the_header_lists_no_column_that_the_mart_lacks(settings: Settings) -> None:
    fill(settings)
    with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
        for mart in MARTS:
            names = {row[0] for row in connection.execute(f"DESCRIBE {mart.name}").fetchall()}
            assert mart.docs.columns.keys() <= names


def test_the_checks_of_the_marts_hold_and_notice_a_row_too_many(settings: Settings) -> None:
    fill(settings)
    with duckdb.connect(str(settings.marts_path)) as connection:
        found = check_marts(connection)
        assert {(check.mart, check.name) for check in found} == {
            ("rolling_revenue", "grain"), ("revenue_by_plan_hour", "adds_up"), ("revenue_by_region_hour", "adds_up"),
        }  # fmt: skip
        assert [check for check in found if not check.passed] == []
        connection.execute("INSERT INTO revenue_by_plan_hour FROM revenue_by_plan_hour LIMIT 1")
        connection.execute("INSERT INTO rolling_revenue FROM rolling_revenue WHERE window_start <> window_end LIMIT 1")
        broken = {(check.mart, check.name): check.failed for check in check_marts(connection) if not check.passed}
    assert broken.keys() >= {("revenue_by_plan_hour", "adds_up"), ("rolling_revenue", "grain")}
