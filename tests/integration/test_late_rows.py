"""Rows that came too late for silver's stream, added beside the running streams: each event once, gold restated, exact."""

from __future__ import annotations

from typing import Any

from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import ask, assert_newest_messages_are_gold, drain, ended, open_engine, send_events, snapshots

from rtap_assets.config import Settings
from rtap_assets.demo.proof import prove
from rtap_assets.streaming.engine import StreamEngine
from rtap_assets.streaming.late_rows import add_late_rows
from rtap_assets.streaming.operations import Action, OperationState
from rtap_assets.streaming.queries import STREAMS

SECONDS = 90
EVENTS = 3_000
COUNTED = "SELECT coalesce(sum(orders + refunds), 0) FROM gold WHERE epoch_us(window_start) % 300000000 = 0"


def result_of(engine: StreamEngine, operation: Any) -> dict[str, Any]:
    done = ended(engine, operation, seconds=SECONDS)
    assert done.state is OperationState.SUCCEEDED, done
    return done.result or {}


def test_late_rows_are_added_once_beside_the_streams_and_gold_counts_them(spark: SparkSession, streams: Settings) -> None:
    settings = streams.model_copy(update={f"trigger_{name}_seconds": 0.2 for name in STREAMS})
    send_events(settings, events=EVENTS, duplicates=0.05, delayed=0.04, invalid=0.02, span_seconds=3000)
    drain(spark, settings)
    before = prove(settings)
    assert before.holds
    lacking = ask(settings, "SELECT count(DISTINCT event_id) FROM bronze WHERE error_reason IS NULL")[0][0]
    lacking -= ask(settings, "SELECT count(*) FROM silver")[0][0]
    assert 0 < lacking <= len(before.late)

    with open_engine(spark, settings) as engine:
        for operation in [engine.submit(name, "start") for name in STREAMS]:
            result_of(engine, operation)
        assert result_of(engine, engine.submit_for_tables(Action.ADD_LATE_ROWS)) == {"added": lacking}
        wait_until(
            lambda: ask(settings, COUNTED) == ask(settings, "SELECT count(*) FROM silver"),
            seconds=SECONDS,
            what="gold counts the late rows",
        )
        assert result_of(engine, engine.submit_for_tables(Action.ADD_LATE_ROWS)) == {"added": 0}

    after = prove(settings)
    assert [line for line in (*after.reconciliation.lines, *after.lines) if not line.equal] == []
    assert after.holds, after.reconciliation.damage
    assert after.late == ()
    assert ask(settings, "SELECT count(*), count(DISTINCT event_id) FROM silver WHERE is_late") == [(lacking, lacking)]
    assert ask(settings, "SELECT count(*) > 0 FROM gold WHERE revision > 0") == [(True,)]
    assert_newest_messages_are_gold(settings)

    # A row that silver has not read yet is its stream's to take.
    standing = snapshots(settings)
    send_events(settings, events=200, seed=2, delayed=0, span_seconds=60)
    drain(spark, settings, "bronze")
    assert add_late_rows(spark, settings) == {"added": 0}
    assert snapshots(settings)["silver"] == standing["silver"]
