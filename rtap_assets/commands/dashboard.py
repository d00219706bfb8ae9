"""`rtap dashboard`: the live page and its HTTP API, served in the foreground."""

from __future__ import annotations

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.local.services.dashboard import address_of, refuse_taken_port


@click.command()
@pass_settings
def dashboard(settings: Settings) -> None:
    """Serve the live revenue page and the HTTP API until Ctrl-C; `rtap up --ui` does so in the background.

    Broker, stream host and marts may be away: the page says so, and goes on when they are back.
    """
    refuse_taken_port(settings)
    from rtap_assets.dashboard.process import serve  # half a second, which the refusal need not wait for

    click.echo(f"{address_of(settings)}  (Ctrl-C ends it)")
    serve(settings)
