"""Frames of `rtap top` over a fake host, and the command itself where there is no host at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from fake_host import NOON, FakeHost, status_now
from lake_fixtures import bronze_row, gold_row, make_lake
from rich.cells import cell_len
from rich.console import Console

from rtap_assets.cli import cli
from rtap_assets.commands.revenue_view import WindowRevenue, newest_window
from rtap_assets.commands.streaming.stream_lines import stream_notes
from rtap_assets.commands.streaming.top import REVENUE_SECONDS, RevenueLine, frame, revenue_text
from rtap_assets.config import Settings, get_settings, load_settings
from rtap_assets.errors import ServingError
from rtap_assets.streaming.model.states import Desired, FailureNote, Observed, StreamStatus

RUNNING = {"desired": Desired.RUNNING, "observed": Observed.RUNNING}


def lines_of(statuses: Sequence[StreamStatus], *, now: datetime | None = None, colour: bool = False) -> list[str]:
    """The frame as a terminal of 100 columns shows it."""
    console = Console(width=100, file=StringIO(), force_terminal=colour, color_system="standard" if colour else None)
    console.print(frame(statuses, revenue="no revenue", now=now or datetime.now(UTC), console=console))
    lines = console.file.getvalue().splitlines()
    assert colour or max(map(cell_len, lines)) <= 100
    return [line.rstrip() for line in lines]


def line_of(name: str, lines: Sequence[str]) -> list[str]:
    return next(line for line in lines if line.startswith(name)).split()


def test_a_running_stream_has_its_readings_in_its_line(fake_host: FakeHost) -> None:
    now = datetime.now(UTC)
    fake_host.engine.found["gold"] = status_now(
        "gold",
        **RUNNING,
        since=now - timedelta(minutes=5),
        last_commit_at=now - timedelta(seconds=3),
        lag_records=1_234,
        lag_seconds=5.4,
        input_rows_per_second=1_999.6,
        processed_rows_per_second=12_345.0,
        watermark=now - timedelta(minutes=20),
        state_rows=250_000,
        state_bytes=12 * 2**20,
    )
    lines = lines_of(fake_host.client.statuses(), now=now)
    assert line_of("gold", lines) == ("gold running running 5m 3s ago 1,234 (5s) 2,000 12,345 20m ago 250k, 12 MB".split())
    assert lines[-1] == "no revenue"


def test_a_reading_that_is_not_known_is_a_dash_and_a_known_zero_a_zero(fake_host: FakeHost) -> None:
    now = datetime.now(UTC)
    fake_host.engine.found["dlq"] = status_now("dlq", **RUNNING, since=now, lag_records=0, input_rows_per_second=0.0)
    lines = lines_of(fake_host.client.statuses(), now=now)
    assert line_of("dlq", lines) == ["dlq", "running", "running", "0s", "-", "0", "0", "-", "-", "-"]
    assert line_of("gold", lines)[4:] == ["-"] * 6


def test_a_waiting_stream_says_for_what(fake_host: FakeHost) -> None:
    for name in ("bronze", "dlq"):
        fake_host.engine.found[name] = status_now(
            name, desired=Desired.RUNNING, observed=Observed.WAITING, waiting_for="registry"
        )
    assert lines_of(fake_host.client.statuses())[-1] == "bronze, dlq: waits for registry"


def test_a_broken_stream_says_its_error_when_and_what_to_do_in_red(fake_host: FakeHost) -> None:
    now = datetime.now(UTC)
    note = FailureNote("table_gone", "[gold] is not there.", now - timedelta(seconds=90), "Rebuild it.")
    fake_host.engine.found["gold"] = status_now("gold", observed=Observed.BROKEN, last_error=note)
    assert lines_of(fake_host.client.statuses(), now=now)[-2:] == [
        "gold: table_gone (90s ago): [gold] is not there.",
        "  -> Rebuild it.",
    ]
    assert any("\x1b[31mbroken" in line for line in lines_of(fake_host.client.statuses(), now=now, colour=True))


def test_an_error_that_is_over_is_shown_with_its_time_and_without_a_next_step() -> None:
    now = datetime.now(UTC)
    note = FailureNote("table_gone", "[gold] is not there.", now - timedelta(seconds=90), "Put it back.")
    well = status_now("gold", observed=Observed.RUNNING, since=now - timedelta(seconds=60), last_error=note)
    assert well.error_is_over
    assert list(stream_notes([well], now=now)) == ["table_gone 90s ago, over since 60s: [gold] is not there."]
    failed_since = replace(well, since=now - timedelta(seconds=95))
    assert not failed_since.error_is_over
    assert "Put it back." in next(iter(stream_notes([failed_since], now=now)))


def test_of_an_unknown_stream_nothing_is_shown_but_why(fake_host: FakeHost) -> None:
    late = status_now("gold", **RUNNING, lag_records=7, processed_rows_per_second=5.0, state_rows=3, valid_until=NOON)
    fake_host.engine.found["gold"] = late
    lines = lines_of(fake_host.client.statuses())
    assert line_of("gold", lines) == ["gold", "-", "unknown", *"-------"]
    assert "gold: unknown: The stream host answers, but looked at gold last at" in "\n".join(lines)


def test_the_widest_readings_fit_into_100_columns() -> None:
    now = datetime.now(UTC)
    past = now - timedelta(seconds=119)
    widest = status_now(
        "silver",
        desired=Desired.STOPPED,
        observed=Observed.STARTING,
        since=past,
        last_commit_at=past,
        lag_records=99_999,
        lag_seconds=119 * 60.0,
        input_rows_per_second=99_999.0,
        processed_rows_per_second=99_999.0,
        watermark=past,
        state_rows=99_999,
        state_bytes=999 * 2**20,
        last_error=FailureNote("unreachable", "word " * 60, past, "Look."),
    )
    (line,) = [line for line in lines_of([widest], now=now) if line.startswith("silver  ")]
    assert line.endswith("99,999 (119m)  99,999  99,999  119s ago   99,999, 999 MB")
    large = replace(widest, lag_records=12_345_678, state_rows=2_000_000, state_bytes=3 * 2**30)
    assert any(line.endswith("2.0M, 3.0 GB") and "12.3M (119m)" in line for line in lines_of([large], now=now))


def test_the_newest_window_of_gold_is_shown_with_its_state_and_its_age(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path)
    early, start = NOON.replace(month=3), NOON.replace(month=3) + timedelta(minutes=5)
    make_lake(settings, bronze=[bronze_row(1)], gold=[gold_row(early), gold_row(start)], watermark=start)
    text = revenue_text(newest_window(settings), now=start + timedelta(minutes=3))
    assert text.splitlines()[0] == "Net revenue of 2026-03-01 12:05-12:10Z (still open), changed 3m ago"
    assert " 10.00" in text.splitlines()[1]
    assert revenue_text([], now=start) == "No revenue yet: gold holds no window."


def test_gold_is_read_at_most_once_in_ten_seconds(tmp_path: Path) -> None:
    reads: list[int] = []

    def read(_: Settings) -> list[WindowRevenue]:
        reads.append(len(reads))
        if len(reads) == 1:
            raise ServingError("There are no marts yet.", remedy="Build them.")
        return [WindowRevenue(NOON, NOON + timedelta(minutes=5), "EUR", Decimal("1234.5"), 3, True, NOON)]

    line = RevenueLine(load_settings(state_dir=tmp_path), read=read)
    assert {line.text(0.0), line.text(REVENUE_SECONDS - 0.1)} == {"There are no marts yet. Build them."}
    assert "EUR 1,234.50" in line.text(REVENUE_SECONDS)
    assert len(reads) == 2


def test_once_prints_one_frame_and_ends_with_0_without_host_and_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTAP_STATE_DIR", str(tmp_path))
    get_settings.cache_clear()
    result = CliRunner().invoke(cli, ["top", "--once"])
    get_settings.cache_clear()
    assert result.exit_code == 0, result.output
    assert line_of("gold", result.output.splitlines()) == ["gold", "stopped", "stopped", *"-------"]
    assert "No revenue yet: gold holds no window." in result.output
