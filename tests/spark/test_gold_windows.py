"""Silver events to revenue windows: exact sums, [start, end) bounds, five windows per event; a batch and a stream agree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from event_bytes import varint
from lake_fixtures import NOON, silver_row
from pyspark.sql import DataFrame, SparkSession
from spark_fixtures import frame_of, rows_of, schema_of

from rtap_assets.contracts.tables import GOLD, SILVER
from rtap_assets.contracts.wire import unframe
from rtap_assets.transforms.gold import aggregate_revenue, build_revenue_messages

WINDOW, SLIDE = timedelta(minutes=5), timedelta(minutes=1)
Sums = dict[tuple[Any, ...], tuple[Any, ...]]


def revenue(events: DataFrame, *, watermark_delay_seconds: int = 1200) -> DataFrame:
    return aggregate_revenue(events, window_seconds=300, slide_seconds=60, watermark_delay_seconds=watermark_delay_seconds)


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
    key, value = ("window_start", "window_end", *GOLD.key[1:]), GOLD.column_names[5:10]
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


def streamed(session: SparkSession, folder: Path, files: Sequence[Sequence[dict[str, Any]]]) -> tuple[Any, int]:
    """The files through one stream, restarted after each; returns what it emitted and how many rows the last run dropped."""
    for number, events in enumerate(files):
        frame_of(session, SILVER, events).coalesce(1).write.parquet(str(folder / "in" / str(number)))
        stream = session.readStream.schema(schema_of(SILVER)).parquet(str(folder / "in" / "*"))
        query = (
            revenue(stream)
            .writeStream.outputMode("update")
            .option("checkpointLocation", str(folder / "checkpoint"))
            .foreachBatch(lambda batch, _: batch.write.mode("append").parquet(str(folder / "out")))
            .trigger(availableNow=True)
            .start()
        )
        assert query.awaitTermination(120)
    operators = [operator for entry in query.recentProgress for operator in entry.stateOperators]
    return rows_of(session.read.parquet(str(folder / "out"))), sum(one.numRowsDroppedByWatermark for one in operators)


def test_a_stream_restarted_after_each_file_ends_with_the_sums_of_a_batch(spark: SparkSession, tmp_path: Path) -> None:
    rows, dropped = streamed(spark, tmp_path, [EVENTS[:5], EVENTS[5:40], EVENTS[40:]])
    assert (sums_of(rows), dropped) == (expected(EVENTS), 0)


def test_a_closed_window_is_not_emitted_again_and_late_rows_are_counted(spark: SparkSession, tmp_path: Path) -> None:
    early, later, much_later, late = sale(30, "1"), sale(1800, "2"), sale(1801, "3"), sale(0, "100")
    rows, dropped = streamed(spark, tmp_path, [[early], [later], [much_later], [late]])
    assert sums_of(rows) == expected([early, later, much_later])
    assert dropped == 5  # one row, in each of its windows


def test_a_message_has_a_readable_key_and_the_window_in_wire_format(spark: SparkSession) -> None:
    schema = """{"type": "record", "name": "W", "fields": [
        {"name": "window_start", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "orders", "type": "long"}]}"""
    windows = revenue(frame_of(spark, SILVER, [sale(0, "1")])).where("window_start = TIMESTAMP '2026-03-01 12:00:00'")
    (message,) = rows_of(build_revenue_messages(windows, schema_id=2**31 + 5, schema=schema))
    assert message["key"] == b"2026-03-01T12:00:00Z/pro/emea/EUR"
    schema_id, body = unframe(message["value"])
    assert (schema_id, body) == (2**31 + 5, varint(int(NOON.timestamp() * 1000)) + varint(1))
