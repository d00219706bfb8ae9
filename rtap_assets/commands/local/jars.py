"""`rtap jars`: fetch, verify and list the jars that the platform runs on."""

from __future__ import annotations

import time

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.java.jars import expected_sums, fetch_jars, jars_are_fetched, jars_folder, verify_installed


@click.group()
def jars() -> None:
    """Fetch or verify the jars of Spark's connectors, the broker and the registry."""


@jars.command()
@pass_settings
def fetch(settings: Settings) -> None:
    """Fetch the jars and check their SHA-256 sums; does nothing when they are there."""
    if jars_are_fetched(settings):
        click.echo(f"The jars are in {jars_folder(settings)}")
        return
    click.echo(f"Fetching {len(expected_sums())} files (about 150 MB, once per machine) …")
    started = time.monotonic()
    folder = fetch_jars(settings)
    click.echo(f"Fetched and verified in {time.monotonic() - started:.0f} s: {folder}")


@jars.command()
@pass_settings
def verify(settings: Settings) -> None:
    """Hash every fetched file again and compare with the checked-in sums."""
    count = verify_installed(settings)
    click.echo(f"{count} files in {jars_folder(settings)} are what was reviewed.")


@jars.command("list")
def list_jars() -> None:
    """List the files by use, with the first digits of their sums."""
    for name, digest in expected_sums().items():
        click.echo(f"{digest[:12]}  {name}")
