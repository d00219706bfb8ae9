"""`rtap drain`: the streams in a session of this command's own, until what is there is done. Not beside a stream host."""

from __future__ import annotations

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(STREAM_NAMES))
@pass_settings
def drain(settings: Settings, names: tuple[str, ...]) -> None:
    """Process what is there now and end. NAMES are the streams to drain; all by default, in the order of the flow.

    Refused while a stream host owns the checkpoints; `rtap streams drain` asks that host.
    """
    from rtap_assets.streaming.checkpoints.layers import open_layers
    from rtap_assets.streaming.operations.drain import drain_stream
    from rtap_assets.streaming.session import start_session

    click.echo("starting Spark", err=True)
    with open_layers(start_session(settings), settings) as session:
        for name in [stream for stream in STREAM_NAMES if stream in (names or STREAM_NAMES)]:
            report = drain_stream(session, settings, name, echo=click.echo)
            late = f", {report.dropped_late:,} too late" if report.dropped_late else ""
            click.echo(f"{name:<7} {report.input_rows:>10,} rows in {report.batches} batches, {report.seconds:.1f} s{late}")
