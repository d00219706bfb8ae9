"""Files of a table by the streaming source's offsets, and files that take the place of others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest
from lake_fixtures import NOON, gold_row, silver_row
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession
from spark_fixtures import frame_of, rows_of

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD, SILVER
from rtap_assets.errors import StreamError
from rtap_assets.lake.staged_files import StagedTable
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.streaming.checkpoints.files import initial_offset_file, newest_committed, source_range

EVERYTHING = {"snapshot_id": -1, "position": -1, "scan_all_files": False}
SECOND_US = 1_000_000


@pytest.fixture
def silver(spark: SparkSession, lake_settings: Settings) -> str:
    ensure_tables(spark, lake_settings.catalog_name)
    return f"{lake_settings.catalog_name}.{SILVER.identifier}"


def append(spark: SparkSession, silver: str, *names: str, hours: int = 0) -> None:
    """Append one file for each name."""
    rows = [silver_row(name, event_time=NOON + timedelta(hours=hours, seconds=place)) for place, name in enumerate(names)]
    frame_of(spark, SILVER, rows).repartition(len(names), "event_id").writeTo(silver).append()


def batches_of(spark: SparkSession, silver: str, checkpoint: Path, **options: str) -> list[list[str]]:
    """Run a stream over what is new; return the ids of each of its batches, as Spark's own frame has them."""
    found: list[list[str]] = []

    def keep(batch: DataFrame, batch_id: int) -> None:
        found.append(sorted(row["event_id"] for row in rows_of(batch.select("event_id"))))

    reader = spark.readStream.format("iceberg").option("streaming-skip-delete-snapshots", "true")
    reader = reader.option("streaming-skip-overwrite-snapshots", "true")
    for name, value in options.items():
        reader = reader.option(name, value)
    stream = reader.load(silver).writeStream.foreachBatch(keep).option("checkpointLocation", checkpoint.as_uri())
    query = stream.trigger(processingTime="0 seconds").start()
    query.processAllAvailable()
    query.stop()
    return found


def staged_batches(spark: SparkSession, silver: str, checkpoint: Path, *, first: int = 0) -> list[list[str]]:
    """Return the ids of each batch, by the offsets in the checkpoint."""
    table, found = StagedTable(spark, silver), []
    for batch_id in range(first, (newest_committed(checkpoint) or 0) + 1):
        tasks = table.appended(*source_range(checkpoint, batch_id))
        with table.staged(tasks) as files:
            found.append(sorted(row["event_id"] for row in rows_of(files.rows().select("event_id"))))
    return found


def test_the_files_of_each_batch_are_those_that_the_streaming_source_read(
    spark: SparkSession, silver: str, tmp_path: Path
) -> None:
    append(spark, silver, "a", "b", "c", "d", "e")
    append(spark, silver, "f", "g")
    spark.sql(f"DELETE FROM {silver} WHERE event_id = 'a'")
    one_by_one = {"streaming-max-files-per-micro-batch": "2"}
    read = batches_of(spark, silver, tmp_path / "one", **one_by_one)
    assert len(read) > 2, "batches end inside a snapshot"
    assert sorted(chain(*read)) == list("abcdefg")
    assert staged_batches(spark, silver, tmp_path / "one") == read

    catalog, _, name = silver.partition(".")
    options = "map('min-input-files', '2', 'rewrite-all', 'true')"
    spark.sql(f"CALL {catalog}.system.rewrite_data_files(table => '{name}', options => {options})").collect()
    append(spark, silver, "h", "i", "j")
    again = batches_of(spark, silver, tmp_path / "one", **one_by_one)
    assert sorted(chain(*again)) == list("hij")
    assert staged_batches(spark, silver, tmp_path / "one", first=len(read)) == again


def test_a_stream_that_begins_with_all_files_has_them_in_its_first_batch(
    spark: SparkSession, silver: str, tmp_path: Path
) -> None:
    append(spark, silver, "a", "b", "c")
    append(spark, silver, "d")
    begin = initial_offset_file(tmp_path / "all")
    begin.parent.mkdir(parents=True)
    newest = StagedTable(spark, silver).table.currentSnapshot().snapshotId()
    begin.write_text(json.dumps({"version": 1, "snapshot_id": newest, "position": 0, "scan_all_files": True}))
    read = batches_of(spark, silver, tmp_path / "all")
    append(spark, silver, "e")
    read += batches_of(spark, silver, tmp_path / "all")
    assert read == [["a", "b", "c", "d"], ["e"]]
    assert staged_batches(spark, silver, tmp_path / "all") == read


def test_a_table_without_rows_has_no_files_and_expired_snapshots_are_an_error(spark: SparkSession, silver: str) -> None:
    assert StagedTable(spark, silver).appended(EVERYTHING, EVERYTHING) == []
    for name in ("a", "b"):
        append(spark, silver, name)
    table = StagedTable(spark, silver)
    newest, oldest = (snapshot.snapshotId() for snapshot in table.snapshots())
    table.table.expireSnapshots().expireSnapshotId(oldest).commit()
    with pytest.raises(StreamError, match="no longer reaches from snapshot"):
        StagedTable(spark, silver).appended(*(EVERYTHING | {"snapshot_id": one, "position": 1} for one in (oldest, newest)))


def test_bounds_are_the_least_and_greatest_value_and_unknown_without_statistics(spark: SparkSession, silver: str) -> None:
    append(spark, silver, "a", "b", "c")
    noon_us = round(NOON.timestamp()) * SECOND_US

    def stated() -> tuple[int, int] | None:
        table = StagedTable(spark, silver)
        end = EVERYTHING | {"snapshot_id": table.table.currentSnapshot().snapshotId(), "position": 1_000}
        return table.bounds(table.appended(EVERYTHING, end), "event_time")

    assert stated() == (noon_us, noon_us + 2 * SECOND_US)
    spark.sql(f"ALTER TABLE {silver} SET TBLPROPERTIES ('write.metadata.metrics.column.event_time' = 'none')")
    append(spark, silver, "d")
    assert stated() is None


def gold_of(spark: SparkSession, settings: Settings, hours: Sequence[int]) -> StagedTable:
    """Gold with one file for each hour after noon."""
    ensure_tables(spark, settings.catalog_name)
    name = f"{settings.catalog_name}.{GOLD.identifier}"
    for hour in hours:
        frame_of(spark, GOLD, [gold_row(NOON + timedelta(hours=hour))]).writeTo(name).append()
    return StagedTable(spark, name)


def test_only_files_near_the_bounds_are_replaced_and_the_snapshot_has_the_stamp(
    spark: SparkSession, lake_settings: Settings
) -> None:
    table = gold_of(spark, lake_settings, range(4))
    noon_us = round(NOON.timestamp()) * SECOND_US
    near = table.overlapping("window_start", noon_us + 3_600 * SECOND_US, noon_us + 2 * 3_600 * SECOND_US)
    assert len(near) == 2
    with table.staged(near) as files:
        files.replace(files.rows().selectExpr("* EXCEPT (orders)", "CAST(7 AS BIGINT) AS orders"), stamp={"rtap.mark": "1"})
    name = f"{lake_settings.catalog_name}.{GOLD.identifier}"
    assert [row["orders"] for row in rows_of(spark.table(name).orderBy("window_start"))] == [1, 7, 7, 1]
    newest = next(StagedTable(spark, name).snapshots())
    assert (newest.operation(), newest.summary().get("rtap.mark")) == ("overwrite", "1")


def test_a_change_by_another_writer_in_between_is_refused_and_leaves_the_table_as_that_writer_left_it(
    spark: SparkSession, lake_settings: Settings
) -> None:
    table = gold_of(spark, lake_settings, range(1))
    name = f"{lake_settings.catalog_name}.{GOLD.identifier}"
    frame_of(spark, GOLD, [gold_row(NOON)]).writeTo(name).append()
    noon_us = round(NOON.timestamp()) * SECOND_US
    with table.staged(table.overlapping("window_start", noon_us, noon_us)) as files:
        assert len(files.tasks) == 1, "the table as it was loaded"
        with pytest.raises(Py4JJavaError, match="ValidationException"):
            files.replace(files.rows(), stamp={})
    assert spark.table(name).count() == 2


def test_files_that_state_no_value_of_a_column_are_left_out(spark: SparkSession, silver: str) -> None:
    for name, channel in (("a", None), ("b", "web"), ("c", None)):
        frame_of(spark, SILVER, [silver_row(name, sales_channel=channel)]).coalesce(1).writeTo(silver).append()
    table = StagedTable(spark, silver)
    newest = next(table.snapshots())
    tasks = table.appended(EVERYTHING, {"snapshot_id": newest.snapshotId(), "position": 1, "scan_all_files": False})
    assert len(tasks) == 3
    with table.staged(table.with_values(tasks, "sales_channel")) as files:
        assert [row.event_id for row in files.rows().collect()] == ["b"]
    assert len(table.with_values(tasks, "event_id")) == 3
    assert table.with_values(tasks, "promo_code") == []
