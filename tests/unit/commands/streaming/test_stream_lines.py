"""A line per stream in terminals of each width: fewer columns where there is no room, and never a cell that is cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from fake_host import NOON, status
from rich.cells import cell_len
from rich.console import Console

from rtap_assets.commands.streaming.stream_lines import fitting, narrow_stream_table, stream_table, wide_stream_table
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.streaming.model.states import Desired, Observed

NOW = NOON + timedelta(minutes=30)
BUSY = [
    status(
        name,
        desired=Desired.RUNNING,
        observed=Observed.RUNNING,
        since=NOON,
        last_commit_at=NOW - timedelta(seconds=90),
        lag_records=123_456_789,
        lag_seconds=1_000.0,
        input_rows_per_second=123_456.0,
        processed_rows_per_second=123_456.0,
        watermark=NOW - timedelta(minutes=20),
        state_rows=123_456_789,
        state_bytes=900 * 2**20,
    )
    for name in STREAM_NAMES
]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_cell_is_cut_and_no_line_is_broken(width: int) -> None:
    console = Console(width=width, file=StringIO())
    tables = [table(BUSY, now=NOW) for table in (wide_stream_table, stream_table, narrow_stream_table)]
    console.print(fitting(tables, console))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 1 + len(BUSY)
    assert max(cell_len(line) for line in lines) <= width
    assert "…" not in console.file.getvalue()
    assert ("state" in lines[0].split()) == (width >= 120)


@pytest.mark.parametrize("seconds, color", [(5.0, ""), (61.0, "yellow"), (601.0, "red")])
def test_lag_is_colored_by_the_age_of_the_oldest_record(seconds: float, color: str) -> None:
    (cell,) = (
        narrow_stream_table([status("gold", lag_records=10, lag_seconds=seconds)], now=datetime.now(UTC)).columns[3].cells
    )
    assert str(cell.style) == color
