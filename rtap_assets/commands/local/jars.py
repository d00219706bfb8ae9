"""`rtap jars`: fetch, verify and list the platform's jars; make the class-data archive of Spark's."""

from __future__ import annotations

import time
from pathlib import Path

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.java.class_archive import make_archive
from rtap_assets.java.jars import expected_sums, fetch_jars, jars_are_fetched, jars_folder, verify_installed
from rtap_assets.java.jvm import java_command
from rtap_assets.java.spark_driver import spark_class_path

WAIT_SECONDS = 600  # on a busy machine: it is made with the lowest priority


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
    click.echo(f"{count} files in {jars_folder(settings)} match their checksums.")


@jars.command()
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for another process that is making one.")
@pass_settings
def archive(settings: Settings, wait: bool) -> None:
    """Make the class-data archive that halves the CPU of Spark's start (245 MB); does nothing when it is there.

    `make setup` and a start of Spark without one begin this in the background.
    """
    started = time.monotonic()
    java = Path(java_command(settings)[0])
    path = make_archive(settings, java=java, class_path=spark_class_path(settings), wait_seconds=WAIT_SECONDS if wait else 0)
    if path is None:
        click.echo("Another process is making it.")
    else:
        click.echo(f"The class-data archive is {path} ({time.monotonic() - started:.0f} s)")


@jars.command("list")
def list_jars() -> None:
    """List the files, with the first digits of their checksums."""
    for name, digest in expected_sums().items():
        click.echo(f"{digest[:12]}  {name}")
