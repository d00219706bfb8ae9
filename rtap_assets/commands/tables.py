"""`rtap tables`: list and acknowledge changes of bronze, silver and gold by other programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings


@click.group()
def tables() -> None:
    """List and acknowledge changes that other programs made to the tables of the lake."""


@tables.command()
@click.option("--all", "show_all", is_flag=True, help="Include acknowledged changes.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
@pass_settings
def changes(settings: Settings, show_all: bool, as_json: bool) -> None:
    """Show the changes of bronze, silver and gold that other programs made. Changes nothing."""
    from rtap_assets.lake.table_changes import read_changes

    found = [one for one in read_changes(settings) if show_all or one.acknowledged_at is None]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], default=str, indent=2))
        return
    for one in found:
        click.echo(one.sentence + ("" if one.acknowledged_at is None else ", acknowledged"))
    if not found:
        click.echo("no change by another program" + ("" if show_all else " that is not acknowledged"))


@tables.command()
@click.argument("change_id")
@pass_settings
def ack(settings: Settings, change_id: str) -> None:
    """Acknowledge a change, so that the check `foreign_changes` no longer fails for it. The rows stay as they are."""
    from rtap_assets.lake.table_changes import acknowledge_change

    done = acknowledge_change(settings, change_id, now=datetime.now(UTC))
    click.echo(f"acknowledged: {done.sentence}")
