"""Corrections on the real parts: late rows and later copies, beside streams and after kills; each event counts once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from event_bytes import Record, body, event, event_id, framed
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import (
    ask,
    assert_newest_messages_are_gold,
    drain,
    ended,
    open_engine,
    send,
    send_events,
    snapshots,
)

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import Entry
from rtap_assets.contracts.quality import DqResult
from rtap_assets.demo.proof import prove
from rtap_assets.kafka.registry import Registry
from rtap_assets.lake.corrections import read_entries, read_state
from rtap_assets.serving.marts import refresh_marts
from rtap_assets.serving.quality import run_checks
from rtap_assets.streaming.checkpoints import stream_positions
from rtap_assets.streaming.corrections.api import CorrectionReport, correct, finish
from rtap_assets.streaming.corrections.runs import CorrectionRun
from rtap_assets.streaming.engine import StreamEngine
from rtap_assets.streaming.operations import Action, OperationState
from rtap_assets.streaming.queries import STREAMS

SECONDS = 90
EVENTS = 3_000
MINUTE = timedelta(minutes=1)
TUMBLING = "epoch_us(window_start) % 300000000 = 0"
COUNTED = f"SELECT coalesce(sum(orders + refunds), 0)::BIGINT FROM gold WHERE {TUMBLING}"
# The sums of every window, computed from silver's rows alone.
RECOMPUTED = """
WITH steps AS (
    SELECT *, unnest(range(5)) AS step, epoch_us(event_time) // 60000000 * 60000000 AS newest FROM silver
)
SELECT epoch_us(make_timestamptz(newest - step * 60000000)) AS start, plan_tier, region, currency,
    sum(net_amount)::DECIMAL(28, 4) AS net, count(*) AS events
FROM steps GROUP BY ALL ORDER BY ALL
"""
HELD = """
SELECT epoch_us(window_start) AS start, plan_tier, region, currency, net_amount AS net, orders + refunds AS events
FROM gold WHERE orders + refunds > 0 ORDER BY ALL
"""


class Killed(Exception):
    """Stands for the end of the process at a step."""


def run_of(session: SparkSession, settings: Settings, *, killed_after: str = "") -> CorrectionRun:
    def on_step(step: str) -> None:
        if step == killed_after:
            raise Killed(step)

    own = settings.model_copy(update={"correction_wait_seconds": 0})
    return CorrectionRun(session, own, requested_by="test", on_step=on_step)


def corrected(session: SparkSession, settings: Settings) -> CorrectionReport:
    """What `rtap correct` does where no host runs."""
    report = correct(run_of(session, settings))
    drain(session, settings, "gold")
    finish(run_of(session, settings))
    return report


@contextmanager
def killed(step: str) -> Iterator[None]:
    with pytest.raises(Killed, match=step):
        yield


def assert_gold_is_the_sum_of_silver(settings: Settings) -> None:
    assert ask(settings, HELD) == ask(settings, RECOMPUTED)
    assert ask(settings, COUNTED) == ask(settings, "SELECT count(*) FROM silver")
    assert_newest_messages_are_gold(settings)


def good(settings: Settings, numbers: range, *, at: datetime, amount: str = "12.5000") -> list[Record]:
    """A valid purchase per number, a second apart."""
    schema_id = max(Registry(settings).versions(settings.events_subject))
    times = (at + timedelta(seconds=second) for second in count())
    events = [
        event(event_id=event_id(number), event_time=time, ingest_time=time, amount=Decimal(amount))
        for number, time in zip(numbers, times, strict=False)
    ]
    return [Record(framed(schema_id, body(one, newest_schema(settings)))) for one in events]


def newest_schema(settings: Settings) -> str:
    return str(max(Registry(settings).versions(settings.events_subject).items())[1])


def send_and_drain(session: SparkSession, settings: Settings, *batches: list[Record]) -> None:
    for records in batches:
        send(settings, records)
        drain(session, settings, "bronze", "silver", "gold")


def checked(settings: Settings) -> dict[str, DqResult]:
    """The full pass of checks, by table and check."""
    positions = stream_positions(settings.checkpoint_dir, topic=settings.topic_events)
    results = run_checks(settings, positions=positions, now=datetime.now(UTC))
    return {f"{result.table_name}/{result.check_name}": result for result in results}


def statuses(settings: Settings) -> set[str]:
    """The states of the windows that hold events, as the marts have them."""
    refresh_marts(settings, refreshed_at=datetime.now(UTC))
    return {status for (status,) in ask(settings, "SELECT DISTINCT status FROM marts.rolling_revenue")}


def entries(settings: Settings, *kinds: Entry) -> list[dict[str, Any]]:
    return read_entries(settings, *kinds).to_pylist()


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

    assert statuses(streams) == {"final", "provisional", "restated"}  # the newest window is open
    results = checked(streams)
    assert [name for name, result in results.items() if result.blocking and not result.passed] == []
    assert results["silver.sales_events/uniqueness"].detail["status"] == "final"
    mart = "SELECT DISTINCT cause, state, rows_removed, from_orders, to_orders, requested_by FROM marts.corrections"
    assert ask(streams, mart) == [("later_copy", "done", 5, 5, 0, "test")]

    standing = snapshots(streams)
    again = corrected(spark, streams)
    assert (again.late, again.later_copies, again.looked_at) == (0, 0, 0)
    assert snapshots(streams) == standing

    # The streams go on past the correction's snapshots; a copy of an event that was looked at before is found, too.
    send_and_drain(spark, streams, good(streams, range(6, 8), at=start + 150 * MINUTE))
    assert ask(streams, "SELECT count(*) FROM silver") == [(24,)]
    assert corrected(spark, streams).later_copies == 2
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
    assert corrected(spark, streams).looked_at == 0


def test_a_correction_that_is_killed_anywhere_is_finished_by_the_next_run(spark: SparkSession, streams: Settings) -> None:
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
    send_and_drain(
        spark,
        streams,
        good(streams, range(1, 21), at=start + 10 * MINUTE),
        good(streams, range(100, 101), at=start + 60 * MINUTE),
        good(streams, range(101, 102), at=start + 90 * MINUTE),
    )
    corrected(spark, streams)
    copies, events = 0, 22
    for step in ("planned", "added", "removed", "subtracted", "done", "positioned"):
        # Two more copies, and one late row, for each kill.
        late = 300 + copies
        send_and_drain(
            spark,
            streams,
            [
                *good(streams, range(1 + copies, 3 + copies), at=start + 95 * MINUTE + copies * timedelta(seconds=30)),
                *good(streams, range(late, late + 1), at=start + 20 * MINUTE),
            ],
        )
        copies, events = copies + 2, events + 1
        with killed(step):
            correct(run_of(spark, streams, killed_after=step))
        corrected(spark, streams)
        assert read_state(streams).pending == (), step
        held = ask(streams, "SELECT count(*), count(DISTINCT event_id) FROM silver")
        assert held == [(events, events)], step
        assert_gold_is_the_sum_of_silver(streams)


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
    assert [line for line in (*after.reconciliation.lines, *after.lines) if not line.equal] == []
    assert after.holds, after.reconciliation.damage
    assert after.late == ()
    assert ask(settings, "SELECT count(*) > 0 FROM gold WHERE revision > 0") == [(True,)]
    assert_gold_is_the_sum_of_silver(settings)

    # A row that silver has not read yet is its stream's to take.
    standing = snapshots(settings)
    send_events(settings, events=200, seed=2, delayed=0, span_seconds=60)
    drain(spark, settings, "bronze")
    assert correct(run_of(spark, settings)).late == 0
    assert snapshots(settings)["silver"] == standing["silver"]
