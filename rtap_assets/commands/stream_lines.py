"""A line per stream, for `rtap status` and `rtap streams status`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

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


def stream_table(statuses: Iterable[StreamStatus], *, now: datetime | None = None) -> Table:
    """Desired and observed state, for how long, age of the last commit, lag, rate and delay of the watermark."""
    now = now or datetime.now(UTC)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stream", "desired", "observed", "for", "commit", "lag", "rows/s", "watermark"):
        table.add_column(column, no_wrap=True)
    for one in statuses:
        colour = COLOURS.get(one.observed, "red")
        observed = f"{one.observed} for {one.waiting_for}" if one.waiting_for else str(one.observed)
        table.add_row(
            one.name,
            str(one.desired),
            f"[{colour}]{observed}[/{colour}]",
            _age(one.since, now),
            _age(one.last_commit_at, now, " ago"),
            _lag(one),
            "-" if one.processed_rows_per_second is None else f"{one.processed_rows_per_second:,.0f}",
            _age(one.watermark, now, " ago"),
        )
    return table


def _lag(status: StreamStatus) -> str:
    records = "-" if status.lag_records is None else f"{status.lag_records:,}"
    return records if not status.lag_seconds else f"{records} ({_span(status.lag_seconds)})"


def _age(instant: datetime | None, now: datetime, suffix: str = "") -> str:
    return "-" if instant is None else f"{_span((now - instant).total_seconds())}{suffix}"


def _span(seconds: float) -> str:
    """The two-digit form that people compare at a glance: 45s, 12m, 30h, 9d."""
    for size, unit in ((86_400 * 2, "d"), (3_600 * 2, "h"), (60 * 2, "m")):
        if seconds >= size:
            return f"{seconds / (size / 2):.0f}{unit}"
    return f"{max(0, seconds):.0f}s"
