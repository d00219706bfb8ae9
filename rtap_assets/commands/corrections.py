"""`rtap correct` and `rtap erase`: run in the stream host if there is one, else in this process."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from typing import Any

import click

from rtap_assets.config import Settings, get_settings
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.lock import running_host
from rtap_assets.streaming.checkpoints.layers import open_layers
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.operations.corrections import api
from rtap_assets.streaming.operations.corrections.erase import erase_account
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.queries.definitions import GOLD_STREAM, STREAMS
from rtap_assets.streaming.session import start_session


@click.command()
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be corrected, by cause.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def correct(dry_run: bool, as_json: bool) -> None:
    """Add late rows to silver, remove later copies of events, and bring gold up to date."""
    settings = get_settings()
    arguments = {"dry_run": dry_run, "requested_by": _who("rtap correct")}
    if running_host(settings) is not None:
        report = work_in_host(settings, Action.CORRECT, arguments, quiet=as_json, drain_gold=True)
    else:
        report = _correct_here(settings, arguments, quiet=as_json)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    elif dry_run:
        click.echo(
            f"dry run: {report['late']:,} late rows would be added, {report['later_copies']:,} later copies removed "
            f"({report['looked_at']:,} new rows examined)"
        )


@click.command()
@click.option("--account", "account_id", required=True, help="The account's id, as the events have it.")
@click.option("--dry-run", is_flag=True, help="Change nothing; show how many rows would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(account_id: str, dry_run: bool, yes: bool) -> None:
    """Erase an account's rows from bronze (raw bytes too) and silver, permanently. Gold keeps its sums."""
    settings = get_settings()
    if not dry_run and not yes:
        click.confirm(f"Erase every row of account {account_id}? This cannot be undone", abort=True)
    arguments = {"account_id": account_id, "dry_run": dry_run, "requested_by": _who("rtap erase")}
    if running_host(settings) is not None:
        report = work_in_host(settings, Action.ERASE, arguments, quiet=False, drain_gold=False)
    else:
        with open_layers(start_session(settings), settings) as session:
            for name, stream in STREAMS.items():
                if stream.reads is not None and not dry_run:
                    drain_stream(session, settings, name)
            run = CorrectionRun(session, settings, requested_by=_who("rtap erase"), echo=click.echo)
            report = erase_account(run, account_id, dry_run=dry_run).to_json()
    verb = "would be erased" if dry_run else "erased"
    click.echo(f"{report['bronze_rows']:,} rows of bronze and {report['silver_rows']:,} of silver {verb}")
    for note in report["notes"]:
        click.echo(f"- {note}")


def work_in_host(
    settings: Settings, action: Action, arguments: Mapping[str, Any], *, quiet: bool, drain_gold: bool
) -> dict[str, Any]:
    """Run the action in the stream host and return its report; `drain_gold` drains gold before and after."""
    with StreamsClient(settings) as client:

        def echo(text: str) -> None:
            click.echo(text, err=quiet)

        if drain_gold:
            client.wait(client.submit(GOLD_STREAM.name, Action.DRAIN), echo=echo)
        report = client.wait(client.submit_for_tables(action, arguments), echo=echo).result or {}
        if drain_gold and report.get("pending"):  # gold is stopped: drain the added rows, then finish the correction
            client.wait(client.submit(GOLD_STREAM.name, Action.DRAIN), echo=echo)
            client.wait(client.submit_for_tables(action, arguments), echo=echo)
        return report


def _correct_here(settings: Settings, arguments: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Correct between two drains of gold: it must first have read what is corrected, then reads what was added."""
    unattended = settings.model_copy(update={"correction_wait_seconds": 0})
    with open_layers(start_session(settings), settings) as session:
        drain_stream(session, settings, GOLD_STREAM.name)
        run = CorrectionRun(
            session, unattended, requested_by=arguments["requested_by"], echo=lambda text: click.echo(text, err=quiet)
        )
        report = api.correct(run, dry_run=arguments["dry_run"])
        if not arguments["dry_run"]:
            gold = drain_stream(session, settings, GOLD_STREAM.name)
            api.finish(run)
            click.echo(f"gold is up to date: {gold.input_rows:,} rows read", err=quiet)
        return report.to_json()


def _who(command: str) -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user without a name
        user = f"user {os.getuid()}"
    return f"{command} by {user}"
