"""The job that cares for the tables, every six hours."""

from datetime import UTC, datetime, timedelta

from dagster import (
    DefaultScheduleStatus,
    Failure,
    MetadataValue,
    OpExecutionContext,
    ScheduleDefinition,
    in_process_executor,
    job,
    op,
)

from rtap_assets.config import get_settings
from rtap_assets.jobs.event_log import prune_event_log
from rtap_assets.resources.streams import StreamHost

EVERY_SIX_HOURS = "23 */6 * * *"


@op
def maintain_lake_tables(context: OpExecutionContext, streams: StreamHost) -> None:
    """Compact closed table partitions, rewrite manifests, expire snapshots that nobody needs, remove orphan files."""
    report = streams.maintain(echo=context.log.info)
    alerts = "\n".join(f"- {alert}" for alert in report["alerts"]) or "none"
    context.add_output_metadata({"report": MetadataValue.json(report), "alerts": MetadataValue.md(alerts)})
    for alert in report["alerts"]:
        context.log.warning(alert)
    if faults := [fault for table in report["tables"] for fault in table["faults"]]:
        raise Failure(description="; ".join(faults), allow_retries=False)


@op
def prune_history(context: OpExecutionContext) -> None:
    """Remove Dagster's finished runs and events of over a week; the newest of each asset and check stay."""
    older_than = timedelta(days=get_settings().event_log_retention_days)
    pruned = prune_event_log(context.instance, older_than=older_than, now=datetime.now(UTC))
    context.log.info(
        f"removed {pruned.runs} runs, {pruned.runless_events} events without a run, {pruned.check_results} check results"
    )


@job(
    executor_def=in_process_executor,
    description="Compact the tables, expire snapshots that no stream or reader needs, prune Dagster's history.",
)
def maintain_tables() -> None:
    """Two steps that do not depend on each other: the history is pruned also when a table's maintenance fails."""
    prune_history()
    maintain_lake_tables()


maintenance_schedule = ScheduleDefinition(
    name="maintain_tables_schedule",
    job=maintain_tables,
    cron_schedule=EVERY_SIX_HOURS,
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Keeps tables and history small.",
)
