"""The job that cares for the tables, every six hours."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from rtap_assets.config import Settings
from rtap_assets.jobs.event_log import prune_event_log
from rtap_assets.jobs.failures import failing_with_next_step
from rtap_assets.resources.spark import SparkSessionResource
from rtap_assets.resources.streams import StreamHost

EVERY_SIX_HOURS = "23 */6 * * *"


@dg.op
def maintain_lake_tables(context: dg.OpExecutionContext, streams: StreamHost, spark: SparkSessionResource) -> None:
    """Compact closed table partitions, rewrite manifests, expire snapshots that no reader needs, remove orphan files."""
    by = f"Dagster run {context.run_id}"
    with failing_with_next_step(), streams.table_work(spark, requested_by=by, echo=context.log.info) as tables:
        report = tables.maintain()
    alerts = "\n".join(f"- {alert}" for alert in report["alerts"]) or "none"
    context.add_output_metadata({"report": dg.MetadataValue.json(report), "alerts": dg.MetadataValue.md(alerts)})
    for alert in report["alerts"]:
        context.log.warning(alert)
    if faults := [fault for table in report["tables"] for fault in table["faults"]]:
        raise dg.Failure(description="; ".join(faults), allow_retries=False)


@dg.op
def prune_history(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Remove Dagster's finished runs and events of over a week; the newest of each asset and check stay."""
    older_than = timedelta(days=settings.event_log_retention_days)
    pruned = prune_event_log(context.instance, older_than=older_than, now=datetime.now(UTC))
    context.log.info(
        f"removed {pruned.runs} runs, {pruned.runless_events} events without a run, {pruned.check_results} check results"
    )


@dg.job(
    executor_def=dg.in_process_executor,
    description="Compact the tables, expire snapshots that no stream or reader needs, prune Dagster's history.",
)
def maintain_tables() -> None:
    """Two steps that do not depend on each other: the history is pruned also when a table's maintenance fails."""
    prune_history()
    maintain_lake_tables()


maintenance_schedule = dg.ScheduleDefinition(
    name="maintain_tables_schedule",
    job=maintain_tables,
    cron_schedule=EVERY_SIX_HOURS,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Keeps tables and history small.",
)
