"""The host's upkeep beside running streams: tables maintained, gold paused and resumed, batches counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from correction_fixtures import good, send_and_drain
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import ask, checked, ended, open_engine, send_events

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, SILVER, TABLES, TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import added_files
from rtap_assets.quality.batch_totals import BatchTotals
from rtap_assets.quality.catalog import Severity
from rtap_assets.streaming.lifecycle.engine import StreamEngine
from rtap_assets.streaming.model.operation import Action, OperationState
from rtap_assets.streaming.model.states import Observed, StreamStatus
from rtap_assets.streaming.queries.definitions import STREAMS

EVENTS = 600
SECONDS = 90
MOST_ROUNDS = 20
FAST: dict[str, Any] = {f"trigger_{name}_seconds": 0.2 for name in STREAMS} | {"lag_probe_seconds": 1}


def status(engine: StreamEngine, name: str) -> StreamStatus:
    return next(one for one in engine.statuses() if one.name == name)


def is_complete(engine: StreamEngine, settings: Settings, events: int) -> bool:
    gold = "SELECT coalesce(sum(orders + refunds), 0) FROM gold WHERE epoch_us(window_start) % 300000000 = 0"
    (bronze,), (silver,), (counted,) = (
        ask(settings, question)[0] for question in ("SELECT count(*) FROM bronze", "SELECT count(*) FROM silver", gold)
    )
    return bool(bronze == events and silver > 0 and silver == counted and status(engine, "dlq").lag_records == 0)


def test_tables_are_maintained_beside_the_running_streams_which_go_on_with_exact_counts(
    spark: SparkSession, streams: Settings
) -> None:
    settings = streams.model_copy(update=FAST)
    send_events(settings, events=EVENTS, delayed=0, invalid=0.05, span_seconds=1200)
    with open_engine(spark, settings) as engine:
        for operation in [engine.submit(name, "start") for name in STREAMS]:
            assert ended(engine, operation).state is OperationState.SUCCEEDED
        wait_until(lambda: is_complete(engine, settings, EVENTS), seconds=SECONDS, what="the first events are in gold")
        done = ended(engine, engine.submit_for_tables(Action.MAINTAIN))
        assert done.state is OperationState.SUCCEEDED, done
        assert done.result is not None
        assert [table["after"]["table"] for table in done.result["tables"]] == [spec.identifier for spec in TABLES]
        assert [fault for table in done.result["tables"] for fault in table["faults"]] == []

        send_events(settings, events=EVENTS, seed=2, delayed=0, span_seconds=60)
        wait_until(lambda: is_complete(engine, settings, 2 * EVENTS), seconds=SECONDS, what="later events are in gold")
        assert status(engine, "gold").observed is Observed.RUNNING
        assert status(engine, "gold").failures == 0


def test_todays_files_are_compacted_beside_the_running_streams_once_their_snapshots_have_expired(
    spark: SparkSession, streams: Settings
) -> None:
    small = {
        "compaction_after_files": 2,
        "compaction_min_files": 2,
        "snapshot_expiry_interval_seconds": 0.5,
        "snapshot_expiry_batch": 1,
        "snapshot_retention_seconds": 0,
        "snapshots_to_keep": 1,
        "reader_pin_seconds": 0,
    }
    settings = streams.model_copy(update=FAST | small)
    with open_engine(spark, settings) as engine:
        for operation in [engine.submit(name, "start") for name in STREAMS]:
            assert ended(engine, operation).state is OperationState.SUCCEEDED
        rounds = 0
        # A compaction is tried after new files: they come until it has found files whose snapshots have expired.
        while not all(compacted(settings, spec) for spec in (BRONZE, SILVER)):
            rounds += 1
            assert rounds <= MOST_ROUNDS, "bronze's or silver's files were not compacted"
            send_events(settings, events=EVENTS, seed=rounds, delayed=0, invalid=0.05, span_seconds=60)
            wait_until(
                lambda events=rounds * EVENTS: is_complete(engine, settings, events),
                seconds=SECONDS,
                what="the events are in gold",
            )
        assert [status(engine, name).failures for name in STREAMS] == [0] * len(STREAMS)
    found = checked(settings)
    assert [name for name, one in found.items() if not one.passed and one.severity is Severity.ERROR] == []


def compacted(settings: Settings, spec: TableSpec) -> bool:
    """Return whether the table's newest snapshot has a file that a compaction wrote."""
    with open_catalog(settings) as catalog:
        table = load_table(catalog, spec.identifier)
    appended = {snapshot.snapshot_id for snapshot in table.snapshots() if added_files(snapshot)}
    snapshot = table.current_snapshot()
    if snapshot is None:
        return False
    manifests = snapshot.manifests(table.io)
    entries = [entry for manifest in manifests for entry in manifest.fetch_manifest_entry(table.io)]
    return any(entry.data_file.record_count > EVENTS and entry.snapshot_id not in appended for entry in entries)


def test_a_pause_begins_when_no_query_is_active_and_ends_with_the_block(spark: SparkSession, streams: Settings) -> None:
    settings = streams.model_copy(update=FAST)
    with open_engine(spark, settings) as engine:
        assert ended(engine, engine.submit("gold", "start")).state is OperationState.SUCCEEDED
        with engine.paused("gold"):
            assert [query.name for query in spark.streams.active] == []
            assert status(engine, "gold").observed is Observed.STOPPED
        wait_until(lambda: status(engine, "gold").observed is Observed.RUNNING, seconds=SECONDS, what="gold goes on")
        with pytest.raises(StreamError, match="There is no"):
            engine.submit("gold", "maintain")


def test_what_the_streams_count_is_what_the_pass_finds_in_the_tables(spark: SparkSession, streams: Settings) -> None:
    settings = streams.model_copy(update=FAST)
    send_events(settings, events=EVENTS, delayed=0, invalid=0.05, span_seconds=1200)
    totals = BatchTotals()
    with open_engine(spark, settings, on_batch=totals.add) as engine:
        for name in ("bronze", "dlq", "silver"):
            assert ended(engine, engine.submit(name, "drain")).state is OperationState.SUCCEEDED
    counts = totals.read()
    reasons = {name: rows for (stream, name), rows in counts.items() if stream == "dlq" and rows}
    results = {(one.table_name.partition(".")[0], one.check_name): one for one in checked(settings).values()}
    invalid = ask(settings, "SELECT error_reason, count(*)::INT FROM bronze WHERE error_reason IS NOT NULL GROUP BY 1")
    assert reasons == dict(invalid)
    assert counts["bronze", "records"] == EVENTS
    assert counts["bronze", "invalid"] == sum(reasons.values()) > 0
    conservation = results["silver", "conservation"]
    assert {name: str(counts["silver", name]) for name in ("copies", "late")}.items() <= conservation.detail.items()
    assert (conservation.passed, conservation.rows_checked) == (True, EVENTS - counts["bronze", "invalid"])
    assert results["bronze", "invalid_share"].rows_failed == counts["bronze", "invalid"]
    assert results["bronze", "quarantined"].rows_failed == max(reasons.values())
    assert results["silver", "delay"].rows_checked == int(conservation.detail["kept"])


def test_a_correction_waits_for_no_stream_that_is_stopped(spark: SparkSession, streams: Settings) -> None:
    """Gold is stopped, so it reads the added row after its next drain or start, and the run after that ends it."""
    settings = streams.model_copy(update={"correction_wait_seconds": 3_600})
    start = datetime.now(UTC) - timedelta(hours=3)
    hour = timedelta(hours=1)
    send_and_drain(
        spark,
        settings,
        good(settings, range(1, 3), at=start + hour),
        good(settings, range(3, 4), at=start + hour),
        good(settings, range(4, 5), at=start),  # late: dropped by the stream
    )
    with open_engine(spark, settings) as engine:
        added = ended(engine, engine.submit_for_tables(Action.CORRECT))
        assert added.result is not None, added
        assert (added.result["late"], added.result["pending"]) == (1, 1)
        assert ended(engine, engine.submit("gold", "drain")).state is OperationState.SUCCEEDED
        finished = ended(engine, engine.submit_for_tables(Action.CORRECT))
        assert finished.result is not None, finished
        assert (finished.result["finished"], finished.result["pending"]) == (1, 0)
