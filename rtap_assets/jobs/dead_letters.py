"""The job that judges quarantined rows again: a dry run unless its configuration says otherwise."""

from typing import Any

import dagster as dg
from pydantic import Field

from rtap_assets.contracts.selection import Selection
from rtap_assets.contracts.visible import visible_markdown
from rtap_assets.jobs.failures import failing_with_next_step
from rtap_assets.resources.spark import SparkSessionResource
from rtap_assets.resources.streams import StreamHost


class RejudgeConfig(dg.Config):
    """Which rows, and whether their new verdicts are written."""

    apply: bool = Field(default=False, description="Write the new verdicts. By default a dry run counts them.")
    reasons: list[str] = Field(default=[], description="Only these reason codes; empty: all.")
    schema_ids: list[int] = Field(default=[], description="Only values whose header names one of these schemas; empty: all.")
    since: str = Field(default="", description="Only records appended at this time or later, ISO 8601 with a zone.")
    until: str = Field(default="", description="Only records appended before this time, ISO 8601 with a zone.")
    limit: int = Field(default=0, ge=0, description="Most rows judged, the oldest first; 0: all.")

    def selection(self) -> Selection:
        """Return the selection. Raises ConfigurationError where a value is not valid."""
        chosen = {"reasons": self.reasons, "schema_ids": self.schema_ids, "limit": self.limit}
        return Selection.from_json(chosen | {"since": self.since or None, "until": self.until or None})


@dg.op
def judge_again(
    context: dg.OpExecutionContext, config: RejudgeConfig, streams: StreamHost, spark: SparkSessionResource
) -> None:
    """Judge the selected rows of bronze again; what is valid now is added to silver, and gold is brought up to date."""
    with failing_with_next_step():
        # Imported when run: it loads the streams' queries, which the definitions do without.
        from rtap_assets.streaming.operations.rejudge import RejudgeOptions  # noqa: PLC0415

        options = RejudgeOptions(config.selection(), apply=config.apply)
        with streams.table_work(spark, requested_by=f"run {context.run_id}", echo=context.log.info) as tables:
            report = tables.rejudge(options)
    context.add_output_metadata(
        {
            "from → to": dg.MetadataValue.md(_changes_table(report)),
            "rows judged": dg.MetadataValue.int(report["judged"]),
            "rows with a new verdict": dg.MetadataValue.int(report["changed"]),
            "events added to silver": dg.MetadataValue.int(report["added"]),
            "dry run": dg.MetadataValue.bool(not config.apply),
        }
    )


def _changes_table(report: dict[str, Any]) -> str:
    """Return the changes as Markdown."""
    cells = [(visible_markdown(one["from"]), visible_markdown(one["to"]), one["rows"]) for one in report["changes"]]
    rows = [f"| {before} | {after} | {number:,} |" for before, after, number in cells]
    return "\n".join(["| from | to | rows |", "|---|---|---:|", *rows]) if rows else "no quarantined row is selected"


@dg.job(
    executor_def=dg.in_process_executor,
    description="Judge quarantined rows again from their raw bytes, after contract, a setting or the registry was put "
    "right. A dry run by default.",
)
def rejudge_dead_letters() -> None:
    """One step. A second run changes nothing more."""
    judge_again()
