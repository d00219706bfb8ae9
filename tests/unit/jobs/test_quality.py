"""When the scheduled pass of checks runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent

from rtap_assets.config import load_settings
from rtap_assets.jobs.quality import LONGEST_WITHOUT_A_PASS, check_quality, is_pass_due, passed_at, quality_schedules

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
SETTINGS = load_settings(_env_file=None, dq_max_freshness_seconds=600, dq_volume_minutes=4)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("passed", "changed", "due"),
    [
        (5 * MINUTE, MINUTE, True),  # a commit after the pass
        (5 * MINUTE, 12 * MINUTE, True),  # the data can have become stale since the pass
        (5 * MINUTE, 20 * MINUTE, False),  # the pass has seen them stale
        (LONGEST_WITHOUT_A_PASS, 200 * MINUTE, True),
        (LONGEST_WITHOUT_A_PASS - MINUTE, 200 * MINUTE, False),
    ],
)
def test_a_pass_is_due_while_it_could_find_something_else(passed: timedelta, changed: timedelta, due: bool) -> None:
    assert is_pass_due(NOON - passed, NOON - changed, SETTINGS, now=NOON) is due


def test_a_pass_is_due_after_one_that_failed_and_over_empty_tables() -> None:
    assert is_pass_due(None, NOON - 200 * MINUTE, SETTINGS, now=NOON)
    assert is_pass_due(NOON - MINUTE, None, SETTINGS, now=NOON)


def test_the_schedule_runs_a_pass_where_there_is_no_table_yet(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, state_dir=tmp_path)
    schedule = next(one for one in quality_schedules(settings) if one.name == "check_quality_schedule")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(instance=instance, resources={"settings": settings})
        assert isinstance(schedule(context), dg.RunRequest)


@pytest.mark.parametrize(("status", "counts"), [(dg.DagsterRunStatus.SUCCESS, True), (dg.DagsterRunStatus.FAILURE, False)])
def test_the_newest_pass_counts_if_it_succeeded(status: dg.DagsterRunStatus, counts: bool) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert passed_at(instance) is None
        run = dg.DagsterRun(job_name=check_quality.name, run_id="newest")
        instance.add_run(run)
        end = dg.DagsterEventType.RUN_SUCCESS if counts else dg.DagsterEventType.RUN_FAILURE
        for event in (dg.DagsterEventType.RUN_START, end):
            instance.report_dagster_event(DagsterEvent(event.value, run.job_name, message=""), run.run_id)
        found = instance.get_run_by_id("newest")
        assert found is not None
        assert found.status is status
        assert (passed_at(instance) is not None) is counts
