"""The job of the full pass of quality checks, the job of the marts, and when they run. Both end within seconds."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from rtap_assets.assets.keys import GOLD_KEY, mart_key
from rtap_assets.assets.marts import MART_KEYS
from rtap_assets.assets.quality_checks import check_evaluation, judge_tables
from rtap_assets.config import Settings
from rtap_assets.jobs.failures import failing_with_next_step
from rtap_assets.quality.catalog import PASS_CHECKS, Outcome


@dg.op
def judge_layers(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Judge bronze, silver and gold, report each result on its asset, and publish all of them.

    Reported without a run: Dagster lists the result of a run as "Not Evaluated" once its asset has a newer materialization,
    which a running stream reports every few minutes, and the result of no run beside materializations of no run.
    """
    with failing_with_next_step():
        judged = judge_tables(settings, PASS_CHECKS, warn=context.log.warning)
    for result in judged.results:
        context.instance.report_runless_asset_event(check_evaluation(result))
    failed = [result for result in judged.results if result.outcome is Outcome.FAILED]
    for result in failed:
        context.log.warning(f"{result.table_name} {result.check_name}: {check_evaluation(result).description}")
    context.log.info(f"{len(judged.results)} checks, {len(failed)} failed")
    if judged.trouble is not None:
        raise dg.Failure(description=str(judged.trouble), allow_retries=False)
    if blocking := [f"{result.table_name} {result.check_name}" for result in failed if result.blocking]:
        raise dg.Failure(description=f"blocking checks failed: {', '.join(blocking)}", allow_retries=False)


@dg.job(
    executor_def=dg.in_process_executor,
    description="The full pass of data-quality checks over bronze, silver and gold. Fails when a blocking check fails.",
)
def check_quality() -> None:
    """One step: the tables are planned once for all checks."""
    judge_layers()


refresh_marts_job = dg.define_asset_job(
    "refresh_marts",
    selection=dg.AssetSelection.assets(*MART_KEYS).without_checks(),
    executor_def=dg.in_process_executor,
    description="Refresh the DuckDB marts and the published Parquet folder from the newest snapshots.",
)
QUALITY_JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [check_quality, refresh_marts_job]


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
