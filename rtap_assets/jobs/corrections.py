"""The jobs that correct silver on demand. The stream host corrects late rows and later copies at its own interval."""

import dagster as dg
from pydantic import Field

from rtap_assets.jobs.failures import failing_with_next_step
from rtap_assets.resources.spark import SparkSessionResource
from rtap_assets.resources.streams import StreamHost


@dg.op
def correct_events(context: dg.OpExecutionContext, streams: StreamHost, spark: SparkSessionResource) -> None:
    """Add late rows, remove later copies of events, restate gold. A second run changes nothing more."""
    by = f"Dagster run {context.run_id}"
    with failing_with_next_step(), streams.table_work(spark, requested_by=by, echo=context.log.info) as tables:
        report = tables.correct()
    context.add_output_metadata(
        {
            "late rows added": dg.MetadataValue.int(report["late"]),
            "later copies removed": dg.MetadataValue.int(report["later_copies"]),
            "new rows looked at": dg.MetadataValue.int(report["looked_at"]),
            "corrections pending": dg.MetadataValue.int(report["pending"]),
        }
    )


class Erasure(dg.Config):
    """Which account, and whether to count only."""

    account_id: str = Field(description="The account's id, as the events have it.")
    dry_run: bool = Field(default=True, description="Change nothing; show how many rows would be erased.")


@dg.op
def erase_events(context: dg.OpExecutionContext, config: Erasure, streams: StreamHost, spark: SparkSessionResource) -> None:
    """Erase an account's rows from bronze (raw bytes too) and silver, for good."""
    by = f"Dagster run {context.run_id}"
    with failing_with_next_step(), streams.table_work(spark, requested_by=by, echo=context.log.info) as tables:
        report = tables.erase(config.account_id, dry_run=config.dry_run)
    context.add_output_metadata(
        {
            "bronze rows": dg.MetadataValue.int(report["bronze_rows"]),
            "silver rows": dg.MetadataValue.int(report["silver_rows"]),
            "dry run": dg.MetadataValue.bool(report["dry_run"]),
            "what remains": dg.MetadataValue.md("\n".join(f"- {note}" for note in report["notes"])),
        }
    )


@dg.job(
    executor_def=dg.in_process_executor,
    description="Add late rows to silver, remove later copies of events, and restate gold's windows.",
)
def apply_corrections() -> None:
    """One step. A second run changes nothing more."""
    correct_events()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Erase an account from bronze and silver (run config: account_id; dry_run: false to do it).",
)
def erase_account() -> None:
    """One step. Dagster keeps the run's config, the account's id with it, until its history is pruned."""
    erase_events()


CORRECTION_JOBS = [apply_corrections, erase_account]
