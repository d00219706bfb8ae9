"""Silver events to changes of revenue windows: exact sums, [start, end) bounds, five windows per event; batches add up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from event_bytes import varint
from lake_fixtures import NOON, gold_row, silver_row
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from spark_fixtures import frame_of, rows_of

from rtap_assets.contracts.avro.wire import unframe
from rtap_assets.contracts.tables import GOLD, SILVER
from rtap_assets.transforms.gold import (
    MEASURES,
    TWO_ROWS_OF_A_KEY,
    apply_changes,
    build_revenue_messages,
    sum_panes,
    sum_windows,
)

LONG_AGO = NOON - timedelta(days=30)
WINDOW, SLIDE = timedelta(minutes=5), timedelta(minutes=1)
Sums = dict[tuple[Any, ...], tuple[Any, ...]]


def revenue(
    events: DataFrame,
    present: DataFrame | None = None,
    *,
    at: datetime = NOON,
    final_before: datetime = LONG_AGO,
    sign: int = 1,
) -> DataFrame:
    """Gold's rows once these events are added to those it holds."""
    changes = sum_windows(
        sum_panes(events, slide_seconds=60),
        window_seconds=300,
        slide_seconds=60,
        updated_ms=round(at.timestamp() * 1000),
        final_before_ms=round(final_before.timestamp() * 1000),
        sign=sign,
    )
    held = frame_of(events.sparkSession, GOLD, []) if present is None else present
    return apply_changes(changes, held).where("is_changed").select(*GOLD.column_names)


def sale(seconds: float, amount: str, **columns: Any) -> dict[str, Any]:
    """A purchase `seconds` after noon, or a refund when the amount is below zero."""
    net = Decimal(amount)
    kind = "refund" if net < 0 else "purchase"
    return silver_row(f"{seconds}-{amount}-{sorted(columns.items())}") | {
        "event_time": NOON + timedelta(seconds=seconds),
        "event_type": kind,
        "amount": abs(net),
        "net_amount": net,
    } | columns  # fmt: skip


def expected(events: Sequence[dict[str, Any]]) -> Sums:
    """The windows of these events, summed in Python's decimals: key -> gross, refunded, net, orders, refunds."""
    sums: Sums = {}
    for one in events:
        newest = datetime.fromtimestamp(one["event_time"].timestamp() // 60 * 60, tz=NOON.tzinfo)
        for start in (newest - step * SLIDE for step in range(WINDOW // SLIDE)):
            key = (start, start + WINDOW, one["plan_tier"], one["region"], one["currency"])
            gross, refunded, net, orders, refunds = sums.get(key, (Decimal(0), Decimal(0), Decimal(0), 0, 0))
            if one["event_type"] == "refund":
                refunded, refunds = refunded - one["net_amount"], refunds + 1
            else:
                gross, orders = gross + one["net_amount"], orders + 1
            sums[key] = (gross, refunded, net + one["net_amount"], orders, refunds)
    return sums


def sums_of(rows: Sequence[dict[str, Any]]) -> Sums:
    """Gold rows in the form of `expected`; the newest row of a key counts, as in an upsert."""
    key, value = ("window_start", "window_end", *GOLD.key[1:]), MEASURES
    newest_last = sorted(rows, key=lambda row: row["updated_at"])
    return {tuple(row[name] for name in key): tuple(row[name] for name in value) for row in newest_last}


EVENTS = [
    sale(0, "0.1"),
    sale(0.000001, "0.2"),
    sale(59.999999, "-0.3"),
    sale(60, "99999999999999.9999"),
    sale(61, "99999999999999.9999", account_id="account-2"),
    sale(62, "-0.0001"),
    sale(100, "5", currency="USD"),
    sale(100, "7", plan_tier="free"),
    sale(100, "11", region="apac"),
    sale(299.999999, "13"),
    sale(300, "17"),
    *(sale(seconds, "0.0001", product_id=f"p{seconds}") for seconds in range(0, 600, 7)),
]


def test_windows_hold_exact_sums_per_tier_region_and_currency(spark: SparkSession) -> None:
    rows = rows_of(revenue(frame_of(spark, SILVER, EVENTS)))
    assert sums_of(rows) == expected(EVENTS)
    assert len(rows) == len(expected(EVENTS))
    assert {row["revision"] for row in rows} == {0}
    biggest = max(row["gross_amount"] for row in rows)
    assert biggest > Decimal("199999999999999.9998")  # beyond what a single amount can hold, and beyond a float's digits


@pytest.mark.parametrize("seconds", [0, 0.000001, 59.999999, 300])
def test_an_event_is_in_five_windows_that_start_at_or_before_it_and_end_after_it(
    spark: SparkSession, seconds: float
) -> None:
    rows = rows_of(revenue(frame_of(spark, SILVER, [sale(seconds, "1")])).orderBy("window_start"))
    newest = NOON + timedelta(minutes=seconds // 60)
    assert [row["window_start"] for row in rows] == [newest - step * SLIDE for step in reversed(range(5))]
    assert all(row["window_start"] <= NOON + timedelta(seconds=seconds) < row["window_end"] for row in rows)


def test_the_windows_have_the_columns_of_gold(spark: SparkSession) -> None:
    schema = revenue(frame_of(spark, SILVER, [])).schema
    assert [(child.name, child.dataType.simpleString()) for child in schema] == [
        (column.name, column.type) for column in GOLD.columns
    ]


def by_key(rows: Sequence[dict[str, Any]], *names: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {tuple(row[name] for name in GOLD.key): tuple(row[name] for name in names) for row in rows}


def test_the_windows_are_those_of_spark_itself(spark: SparkSession) -> None:
    """Also before 1970 and on odd microseconds, where a division that rounds towards zero would be off by one pane."""
    seconds = [-NOON.timestamp() - 0.000001, -NOON.timestamp(), -NOON.timestamp() + 0.000001, 86_399.999999, 86_400, -0.5]
    events = frame_of(spark, SILVER, [*EVENTS, *(sale(second, "1.5") for second in seconds)])
    window = F.window("event_time", "300 seconds", "60 seconds")
    of_spark = events.groupBy(window.start.alias("window_start"), "plan_tier", "region", "currency").agg(
        F.sum("net_amount").cast("decimal(28,4)").alias("net_amount"), F.count(F.lit(1)).alias("events")
    )
    ours = {key: (net, orders + refunds) for key, (net, orders, refunds) in
            by_key(rows_of(revenue(events)), "net_amount", "orders", "refunds").items()}  # fmt: skip
    assert ours == by_key(rows_of(of_spark), "net_amount", "events")


def test_batches_add_up_to_the_sums_of_all_events_whatever_their_order(spark: SparkSession) -> None:
    present = frame_of(spark, GOLD, [])
    for events in (EVENTS[40:], EVENTS[:5], EVENTS[5:40]):
        new = rows_of(revenue(frame_of(spark, SILVER, events), present, at=NOON + timedelta(seconds=len(events))))
        kept = {key: row for row in rows_of(present) for key in by_key([row])}
        merged = kept | {key: row for row in new for key in by_key([row])}
        present = frame_of(spark, GOLD, list(merged.values()))
    assert sums_of(rows_of(present)) == expected(EVENTS)
    assert {row["updated_at"] for row in new} == {NOON + timedelta(seconds=35)}


def test_events_taken_away_leave_the_sums_of_the_others_and_zeros_for_the_last(spark: SparkSession) -> None:
    held = frame_of(spark, GOLD, rows_of(revenue(frame_of(spark, SILVER, EVENTS))))
    gone = frame_of(spark, SILVER, EVENTS[3:])
    left = rows_of(revenue(gone, held, final_before=NOON + timedelta(days=1), sign=-1))
    zeros = (Decimal(0), Decimal(0), Decimal(0), 0, 0)
    wanted = dict.fromkeys(expected(EVENTS[3:]), zeros) | {
        key: sums for key, sums in expected(EVENTS[:3]).items() if key in expected(EVENTS[3:])
    }
    assert sums_of(left) == wanted
    assert {row["revision"] for row in left} == {1}


def test_only_a_window_that_was_final_gets_a_higher_revision(spark: SparkSession) -> None:
    held = frame_of(spark, GOLD, rows_of(revenue(frame_of(spark, SILVER, [sale(0, "1")]))))
    late = frame_of(spark, SILVER, [sale(1, "2"), sale(1, "2", region="apac")])
    rows = rows_of(revenue(late, held, final_before=NOON + timedelta(minutes=2)))
    # The windows that contain noon end one to five minutes after it.
    assert {(row["window_end"], row["revision"]) for row in rows} == {
        (NOON + timedelta(minutes=end), int(end <= 2)) for end in range(1, 6)
    }
    again = rows_of(revenue(late, frame_of(spark, GOLD, rows), final_before=NOON + timedelta(minutes=3)))
    assert {(row["window_end"], row["revision"]) for row in again} == {
        (NOON + timedelta(minutes=end), (end <= 2) + (end <= 3)) for end in range(1, 6)
    }


def changed(spark: SparkSession, present: DataFrame, *, early_before: datetime = LONG_AGO) -> DataFrame:
    """Present rows and the windows of one sale at noon."""
    panes = sum_panes(frame_of(spark, SILVER, [sale(0, "2")]), slide_seconds=60)
    changes = sum_windows(panes, window_seconds=300, slide_seconds=60, updated_ms=0, final_before_ms=0)
    return apply_changes(changes, present, early_before_us=round(early_before.timestamp()) * 1_000_000)


def test_rows_that_did_not_change_stay_as_they_are_with_the_columns_that_other_tools_added(spark: SparkSession) -> None:
    hour = timedelta(hours=1)
    held = frame_of(spark, GOLD, [gold_row(NOON - hour, revision=3), gold_row(NOON, revision=2, orders=None)])
    held = held.withColumn("note", F.concat(F.lit("of "), F.col("window_start").cast("string")))
    rows = {row["window_start"]: row for row in rows_of(changed(spark, held, early_before=NOON))}
    before, noon = rows[NOON - hour], rows[NOON]
    assert {name: before[name] for name in held.columns} == rows_of(held)[0]
    assert (before["is_changed"], before["is_early"]) == (False, True)
    assert (noon["is_changed"], noon["is_early"], noon["note"]) == (True, False, "of 2026-03-01 12:00:00")
    assert (noon["gross_amount"], noon["old_gross_amount"], noon["orders"], noon["revision"]) == (12, 10, 1, 2)
    assert rows[NOON - SLIDE]["note"] is None
    assert rows[NOON - SLIDE]["old_revision"] is None


def test_a_key_that_the_table_holds_twice_is_an_error_whether_it_changes_or_not(spark: SparkSession) -> None:
    for start in (NOON, NOON - timedelta(hours=1)):
        held = frame_of(spark, GOLD, [gold_row(start), gold_row(start)])
        with pytest.raises(PySparkException, match=TWO_ROWS_OF_A_KEY):
            changed(spark, held).collect()


def test_a_batch_compiles_no_code_of_its_own(spark: SparkSession) -> None:
    """Times, watermark and sign differ from batch to batch and must not be part of the generated code."""
    events, held = frame_of(spark, SILVER, EVENTS), frame_of(spark, GOLD, [])
    compiled = spark.sparkContext._jvm.org.apache.spark.metrics.source.CodegenMetrics.METRIC_COMPILATION_TIME().getCount
    counts = []
    for number in range(4):
        at = NOON + timedelta(seconds=10 * number)
        revenue(events, held, at=at, final_before=at, sign=(-1) ** number).toArrow()
        counts.append(compiled())
    assert counts[1] == counts[-1], counts


def test_a_message_has_a_readable_key_and_the_window_in_wire_format(spark: SparkSession) -> None:
    schema = """{"type": "record", "name": "W", "fields": [
        {"name": "window_start", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "orders", "type": "long"}]}"""
    windows = revenue(frame_of(spark, SILVER, [sale(0, "1")])).where("window_start = TIMESTAMP '2026-03-01 12:00:00'")
    (message,) = rows_of(build_revenue_messages(windows, schema_id=2**31 + 5, schema=schema))
    assert message["key"] == b"2026-03-01T12:00:00Z/pro/emea/EUR"
    schema_id, body = unframe(message["value"])
    assert (schema_id, body) == (2**31 + 5, varint(int(NOON.timestamp() * 1000)) + varint(1))
