"""The stream engine on a real broker: commands end with proof, states are earned, what was desired survives."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from polling import wait_until
from pyspark.sql import DataFrame, SparkSession
from stream_fixtures import ask, drain, ended, open_engine, send_events

from rtap_assets.config import Settings
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.local.ports import free_ports
from rtap_assets.streaming.checkpoints.files import has_unfinished_batch, newest_committed
from rtap_assets.streaming.lifecycle.desired import read_breakers, read_desired
from rtap_assets.streaming.lifecycle.engine import StreamEngine
from rtap_assets.streaming.model.operation import Action, Operation, OperationState
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus
from rtap_assets.streaming.queries.definitions import DLQ_STREAM, STREAMS, dlq_writer
from rtap_assets.streaming.queries.query_handle import SparkQuery

SECONDS = 60
FAST: Mapping[str, Any] = {f"trigger_{name}_seconds": 0.2 for name in STREAMS} | {
    "lag_probe_seconds": 1,
    "backoff_first_seconds": 0.1,
    "backoff_longest_seconds": 0.3,
    "stop_timeout_seconds": 20,
}


@pytest.fixture
def fast(streams: Settings) -> Settings:
    return streams.model_copy(update=FAST)


def done(engine: StreamEngine, stream: str, action: str) -> Operation:
    """The command's end."""
    return ended(engine, engine.submit(stream, action))


def status(engine: StreamEngine, name: str) -> StreamStatus:
    return next(one for one in engine.statuses() if one.name == name)


def lag(engine: StreamEngine, name: str) -> tuple[int, float]:
    """Return records and seconds of one look; -1 for what is not known."""
    found = status(engine, name)
    return -1 if found.lag_records is None else found.lag_records, -1 if found.lag_seconds is None else found.lag_seconds


def read_rows(engine: StreamEngine, name: str) -> int:
    return sum(entry["input_rows"] for entry in engine.progress(name, 10))


def wait_for(engine: StreamEngine, name: str, observed: Observed) -> StreamStatus:
    wait_until(
        lambda: status(engine, name).observed is observed,
        seconds=SECONDS,
        what=lambda: f"{observed}: {status(engine, name)}",
    )
    return status(engine, name)


def test_streams_start_and_stop_with_proof_and_what_is_desired_survives_the_engine(
    spark: SparkSession, fast: Settings
) -> None:
    send_events(fast, events=500, invalid=0.02)
    with open_engine(spark, fast) as engine:
        assert {one.observed for one in engine.statuses()} == {Observed.STOPPED}
        wait_until(lambda: lag(engine, "bronze") > (500, 0.0), seconds=SECONDS, what="lag while stopped")
        starts = [engine.submit(name, "start") for name in STREAMS]
        for operation in starts:
            assert ended(engine, operation).state is OperationState.SUCCEEDED, ended(engine, operation)
        wait_until(lambda: lag(engine, "bronze") == (0, 0.0), seconds=SECONDS, what="bronze is complete")
        wait_until(lambda: bool(status(engine, "silver").state_rows), seconds=SECONDS, what="rows in silver's state")
        wait_until(lambda: status(engine, "silver").lag_records == 0, seconds=SECONDS, what="silver is complete")
        running = status(engine, "silver")
        assert (running.desired, running.observed) == (Desired.RUNNING, Observed.RUNNING)
        assert running.last_commit_at is not None
        assert (running.state_bytes or 0) > 0

        again = done(engine, "silver", "start")
        assert again.state is OperationState.SUCCEEDED
        assert again.steps[0].text.startswith("already running since ")

        one, other = engine.submit("dlq", "restart"), engine.submit("dlq", "start")
        assert {ended(engine, one).state, ended(engine, other).state} == {OperationState.SUCCEEDED}

        stopped = done(engine, "gold", "stop")
        assert stopped.result == {"clean": True, "batch_id": newest_committed(fast.checkpoint_dir / "gold")}
        assert status(engine, "gold").observed is Observed.STOPPED
        assert done(engine, "gold", "stop").steps[-1].text.startswith("already stopped: ")
        wait_until(lambda: read_rows(engine, "bronze") == 500, seconds=SECONDS, what="the batches in the progress log")
        entries = engine.progress("bronze", 10)

    wanted = {"bronze": Desired.RUNNING, "dlq": Desired.RUNNING, "silver": Desired.RUNNING, "gold": Desired.STOPPED}
    assert read_desired(fast) == wanted
    with open_engine(spark, fast) as engine:
        assert engine.progress("bronze", 10) == entries
        assert {one.observed for one in engine.statuses()} == {Observed.STOPPED}
        engine.resume()
        for name in ("bronze", "silver", "dlq"):
            wait_for(engine, name, Observed.RUNNING)
        assert status(engine, "gold").observed is Observed.STOPPED
        # Streams that run take over what is new without a drain.
        send_events(fast, events=100, invalid=0, seed=2)
        wait_until(lambda: ask(fast, "SELECT count(*) FROM bronze")[0][0] == 600, seconds=SECONDS, what="new events")
        batches = "SELECT sum(input_rows), count(DISTINCT batch_id) = count(*) FROM stream_progress WHERE stream = 'bronze'"
        wait_until(lambda: ask(fast, batches) == [(600, True)], seconds=SECONDS, what="the batches in the progress log")


def test_a_drain_of_a_stopped_stream_stops_it_and_one_of_a_running_stream_leaves_it(
    spark: SparkSession, fast: Settings
) -> None:
    send_events(fast, events=2_500, invalid=0)
    with open_engine(spark, fast) as engine:
        first = done(engine, "bronze", "drain")
        assert first.result is not None, first
        assert (first.result["input_rows"], first.result["restarts"]) == (2_500, [])
        assert first.result["batches"] >= 2
        assert (status(engine, "bronze").desired, status(engine, "bronze").observed) == (Desired.STOPPED, Observed.STOPPED)
        assert not has_unfinished_batch(fast.checkpoint_dir / "bronze")
        nothing = done(engine, "bronze", "drain")
        assert nothing.result is not None
        assert (nothing.result["batches"], nothing.steps[-1].text) == (0, "complete already")

        assert done(engine, "bronze", "start").state is OperationState.SUCCEEDED
        send_events(fast, events=1_500, invalid=0, seed=2)
        ends = {str(key): offset for key, offset in end_offsets(fast, fast.topic_events).items()}
        running = done(engine, "bronze", "drain")
        assert running.result is not None, running
        assert running.result["position"] == {fast.topic_events: ends}
        assert (status(engine, "bronze").desired, status(engine, "bronze").observed) == (Desired.RUNNING, Observed.RUNNING)

        silver, gold = done(engine, "silver", "drain"), done(engine, "gold", "drain")
        assert silver.result is not None, silver
        assert gold.result is not None, gold
        assert silver.result["input_rows"] == 4_000
        assert status(engine, "silver").watermark is not None
    total = "SELECT sum(orders + refunds) FROM gold WHERE epoch_us(window_start) % 300000000 = 0"
    assert ask(fast, total) == ask(fast, "SELECT count(*) FROM silver")


def test_a_cancelled_drain_and_one_overtaken_by_a_stop_leave_the_stream_stopped(spark: SparkSession, fast: Settings) -> None:
    slow = fast.model_copy(update={"bronze_max_offsets_per_batch": 3})
    send_events(slow, events=1_000, invalid=0)
    with open_engine(spark, slow) as engine:
        operation = engine.submit("bronze", "drain")
        wait_for(engine, "bronze", Observed.RUNNING)
        assert engine.cancel(operation.id).state is OperationState.CANCELLED
        wait_for(engine, "bronze", Observed.STOPPED)
        drained = engine.submit("bronze", "drain")
        wait_for(engine, "bronze", Observed.RUNNING)
        assert done(engine, "bronze", "stop").state is OperationState.SUCCEEDED
        assert ended(engine, drained).state is OperationState.CANCELLED
        assert status(engine, "bronze").observed is Observed.STOPPED


def test_a_stop_of_a_query_that_has_just_failed_runs_its_batch_to_the_end(
    spark: SparkSession, fast: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, kills = SparkQuery.stop, [True]

    def stop_after_a_failure(query: SparkQuery, *, seconds: float) -> None:
        if kills:
            kills.pop()
            send_events(fast, events=500, invalid=0, seed=2)
            checkpoint = fast.checkpoint_dir / "bronze"
            wait_until(lambda: has_unfinished_batch(checkpoint), seconds=SECONDS, what="a batch begins")
            query._query.stop()
        stop(query, seconds=seconds)

    monkeypatch.setattr(SparkQuery, "stop", stop_after_a_failure)
    send_events(fast, events=500, invalid=0)
    several = fast.model_copy(update={"bronze_max_offsets_per_batch": 100})  # so that one of them is seen
    with open_engine(spark, several) as engine:
        assert done(engine, "bronze", "start").state is OperationState.SUCCEEDED
        stopped = done(engine, "bronze", "stop")
        assert stopped.result == {"clean": True, "batch_id": newest_committed(fast.checkpoint_dir / "bronze")}, stopped
        assert status(engine, "bronze").observed is Observed.STOPPED
    assert not has_unfinished_batch(fast.checkpoint_dir / "bronze")


def test_a_checkpoint_that_is_gone_is_refused_and_a_start_fails_with_what_to_do(spark: SparkSession, fast: Settings) -> None:
    send_events(fast, events=50, invalid=0)
    drain(spark, fast, "bronze")
    checkpoint = fast.checkpoint_dir / "bronze"
    shutil.move(checkpoint, fast.state_dir / "aside")
    with open_engine(spark, fast) as engine:
        for action in (Action.START, Action.DRAIN, Action.RESTART):
            failed = done(engine, "bronze", action)
            assert failed.error is not None, failed
            assert "The checkpoint of bronze is missing" in failed.error.message
            assert "rebuild" in failed.error.remedy
        refused = status(engine, "bronze")
        assert (refused.desired, refused.observed) == (Desired.RUNNING, Observed.REFUSED)
        assert refused.last_error is not None
        assert not checkpoint.exists()
        shutil.move(fast.state_dir / "aside", checkpoint)
        assert done(engine, "bronze", "start").state is OperationState.SUCCEEDED


def test_the_breaker_opens_on_a_repeating_failure_survives_the_engine_and_is_reset_by_a_start(
    spark: SparkSession, fast: Settings, tmp_path: Path
) -> None:
    mended = tmp_path / "mended"

    def failing_writer(session: SparkSession, settings: Settings) -> Any:
        def burst(batch: DataFrame, batch_id: int) -> None:
            if not mended.exists():
                raise RuntimeError(f"burst in batch {batch_id}")

        return dlq_writer(session, settings).foreachBatch(burst)

    definitions = STREAMS | {"dlq": replace(DLQ_STREAM, writer=failing_writer)}
    settings = fast.model_copy(update={"breaker_failures": 3})
    send_events(settings, events=50, invalid=0.5)
    drain(spark, settings, "bronze")
    with open_engine(spark, settings, definitions=definitions, clean=False) as engine:
        failed = done(engine, "dlq", "start")
        assert failed.error is not None, failed
        assert "dlq is broken: " in failed.error.message
        broken = status(engine, "dlq")
        assert (broken.observed, broken.failures) == (Observed.BROKEN, 3)
    assert read_breakers(settings)["dlq"].breaker.opened_at == broken.since
    with open_engine(spark, settings, definitions=definitions, clean=False) as engine:
        engine.resume()
        again = wait_for(engine, "dlq", Observed.BROKEN)
        assert again.since == broken.since
        assert again.last_error == broken.last_error
        assert done(engine, "dlq", "drain").state is OperationState.FAILED
        mended.touch()
        assert done(engine, "dlq", "start").state is OperationState.SUCCEEDED
        assert status(engine, "dlq").observed is Observed.RUNNING
    assert read_breakers(settings)["dlq"].breaker.opened_at is None


def test_a_broker_that_does_not_answer_is_waited_for(spark: SparkSession, fast: Settings) -> None:
    send_events(fast, events=50, invalid=0)
    drain(spark, fast, "bronze")
    (port,) = free_ports(1)
    away = {
        "kafka_bootstrap": f"127.0.0.1:{port}",
        "request_timeout_seconds": 1.0,
        "running_proof_seconds": 1.0,
        "start_timeout_seconds": 5.0,
    }
    cut_off = fast.model_copy(update=away)
    with open_engine(spark, cut_off) as engine:
        failed = done(engine, "bronze", "start")
        waiting = status(engine, "bronze")
        assert (waiting.observed, waiting.waiting_for, waiting.desired) == (Observed.WAITING, "broker", Desired.RUNNING)
        assert failed.error is not None, failed
        assert "waiting for broker" in failed.error.message
        assert waiting.lag_records is None
        wait_until(lambda: status(engine, "bronze").last_error is not None, seconds=SECONDS, what="the failure is shown")
        assert done(engine, "bronze", "stop").state is OperationState.SUCCEEDED
