"""`rtap streams`: the stream host in the foreground, and commands to the one that runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from rtap_assets.commands.settings import pass_settings
from rtap_assets.commands.streaming.following import command_streams
from rtap_assets.commands.streaming.stream_lines import print_streams
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.errors import StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.launcher import changed_settings, end_host, ensure_host
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.model.states import Observed

FOLLOW_SECONDS = 0.3
UNWELL = {Observed.UNKNOWN, Observed.BROKEN, Observed.REFUSED, Observed.STALLED, Observed.DIRTY}

names_argument = click.argument("names", nargs=-1, type=click.Choice(STREAM_NAMES))


@click.group()
def streams() -> None:
    """The streams and their host. NAMES are bronze, dlq, silver, gold; all four by default.

    A command that needs the host starts it in the background; it ends by itself when nothing runs and nothing is asked.
    """


@streams.command()
@click.option("--background", is_flag=True, help="As other commands start it: print nothing, end when no longer needed.")
@pass_settings
def serve(settings: Settings, background: bool) -> None:
    """Be the stream host until Ctrl-C or SIGTERM; then stop the streams between batches, leaving what is desired.

    The exit code is 1 when a stream had to be stopped in the middle of a batch, and 3 when the JVM died.
    """
    # Imported when called: the other commands need no Spark.
    from rtap_assets.host.process import serve as serve_streams
    from rtap_assets.local.services.stream_host import recorded_host
    from rtap_assets.local.state import claim_state_dir

    claim_state_dir(settings)
    with recorded_host(settings) as recorded:
        serve_streams(settings, background=background, recorded=recorded)


@streams.command()
@pass_settings
def status(settings: Settings) -> None:
    """Show the state of each stream. The exit code is 1 when one is broken, refused, stalled, dirty or unknown."""
    with StreamsClient(settings) as client:
        found = client.statuses()
    print_streams(found, Console())
    for stream in found:
        if stream.error_is_over:
            continue  # `rtap top` and the API still have it, with its time
        if stream.last_error is not None:
            click.echo(f"{stream.name}: {stream.last_error.message}")
            if stream.last_error.remedy:
                click.echo(f"  -> {stream.last_error.remedy}")
    if any(stream.observed in UNWELL for stream in found):
        raise SystemExit(1)


@streams.command()
@names_argument
@pass_settings
def start(settings: Settings, names: tuple[str, ...]) -> None:
    """Start streams, and wait until each has proven that it runs."""
    _command(settings, names, Action.START)


@streams.command()
@names_argument
@pass_settings
def stop(settings: Settings, names: tuple[str, ...]) -> None:
    """Stop streams between batches, and wait for the proof."""
    _command(settings, names, Action.STOP)


@streams.command()
@names_argument
@pass_settings
def restart(settings: Settings, names: tuple[str, ...]) -> None:
    """Stop streams and start them again."""
    _command(settings, names, Action.RESTART)


@streams.command()
@names_argument
@pass_settings
def drain(settings: Settings, names: tuple[str, ...]) -> None:
    """Complete the layers up to now, one after the other; a stream that was stopped is stopped again."""
    _command(settings, names, Action.DRAIN)


@streams.command()
@pass_settings
def shutdown(settings: Settings) -> None:
    """End the host, and with it its streams, between batches. What is desired stays: the next host resumes it."""
    with StreamsClient(settings) as client:
        end_host(client, settings, echo=click.echo)


@streams.command()
@click.option("-n", "--lines", default=50, show_default=True, help="How many of the last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@pass_settings
def logs(settings: Settings, lines: int, follow: bool) -> None:
    """Show the log of the stream host."""
    path = settings.log_dir / "stream-host.log"
    if not path.exists():
        raise StreamError(f"There is no log {path}: no stream host was started here.", remedy="`rtap streams start`")
    with path.open(encoding="utf-8", errors="replace") as file:
        click.echo("".join(deque(file, maxlen=lines)), nl=False)
        position = file.tell()
    while follow:
        time.sleep(FOLLOW_SECONDS)
        position = _echo_from(path, position)


def _command(settings: Settings, names: Sequence[str], action: Action) -> None:
    host = ensure_host(settings, echo=click.echo)
    if settings.uses_embedded_host and (changed := changed_settings(settings, host.pid)):
        click.echo(f"{', '.join(changed)} changed since the stream host started, and does not hold there yet.", err=True)
        click.echo("  -> `rtap streams shutdown`, then `rtap streams start`, applies it.", err=True)
    command_streams(settings, names or STREAM_NAMES, action)


def _echo_from(path: Path, position: int) -> int:
    """Print what was appended since; a rotated file is read from its beginning."""
    if path.stat().st_size < position:
        position = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(position)
        click.echo(file.read(), nl=False)
        return file.tell()
