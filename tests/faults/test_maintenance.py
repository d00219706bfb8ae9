"""Maintenance under streams, accelerated: hundreds of small commits, one consumer running, one stopped, exact counts."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from lake_fixtures import NOON, bronze_row, silver_row
from polling import wait_until
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyspark.sql import SparkSession
from quality_fixtures import quality_result
from spark_fixtures import frame_of, with_own_catalog
from stream_fixtures import ask, drain, received

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, EVENT_COLUMNS, SILVER
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import has_read_to, newest_append
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.quality.results_table import append_results
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.lake_files import local_path, plan_lake
from rtap_assets.streaming.checkpoints.files import committed_position
from rtap_assets.streaming.operations.maintenance import expire_when_due, maintain_tables
from rtap_assets.streaming.operations.maintenance_report import TableMaintenance
from rtap_assets.streaming.operations.rebuild import rebuild_layer
from rtap_assets.streaming.queries.definitions import DLQ_STREAM, GOLD_STREAM, SILVER_STREAM, StreamDefinition
from rtap_assets.streaming.queries.query_handle import start_stream, stop_between_batches

COMMITS = 300
INVALID_EVERY = 10
SECONDS = 60


@pytest.fixture
def maintained(streams: Settings) -> Settings:
    """Nothing is kept for its age alone, so that consumers and pins are what protects."""
    small = {
        "snapshot_retention_seconds": 0,
        "snapshots_to_keep": 5,
        "snapshot_expiry_batch": 10,
        "compaction_min_files": 2,
        "source_max_files_per_batch": 64,
        "consumer_alert_seconds": 600,
        "watermark_delay_seconds": 3600,
    }
    return streams.model_copy(update=small)


class Writer:
    """Appends one bronze row a commit, as a stream with a short trigger does; every tenth is quarantined."""

    def __init__(self, session: SparkSession, settings: Settings) -> None:
        self.session, self.name = session, f"{settings.catalog_name}.{BRONZE.identifier}"
        self.rows = self.invalid = 0

    def commit(self, times: int) -> list[float]:
        """Commit so often; return the seconds that each commit took."""
        seconds = []
        for _ in range(times):
            reason = "undecodable" if self.rows % INVALID_EVERY == 0 else None
            row = bronze_row(self.rows, error_reason=reason, **({} if reason else self.event()))
            frame = frame_of(self.session, BRONZE, [row]).coalesce(1)
            started = time.monotonic()
            frame.writeTo(self.name).append()
            seconds.append(time.monotonic() - started)
            self.rows += 1
            self.invalid += reason is not None
        return seconds

    def event(self) -> dict[str, Any]:
        event = silver_row(f"event-{self.rows}")
        return {column.name: event[column.name] for column in EVENT_COLUMNS if column.name in event}


@contextmanager
def running_silver(session: SparkSession, settings: Settings) -> Iterator[None]:
    query = start_stream(session, settings, SILVER_STREAM, trigger_seconds=1)
    try:
        yield
        assert query.exception() is None
    finally:
        stop_between_batches(query, SILVER_STREAM.checkpoint(settings), seconds=SECONDS)


def bronze(settings: Settings) -> Table:
    with open_catalog(settings) as catalog:
        return load_table(catalog, BRONZE.identifier)


def has_read_all(settings: Settings, stream: StreamDefinition) -> bool:
    table = bronze(settings)
    target = newest_append(table)
    return target is not None and has_read_to(table, position(settings, stream), target)


def position(settings: Settings, stream: StreamDefinition) -> dict[str, Any]:
    found = committed_position(stream.checkpoint(settings))
    assert found is not None
    return found


def in_minutes(minutes: float) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + timedelta(minutes=minutes)


def assert_exact(settings: Settings, writer: Writer) -> None:
    """Each row of bronze once, each valid one once in silver, a letter for each invalid one."""
    counts = "count(*), count(DISTINCT kafka_offset)"
    assert ask(settings, f"SELECT {counts} FROM bronze") == [(writer.rows, writer.rows)]
    valid = writer.rows - writer.invalid
    assert ask(settings, f"SELECT {counts} FROM silver") == [(valid, valid)]
    letters = received(settings, settings.topic_dlq)
    assert len(letters) == len({dict(letter.headers() or ())["rtap.dlq.offset"] for letter in letters}) == writer.invalid


def test_bounds_hold_and_consumers_go_on_exactly(spark: SparkSession, maintained: Settings, tmp_path: Path) -> None:
    writer = Writer(spark, maintained)
    writer.commit(20)
    drain(spark, maintained, "silver", "dlq")
    stopped_at = position(maintained, DLQ_STREAM)["snapshot_id"]
    with running_silver(spark, maintained):
        writer.commit(COMMITS - writer.rows)
        wait_until(lambda: has_read_all(maintained, SILVER_STREAM), seconds=SECONDS, what="silver has read all of bronze")

        # The stopped consumer holds back what it has not read; it is reported, not cut off.
        expiry = expire_when_due(spark, maintained, BRONZE, in_minutes(60))
        assert (expiry.expired, expiry.kept) == (19, COMMITS - 19)
        assert bronze(maintained).snapshot_by_id(stopped_at) is not None
        assert len(expiry.alerts) == 1
        assert expiry.alerts[0].startswith(f"dlq has not read {COMMITS - 20} snapshots")

        # It goes on exactly where it stopped. A reader plans, and twenty commits later everything is maintained.
        drain(spark, maintained, "dlq")
        assert_exact(maintained, writer)
        plans, pinned_rows = plan_lake(maintained), writer.rows
        writer.commit(20)
        drain(spark, maintained, "dlq")
        wait_until(lambda: has_read_all(maintained, SILVER_STREAM), seconds=SECONDS, what="silver has read all of bronze")
        report = maintain_tables(spark, maintained, echo=lambda _: None, clock=in_minutes(10))
    assert_bounded(report.tables[0], kept=20 + 1 + 1)  # since the pin, the pinned one, the compaction

    # What the reader planned is there: in DuckDB, and by time travel.
    pinned = plans["bronze"].snapshot_id
    with closing(connect_lake(maintained, plans)) as connection:
        assert connection.execute("SELECT count(*) FROM bronze").fetchone() == (pinned_rows,)
    assert spark.sql(f"SELECT * FROM {writer.name} VERSION AS OF {pinned}").count() == pinned_rows

    # A compaction is the newest snapshot: nothing is new to the streams, and no drain waits for more.
    assert summary_operation(bronze(maintained)) is Operation.REPLACE
    assert newest_append(bronze(maintained)).snapshot_id == position(maintained, SILVER_STREAM)["snapshot_id"]
    assert {name: done.batches for name, done in drain(spark, maintained, "silver", "dlq").items()} == {
        "silver": 0,
        "dlq": 0,
    }

    # The pin over, its snapshot goes; both streams stand on the oldest that is left, and start again there.
    maintain_tables(spark, maintained, echo=lambda _: None, clock=in_minutes(60))
    assert bronze(maintained).snapshot_by_id(pinned) is None
    # Commits to the old table and to a new one by turns, so that both meet the same machine.
    apart = with_own_catalog(spark, maintained.model_copy(update={"state_dir": tmp_path / "new"}))
    ensure_tables(spark, apart.catalog_name)
    new = Writer(spark, apart)
    by_turns = [(*writer.commit(1), *new.commit(1)) for _ in range(20)]
    old_seconds, new_seconds = (median(seconds) for seconds in zip(*by_turns, strict=True))
    drain(spark, maintained, "silver", "dlq")
    assert_exact(maintained, writer)
    assert old_seconds < 2 * new_seconds + 0.1, f"a commit took {old_seconds:.3f} s, to a new table {new_seconds:.3f} s"


def summary_operation(table: Table) -> Operation | None:
    snapshot = table.current_snapshot()
    return None if snapshot is None or snapshot.summary is None else snapshot.summary.operation


def assert_bounded(done: TableMaintenance, *, kept: int) -> None:
    assert done.faults == ()
    assert done.expiry.alerts == ()
    assert done.compaction.replaced == COMMITS + 20
    assert done.before.snapshots == COMMITS + 20 - 19
    after = done.after
    assert (after.snapshots, after.data_files) == (kept, 1)
    assert after.manifests <= 25  # those of the compaction; the next commit merges them
    assert after.metadata_bytes < 2_000 * kept + 10_000


def test_a_checkpoint_on_a_source_whose_history_has_expired_is_refused_and_rebuilt(
    spark: SparkSession, maintained: Settings
) -> None:
    writer = Writer(spark, maintained)
    writer.commit(16)
    drain(spark, maintained)
    assert expire_when_due(spark, maintained, BRONZE, in_minutes(60)).expired == 11

    # Both fresh, Iceberg would stream the five retained snapshots and say nothing of the others.
    shutil.rmtree(DLQ_STREAM.checkpoint(maintained))
    with pytest.raises(
        StreamError, match=r"dlq has read nothing yet, and the oldest snapshots of bronze.* have expired"
    ) as no:
        drain(spark, maintained, "dlq")
    assert "rtap rebuild dlq" in no.value.remedy
    shutil.rmtree(SILVER_STREAM.checkpoint(maintained))
    with pytest.raises(StreamError, match=r"silver is missing: silver\.sales_events has batch") as no:
        drain(spark, maintained, "silver")
    assert "rtap rebuild silver" in no.value.remedy
    spark.sql(f"DROP TABLE {maintained.catalog_name}.{SILVER.identifier}")
    ensure_tables(spark, maintained.catalog_name)
    with pytest.raises(StreamError, match=r"silver has read nothing yet"):
        drain(spark, maintained, "silver")

    # The rebuild reads all rows, and the streams go on from there.
    reports = rebuild_layer(spark, maintained, "silver")
    assert [(done.stream, done.input_rows) for done in reports] == [("silver", 16), ("gold", writer.rows - writer.invalid)]
    drain(spark, maintained, "silver", "gold")
    writer.commit(4)
    with running_gold(spark, maintained) as pause:
        with pytest.raises(StreamError, match=r"The stream gold runs while gold\.revenue_5m is to be compacted"):
            maintain_tables(spark, maintained, echo=lambda _: None)
        orphan, young = (file_in(bronze(maintained), days_old=days) for days in (4, 2))
        later = in_minutes(60)
        report = maintain_tables(spark, maintained, echo=lambda _: None, pause=pause, clock=later)
    assert [(done.faults, done.orphans_removed) for done in report.tables] == [((), 1), ((), 0), ((), 0)]
    assert not orphan.exists()
    assert young.exists()
    drain(spark, maintained, "silver", "gold")
    valid = writer.rows - writer.invalid
    assert ask(maintained, "SELECT count(*), count(DISTINCT event_id) FROM silver") == [(valid, valid)]
    assert ask(maintained, "SELECT sum(orders) FROM gold WHERE epoch(window_start) % 300 = 0") == [(valid,)]
    rebuild_layer(spark, maintained, "dlq")
    letters = {dict(letter.headers() or ())["rtap.dlq.offset"] for letter in received(maintained, maintained.topic_dlq)}
    assert len(letters) == writer.invalid

    # A position that the source has lost is named, too.
    lost = position(maintained, DLQ_STREAM)["snapshot_id"]
    writer.commit(1)
    bronze(maintained).maintenance.expire_snapshots().by_id(lost).commit()
    with pytest.raises(StreamError, match=f"dlq stands at snapshot {lost}, which bronze.sales_events no longer has"):
        drain(spark, maintained, "dlq")


def test_the_results_of_checks_stay_few_files_and_snapshots_and_lose_their_old_rows(
    spark: SparkSession, maintained: Settings
) -> None:
    ensure_tables(spark, maintained.catalog_name)
    later = in_minutes(60)
    expired_before = (later() - timedelta(days=maintained.dq_results_retention_days) - NOON) / timedelta(minutes=1)
    for number in range(12):
        result = quality_result("late_share", number, 100, minute=expired_before - 55 + 10 * number)
        assert append_results(maintained, [result], before={0: number} if number else {}, after={0: number + 1})
    done = maintain_tables(spark, maintained, echo=lambda _: None, clock=later).tables[-1]
    assert (done.before.table, done.before.snapshots, done.before.data_files) == ("quality.dq_results", 12, 12)
    assert done.faults == ()
    assert (done.after.snapshots, done.after.data_files) == (5, 1)
    newest = quality_result("late_share", 0, 1, minute=expired_before + 100)
    assert append_results(maintained, [newest], before={0: 12}, after={0: 13})
    failed = [row[0] for row in ask(maintained, "SELECT rows_failed FROM quality ORDER BY measured_at")]
    assert failed == [6, 7, 8, 9, 10, 11, 0]


@contextmanager
def running_gold(session: SparkSession, settings: Settings) -> Iterator[Callable[[], AbstractContextManager[object]]]:
    """Gold's stream for the time of the block; yields how maintenance pauses it."""
    queries = [start_stream(session, settings, GOLD_STREAM, trigger_seconds=1)]

    @contextmanager
    def pause(_: str) -> Iterator[None]:
        assert stop_between_batches(queries[-1], GOLD_STREAM.checkpoint(settings), seconds=SECONDS)
        yield
        queries.append(start_stream(session, settings, GOLD_STREAM, trigger_seconds=1))

    try:
        yield pause
    finally:
        assert stop_between_batches(queries[-1], GOLD_STREAM.checkpoint(settings), seconds=SECONDS)


def file_in(table: Table, *, days_old: float) -> Path:
    """A file that no snapshot names, as a writer that died leaves it."""
    path = Path(local_path(table.location())) / "data" / f"{days_old:g}-days-old.parquet"
    path.write_bytes(b"in flight")
    modified = time.time() - days_old * 86_400
    os.utime(path, (modified, modified))
    return path
