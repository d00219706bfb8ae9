"""`rtap top`: the streams and the revenue of the newest window, live; of 100 columns, or with fewer figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rtap_assets.commands.revenue_view import WindowRevenue, newest_window
from rtap_assets.commands.settings import pass_settings
from rtap_assets.commands.streaming.keys import single_keys
from rtap_assets.commands.streaming.stream_lines import (
    age,
    fitting,
    narrow_stream_table,
    stream_notes,
    stream_table,
    wide_stream_table,
)
from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, ServingError
from rtap_assets.host.client import StreamsClient
from rtap_assets.streaming.model.states import StreamStatus

COLUMNS = 100
QUIT = "q"
REVENUE_SECONDS = 10.0
CURRENCIES_SHOWN = 4


@click.command()
@click.option("--once", is_flag=True, help="Print one frame and end, as without a terminal.")
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds between two frames."
)
@pass_settings
def top(settings: Settings, once: bool, interval: float) -> None:
    """Watch each stream: desired and observed state, rates, lag, watermark, state, last error; and the newest revenue.

    What is not known is shown as “-”. q or Ctrl-C ends it.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=COLUMNS)
    is_once = once or not console.is_terminal
    revenue = RevenueLine(settings)
    with StreamsClient(settings) as client:

        def look() -> RenderableType:
            now = datetime.now(UTC)
            return frame(
                client.statuses(),
                revenue=revenue.text(time.monotonic()),
                now=now,
                console=console,
                hint="" if is_once else "q leaves",
            )

        if is_once:
            console.print(look())
            return
        try:
            with single_keys() as pressed, Live(look(), console=console, screen=True, auto_refresh=False) as live:
                while pressed(interval).lower() != QUIT:
                    live.update(look(), refresh=True)
        except KeyboardInterrupt:
            return


def frame(
    statuses: Sequence[StreamStatus], *, revenue: str, now: datetime, console: Console, hint: str = ""
) -> RenderableType:
    """Return one picture: a line per stream, then the revenue, then what is wrong and what to do about it."""
    notes = [Text(f"{', '.join(names)}: {note}", style="yellow") for note, names in stream_notes(statuses, now=now).items()]
    return Group(
        Text(f"rtap top  {now:%Y-%m-%d %H:%M:%S}Z  {hint}".rstrip(), style="dim"),
        Text(),
        fitting([table(statuses, now=now) for table in (wide_stream_table, stream_table, narrow_stream_table)], console),
        Text(),
        Text(revenue),
        *([Text(), *notes] if notes else []),
    )


class RevenueLine:
    """The line about the newest window, read from gold at most once in `REVENUE_SECONDS`."""

    def __init__(self, settings: Settings, *, read: Callable[[Settings], Sequence[WindowRevenue]] = newest_window) -> None:
        self._settings = settings
        self._read = read
        self._rows: Sequence[WindowRevenue] = ()
        self._missing = ""
        self._read_at: float | None = None

    def text(self, monotonic: float) -> str:
        """The line as of this instant of the monotonic clock."""
        if self._read_at is None or monotonic - self._read_at >= REVENUE_SECONDS:
            self._read_at, self._missing = monotonic, ""
            try:
                self._rows = self._read(self._settings)
            except (ServingError, DependencyUnavailable) as error:
                self._rows, self._missing = (), f"{error.message} {error.remedy}"
        return self._missing or revenue_text(self._rows, now=datetime.now(UTC))


def revenue_text(rows: Sequence[WindowRevenue], *, now: datetime) -> str:
    """The newest window by currency, with the age of its newest change."""
    if not rows:
        return "No revenue yet: gold holds no window."
    first = rows[0]
    state = "final" if first.is_final else "still open"
    amounts = "   ".join(f"{row.currency} {row.net_amount:,.2f}" for row in rows[:CURRENCIES_SHOWN])
    more = f"   and {len(rows) - CURRENCIES_SHOWN} more currencies" if len(rows) > CURRENCIES_SHOWN else ""
    return (
        f"Net revenue of {first.window_start:%Y-%m-%d %H:%M}-{first.window_end:%H:%M}Z ({state}), changed "
        f"{age(max(row.updated_at for row in rows), now)} ago\n  {amounts}{more}"
    )
