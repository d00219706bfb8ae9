"""Corrections on the real parts: late rows and later copies, beside streams and after kills; each event counts once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from correction_fixtures import (
    COUNTED,
    MINUTE,
    assert_gold_is_the_sum_of_silver,
    corrected,
    entries,
    good,
    killed,
    run_of,
    send_and_drain,
    statuses,
)
from event_bytes import event_id
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import ask, checked, drain, ended, open_engine, send_events, snapshots

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import Entry
from rtap_assets.demo.proof import prove
from rtap_assets.lake.corrections import read_state
from rtap_assets.streaming.lifecycle.engine import StreamEngine
from rtap_assets.streaming.model.operation import Action, OperationState
from rtap_assets.streaming.operations.corrections.api import correct
from rtap_assets.streaming.queries.definitions import STREAMS

SECONDS = 90
EVENTS = 3_000


def test_later_copies_with_new_event_times_count_once_after_a_correction(spark: SparkSession, streams: Settings) -> None:
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
    send_and_drain(
        spark,
        streams,
        good(streams, range(1, 21), at=start),
        good(streams, range(100, 101), at=start + 60 * MINUTE),
        good(streams, range(101, 102), at=start + 90 * MINUTE),
        good(streams, range(1, 6), at=start + 120 * MINUTE, amount="99.0000"),
    )
    assert ask(streams, "SELECT count(*), count(DISTINCT event_id) FROM silver") == [(27, 22)]

    uniqueness = checked(streams)["silver.sales_events/uniqueness"]
    assert (uniqueness.passed, uniqueness.detail["later copies awaiting correction"]) == (True, "5")
    assert uniqueness.detail["status"] == "provisional"
    assert statuses(streams) == {"provisional"}

    planned = correct(run_of(spark, streams), dry_run=True)
    assert (planned.late, planned.later_copies, planned.dry_run) == (0, 5, True)
    assert ask(streams, "SELECT count(*) FROM silver") == [(27,)]

    report = corrected(spark, streams)
    assert (report.late, report.later_copies, report.pending) == (0, 5, 0)
    assert ask(streams, "SELECT count(*), count(DISTINCT event_id), sum(net_amount) FROM silver") == [
        (22, 22, Decimal("275.0000"))
    ]
    assert_gold_is_the_sum_of_silver(streams)
    windows = entries(streams, Entry.WINDOW)
    assert {(one["from_orders"], one["to_orders"]) for one in windows} == {(5, 0)}
    assert {(one["from_net_amount"], one["to_net_amount"]) for one in windows} == {(Decimal("495.0000"), Decimal(0))}
    assert {one["revision"] for one in windows} == {1}
    (done,) = entries(streams, Entry.DONE)
    assert (done["cause"], done["rows_removed"], done["rows_added"], done["requested_by"]) == ("later_copy", 5, 0, "test")
    removed = [one for one in entries(streams, Entry.ROW) if one["action"] == "remove"]
    assert sorted(one["event_id"] for one in removed) == [event_id(number) for number in range(1, 6)]

    assert statuses(streams) == {"final", "provisional"}  # the newest windows are open
    results = checked(streams)
    assert [name for name, result in results.items() if result.blocking and not result.passed] == []
    assert results["silver.sales_events/uniqueness"].detail["status"] == "final"
    mart = "SELECT DISTINCT cause, state, rows_removed, from_orders, to_orders, requested_by FROM marts.corrections"
    assert ask(streams, mart) == [("later_copy", "done", 5, 5, 0, "test")]

    standing = snapshots(streams)
    again = correct(run_of(spark, streams))
    assert (again.late, again.later_copies, again.looked_at) == (0, 0, 0)
    assert snapshots(streams) == standing

    # The streams go on past the correction's snapshots; a copy of an event that was looked at before is found, too.
    send_and_drain(spark, streams, good(streams, range(6, 8), at=start + 150 * MINUTE))
    assert ask(streams, "SELECT count(*) FROM silver") == [(24,)]
    assert corrected(spark, streams).later_copies == 2
    assert statuses(streams) == {"final", "provisional", "restated"}
    assert ask(streams, "SELECT count(*), count(DISTINCT event_id) FROM silver") == [(22, 22)]
    assert_gold_is_the_sum_of_silver(streams)


def test_a_late_first_copy_takes_the_place_of_the_later_one(spark: SparkSession, streams: Settings) -> None:
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
    send_and_drain(
        spark,
        streams,
        good(streams, range(1, 3), at=start + 60 * MINUTE),
        good(streams, range(3, 4), at=start + 61 * MINUTE),
        good(streams, range(7, 8), at=start, amount="1.0000"),  # late: dropped by the stream
        good(streams, range(7, 8), at=start + 62 * MINUTE, amount="2.0000"),  # the same event again, in time
        good(streams, range(8, 9), at=start + MINUTE, amount="4.0000"),  # late, and nothing else of it
    )
    assert ask(streams, "SELECT net_amount FROM silver WHERE net_amount < 10") == [(Decimal("2.0000"),)]
    report = corrected(spark, streams)
    assert (report.late, report.later_copies) == (1, 1)
    late = ask(streams, "SELECT event_id, net_amount, is_late FROM silver WHERE net_amount < 10 ORDER BY ALL")
    assert late == [(event_id(7), Decimal("1.0000"), True), (event_id(8), Decimal("4.0000"), True)]
    assert_gold_is_the_sum_of_silver(streams)
    assert correct(run_of(spark, streams)).looked_at == 0


def test_a_correction_that_is_killed_anywhere_is_finished_by_the_next_run(spark: SparkSession, streams: Settings) -> None:
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
    send_and_drain(
        spark,
        streams,
        good(streams, range(1, 21), at=start + 10 * MINUTE),
        good(streams, range(100, 101), at=start + 60 * MINUTE),
        good(streams, range(101, 102), at=start + 90 * MINUTE),
    )
    correct(run_of(spark, streams))
    # Two later copies, and one late row.
    send_and_drain(
        spark,
        streams,
        [*good(streams, range(1, 3), at=start + 95 * MINUTE), *good(streams, range(300, 301), at=start + 20 * MINUTE)],
    )
    # Each run goes on where the one before was killed: first with the late row, then, once gold has read it, the copies.
    for steps in (("planned", "added"), ("removed", "subtracted")):
        for step in steps:
            with killed(step):
                correct(run_of(spark, streams, killed_after=step))
        drain(spark, streams, "gold")
    corrected(spark, streams)
    assert read_state(streams).pending == ()
    assert ask(streams, "SELECT count(*), count(DISTINCT event_id) FROM silver") == [(23, 23)]
    assert_gold_is_the_sum_of_silver(streams)


def result_of(engine: StreamEngine, operation: Any) -> dict[str, Any]:
    done = ended(engine, operation, seconds=SECONDS)
    assert done.state is OperationState.SUCCEEDED, done
    return done.result or {}


def test_late_rows_are_added_once_beside_the_streams_and_gold_counts_them(spark: SparkSession, streams: Settings) -> None:
    # So that watermarks move between delayed events.
    small = {"bronze_max_offsets_per_batch": 500, "source_max_files_per_batch": 2}
    settings = streams.model_copy(update=small | {f"trigger_{name}_seconds": 0.2 for name in STREAMS})
    send_events(settings, events=EVENTS, duplicates=0.05, delayed=0.04, invalid=0.02, span_seconds=3000)
    drain(spark, settings)
    before = prove(settings)
    assert before.broken == set(), before.damage
    lacking = ask(settings, "SELECT count(DISTINCT event_id) FROM bronze WHERE error_reason IS NULL")[0][0]
    lacking -= ask(settings, "SELECT count(*) FROM silver")[0][0]
    assert 0 < lacking <= before.apart("late, awaiting correction")

    with open_engine(spark, settings) as engine:
        for operation in [engine.submit(name, "start") for name in STREAMS]:
            result_of(engine, operation)
        report = result_of(engine, engine.submit_for_tables(Action.CORRECT))
        assert (report["late"], report["pending"]) == (lacking, 0)
        wait_until(
            lambda: ask(settings, COUNTED) == ask(settings, "SELECT count(*) FROM silver"),
            seconds=SECONDS,
            what="gold counts the late rows",
        )
        again = result_of(engine, engine.submit_for_tables(Action.CORRECT))
        assert (again["late"], again["later_copies"]) == (0, 0)

    after = prove(settings)
    assert after.broken == set(), after.damage
    assert (after.apart("late, awaiting correction"), after.apart("late, corrected")) == (0, lacking)
    assert ask(settings, "SELECT count(*) > 0 FROM gold WHERE revision > 0") == [(True,)]
    assert_gold_is_the_sum_of_silver(settings)

    # A row that silver has not read yet is its stream's to take.
    standing = snapshots(settings)
    send_events(settings, events=200, seed=2, delayed=0, span_seconds=60)
    drain(spark, settings, "bronze")
    assert correct(run_of(spark, settings)).late == 0
    assert snapshots(settings)["silver"] == standing["silver"]
