"""`rtap up`, `down`, `status` and `reset`: run the embedded stack from the command line."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from rtap_assets.commands.settings import pass_settings
from rtap_assets.commands.streaming.following import command_streams
from rtap_assets.commands.streaming.stream_lines import fitting, print_streams
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.host.client import StreamsClient
from rtap_assets.local import stack
from rtap_assets.local.services.dashboard import address_of
from rtap_assets.local.status import ServiceStatus
from rtap_assets.local.status import status as services
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.model.states import Observed

COLUMNS = ("service", "state", "address", "pid", "since", "memory")
STATE_COLORS = {"running": "green", "died": "red", "failed": "red"}


@click.command()
@click.option("--ui", is_flag=True, help="Also start the dashboard, and Dagster's webserver and daemon.")
@click.option("--streams", is_flag=True, help="Also start the stream host; it resumes the desired streams.")
@click.option("--start", is_flag=True, help="Also start the four streams, in the stream host, and wait until each runs.")
@click.option(
    "--generate",
    "rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Also generate records at this rate per second.",
)
@pass_settings
def up(settings: Settings, ui: bool, streams: bool, start: bool, rate: float | None) -> None:
    """Start the embedded Kafka broker and schema registry, create the topics and register the schemas.

    Processes that are already running are adopted. They keep running after this command; `rtap down` ends them. With
    RTAP_KAFKA_BOOTSTRAP or RTAP_REGISTRY_URL set, that broker or registry is used instead of an embedded one.
    """
    stack.up(settings, ui=ui, streams=streams or start, rate=rate, echo=click.echo)
    if start:
        click.echo("starting the streams")
        command_streams(settings, STREAM_NAMES, Action.START)
    click.secho("ready", fg="green")
    click.echo("\n".join(what_next(settings, ui=ui, streams=streams or start, start=start, rate=rate)))


def what_next(settings: Settings, *, ui: bool, streams: bool, start: bool, rate: float | None) -> list[str]:
    """Return the addresses of what `up` started, what is looked at first coming first, and the commands to run next."""
    addresses = {
        "dashboard": address_of(settings) if ui else "",
        "Dagster UI": f"http://127.0.0.1:{settings.ui_port}" if ui else "",
        "stream host": f"{settings.streams_address}/openapi.json" if streams else "",
        "Kafka broker": settings.bootstrap_servers,
        "schema registry": settings.schema_registry_url,
    }
    commands = {
        "rtap generate --rate 2000": "" if rate else "send events, steadily",
        "rtap streams start": "" if start else "run the four streams (or launch `start_streams` in the UI)",
        "rtap top": "watch rates, lag, watermark and revenue",
        "rtap status": "see what runs",
        "rtap down": "end all of it; data are kept",
    }
    return [
        *(f"  {name:<17} {address}" for name, address in addresses.items() if address),
        "next:",
        *(f"  {command:<27} {purpose}" for command, purpose in commands.items() if purpose),
    ]


@click.command()
@pass_settings
def down(settings: Settings) -> None:
    """End what runs: the generator, the UI, the stream host (with a drain), then the registry, then the broker. Data stay.

    Running streams stay desired: the next stream host resumes them.
    """
    stack.down(settings, echo=click.echo)


@click.command()
@pass_settings
def status(settings: Settings) -> None:
    """Show each embedded service: its state, address, pid, since when it runs and its memory; and the state of each stream.

    The exit code is 1 when a service died unexpectedly.
    """
    lines = services(settings)
    if not lines:
        click.echo(f"nothing is running in {settings.state_dir}")
    else:
        console = Console()
        console.print(fitting([_table(lines, columns=COLUMNS), _table(lines, columns=COLUMNS[:3])], console))
    _echo_external(settings)
    if settings.streams_dir.exists() or not settings.uses_embedded_host:
        _print_streams(settings)
    dead = [line for line in lines if line.state != "running"]
    for line in dead:
        fate = "died" if line.state == "died" else "died repeatedly: the keeper has stopped restarting it"
        click.secho(f"The {line.title} (pid {line.pid}) {fate}. Its last lines:", fg="red")
        click.echo(line.tail or "(it wrote nothing)")
    if dead:
        if any(line.service == "keeper" and line.state == "running" for line in lines):
            click.echo("  -> The keeper restarts what died, within seconds; `rtap up` starts what it no longer restarts.")
        else:
            click.echo("  -> `rtap up`, with the same options, starts it again; `rtap down` removes it from the list.")
        raise SystemExit(1)


@click.command()
@click.option("--yes", is_flag=True, help="Really remove it.")
@pass_settings
def reset(settings: Settings, yes: bool) -> None:
    """Remove the state folder with everything in it: topics, schemas, lake, checkpoints, marts, logs.

    Refuses while something runs, and when the folder does not look like a state folder.
    """
    if not yes:
        raise click.UsageError(f"This removes {settings.state_dir} and everything in it. Confirm with `rtap reset --yes`.")
    stack.reset(settings, echo=click.echo)


def _print_streams(settings: Settings) -> None:
    with StreamsClient(settings) as client:
        found = client.statuses()
    print_streams(found, Console())
    for reason in {
        stream.last_error.message for stream in found if stream.observed is Observed.UNKNOWN and stream.last_error
    }:
        click.secho(reason, fg="red")


def _table(lines: list[ServiceStatus], *, columns: tuple[str, ...]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for line in lines:
        color = STATE_COLORS[line.state]
        memory = f"{line.memory_bytes / 2**20:.0f} MB" if line.memory_bytes else "-"
        state = f"[{color}]{line.state}[/{color}]"
        cells = (line.title, state, line.address or "-", str(line.pid), f"{line.since:%Y-%m-%d %H:%M}Z", memory)
        table.add_row(*cells[: len(columns)])
    return table


def _echo_external(settings: Settings) -> None:
    if not settings.uses_embedded_broker:
        click.echo(f"Kafka broker: external, {settings.bootstrap_servers}")
    if not settings.uses_embedded_registry:
        click.echo("schema registry: external (RTAP_REGISTRY_URL)")
