"""A line per stream, for `rtap status`, `rtap streams status` and `rtap top`. What is not known is “-”, never 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtap_assets.streaming.model.states import Observed, StreamStatus

# Ages of the oldest uncommitted record: a reader of gold notices the first, the second is an incident.
SLOW_SECONDS, LATE_SECONDS = 60.0, 600.0
WIDER_THAN_ANY = 10_000
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
    """Return desired and observed state, for how long, age of the last commit, lag, rate and delay of the watermark."""
    now = now or datetime.now(UTC)
    table = _table("stream", "desired", "observed", "for", "commit", "lag", "rows/s", "watermark")
    for one in statuses:
        observed = f"{one.observed} for {one.waiting_for}" if one.waiting_for else str(one.observed)
        table.add_row(
            one.name,
            str(one.desired),
            _coloured(one, observed),
            age(_known_since(one), now),
            age(one.last_commit_at, now, " ago"),
            _lag(one, _plain),
            _plain(one.processed_rows_per_second),
            age(one.watermark, now, " ago"),
        )
    return table


def wide_stream_table(statuses: Iterable[StreamStatus], *, now: datetime) -> Table:
    """Return the same with the rate of the input and the state, in at most 100 columns; reasons are in `stream_notes`.

    Of a stream that is UNKNOWN nothing is shown: its last readings would pass for those of now.
    """
    table = _table("stream", "desired", "observed", "for", "commit", "lag", "in/s", "rows/s", "watermark", "state")
    for one in statuses:
        if one.observed is Observed.UNKNOWN:
            table.add_row(one.name, "-", _coloured(one, str(one.observed)), *"-" * 7)
            continue
        table.add_row(
            one.name,
            str(one.desired),
            _coloured(one, str(one.observed)),
            age(_known_since(one), now),
            age(one.last_commit_at, now, " ago"),
            _lag(one, _short),
            _short(one.input_rows_per_second),
            _short(one.processed_rows_per_second),
            age(one.watermark, now, " ago"),
            "-"
            if one.state_rows is None and one.state_bytes is None
            else f"{_short(one.state_rows)}, {_size(one.state_bytes)}",
        )
    return table


def narrow_stream_table(statuses: Iterable[StreamStatus], *, now: datetime | None = None) -> Table:
    """Return the observed state, age of the last commit and lag, in at most 60 columns."""
    now = now or datetime.now(UTC)
    table = _table("stream", "observed", "commit", "lag")
    for one in statuses:
        table.add_row(one.name, _coloured(one, str(one.observed)), age(one.last_commit_at, now, " ago"), _lag(one, _short))
    return table


def fitting(tables: Sequence[Table], console: Console) -> Table:
    """Return the first table that fits into the console without a cell cut, else the last."""
    unbounded = console.options.update(max_width=WIDER_THAN_ANY)
    return next((one for one in tables if console.measure(one, options=unbounded).maximum <= console.width), tables[-1])


def print_streams(statuses: Sequence[StreamStatus], console: Console) -> None:
    """Print a line per stream, with as many columns as the console has room for."""
    console.print(fitting((stream_table(statuses), narrow_stream_table(statuses)), console))


def _known_since(status: StreamStatus) -> datetime | None:
    """Return since when; None of a stream at rest that never committed: it was not first seen at this look."""
    return status.since if status.last_commit_at is not None or status.since != status.observed_at else None


def stream_notes(statuses: Iterable[StreamStatus], *, now: datetime) -> dict[str, list[str]]:
    """Return note -> the streams that it is about: what they wait for, the last error."""
    notes: dict[str, list[str]] = {}
    for one in statuses:
        found = []
        if one.waiting_for:
            found.append(f"waits for {one.waiting_for}")
        if one.observed is Observed.BACKOFF and one.next_start is not None:
            found.append(f"starts again in {age(now, one.next_start)}, after {one.failures} failures")
        if one.last_error is not None:
            error = one.last_error
            since = "" if one.observed is Observed.UNKNOWN else f" ({age(error.at, now)} ago)"
            remedy = f"\n  -> {error.remedy}" if error.remedy else ""
            if one.error_is_over:
                since, remedy = f" {age(error.at, now)} ago, over since {age(one.since, now)}", ""
            found.append(f"{error.code}{since}: {error.message}{remedy}")
        for note in found:
            notes.setdefault(note, []).append(one.name)
    return notes


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _coloured(status: StreamStatus, text: str) -> Text:
    return Text(text, style=COLOURS.get(status.observed, "red"))


def _lag(status: StreamStatus, number: Callable[[float | None], str]) -> Text:
    """Return the records that are not committed yet and the age of the oldest; yellow and red when that is old."""
    records = number(status.lag_records)
    seconds = status.lag_seconds or 0.0
    color = "red" if seconds >= LATE_SECONDS else "yellow" if seconds >= SLOW_SECONDS else ""
    return Text(records if not seconds else f"{records} ({_span(seconds)})", style=color)


def age(instant: datetime | None, now: datetime, suffix: str = "") -> str:
    """Return how long ago, in two digits; “-” when not known."""
    return "-" if instant is None else f"{_span((now - instant).total_seconds())}{suffix}"


def _span(seconds: float) -> str:
    """Return the two-digit form that is compared at a glance: 45s, 12m, 30h, 9d."""
    for size, unit in ((86_400 * 2, "d"), (3_600 * 2, "h"), (60 * 2, "m")):
        if seconds >= size:
            return f"{seconds / (size / 2):.0f}{unit}"
    return f"{max(0, seconds):.0f}s"


def _plain(count: float | None) -> str:
    return "-" if count is None else f"{count:,.0f}"


def _short(count: float | None) -> str:
    """Return a count in at most six characters: 99,999, then 100k, 1.2M, 3.4G."""
    if count is None:
        return "-"
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count / 1e3:.0f}k" if count >= 100_000 else f"{count:,.0f}"


def _size(count: int | None) -> str:
    """Return bytes in at most seven characters: 999 kB, 12 MB, 3.0 GB."""
    if count is None:
        return "-"
    if count >= 1000 * 2**20:
        return f"{count / 2**30:.1f} GB"
    return f"{count / 2**20:.0f} MB" if count >= 1000 * 2**10 else f"{count / 2**10:.0f} kB"
