"""`rtap maintain` and `rtap rebuild`: care for the tables; `table_work_of`, by which commands work on them."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_SPECS
from rtap_assets.errors import StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.runtime.terminal import wrapped

if TYPE_CHECKING:
    from rtap_assets.host import table_work

REBUILDABLE = click.Choice([stream.name for stream in STREAM_SPECS if not stream.reads_kafka])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@pass_settings
def maintain(settings: Settings, as_json: bool) -> None:
    """Compact closed partitions, expire snapshots and remove orphan files: in the stream host when one runs, else here."""
    with table_work_of(settings, requested_by="rtap maintain", quiet=as_json) as tables:
        report = tables.maintain()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    if faults := [fault for table in report["tables"] for fault in table["faults"]]:
        raise StreamError(
            f"{len(faults)} steps failed: {'; '.join(faults)}.", remedy="Run it again: it resumes with the remaining steps."
        )


@click.command()
@click.argument("name", type=REBUILDABLE)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_settings
def rebuild(settings: Settings, name: str, yes: bool) -> None:
    """Drop a layer and what is below it, and build them again from the table above. NAME: dlq, silver or gold.

    Stop the streams first; a stream host without running streams is ended.
    """
    from rtap_assets.host import table_work
    from rtap_assets.streaming.operations.rebuild import downstream_of
    from rtap_assets.streaming.queries.definitions import STREAMS
    from rtap_assets.streaming.session import start_session

    if not yes:
        streams = downstream_of(STREAMS[name])
        names = ", ".join(stream.writes.identifier if stream.writes else stream.name for stream in streams)
        click.confirm(f"Drop and build again: {names}?", abort=True)
    client = StreamsClient(settings)
    table_work.rebuild(settings, name, client=client, session=lambda: start_session(settings), echo=click.echo)


def table_work_of(
    settings: Settings, *, requested_by: str, quiet: bool = False
) -> AbstractContextManager[table_work.TableWork]:
    """Open work on the tables for a command: in the stream host when one runs, else here. `quiet` keeps stdout free."""
    from rtap_assets.host import table_work
    from rtap_assets.streaming.session import start_session

    return table_work.table_work(
        settings,
        client=table_work.client_of_host(settings),
        session=lambda: start_session(settings),
        requested_by=requested_by,
        echo=lambda text: click.echo("\n".join(wrapped(text)), err=quiet),
    )
