"""The jobs that correct silver on demand. The stream host corrects late rows and later copies at its own interval."""

from dagster import (
    Config,
    MetadataValue,
    OpExecutionContext,
    in_process_executor,
    job,
    op,
)
from pydantic import Field

from rtap_assets.resources.streams import StreamHost


@op
def correct_events(context: OpExecutionContext, streams: StreamHost) -> None:
    """Add late rows, remove later copies of events, restate gold; what a run finds twice changes nothing."""
    report = streams.correct(requested_by=f"Dagster run {context.run_id}", echo=context.log.info)
    context.add_output_metadata(
        {
            "late rows added": MetadataValue.int(report["late"]),
            "later copies removed": MetadataValue.int(report["later_copies"]),
            "new rows looked at": MetadataValue.int(report["looked_at"]),
            "corrections pending": MetadataValue.int(report["pending"]),
        }
    )


class Erasure(Config):
    """Which account, and whether to count alone."""

    account_id: str = Field(description="The account's id, as the events have it.")
    dry_run: bool = Field(default=True, description="Change nothing; show how many rows would be erased.")


@op
def erase_events(context: OpExecutionContext, config: Erasure, streams: StreamHost) -> None:
    """Erase an account's rows from bronze (raw bytes too) and silver, for good."""
    who = f"Dagster run {context.run_id}"
    report = streams.erase(config.account_id, requested_by=who, dry_run=config.dry_run, echo=context.log.info)
    context.add_output_metadata(
        {
            "bronze rows": MetadataValue.int(report["bronze_rows"]),
            "silver rows": MetadataValue.int(report["silver_rows"]),
            "dry run": MetadataValue.bool(report["dry_run"]),
            "what remains": MetadataValue.md("\n".join(f"- {note}" for note in report["notes"])),
        }
    )


@job(
    executor_def=in_process_executor,
    description="Add late rows to silver, remove later copies of events, and restate gold's windows.",
)
def apply_corrections() -> None:
    """One step: what it does twice changes nothing."""
    correct_events()


@job(
    executor_def=in_process_executor,
    description="Erase an account from bronze and silver (run config: account_id; dry_run: false to do it).",
)
def erase_account() -> None:
    """One step. Dagster keeps the run's config, the account's id with it, until its history is pruned."""
    erase_events()


CORRECTION_JOBS = [apply_corrections, erase_account]
