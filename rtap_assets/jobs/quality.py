"""The job of the full pass of quality checks, the job of the marts, and when they run. Both end within seconds."""

from __future__ import annotations

from collections.abc import Iterator

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetSelection,
    DagsterInstance,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    define_asset_job,
    in_process_executor,
    schedule,
)

from rtap_assets.assets.keys import GOLD_KEY, mart_key
from rtap_assets.assets.marts import refreshed_marts
from rtap_assets.assets.quality_checks import asset_key
from rtap_assets.config import get_settings
from rtap_assets.quality.catalog import PASS_CHECKS

# By name, gold's blocking ones among them: a selection of assets would drain the streams as well.
PASS_SELECTION = AssetSelection.checks(
    *(AssetCheckKey(asset_key=asset_key(check.spec.identifier), name=check.name) for check in PASS_CHECKS)
)

check_quality = define_asset_job(
    "check_quality",
    selection=PASS_SELECTION,
    executor_def=in_process_executor,
    description="The full pass of data-quality checks over bronze, silver and gold. Fails when a blocking check fails.",
)

check_quality_schedule = ScheduleDefinition(
    name="check_quality_schedule",
    job=check_quality,
    cron_schedule=f"*/{get_settings().dq_interval_minutes} * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Runs the full pass of data-quality checks.",
)

refresh_marts_job = define_asset_job(
    "refresh_marts",
    selection=AssetSelection.assets(refreshed_marts).without_checks(),
    executor_def=in_process_executor,
    description="Refresh the DuckDB marts and the published Parquet folder from the newest snapshots.",
)


@schedule(
    job=refresh_marts_job,
    cron_schedule=f"*/{get_settings().marts_interval_minutes} * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Refreshes the marts when gold was rolled up since their last refresh.",
)
def refresh_marts_schedule(context: ScheduleEvaluationContext) -> Iterator[RunRequest | SkipReason]:
    gold, marts = (_materialized_at(context.instance, key) for key in (GOLD_KEY, mart_key("rolling_revenue")))
    if gold is None:
        yield SkipReason("gold was never materialised")
    elif marts is not None and gold <= marts:
        yield SkipReason("gold has not moved since the last refresh of the marts")
    else:
        yield RunRequest()


def _materialized_at(instance: DagsterInstance, key: AssetKey) -> float | None:
    event = instance.get_latest_materialization_event(key)
    return None if event is None else event.timestamp


QUALITY_JOBS = [check_quality, refresh_marts_job]
QUALITY_SCHEDULES = [check_quality_schedule, refresh_marts_schedule]
