"""The job of the full pass of quality checks, the job of the marts, and when they run. Both end within seconds."""

from __future__ import annotations

import dagster as dg

from rtap_assets.assets.keys import GOLD_KEY, mart_key
from rtap_assets.assets.marts import MART_KEYS
from rtap_assets.assets.quality_checks import asset_key
from rtap_assets.config import Settings
from rtap_assets.quality.catalog import PASS_CHECKS

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
    checks = dg.ScheduleDefinition(
        name="check_quality_schedule",
        job=check_quality,
        cron_schedule=f"*/{settings.dq_interval_minutes} * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Runs the full pass of data-quality checks.",
    )

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

    return [checks, refresh_marts_schedule]


def _materialized_at(instance: dg.DagsterInstance, key: dg.AssetKey) -> float | None:
    event = instance.get_latest_materialization_event(key)
    return None if event is None else event.timestamp
