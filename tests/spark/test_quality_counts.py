"""What the streams count of themselves: the same, exactly, as a batch and as a stream, and no row is changed by counting."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from lake_fixtures import NOON, bronze_row, silver_row
from pyspark.sql import DataFrame, Observation, SparkSession
from spark_fixtures import frame_of, schema_of

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, SILVER
from rtap_assets.quality.batch_counts import bronze_counts, dead_letter_counts, silver_counts, silver_input_counts
from rtap_assets.quality.batch_results import SILVER_INPUT_METRICS, SILVER_METRICS, results_of
from rtap_assets.transforms.silver import deduplicate_sales_events, normalise_sales_events, stamp_processing

EVENT: dict[str, Any] = {
    name: value for name, value in silver_row("event-1").items() if name in {column.name for column in BRONZE.columns}
}
SKEW_SECONDS = 3_600


def valid(offset: int, **columns: Any) -> dict[str, Any]:
    return bronze_row(offset) | EVENT | {"event_id": f"event-{offset}", "kafka_offset": offset} | columns


ROWS = [
    valid(0, event_time=NOON - timedelta(milliseconds=40)),
    valid(1, event_time=NOON - timedelta(hours=2)),
    valid(2, region=None),
    valid(3, event_time=NOON + timedelta(seconds=5), promo_code=None),
    bronze_row(4, error_reason="bad_magic"),
    bronze_row(5, error_reason="bad_magic"),
    bronze_row(6, error_reason="too_short", event_time=NOON - timedelta(days=400)),
]
BRONZE_COUNTS = {
    "records": 7,
    "invalid": 3,
    "incomplete": 1,
    "skewed": 1,
    "least_delay_ms": -5_000,
    "greatest_delay_ms": 7_200_000,
}


def counted(frame: DataFrame, *counts: Any) -> dict[str, Any]:
    """The counts of a batch."""
    observation = Observation()
    frame.observe(observation, *counts).write.format("noop").mode("overwrite").save()
    return observation.get


def as_stream(session: SparkSession, folder: Path, *batches: list[dict[str, Any]]) -> DataFrame:
    """Bronze rows as a stream that takes one batch after the other."""
    for number, rows in enumerate(batches):
        frame_of(session, BRONZE, rows).coalesce(1).write.parquet(str(folder / f"batch={number}"))
    return (
        session.readStream.schema(schema_of(BRONZE))
        .option("maxFilesPerTrigger", 1)
        .option("recursiveFileLookup", "true")
        .parquet(str(folder))
    )


def progress_of(frame: DataFrame, folder: Path, name: str) -> list[dict[str, Any]]:
    """The progress of each batch that read something, as the platform's host reads it."""
    query = (
        frame.writeStream.format("noop").queryName(name).option("checkpointLocation", folder.as_uri())
        .trigger(availableNow=True).start()
    )  # fmt: skip
    query.awaitTermination()
    return [json.loads(entry.json) for entry in query.recentProgress if entry.numInputRows]


def test_bronze_counts_are_exact_as_a_batch_and_as_a_stream(
    spark: SparkSession, lake_settings: Settings, tmp_path: Path
) -> None:
    counts = bronze_counts(skew_seconds=SKEW_SECONDS)
    assert counted(frame_of(spark, BRONZE, ROWS), *counts) == BRONZE_COUNTS
    stream = as_stream(spark, tmp_path / "rows", ROWS)
    (progress,) = progress_of(stream.observe("bronze", *counts), tmp_path / "checkpoint", "bronze")
    assert progress["observedMetrics"]["bronze"] == BRONZE_COUNTS
    results = {result.check_name: result for result in results_of(progress, lake_settings)}
    assert results["stream_invalid_share"].observed == 3 / 7
    assert (results["stream_null_share"].rows_failed, results["stream_null_share"].rows_checked) == (1, 4)
    assert results["stream_event_time_skew"].observed == 1 / 4


def test_quarantined_rows_are_counted_by_reason(spark: SparkSession, lake_settings: Settings, tmp_path: Path) -> None:
    stream = as_stream(spark, tmp_path / "rows", ROWS).where("error_reason IS NOT NULL")
    (progress,) = progress_of(stream.observe("dlq", *dead_letter_counts()), tmp_path / "checkpoint", "dlq")
    (result,) = results_of(progress, lake_settings)
    assert (result.check_name, result.observed) == ("stream_quarantined", 2)
    assert dict(result.detail) == {"bad_magic": "2", "too_short": "1"}


def test_silver_accounts_for_each_row_read_as_kept_or_copy_or_late(
    spark: SparkSession, lake_settings: Settings, tmp_path: Path
) -> None:
    first = [valid(0), valid(1), valid(2, event_id="event-0")]
    later = {"event_time": NOON + timedelta(hours=1)}
    # Spark drops by the watermark of the batch before: the batch that moves it, one more, and then NOON is late.
    last = [valid(5), valid(6, **later), valid(7, event_id="event-3", **later)]
    bronze = as_stream(spark, tmp_path / "rows", first, [valid(3, **later)], [valid(4, **later)], last)
    read = normalise_sales_events(bronze).observe(SILVER_INPUT_METRICS, *silver_input_counts())
    kept = deduplicate_sales_events(read, watermark_delay_seconds=600).observe(SILVER_METRICS, *silver_counts())
    batches = progress_of(stamp_processing(kept), tmp_path / "checkpoint", "silver")
    found = [{result.check_name: result for result in results_of(batch, lake_settings)} for batch in batches]
    assert [results["stream_conservation"].observed for results in found] == [0, 0, 0, 0]
    assert [dict(results["stream_conservation"].detail) for results in found] == [
        {"kept": "2", "copies": "1", "late": "0"},
        {"kept": "1", "copies": "0", "late": "0"},
        {"kept": "1", "copies": "0", "late": "0"},
        {"kept": "1", "copies": "1", "late": "1"},
    ]
    assert [results["stream_late_share"].rows_failed for results in found] == [0, 0, 0, 1]
    assert {results["stream_null_share"].observed for results in found} == {0}


def test_counting_changes_no_row(spark: SparkSession) -> None:
    rows = frame_of(spark, SILVER, [silver_row("event-1"), silver_row("event-2", currency=None)])
    assert rows.observe(Observation(), *silver_counts()).toArrow() == rows.toArrow()
