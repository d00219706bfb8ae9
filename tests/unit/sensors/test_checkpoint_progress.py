"""The sensor `checkpoint_progress` and the roll-ups it reports: over a checkpoint folder on disk, time passed in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.loader import LoadingContextForTest
from fake_host import NOON, FakeClient, host_over, status
from lake_fixtures import gold_row, make_lake

from rtap_assets.assets.keys import ASSET_OF_STREAM, GOLD_KEY
from rtap_assets.assets.layers import NEWEST_BATCH, QUERY_ID
from rtap_assets.config import Settings, load_settings
from rtap_assets.definitions import build_definitions
from rtap_assets.sensors.checkpoint_progress import (
    LEAD_SECONDS,
    ReportedProgress,
    checkpoint_progress,
    has_first_rows,
    hidden_results,
    is_being_drained,
    is_due,
    progress_of,
)
from rtap_assets.streaming.checkpoints.rollups import Standing, roll_up, standing
from rtap_assets.streaming.model.states import Desired, Observed
from rtap_assets.streaming.model.wire import as_text

QUERY, OTHER_QUERY = "query-1", "query-2"
ROWS = 10


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / ".rtap")


def commit(settings: Settings, batches: Iterable[int], *, query: str = QUERY, logged: bool = True) -> None:
    """What Spark and the stream host leave behind of these batches of the DLQ stream."""
    checkpoint, log = settings.checkpoint_dir / "dlq", settings.streams_dir / "progress" / "dlq.jsonl"
    for folder in (checkpoint / "offsets", checkpoint / "commits", log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    (checkpoint / "metadata").write_text(json.dumps({"id": query}), encoding="utf-8")
    for batch in batches:
        details = json.dumps({"batchWatermarkMs": 0, "batchTimestampMs": 0})
        source = json.dumps({"snapshot_id": batch, "position": 1})
        (checkpoint / "offsets" / str(batch)).write_text(f"v1\n{details}\n{source}", encoding="utf-8")
        (checkpoint / "commits" / str(batch)).write_text("v1\n{}", encoding="utf-8")
        if logged:
            entry = {"batch_id": batch, "query_id": query, "input_rows": ROWS, "dropped_late": 0, "batch_seconds": 0.5}
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def reported(
    batch: int, *, at: datetime = NOON, observed: Observed = Observed.RUNNING, query: str = QUERY
) -> ReportedProgress:
    return ReportedProgress(query, batch, as_text(at), observed)


def progress(
    settings: Settings, instance: dg.DagsterInstance, before: ReportedProgress | None, *, now: datetime = NOON
) -> tuple[dict[str, Any] | None, ReportedProgress | None]:
    """The metadata of the materialization that is due, if any, and what had been reported then."""
    event, fresh = progress_of("dlq", settings, instance, before, observed=Observed.RUNNING, now=now)
    return (None if event is None else {name: value.value for name, value in event.metadata.items()}), fresh


INTERVAL, LEAD = timedelta(seconds=Settings().progress_rollup_seconds), timedelta(seconds=LEAD_SECONDS)


@pytest.mark.parametrize(
    "before, observed, after, due",
    [
        (None, Observed.RUNNING, timedelta(0), True),
        (reported(7), Observed.RUNNING, timedelta(hours=1), False),
        (reported(6), Observed.RUNNING, INTERVAL - LEAD - timedelta(seconds=1), False),
        (reported(6), Observed.RUNNING, INTERVAL - LEAD, True),
        (reported(6, at=NOON - LEAD - timedelta(seconds=1)), Observed.RUNNING, timedelta(seconds=28), False),
        (reported(6, at=NOON - LEAD - timedelta(seconds=1)), Observed.RUNNING, timedelta(seconds=29), True),
        (reported(6), Observed.STOPPED, timedelta(seconds=1), True),
        (reported(7), Observed.STOPPED, timedelta(seconds=1), False),
        (reported(9, query=OTHER_QUERY), Observed.RUNNING, timedelta(seconds=1), True),
    ],
    ids=[
        "never reported",
        "nothing new",
        "the same interval",
        "half a minute before the next",
        "a new interval, but reported less than a minute ago",
        "a new interval, a minute on",
        "state changed",
        "changed, nothing new",
        "new checkpoint",
    ],
)
def test_a_roll_up_is_due_once_an_interval_and_at_a_change_and_only_when_something_was_committed(
    before: ReportedProgress | None, observed: Observed, after: timedelta, due: bool
) -> None:
    assert is_due(before, Standing(QUERY, 7), observed=observed, now=NOON + after, interval=INTERVAL) is due


@pytest.mark.parametrize(
    "desired, observed, drained",
    [
        (Desired.STOPPED, Observed.RUNNING, True),
        (Desired.STOPPED, Observed.STOPPING, True),
        (Desired.STOPPED, Observed.STOPPED, False),
        (Desired.RUNNING, Observed.RUNNING, False),
        (Desired.STOPPED, Observed.UNKNOWN, False),
    ],
)
def test_a_drain_is_left_to_the_drain(desired: Desired, observed: Observed, drained: bool) -> None:
    assert is_being_drained(status(desired=desired, observed=observed)) is drained


def test_an_hour_without_a_daemon_is_reported_once_and_whole(settings: Settings) -> None:
    commit(settings, range(721))
    with dg.DagsterInstance.ephemeral() as instance:
        metadata, fresh = progress(settings, instance, reported(0), now=NOON + timedelta(hours=1))
        again, _ = progress(settings, instance, fresh, now=NOON + timedelta(hours=1, seconds=10))
    assert metadata is not None
    assert (metadata["rows read"], metadata["micro-batches"], metadata[NEWEST_BATCH]) == (720 * ROWS, 720, 720)
    assert metadata["source offsets"] == {"snapshot id": "720", "files read": 1}
    assert metadata["duration (s)"] == 360
    assert again is None


def test_what_a_drain_has_reported_is_not_reported_again(settings: Settings) -> None:
    commit(settings, range(10))
    with dg.DagsterInstance.ephemeral() as instance:
        drained = {NEWEST_BATCH: 7, QUERY_ID: QUERY}
        instance.report_runless_asset_event(dg.AssetMaterialization(ASSET_OF_STREAM["dlq"], metadata=drained))
        metadata, _ = progress(settings, instance, reported(0), now=NOON + INTERVAL)
        assert metadata is not None
        assert metadata["micro-batches"] == 2
        instance.report_runless_asset_event(
            dg.AssetMaterialization(ASSET_OF_STREAM["dlq"], metadata=drained | {NEWEST_BATCH: 9})
        )
        assert progress(settings, instance, reported(0), now=NOON + INTERVAL) == (None, reported(9, at=NOON + INTERVAL))


def test_a_new_checkpoint_is_reported_from_its_first_batch(settings: Settings) -> None:
    commit(settings, range(30), query=OTHER_QUERY)
    commit(settings, range(3))
    for stale in range(3, 30):
        (settings.checkpoint_dir / "dlq" / "commits" / str(stale)).unlink()
    with dg.DagsterInstance.ephemeral() as instance:
        metadata, _ = progress(settings, instance, reported(29, query=OTHER_QUERY))
    assert metadata is not None
    assert (metadata["micro-batches"], metadata["rows read"]) == (3, 3 * ROWS)


def test_sums_that_lack_a_batch_are_marked_as_lower_bounds(settings: Settings) -> None:
    commit(settings, range(5))
    commit(settings, [5], logged=False)
    commit(settings, range(6, 8))
    with dg.DagsterInstance.ephemeral() as instance:
        metadata, _ = progress(settings, instance, reported(2), now=NOON + INTERVAL)
    assert metadata is not None
    assert metadata["micro-batches"] == 5
    assert metadata["rows read, at least"] == 4 * ROWS
    assert "rows read" not in metadata


def test_a_roll_up_reads_into_the_rotated_log_and_over_a_line_that_a_crash_cut_short(settings: Settings) -> None:
    log = settings.streams_dir / "progress" / "dlq.jsonl"
    commit(settings, range(4))
    log.replace(log.with_suffix(".older.jsonl"))
    commit(settings, range(4, 6))
    with log.open("a", encoding="utf-8") as file:
        file.write('{"batch_id": 6, "que')
    rolled = roll_up(settings, "dlq", reached=Standing(QUERY, 5), after_batch=1)
    assert rolled.is_complete
    assert rolled.report.input_rows == 4 * ROWS


def test_a_stream_that_never_committed_stands_nowhere(settings: Settings) -> None:
    assert standing(settings, "dlq") is None
    with dg.DagsterInstance.ephemeral() as instance:
        assert progress(settings, instance, None) == (None, None)


def test_a_tick_over_an_empty_state_folder_reports_nothing(settings: Settings) -> None:
    resources = {"settings": settings, "streams": host_over(FakeClient())}
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, definitions=build_definitions(settings), resources=resources) as context,
    ):
        result = checkpoint_progress(context)
    assert isinstance(result, dg.SensorResult)
    assert result.asset_events == []
    assert result.skip_reason is not None
    assert result.skip_reason.skip_message == "nothing to report"


def evaluation(name: str, *, passed: bool = True) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(asset_key=GOLD_KEY, check_name=name, passed=passed, metadata={"observed": 0.5})


def listed(instance: dg.DagsterInstance, name: str) -> bool:
    """Whether Dagster lists the newest result of a check of gold, and not "Not Evaluated"."""
    key = dg.AssetCheckKey(GOLD_KEY, name)
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    return asyncio.run(record.targets_latest_materialization(LoadingContextForTest(instance)))


def test_a_result_without_a_run_stays_listed_beside_later_roll_ups() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(GOLD_KEY))
        instance.report_runless_asset_event(evaluation("freshness"))
        instance.report_runless_asset_event(dg.AssetMaterialization(GOLD_KEY))
        assert listed(instance, "freshness")
        assert hidden_results(instance, GOLD_KEY) == []


def test_what_a_run_found_is_reported_again_with_the_next_roll_up_and_once() -> None:
    found = dg.AssetCheckResult(passed=False, check_name="freshness", metadata={"n": 2})

    @dg.asset(key=GOLD_KEY, check_specs=[dg.AssetCheckSpec("freshness", asset=GOLD_KEY)])
    def gold():  # type: ignore[no-untyped-def]
        return dg.MaterializeResult(check_results=[found])

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([gold], instance=instance).success
        assert listed(instance, "freshness")
        instance.report_runless_asset_event(dg.AssetMaterialization(GOLD_KEY))
        assert not listed(instance, "freshness")
        (again,) = hidden_results(instance, GOLD_KEY)
        assert (again.check_name, again.passed, again.metadata["n"].value) == ("freshness", False, 2)
        instance.report_runless_asset_event(again)
        assert listed(instance, "freshness")
        assert hidden_results(instance, GOLD_KEY) == []


def test_a_check_that_a_run_is_about_to_evaluate_has_no_result_to_report_again() -> None:
    seen = []

    @dg.asset(key=GOLD_KEY, check_specs=[dg.AssetCheckSpec("freshness", asset=GOLD_KEY)])
    def gold(context):  # type: ignore[no-untyped-def]
        seen.append(hidden_results(context.instance, GOLD_KEY))
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="freshness")])

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([gold], instance=instance).success
        assert [one.check_name for one in hidden_results(instance, GOLD_KEY)] == ["freshness"]
    assert seen == [[]]


def test_a_table_that_was_reported_as_empty_does_not_wait_for_the_next_interval(settings: Settings) -> None:
    make_lake(settings)
    empty = {"dagster/row_count": dg.MetadataValue.int(0)}
    assert not has_first_rows("gold", settings, empty)
    make_lake(settings, gold=[gold_row(NOON)])
    assert has_first_rows("gold", settings, empty)
    assert not has_first_rows("gold", settings, {"dagster/row_count": dg.MetadataValue.int(1)})
    assert not has_first_rows("gold", settings, {})
    assert not has_first_rows("dlq", settings, empty)
