"""Bronze rows to silver events: canonical values, signed money, latencies; each event once, also across restarts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from event_bytes import event, event_id
from lake_fixtures import NOON, bronze_row, valid_bronze_row
from pyspark.sql import SparkSession
from spark_fixtures import frame_of, rows_of
from stream_fixtures import ended, open_engine

from rtap_assets.config import Settings
from rtap_assets.contracts.rules import EVENT_TYPES, PLAN_TIERS, REGIONS, Reason
from rtap_assets.contracts.tables import BRONZE, SILVER
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.quality.batch_totals import counts_of
from rtap_assets.streaming.checkpoints.files import newest_committed
from rtap_assets.streaming.checkpoints.progress import entry_of
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.queries import silver_sink
from rtap_assets.streaming.queries.definitions import SILVER_STREAM
from rtap_assets.transforms.silver import first_copies, normalise_sales_events, stamp_processing

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
    kept = rows_of(first_copies(silver).orderBy("event_id"))
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
def lake(spark: SparkSession, lake_settings: Settings) -> Settings:
    """A lake with empty tables, whose silver takes one file a batch."""
    own = lake_settings.model_copy(update={"source_max_files_per_batch": 1})
    ensure_tables(spark, own.catalog_name)
    return own


@pytest.fixture
def feed(spark: SparkSession, lake: Settings) -> Feed:
    """Drains silver over one more file for each list of rows; returns what silver gained, and how many came too late."""

    def run(*files: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
        before = {(row["kafka_partition"], row["kafka_offset"]) for row in silver_rows(spark, lake)}
        for rows in files:
            append_file(spark, lake, rows)
        report = drain_stream(spark, lake, "silver")
        assert report.batches == len(files)
        after = silver_rows(spark, lake)
        return [row for row in after if (row["kafka_partition"], row["kafka_offset"]) not in before], report.dropped_late

    return run


def append_file(session: SparkSession, settings: Settings, rows: Sequence[dict[str, Any]]) -> None:
    frame_of(session, BRONZE, rows).coalesce(1).writeTo(f"{settings.catalog_name}.{BRONZE.identifier}").append()


def silver_rows(session: SparkSession, settings: Settings) -> list[dict[str, Any]]:
    return rows_of(session.table(f"{settings.catalog_name}.{SILVER.identifier}").orderBy("event_id", "kafka_offset"))


def ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["event_id"] for row in rows]


JUDGED = (
    [valid(1), valid(1, offset=101), valid(2, minutes=1)],
    # A copy of what an earlier batch saw is known, another event of the same minute is not.
    [valid(1, offset=102), valid(3), valid(4, minutes=15)],
    # A batch judges by the watermark of the batch before it: ten minutes behind the first file's newest event, 11:51.
    [valid(5, minutes=-9.01), valid(6, minutes=-9), valid(7, minutes=-8.99), valid(4, offset=104, minutes=15)],
    # By now it stands at 12:05, and copies of what the memory has let go are older than that.
    [valid(1, offset=103), valid(8, minutes=4.99), valid(9, minutes=5.01)],
)
KEPT, LATE = ([1, 2], [3, 4], [7], [9]), (0, 0, 2, 2)
ALL_KEPT = [event_id(number) for kept in KEPT for number in kept]


def test_a_stream_keeps_the_first_copy_remembers_it_over_restarts_and_drops_what_is_older_than_the_watermark(
    feed: Feed,
) -> None:
    for rows, kept, late in zip(JUDGED, KEPT, LATE, strict=True):
        found, dropped = feed(rows)
        assert (ids(found), dropped) == ([event_id(number) for number in kept], late)
        assert {row["kafka_offset"] for row in found} == set(kept)


def test_a_stream_that_is_not_restarted_judges_alike(feed: Feed) -> None:
    found, dropped = feed(*JUDGED)
    assert (ids(found), dropped) == (ALL_KEPT, sum(LATE))


def test_a_batch_too_large_for_the_memory_of_the_driver_is_judged_alike(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silver_sink, "MOST_ROWS_IN_MEMORY", 0)
    found, dropped = feed(*JUDGED)
    assert (ids(found), dropped) == (ALL_KEPT, sum(LATE))


def test_a_stream_gives_the_same_events_as_a_batch(spark: SparkSession, feed: Feed) -> None:
    rows = [valid(number % 20, offset=number, minutes=number % 20 / 4) for number in range(60)]
    batch = first_copies(normalise_sales_events(frame_of(spark, BRONZE, rows)))
    streamed, _ = feed(rows[:25], rows[25:50], rows[50:])
    assert sorted(map(_event, streamed)) == sorted(map(_event, rows_of(batch)))


def _event(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("event_id", "event_time", "kafka_offset", "net_amount"))


def test_a_conflicting_duplicate_in_one_batch_loses_to_the_copy_that_the_broker_had_first(feed: Feed) -> None:
    kept, _ = feed(CONFLICTING)
    assert [(row["event_id"], row["amount"]) for row in kept] == FIRST_COPIES


def test_an_id_in_capitals_and_with_white_space_is_a_copy_of_the_plain_one(feed: Feed) -> None:
    odd = f"\t{event_id(171).upper()}\u00a0"
    kept, _ = feed([valid(171)], [valid(172), valid(171, offset=200, event_id=odd)], [valid(173, event_id=odd)])
    assert ids(kept) == [event_id(171), event_id(172)]


def test_what_is_left_out_is_counted_as_copy_or_as_late(spark: SparkSession, lake: Settings) -> None:
    later = {"event_time": NOON + timedelta(hours=1)}
    # Rows are judged by the watermark of the batch before: the batch that moves it, one more, and then NOON is late.
    last = [valid_bronze_row(5), valid_bronze_row(6, **later), valid_bronze_row(7, event_id="event-3", **later)]
    first = [valid_bronze_row(0), valid_bronze_row(1), valid_bronze_row(2, event_id="event-0")]
    for rows in (first, [valid_bronze_row(3, **later)], [valid_bronze_row(4, **later)], last):
        append_file(spark, lake, rows)
    reports: list[Mapping[str, Any]] = []
    streams = {"silver": SILVER_STREAM}
    with open_engine(spark, lake, definitions=streams, on_batch=reports.append, clean=False) as engine:
        assert ended(engine, engine.submit("silver", "drain")).error is None
    assert [counts_of(report) for report in reports] == [
        {"copies": 1, "late": 0},
        {"copies": 0, "late": 0},
        {"copies": 0, "late": 0},
        {"copies": 1, "late": 1},
    ]
    assert [entry_of("silver", report)["state_rows"] for report in reports] == [2, 3, 4, 3]


def test_a_batch_that_is_repeated_after_its_commit_is_written_once_and_its_ids_are_known(
    spark: SparkSession, lake: Settings, feed: Feed
) -> None:
    feed([valid(1), valid(2)])
    checkpoint = SILVER_STREAM.checkpoint(lake)
    (checkpoint / "commits" / str(newest_committed(checkpoint))).unlink()
    append_file(spark, lake, [valid(2, offset=102), valid(3)])
    drain_stream(spark, lake, "silver")
    assert ids(silver_rows(spark, lake)) == [event_id(number) for number in (1, 2, 3)]


def test_a_snapshot_that_two_batches_share_is_read_file_by_file(spark: SparkSession, lake: Settings) -> None:
    rows = [valid(number % 30, offset=number) for number in range(90)]
    bronze = f"{lake.catalog_name}.{BRONZE.identifier}"
    frame_of(spark, BRONZE, rows).repartition(3, "kafka_offset").writeTo(bronze).append()
    assert drain_stream(spark, lake, "silver").batches == 3
    assert ids(silver_rows(spark, lake)) == sorted(event_id(number) for number in range(30))


def test_no_code_is_compiled_for_a_batch_like_those_before(spark: SparkSession, feed: Feed) -> None:
    def files(first: int) -> list[list[dict[str, Any]]]:
        numbers = range(first, first + 12, 3)
        return [[valid(number), valid(number, offset=1_000 + number), valid(number + 1)] for number in numbers]

    feed(*files(0))
    compiled = spark.sparkContext._jvm.org.apache.spark.metrics.source.CodegenMetrics.METRIC_COMPILATION_TIME()
    before = compiled.getCount()
    feed(*files(100))
    after_restart = compiled.getCount()
    feed(*files(200))
    assert (after_restart - before, compiled.getCount() - after_restart) == (0, 0)
