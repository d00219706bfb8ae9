"""A checkpoint that does not belong to its table is refused by name, before anything is written; so is a second owner."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from stream_fixtures import ask, drain, send_events, snapshots

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.errors import StreamError
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.streaming.checkpoints.files import newest_committed
from rtap_assets.streaming.checkpoints.ownership import owned_checkpoints
from rtap_assets.streaming.operations.drain import drain_stream


def without_newest_batch(checkpoint: Path) -> None:
    newest = str(newest_committed(checkpoint))
    for folder in ("offsets", "commits"):
        (checkpoint / folder / newest).unlink()


def of_another_query(checkpoint: Path) -> None:
    metadata = checkpoint / "metadata"
    metadata.write_text('{"id":"0b8d6c1e-5c2f-4b6e-9d0a-3f7f1c2d4e5f"}')
    (checkpoint / ".metadata.crc").unlink(missing_ok=True)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (shutil.rmtree, "The checkpoint of bronze is missing: bronze.sales_events has batch \\d+ of query "),
    "foreign": (
        of_another_query,
        "The checkpoint of bronze belongs to query 0b8d6c1e-.*: bronze.sales_events has batch \\d+",
    ),
    "rolled back": (
        without_newest_batch,
        "The checkpoint of bronze ends at batch \\d+: bronze.sales_events has batch \\d+ of ",
    ),
    "without its offset log": (
        lambda checkpoint: shutil.rmtree(checkpoint / "offsets"),
        "The checkpoint of bronze ends at batch None: bronze.sales_events has batch \\d+",
    ),
    "without its metadata": (
        lambda checkpoint: (checkpoint / "metadata").unlink(),
        "The checkpoint .*bronze has batches and no `metadata` file",
    ),
}


def test_a_checkpoint_or_table_that_was_tampered_with_is_refused_and_nothing_is_written(
    spark: SparkSession, streams: Settings
) -> None:
    streams = streams.model_copy(update={"bronze_max_offsets_per_batch": 1_000})
    send_events(streams, events=3_000, invalid=0)
    batches = drain(spark, streams, "bronze")["bronze"].batches
    assert batches >= 3  # Spark rounds each Kafka partition's share of a batch down, so there may be a small fourth
    send_events(streams, events=100, invalid=0, seed=2)
    checkpoint, backup = streams.checkpoint_dir / "bronze", streams.state_dir / "backup"
    shutil.copytree(checkpoint, backup)
    before = snapshots(streams)
    for damage, message in DAMAGES.values():
        damage(checkpoint)
        with pytest.raises(StreamError, match=message) as caught:
            drain_stream(spark, streams, "bronze")
        assert caught.value.remedy
        shutil.rmtree(checkpoint, ignore_errors=True)
        shutil.copytree(backup, checkpoint)
    assert snapshots(streams) == before

    # The reverse: a table behind its checkpoint would lack what the checkpoint has passed.
    table = f"{streams.catalog_name}.{BRONZE.identifier}"
    rollback = f"{streams.catalog_name}.system.rollback_to_snapshot('{BRONZE.identifier}', {before['bronze'][0]})"
    spark.sql(f"CALL {rollback}").collect()
    with pytest.raises(
        StreamError, match=rf"committed batch {batches - 1}: bronze\.sales_events has batch 0 .* rolled back"
    ):
        drain_stream(spark, streams, "bronze")
    spark.sql(f"DROP TABLE {table}")
    ensure_tables(spark, streams.catalog_name)
    with pytest.raises(
        StreamError, match=rf"committed batch {batches - 1}: bronze\.sales_events has none of its.* recreated"
    ):
        drain_stream(spark, streams, "bronze")

    # Both gone is a fresh start: bronze is read again from Kafka.
    shutil.rmtree(checkpoint)
    assert drain(spark, streams, "bronze")["bronze"].input_rows == 3_100


def test_a_second_owner_of_the_checkpoints_is_refused_with_the_pid_of_the_first(
    spark: SparkSession, streams: Settings
) -> None:
    with (
        owned_checkpoints(spark, streams),
        pytest.raises(StreamError, match=rf"in use by process {os.getpid()} \(rtap, since 20"),
        owned_checkpoints(spark, streams),
    ):
        pass
    with owned_checkpoints(spark, streams):
        pass  # free again


def test_a_batch_that_a_crash_left_over_costs_no_second_start(spark: SparkSession, streams: Settings) -> None:
    """Spark 4.1's Kafka source fails in its metrics after such a batch (SPARK-54027), unless it is helped."""
    send_events(streams, events=300, invalid=0)
    drain(spark, streams, "bronze")
    commits = streams.checkpoint_dir / "bronze" / "commits"
    for _ in range(3):
        send_events(streams, events=100, invalid=0, seed=2)
        newest = newest_committed(streams.checkpoint_dir / "bronze")
        (commits / str(newest)).unlink()
        (commits / f".{newest}.crc").unlink(missing_ok=True)
        assert drain(spark, streams, "bronze")["bronze"].restarts == ()
    assert ask(streams, "SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset)) FROM bronze") == [(600, 600)]
