"""What the streams count of themselves: the same, exactly, as a batch and as a stream, and no row is changed by counting."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from lake_fixtures import NOON, bronze_row, valid_bronze_row
from pyspark.sql import DataFrame, Observation, SparkSession
from spark_fixtures import frame_of, schema_of

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.data_files import count_values
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.quality.batch_counts import BRONZE_METRICS, bronze_counts
from rtap_assets.quality.batch_totals import counts_of

valid = valid_bronze_row

ROWS = [
    valid(0, event_time=NOON - timedelta(milliseconds=40)),
    valid(1, event_time=NOON - timedelta(hours=2)),
    valid(2, region=None),
    valid(3, event_time=NOON + timedelta(seconds=5), promo_code=None),
    bronze_row(4, error_reason="bad_magic"),
    bronze_row(5, error_reason="bad_magic"),
    bronze_row(6, error_reason="too_short", event_time=NOON - timedelta(days=400)),
]
BRONZE_COUNTS = {"records": 7, "invalid": 3}


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


def reports_of(frame: DataFrame, folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the report of each batch that read something, as the stream host reads it."""
    query = (
        frame.writeStream.format("noop").queryName(name).option("checkpointLocation", folder.as_uri())
        .trigger(availableNow=True).start()
    )  # fmt: skip
    query.awaitTermination()
    return [json.loads(entry.json) for entry in query.recentProgress if entry.numInputRows]


def test_bronze_counts_are_exact_as_a_batch_and_as_a_stream(spark: SparkSession, tmp_path: Path) -> None:
    assert counted(frame_of(spark, BRONZE, ROWS), *bronze_counts()) == BRONZE_COUNTS
    stream = as_stream(spark, tmp_path / "rows", ROWS)
    (report,) = reports_of(stream.observe(BRONZE_METRICS, *bronze_counts()), tmp_path / "checkpoint", "bronze")
    assert counts_of(report) == BRONZE_COUNTS


def test_quarantined_rows_are_counted_by_reason(spark: SparkSession, lake_settings: Settings) -> None:
    ensure_tables(spark, lake_settings.catalog_name)
    frame_of(spark, BRONZE, ROWS).writeTo(f"{lake_settings.catalog_name}.{BRONZE.identifier}").append()
    with open_catalog(lake_settings) as catalog:
        table = load_table(catalog, BRONZE.identifier)
    counts = count_values(table, [task.file.file_path for task in table.scan().plan_files()], "error_reason")
    assert counts == {"bad_magic": 2, "too_short": 1}


def test_counting_changes_no_row(spark: SparkSession) -> None:
    rows = frame_of(spark, BRONZE, ROWS)
    assert rows.observe(Observation(), *bronze_counts()).toArrow() == rows.toArrow()
