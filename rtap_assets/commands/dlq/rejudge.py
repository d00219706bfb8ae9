"""`rtap dlq rejudge`: judge quarantined rows again, in the stream host if there is one, else in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rtap_assets.commands.dlq.options import selection_of, selection_options
from rtap_assets.commands.dlq.view import table
from rtap_assets.commands.maintenance import table_work_of
from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings


@click.command(name="rejudge")
@selection_options(0, "Most rows judged, the oldest first; 0: all.")
@click.option("--yes", is_flag=True, help="Write the new verdicts. Default: a dry run that counts them.")
@pass_settings
def rejudge_command(settings: Settings, yes: bool, **chosen: Any) -> None:
    """Judge quarantined rows of bronze again from their raw bytes, with contract, settings and registry as they are now.

    Rows that are now valid count in silver and gold, as late rows do; bronze keeps the time and their earlier reason.
    Idempotent: repeating it, or rerunning it after a kill, changes nothing more. No dead letter is sent again.
    """
    from rtap_assets.streaming.operations.rejudge import RejudgeOptions

    options = RejudgeOptions(selection_of(**chosen), apply=yes)
    with table_work_of(settings, requested_by="rtap dlq rejudge") as tables:
        report = tables.rejudge(options)
    for line in report_lines(report, applied=yes):
        click.echo(line)


def report_lines(report: Mapping[str, Any], *, applied: bool) -> list[str]:
    """Return the outcome: rows by old reason and new verdict."""
    rows = [(change["from"], change["to"], f"{change['rows']:,}") for change in report["changes"]]
    lines = [*table(("from", "to", "rows"), rows, right=(2,))] if rows else ["no quarantined row is selected"]
    if applied:
        return [*lines, f"{report['changed']:,} rows have a new verdict, {report['added']:,} events were added to silver"]
    return [*lines, f"dry run: {report['changed']:,} rows would have a new verdict; --yes writes them"]
