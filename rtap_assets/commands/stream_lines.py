"""A line per stream, for `rtap status` and `rtap streams status`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table

from rtap_assets.streaming.states import Observed, StreamStatus

COLOURS = {
    Observed.RUNNING: "green",
    Observed.STOPPED: "dim",
    Observed.STARTING: "cyan",
    Observed.STOPPING: "cyan",
    Observed.WAITING: "yellow",
    Observed.BACKOFF: "yellow",
    Observed.DIRTY: "yellow",
}


def stream_table(statuses: Iterable[StreamStatus]) -> Table:
    """Desired and observed state, since when, last commit, lag and rate of each stream."""
    columns = ("stream", "desired", "observed", "since", "last commit", "lag", "rows/s", "watermark")
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for one in statuses:
        colour = COLOURS.get(one.observed, "red")
        observed = f"{one.observed} for {one.waiting_for}" if one.waiting_for else str(one.observed)
        table.add_row(
            one.name,
            str(one.desired),
            f"[{colour}]{observed}[/{colour}]",
            _instant(one.since),
            _instant(one.last_commit_at),
            _lag(one),
            "-" if one.processed_rows_per_second is None else f"{one.processed_rows_per_second:,.0f}",
            _instant(one.watermark),
        )
    return table


def _lag(status: StreamStatus) -> str:
    records = "-" if status.lag_records is None else f"{status.lag_records:,}"
    return records if status.lag_seconds is None else f"{records} ({status.lag_seconds:.0f} s)"


def _instant(instant: datetime | None) -> str:
    return "-" if instant is None else f"{instant:%m-%d %H:%M:%S}Z"
