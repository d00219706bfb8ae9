"""Compaction: which rows and which codec the files have that it writes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlparse

import pyarrow.parquet as pq
from lake_fixtures import NOON, bronze_row
from pyspark.sql import SparkSession
from spark_fixtures import frame_of

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.maintenance import compact_closed_partitions
from rtap_assets.lake.tables import ensure_tables

FILES = 3


def codecs(settings: Settings) -> list[str]:
    """Return the codec of each data file of bronze's newest snapshot."""
    with open_catalog(settings) as catalog:
        tasks = load_table(catalog, BRONZE.identifier).scan().plan_files()
        paths = [Path(urlparse(task.file.file_path).path) for task in tasks]
    return [pq.read_metadata(path).row_group(0).column(0).compression for path in paths]


def test_compaction_writes_zstd_whatever_the_stream_wrote_and_keeps_every_row(
    spark: SparkSession, lake_settings: Settings
) -> None:
    settings = lake_settings.model_copy(update={"compaction_min_files": FILES})
    ensure_tables(spark, settings.catalog_name)
    name = f"{settings.catalog_name}.{BRONZE.identifier}"
    for offset in range(FILES):
        frame_of(spark, BRONZE, [bronze_row(offset)]).coalesce(1).writeTo(name).append()
    assert set(codecs(settings)) == {"LZ4"}
    done = compact_closed_partitions(spark, settings, BRONZE, now=NOON + timedelta(days=3))
    assert (done.replaced, done.by) == (FILES, 1)
    assert codecs(settings) == ["ZSTD"]
    assert sorted(row.kafka_offset for row in spark.table(name).select("kafka_offset").collect()) == list(range(FILES))
    assert "spark.sql.iceberg.compression-codec" not in {row.key for row in spark.sql("SET").collect()}
