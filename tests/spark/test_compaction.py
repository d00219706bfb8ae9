"""Compaction: which rows and which codec the files have that it writes."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlparse

import pyarrow.parquet as pq
from lake_fixtures import NOON, bronze_row
from pyspark.sql import SparkSession
from spark_fixtures import frame_of

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.compaction import compact
from rtap_assets.lake.history.retention import plan_expiry
from rtap_assets.lake.maintenance import expire_snapshots
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.runtime.clock import utc_now

FILES = 3


def codecs(settings: Settings) -> list[str]:
    """Return the codec of each data file of bronze's newest snapshot."""
    with open_catalog(settings) as catalog:
        tasks = load_table(catalog, BRONZE.identifier).scan().plan_files()
        paths = [Path(urlparse(task.file.file_path).path) for task in tasks]
    return [pq.read_metadata(path).row_group(0).column(0).compression for path in paths]


def files(settings: Settings) -> set[str]:
    """Return the locations of the data files of bronze's newest snapshot."""
    with open_catalog(settings) as catalog:
        return {task.file.file_path for task in load_table(catalog, BRONZE.identifier).scan().plan_files()}


def append(spark: SparkSession, settings: Settings, offset: int, *, at: datetime) -> None:
    rows = frame_of(spark, BRONZE, [bronze_row(offset, kafka_timestamp=at)]).coalesce(1)
    rows.writeTo(f"{settings.catalog_name}.{BRONZE.identifier}").append()


def expire(spark: SparkSession, settings: Settings, *, keep: int) -> None:
    """Expire all snapshots but the newest ones."""
    few = settings.model_copy(update={"snapshots_to_keep": keep, "snapshot_retention_seconds": 0})
    with open_catalog(settings) as catalog:
        plan = plan_expiry(load_table(catalog, BRONZE.identifier), few, (), now=utc_now())
    expire_snapshots(spark, few, BRONZE, plan)


def test_of_open_days_the_files_of_retained_snapshots_are_left_alone(spark: SparkSession, lake_settings: Settings) -> None:
    settings = lake_settings.model_copy(update={"compaction_min_files": 2})
    ensure_tables(spark, settings.catalog_name)
    day = timedelta(days=1)
    for offset in range(6):  # by turns of today and of yesterday, a minute apart
        append(spark, settings, offset, at=NOON + timedelta(minutes=offset) - offset % 2 * day)
    expire(spark, settings, keep=2)
    before = files(settings)

    done = compact(spark, settings, BRONZE, now=NOON + timedelta(hours=1))
    assert (done.replaced, done.by) == (4, 2)  # two files of each day; the newest two snapshots added one of each
    assert len(files(settings) & before) == 2
    rows = spark.table(f"{settings.catalog_name}.{BRONZE.identifier}").select("kafka_offset").collect()
    assert sorted(row.kafka_offset for row in rows) == list(range(6))

    append(spark, settings, 6, at=NOON - day)  # of a day with newer rows: it keeps the files of its day from it on
    assert compact(spark, settings, BRONZE, now=NOON + timedelta(hours=1)).replaced == 0
    expire(spark, settings, keep=1)
    done = compact(spark, settings, BRONZE, now=NOON + timedelta(hours=1))
    assert (done.replaced, done.by) == (2, 1)  # today's two; none of yesterday begins before the newest append


def test_compaction_writes_zstd_whatever_the_stream_wrote_and_keeps_every_row(
    spark: SparkSession, lake_settings: Settings
) -> None:
    settings = lake_settings.model_copy(update={"compaction_min_files": FILES})
    ensure_tables(spark, settings.catalog_name)
    name = f"{settings.catalog_name}.{BRONZE.identifier}"
    for offset in range(FILES):
        frame_of(spark, BRONZE, [bronze_row(offset)]).coalesce(1).writeTo(name).append()
    assert set(codecs(settings)) == {"LZ4"}
    done = compact(spark, settings, BRONZE, now=NOON + timedelta(days=3))
    assert (done.replaced, done.by) == (FILES, 1)
    assert codecs(settings) == ["ZSTD"]
    assert sorted(row.kafka_offset for row in spark.table(name).select("kafka_offset").collect()) == list(range(FILES))
    assert "spark.sql.iceberg.compression-codec" not in {row.key for row in spark.sql("SET").collect()}
