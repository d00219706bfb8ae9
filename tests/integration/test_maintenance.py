"""Maintenance under streams, accelerated: hundreds of small commits, one consumer running, one stopped, exact counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from lake_fixtures import NOON, bronze_row
from polling import wait_until
from pyspark.sql import SparkSession
from spark_fixtures import frame_of
from stream_fixtures import ask, drain, received

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.snapshots import ancestors, has_read_to, newest_append
from rtap_assets.lake.table_metrics import TableMetrics, table_metrics
from rtap_assets.streaming.checkpoints import committed_position
from rtap_assets.streaming.drain import start_stream, stop_between_batches
from rtap_assets.streaming.maintenance import expire_when_due, maintain_tables
from rtap_assets.streaming.queries import DLQ_STREAM, SILVER_STREAM, StreamDefinition

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
        """The seconds that each commit took."""
        seconds = []
        for _ in range(times):
            reason = "undecodable" if self.rows % INVALID_EVERY == 0 else None
            event = {"event_id": f"event-{self.rows}", "event_time": NOON, "ingest_time": NOON, "event_type": "purchase"}
            row = bronze_row(self.rows, error_reason=reason, **({} if reason else event))
            frame = frame_of(self.session, BRONZE, [row]).coalesce(1)
            started = time.monotonic()
            frame.writeTo(self.name).append()
            seconds.append(time.monotonic() - started)
            self.rows += 1
            self.invalid += reason is not None
        return seconds


@contextmanager
def running_silver(session: SparkSession, settings: Settings) -> Iterator[None]:
    query = start_stream(session, settings, SILVER_STREAM, trigger_seconds=0)
    try:
        yield
        assert query.exception() is None
    finally:
        stop_between_batches(query, seconds=SECONDS)


def bronze(settings: Settings) -> TableMetrics:
    return table_metrics(settings, (BRONZE,))[0]


def chain_of(settings: Settings) -> list[int]:
    with open_catalog(settings) as catalog:
        table = load_table(catalog, BRONZE.identifier)
    chain = [snapshot.snapshot_id for snapshot in ancestors(table)]
    assert len(chain) == len(table.snapshots())
    return chain


def in_minutes(minutes: float) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + timedelta(minutes=minutes)


def has_read_all(settings: Settings, stream: StreamDefinition) -> bool:
    with open_catalog(settings) as catalog:
        table = load_table(catalog, BRONZE.identifier)
    target = newest_append(table)
    return target is not None and has_read_to(table, committed_position(stream.checkpoint(settings)), target)


def count(settings: Settings, table: str) -> int:
    return int(ask(settings, f"SELECT count(DISTINCT kafka_offset) + 0 * count(*) FROM {table}")[0][0])


def test_bounds_hold_and_consumers_go_on_exactly(spark: SparkSession, maintained: Settings) -> None:
    said: list[str] = []
    writer = Writer(spark, maintained)
    first = writer.commit(20)
    drain(spark, maintained, "silver", "dlq")
    stopped_at = committed_position(DLQ_STREAM.checkpoint(maintained))["snapshot_id"]
    with running_silver(spark, maintained):
        writer.commit(COMMITS - writer.rows)
        wait_until(lambda: has_read_all(maintained, SILVER_STREAM), seconds=SECONDS, what="silver has read all of bronze")
        grown = bronze(maintained)
        print("grown", grown)

        # The stopped consumer holds back what it has not read; it is reported, not cut off.
        expiry = expire_when_due(spark, maintained, BRONZE, in_minutes(60))
        assert expiry.expired == 19
        assert stopped_at in chain_of(maintained)
        assert len(expiry.alerts) == 1
        assert "dlq has not read" in expiry.alerts[0]

        drain(spark, maintained, "dlq")
        print(time.monotonic())
        report = maintain_tables(spark, maintained, echo=said.append, clock=in_minutes(60))
        print("\n".join(said))
        print(report)
        last = writer.commit(20)
        print("first", sorted(first)[10], "last", sorted(last)[10])
        wait_until(lambda: count(maintained, "silver") == writer.rows - writer.invalid, seconds=SECONDS, what="silver")
    drain(spark, maintained, "dlq")
    print(bronze(maintained))
    assert len(received(maintained, maintained.topic_dlq)) == writer.invalid
