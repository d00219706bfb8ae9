"""`rtap drain` and `rtap stream`: the same four queries, until what is there is done, or until told to stop."""

from __future__ import annotations

import signal
from threading import Event

import click

from rtap_assets.config import get_settings
from rtap_assets.errors import StreamError
from rtap_assets.streaming.drain import drain_stream
from rtap_assets.streaming.engine import StreamEngine
from rtap_assets.streaming.layers import open_layers
from rtap_assets.streaming.queries import STREAMS
from rtap_assets.streaming.session import start_session

NAMES = click.Choice(list(STREAMS))


@click.command()
@click.argument("names", nargs=-1, type=NAMES)
def drain(names: tuple[str, ...]) -> None:
    """Process what is there now and end. NAMES: bronze, dlq, silver, gold; all four, in that order, by default."""
    settings = get_settings()
    with open_layers(start_session(settings), settings) as session:
        for name in [stream for stream in STREAMS if stream in (names or STREAMS)]:
            report = drain_stream(session, settings, name, echo=click.echo)
            late = f", {report.dropped_late:,} too late" if report.dropped_late else ""
            click.echo(f"{name:<7} {report.input_rows:>10,} rows in {report.batches} batches, {report.seconds:.1f} s{late}")


@click.command()
@click.argument("names", nargs=-1, type=NAMES)
def stream(names: tuple[str, ...]) -> None:
    """Run the streams in the foreground until Ctrl-C or SIGTERM, then stop them between batches."""
    settings = get_settings()
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with open_layers(start_session(settings), settings) as session:
        engine = StreamEngine(session, settings, say=click.echo)
        for name in names or tuple(STREAMS):
            engine.submit(name, "start")
        stop.wait()
        clean = engine.close(seconds=2 * settings.stop_timeout_seconds)
    dirty = [name for name, stopped in clean.items() if not stopped]
    if dirty:
        raise StreamError(
            f"Stopped in the middle of a batch: {', '.join(dirty)}.", remedy="Nothing is lost: the next start repeats it."
        )
    click.echo("stopped between batches")
