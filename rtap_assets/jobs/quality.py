"""The job of the full pass of quality checks, the job of the marts, and when they run. Both end within seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from rtap_assets.assets.keys import GOLD_KEY, mart_key
from rtap_assets.assets.marts import MART_KEYS
from rtap_assets.assets.quality_checks import asset_key
from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER
from rtap_assets.errors import DependencyUnavailable, ServingError
from rtap_assets.lake.history.snapshots import newest_commit_at
from rtap_assets.quality.catalog import PASS_CHECKS

QUALITY_TABLES = (BRONZE, SILVER, GOLD)
LONGEST_WITHOUT_A_PASS = timedelta(hours=1)

# By name, gold's blocking ones among them: a selection of assets would drain the streams as well.
PASS_SELECTION = dg.AssetSelection.checks(
    *(dg.AssetCheckKey(asset_key=asset_key(check.spec.identifier), name=check.name) for check in PASS_CHECKS)
)

check_quality = dg.define_asset_job(
    "check_quality",
    selection=PASS_SELECTION,
    executor_def=dg.in_process_executor,
    description="The full pass of data-quality checks over bronze, silver and gold. Fails when a blocking check fails.",
)

refresh_marts_job = dg.define_asset_job(
    "refresh_marts",
    selection=dg.AssetSelection.assets(*MART_KEYS),
    executor_def=dg.in_process_executor,
    description="Refresh the DuckDB marts and the published Parquet folder from the newest snapshots.",
)
QUALITY_JOBS = [check_quality, refresh_marts_job]


def quality_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the schedules of both jobs, at the intervals of the settings."""

    @dg.schedule(
        job=check_quality,
        cron_schedule=f"*/{settings.dq_interval_minutes} * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Runs the full pass of data-quality checks; hourly while tables and results stay as they are.",
    )
    def check_quality_schedule(
        context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]
    ) -> dg.RunRequest | dg.SkipReason:
        try:
            changed_at = newest_commit_at(settings, QUALITY_TABLES)
        except (ServingError, DependencyUnavailable):
            return dg.RunRequest()  # the pass says what is wrong
        if is_pass_due(passed_at(context.instance), changed_at, settings, now=datetime.now(UTC)):
            return dg.RunRequest()
        return dg.SkipReason("no table has changed since the last pass, which passed; the next one is within the hour")

    @dg.schedule(
        job=refresh_marts_job,
        cron_schedule=f"*/{settings.marts_interval_minutes} * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Refreshes the marts when gold was rolled up since their last refresh.",
    )
    def refresh_marts_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        gold, marts = (_materialized_at(context.instance, key) for key in (GOLD_KEY, mart_key("rolling_revenue")))
        if gold is None:
            return dg.SkipReason("gold was never materialized")
        if marts is not None and gold <= marts:
            return dg.SkipReason("gold has not moved since the last refresh of the marts")
        return dg.RunRequest()

    return [check_quality_schedule, refresh_marts_schedule]


def is_pass_due(passed_at: datetime | None, changed_at: datetime | None, settings: Settings, *, now: datetime) -> bool:
    """Return whether a pass could find other results than the last one, which began at `passed_at` (None: it failed).

    Without a new snapshot only the age of the data changes: freshness and volume are looked at once more when they can have
    crossed their thresholds. A pass costs some ten CPU seconds, most of an idle platform's.
    """
    if passed_at is None or changed_at is None or now - passed_at >= LONGEST_WITHOUT_A_PASS:
        return True
    settles_after = max(settings.dq_max_freshness_seconds, 2 * 60 * settings.dq_volume_minutes)
    return passed_at <= changed_at + timedelta(seconds=settles_after)


def passed_at(instance: dg.DagsterInstance) -> datetime | None:
    """Return when the newest pass began, if it has succeeded."""
    filters = dg.RunsFilter(job_name=check_quality.name)
    newest = next(iter(instance.get_run_records(filters=filters, limit=1)), None)
    if newest is None or newest.dagster_run.status is not dg.DagsterRunStatus.SUCCESS or newest.start_time is None:
        return None
    return datetime.fromtimestamp(newest.start_time, UTC)


def _materialized_at(instance: dg.DagsterInstance, key: dg.AssetKey) -> float | None:
    event = instance.get_latest_materialization_event(key)
    return None if event is None else event.timestamp
