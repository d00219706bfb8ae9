"""`rtap maintain` and `rtap rebuild`: maintain the tables and rebuild layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from rtap_assets.config import Settings, get_settings
from rtap_assets.errors import StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.lock import running_host
from rtap_assets.streaming.checkpoints.layers import open_layers
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.operations.maintenance import maintain_tables
from rtap_assets.streaming.operations.rebuild import downstream_of, rebuild_layer
from rtap_assets.streaming.queries.definitions import STREAMS
from rtap_assets.streaming.session import start_session

REBUILDABLE = click.Choice([name for name, stream in STREAMS.items() if stream.reads is not None])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def maintain(as_json: bool) -> None:
    """Compact closed partitions, expire snapshots and remove orphan files, in the stream host if there is one."""
    report = _maintained(get_settings(), echo=lambda line: click.echo(line, err=as_json))
    if as_json:
        click.echo(json.dumps(report, indent=2))
    if faults := [fault for table in report["tables"] for fault in table["faults"]]:
        raise StreamError(
            f"{len(faults)} steps failed: {'; '.join(faults)}.", remedy="Run it again: it resumes with the remaining steps."
        )


def _maintained(settings: Settings, *, echo: Callable[[str], None]) -> dict[str, Any]:
    if running_host(settings) is not None:
        with StreamsClient(settings) as client:
            return client.wait(client.submit_for_tables(Action.MAINTAIN), echo=echo).result or {}
    with open_layers(start_session(settings), settings) as session:
        return maintain_tables(session, settings, echo=echo).to_json()


@click.command()
@click.argument("name", type=REBUILDABLE)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rebuild(name: str, yes: bool) -> None:
    """Drop a layer and those below it, and rebuild them from the table above. NAME: dlq, silver or gold."""
    settings = get_settings()
    streams = downstream_of(STREAMS[name])
    if not yes:
        names = ", ".join(stream.writes.identifier if stream.writes else stream.name for stream in streams)
        click.confirm(f"Drop and rebuild: {names}?", abort=True)
    dropped = [stream.writes for stream in streams if stream.writes is not None]
    with open_layers(start_session(settings), settings, doomed=dropped) as session:
        rebuild_layer(session, settings, name, echo=click.echo)
