"""`rtap correct` and `rtap erase`: in the stream host when one runs, else here."""

from __future__ import annotations

import getpass
import json
import os

import click

from rtap_assets.commands.maintenance import table_work_of
from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings


@click.command()
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be corrected, by cause.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@pass_settings
def correct(settings: Settings, dry_run: bool, as_json: bool) -> None:
    """Add late rows to silver, remove later copies of events, and bring gold up to date."""
    with table_work_of(settings, requested_by=_who("rtap correct"), quiet=as_json) as tables:
        report = tables.correct(dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    elif dry_run:
        click.echo(
            f"dry run: {report['late']:,} late rows would be added, {report['later_copies']:,} later copies removed "
            f"({report['looked_at']:,} new rows looked at)"
        )


@click.command()
@click.option("--account", "account_id", required=True, help="The account's id, as the events have it.")
@click.option("--dry-run", is_flag=True, help="Change nothing; show how many rows would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_settings
def erase(settings: Settings, account_id: str, dry_run: bool, yes: bool) -> None:
    """Erase an account's rows from bronze (raw bytes too) and silver, for good. Gold keeps its sums."""
    if not dry_run and not yes:
        click.confirm(f"Erase every row of account {account_id}? This cannot be undone", abort=True)
    with table_work_of(settings, requested_by=_who("rtap erase")) as tables:
        report = tables.erase(account_id, dry_run=dry_run)
    verb = "would be erased" if dry_run else "erased"
    click.echo(f"{report['bronze_rows']:,} rows of bronze and {report['silver_rows']:,} of silver {verb}")
    for note in report["notes"]:
        click.echo(f"- {note}")


def _who(command: str) -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user without a name
        user = f"user {os.getuid()}"
    return f"{command} by {user}"
