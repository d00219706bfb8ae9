"""Commands to the streams with their steps on the terminal, up to the proof of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import click

from rtap_assets.config import Settings
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.following import carry_out
from rtap_assets.streaming.model.operation import Action, Operation

INTERRUPTED = 130


def command_streams(
    settings: Settings, names: Sequence[str], action: Action, *, follow: Callable[..., Iterator[Operation]] = carry_out
) -> None:
    """Ask the stream host to do this with the streams, and follow it; Ctrl-C ends the following alone, with exit code 130.

    Raises:
        StreamError: at least one did not get there.
        DependencyUnavailable: the stream host does not answer.
    """
    with StreamsClient(settings) as client:
        try:
            for _ in follow(client, action, names, echo=lambda name, text: click.echo(f"{name:<7} {text}")):
                pass  # the last step says how it ended
        except KeyboardInterrupt:
            click.echo(f"\nThe stream host goes on with the {action}; `rtap streams status` shows it.", err=True)
            raise SystemExit(INTERRUPTED) from None
