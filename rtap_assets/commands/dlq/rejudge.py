"""`rtap dlq rejudge`: judge quarantined rows again, in the stream host if there is one, else in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rtap_assets.commands.dlq.options import selection_of, selection_options
from rtap_assets.commands.dlq.view import table
from rtap_assets.config import Settings, get_settings
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.lock import running_host
from rtap_assets.streaming.checkpoints.layers import open_layers
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.operations.corrections.api import finish
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.operations.rejudge import RejudgeOptions, rejudge
from rtap_assets.streaming.queries.definitions import GOLD_STREAM
from rtap_assets.streaming.session import start_session

BY = "rtap dlq rejudge"


@click.command(name="rejudge")
@selection_options(0, "Most rows judged, the oldest first; 0: all.")
@click.option("--yes", is_flag=True, help="Write the new verdicts. Default: a dry run that counts them.")
def rejudge_command(yes: bool, **chosen: Any) -> None:
    """Judge quarantined rows of bronze again from their raw bytes, with the current contract, settings and registry.

    Rows that are now valid count in silver and gold, as late rows do; bronze keeps the time and their earlier reason.
    Idempotent: repeating it, or rerunning it after a kill, changes nothing more. No dead letter is sent again.
    """
    options = RejudgeOptions(selection_of(**chosen), apply=yes)
    report = _rejudged(get_settings(), options)
    for line in report_lines(report, applied=yes):
        click.echo(line)


def report_lines(report: Mapping[str, Any], *, applied: bool) -> list[str]:
    """Return the outcome: rows by old reason and new verdict."""
    rows = [(change["from"], change["to"], f"{change['rows']:,}") for change in report["changes"]]
    lines = [*table(("from", "to", "rows"), rows, right=(2,))] if rows else ["no quarantined row is selected"]
    if applied:
        return [*lines, f"{report['changed']:,} rows have a new verdict, {report['added']:,} events were added to silver"]
    return [*lines, f"dry run: {report['changed']:,} rows would have a new verdict; --yes writes them"]


def _rejudged(settings: Settings, options: RejudgeOptions) -> dict[str, Any]:
    if running_host(settings) is not None:
        with StreamsClient(settings) as client:
            command = client.submit_for_tables(Action.REJUDGE, options.to_json() | {"requested_by": BY})
            report = client.wait(command, echo=click.echo).result or {}
            if report["added"]:
                client.wait(client.submit(GOLD_STREAM.name, Action.DRAIN), echo=click.echo)
        return report
    unattended = settings.model_copy(update={"correction_wait_seconds": 0})  # gold does not run in this process
    with open_layers(start_session(settings), settings) as session:
        run = CorrectionRun(session, unattended, requested_by=BY, echo=click.echo)
        report = rejudge(run, options)
        if report["added"]:
            drain_stream(session, settings, GOLD_STREAM.name)
            finish(run)
        return report
