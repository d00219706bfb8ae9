"""Bronze rows to silver events: canonical values, signed money, latencies; each event once, also across restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from event_bytes import event, event_id
from lake_fixtures import NOON, bronze_row
from pyspark.sql import SparkSession
from spark_fixtures import frame_of, rows_of, schema_of

from rtap_assets.contracts.rules import EVENT_TYPES, PLAN_TIERS, REGIONS, Reason
from rtap_assets.contracts.tables import BRONZE, SILVER
from rtap_assets.transforms.silver import (
    deduplicate_sales_events,
    late_sales_events,
    normalise_sales_events,
    stamp_processing,
)

WATERMARK_DELAY_SECONDS = 600
Feed = Callable[..., tuple[list[dict[str, Any]], int]]


def valid(number: int, *, offset: int | None = None, minutes: float = 0, **changes: Any) -> dict[str, Any]:
    """A valid bronze row of the event with this number, whose event time is `minutes` after noon."""
    time = NOON + timedelta(minutes=minutes)
    fields = event(event_id=event_id(number), event_time=time, ingest_time=time + timedelta(milliseconds=15))
    arrived = {"kafka_timestamp": time + timedelta(milliseconds=40), "schema_id": 1}
    return bronze_row(number if offset is None else offset) | fields | arrived | changes


def normalised(session: SparkSession, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows_of(stamp_processing(normalise_sales_events(frame_of(session, BRONZE, rows))).orderBy("kafka_offset"))


def test_every_accepted_spelling_becomes_its_canonical_value(spark: SparkSession) -> None:
    for column, spellings in (("event_type", EVENT_TYPES), ("plan_tier", PLAN_TIERS), ("region", REGIONS)):
        rows = [valid(number, **{column: f"\t {spelling.upper()}\u00a0"}) for number, spelling in enumerate(spellings)]
        assert [row[column] for row in normalised(spark, rows)] == list(spellings.values())


def test_texts_are_trimmed_the_currency_is_upper_case_and_the_id_lower_case(spark: SparkSession) -> None:
    changes = {
        "account_id": "\u200bacct-7 ",
        "product_id": "\u3000seat",
        "currency": "\ufeffchf",
        "event_id": f"{event_id(171).upper()}\r\n",
    }
    (row,) = normalised(spark, [valid(171) | changes])
    assert (row["account_id"], row["product_id"], row["currency"], row["event_id"]) == (
        "acct-7",
        "seat",
        "CHF",
        event_id(171),
    )


@pytest.mark.parametrize(
    ("event_type", "amount", "net_amount"),
    [
        ("purchase", "12.5000", "12.5000"),
        ("downgrade", "-3.2768", "-3.2768"),
        ("REFUND", "7.0001", "-7.0001"),
        ("refund", "-7", "-7"),
    ],
)
def test_a_refund_counts_against_revenue_whatever_its_sign(
    spark: SparkSession, event_type: str, amount: str, net_amount: str
) -> None:
    (row,) = normalised(spark, [valid(1, event_type=event_type, amount=Decimal(amount))])
    assert (row["amount"], row["net_amount"]) == (Decimal(amount), Decimal(net_amount))


def test_latencies_are_milliseconds_between_event_producer_broker_and_batch(spark: SparkSession) -> None:
    (row,) = normalised(spark, [valid(1)])
    assert (row["ingest_latency_ms"], row["delivery_latency_ms"]) == (15, 40)
    processing = row["processed_at"] - row["kafka_timestamp"]
    assert row["processing_latency_ms"] == pytest.approx(processing / timedelta(milliseconds=1), abs=1)


def test_quarantined_rows_stay_behind_and_the_rest_have_the_columns_of_silver(spark: SparkSession) -> None:
    bronze = frame_of(spark, BRONZE, [valid(1), valid(2) | {"error_reason": Reason.UNKNOWN_REGION.value}])
    silver = stamp_processing(normalise_sales_events(bronze))
    assert [row["kafka_offset"] for row in rows_of(silver)] == [1]
    assert [(child.name, child.dataType.simpleString()) for child in silver.schema] == [
        (column.name, column.type) for column in SILVER.columns
    ]


def test_a_batch_keeps_the_copy_that_the_broker_had_first(spark: SparkSession) -> None:
    silver = normalise_sales_events(frame_of(spark, BRONZE, CONFLICTING))
    kept = rows_of(deduplicate_sales_events(silver, watermark_delay_seconds=WATERMARK_DELAY_SECONDS).orderBy("event_id"))
    assert [(row["event_id"], row["amount"]) for row in kept] == FIRST_COPIES


def _conflicting() -> list[dict[str, Any]]:
    """Sixteen events in three copies of different amounts, in every order of arrival and over three Kafka partitions."""
    rows = []
    for number, copy in ((number, copy) for copy in range(3) for number in range(16)):
        arrival = (copy + number) % 3
        rows.append(
            valid(number, offset=100 * arrival + number, amount=Decimal(arrival + 1))
            | {"kafka_partition": copy, "kafka_timestamp": NOON + timedelta(milliseconds=40 + 10 * arrival)}
        )
    return rows


CONFLICTING = _conflicting()
FIRST_COPIES = [(event_id(number), Decimal("1.0000")) for number in range(16)]


@pytest.fixture
def feed(spark: SparkSession, tmp_path: Path) -> Feed:
    """Runs silver over one more file on the same checkpoint; returns the rows it wrote and how many it dropped as late."""
    numbers = count()
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()

    def run(*rows: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
        number = next(numbers)
        frame_of(spark, BRONZE, rows).coalesce(1).write.parquet(str(tmp_path / "in" / str(number)))
        stream = spark.readStream.schema(schema_of(BRONZE)).parquet(str(tmp_path / "in" / "*"))
        events = deduplicate_sales_events(normalise_sales_events(stream), watermark_delay_seconds=WATERMARK_DELAY_SECONDS)
        output = tmp_path / "out" / str(number)
        query = (
            events.writeStream.option("checkpointLocation", str(tmp_path / "checkpoint"))
            .trigger(availableNow=True)
            .foreachBatch(lambda batch, _: batch.write.mode("append").parquet(str(output)))
            .start()
        )
        assert query.awaitTermination(120)
        dropped = sum(
            operator.numRowsDroppedByWatermark for entry in query.recentProgress for operator in entry.stateOperators
        )
        return rows_of(spark.read.parquet(str(output)).orderBy("event_id")), dropped

    return run


def ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["event_id"] for row in rows]


def test_a_stream_keeps_the_first_copy_remembers_it_over_restarts_and_drops_what_is_older_than_the_watermark(
    spark: SparkSession, feed: Feed
) -> None:
    first, _ = feed(valid(1), valid(1, offset=101), valid(2, minutes=1))
    assert ids(first) == [event_id(1), event_id(2)]
    assert {row["kafka_offset"] for row in first} == {1, 2}

    # Restarted: a copy of what an earlier run saw is known, another event of the same minute is not.
    second, dropped = feed(valid(1, offset=102), valid(3), valid(4, minutes=15))
    assert (ids(second), dropped) == ([event_id(3), event_id(4)], 0)

    # A batch judges by the watermark of the batch before it: ten minutes behind the first file's newest event, 11:51.
    third, dropped = feed(
        valid(5, minutes=-9.01), valid(6, minutes=-9), valid(7, minutes=-8.99), valid(4, offset=104, minutes=15)
    )
    assert (ids(third), dropped) == ([event_id(7)], 2)

    # By now it stands at 12:05, and copies of what the memory has let go are older than that.
    fourth, dropped = feed(valid(1, offset=103), valid(8, minutes=4.99), valid(9, minutes=5.01))
    assert (ids(fourth), dropped) == ([event_id(9)], 2)


def test_a_stream_gives_the_same_events_as_a_batch(spark: SparkSession, feed: Feed) -> None:
    rows = [valid(number % 20, offset=number, minutes=number % 20 / 4) for number in range(60)]
    batch = deduplicate_sales_events(
        normalise_sales_events(frame_of(spark, BRONZE, rows)), watermark_delay_seconds=WATERMARK_DELAY_SECONDS
    )
    streamed = [row for part in (rows[:25], rows[25:50], rows[50:]) for row in feed(*part)[0]]
    assert sorted(map(_event, streamed)) == sorted(map(_event, rows_of(batch)))


def _event(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("event_id", "event_time", "kafka_offset", "net_amount"))


def test_a_conflicting_duplicate_in_one_batch_loses_to_the_copy_that_the_broker_had_first(
    feed: Feed,
) -> None:
    kept, _ = feed(*CONFLICTING)
    assert [(row["event_id"], row["amount"]) for row in kept] == FIRST_COPIES


def test_late_events_are_those_that_silver_lacks_each_once_and_only_of_the_time_looked_at(spark: SparkSession) -> None:
    held = [valid(1, offset=0), valid(2, offset=1, minutes=-120)]
    bronze = [
        *held,
        valid(1, offset=2, minutes=5),  # a copy of an event that silver has
        valid(2, offset=3, minutes=5),  # a copy of one that silver has had for long
        valid(3, offset=5, minutes=2),  # late, and its copy
        valid(3, offset=4, minutes=1),
        valid(4, offset=6, minutes=-61),  # before the time looked at
        valid(5, offset=7, error_reason=Reason.UNKNOWN_REGION.value),
    ]
    silver = stamp_processing(normalise_sales_events(frame_of(spark, BRONZE, held)))
    late = late_sales_events(frame_of(spark, BRONZE, bronze), silver, since=NOON - timedelta(minutes=60))
    rows = rows_of(stamp_processing(late))
    assert [(row["event_id"], row["kafka_offset"], row["is_late"]) for row in rows] == [(event_id(3), 4, True)]
