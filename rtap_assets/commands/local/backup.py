"""`rtap backup` and `rtap restore`: copy the state folder at one moment, and restore it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.launcher import end_host, ensure_host
from rtap_assets.host.lock import running_host

if TYPE_CHECKING:
    from rtap_assets.local.backup import Backup


@click.command()
@click.argument("destination", type=click.Path(path_type=Path))
@pass_settings
def backup(settings: Settings, destination: Path) -> None:
    """Back up lake, catalog, checkpoints, desired states, ledger and Dagster's history into the folder DESTINATION.

    A running stream host stops its streams between two batches, exits for the backup and is started again; desired states
    are kept. The data of the embedded broker and registry are included only if they are stopped: `rtap down` first.
    """
    from rtap_assets.local.backup import back_up

    had_host = running_host(settings) is not None
    if had_host:
        with StreamsClient(settings) as client:
            end_host(client, settings, echo=click.echo)
    try:
        made = back_up(settings, destination.absolute(), echo=click.echo)
    finally:
        if had_host:
            ensure_host(settings, echo=click.echo)
    click.echo(f"backed up {_size(made)} into {destination}")
    for name in made.left_out:
        click.echo(f"not included: {name} (it is running; `rtap down` first to include it)")


@click.command(name="restore")
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@pass_settings
def restore_command(settings: Settings, source: Path) -> None:
    """Make the state folder from the backup in the folder SOURCE. It must be empty, and may be at another path than before.

    Every file's checksum is verified first.
    """
    from rtap_assets.local.backup import restore

    made = restore(settings, source.absolute(), echo=click.echo)
    click.echo(f"restored {_size(made)} into {settings.state_dir}")
    for name in made.left_out:
        click.echo(f"not in the backup: {name}; the streams need the topics and schema ids that they had read")
    click.echo("next: `rtap up --ui --streams`, `rtap streams status`, `rtap marts refresh`, `rtap dq run`")


def _size(made: Backup) -> str:
    return f"{made.files:,} files, {made.size_bytes / 2**20:,.1f} MB,"
