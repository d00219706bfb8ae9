"""Dagster's history: old runs and events go, the newest of each asset and check stay."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from rtap_assets.jobs.event_log import Pruning, prune_event_log

WEEK = timedelta(days=7)
KEY = dg.AssetKey(["bronze", "sales_events"])


@dg.asset(key=KEY)
def table() -> None:
    """Something that is materialised."""


@dg.asset_check(asset=KEY)
def is_complete() -> dg.AssetCheckResult:
    """Something that is checked."""
    return dg.AssetCheckResult(passed=True)


@dg.op
def say_done(context: dg.OpExecutionContext) -> None:
    """A step."""
    context.log.info("done")


@dg.job(executor_def=dg.in_process_executor)
def command() -> None:
    """A run that materialises nothing."""
    say_done()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as local:
        yield local


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def materialised(instance: dg.DagsterInstance) -> str:
    return dg.materialize([table, is_complete], instance=instance).run_id


def run_ids(instance: dg.DagsterInstance) -> set[str]:
    return {record.dagster_run.run_id for record in instance.get_run_records()}


def test_finished_runs_past_their_age_go_but_for_those_with_the_newest_events(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    old = materialised(instance)
    newest = materialised(instance)
    commands = [command.execute_in_process(instance=instance).run_id for _ in range(2)]
    shard = next(tmp_path.rglob(f"{old}.db"))
    assert prune_event_log(instance, older_than=WEEK, now=in_days(6)) == Pruning(0, 0, 0)
    assert run_ids(instance) == {old, newest, *commands}

    assert prune_event_log(instance, older_than=WEEK, now=in_days(8)).runs == 3
    assert run_ids(instance) == {newest}
    assert not shard.exists()
    latest = instance.get_latest_materialization_event(KEY)
    assert latest is not None
    assert latest.run_id == newest
    (check,) = instance.event_log_storage.get_latest_asset_check_execution_by_key([is_complete.check_key]).values()
    assert check.run_id == newest
    assert prune_event_log(instance, older_than=WEEK, now=in_days(8)) == Pruning(0, 0, 0)


def test_a_run_that_has_not_ended_is_left_alone(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(command)
    assert prune_event_log(instance, older_than=WEEK, now=in_days(30)).runs == 0
    assert run_ids(instance) == {run.run_id}


def test_runless_events_past_their_age_go_but_for_the_newest_of_each_kind(instance: dg.DagsterInstance) -> None:
    for _ in range(4):
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, tags={"batch": "1"}))
        instance.report_runless_asset_event(dg.AssetObservation(KEY))
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=KEY, check_name="is_complete", passed=True, metadata={})
        )
    assert prune_event_log(instance, older_than=WEEK, now=in_days(6)) == Pruning(0, 0, 0)

    assert prune_event_log(instance, older_than=WEEK, now=in_days(8)) == Pruning(0, 9, 3)
    assert len(instance.fetch_materializations(KEY, limit=10).records) == 1
    assert len(instance.fetch_observations(KEY, limit=10).records) == 1
    assert instance.get_latest_materialization_event(KEY) is not None
    assert len(instance.event_log_storage.get_asset_check_execution_history(is_complete.check_key, limit=10)) == 1
    assert len(instance.get_records_for_run("").records) == 3
