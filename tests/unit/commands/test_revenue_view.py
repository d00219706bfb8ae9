"""The view of revenue in the shell: which windows, sums and bars it shows of the marts."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from lake_fixtures import NOON, gold_row, make_lake
from rich.console import Console

from rtap_assets.commands.revenue_view import RevenueRow, bar, revenue_panel, revenue_rows, sparkline
from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import ServingError
from rtap_assets.serving.marts import refresh_marts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def test_the_panel_shows_one_currency_of_the_marts_by_window_and_tier(settings: Settings) -> None:
    later = NOON + timedelta(minutes=5)
    make_lake(
        settings,
        gold=[
            gold_row(NOON, gross_amount=Decimal("1000.0000")),
            gold_row(NOON, region="na", gross_amount=Decimal("0.5000")),
            gold_row(later, plan_tier="free", refund_amount=Decimal("30.0000")),
            gold_row(NOON, currency="USD", gross_amount=Decimal("9.0000")),
            gold_row(NOON + timedelta(minutes=1), gross_amount=Decimal("77.0000")),
        ],
    )
    refresh_marts(settings, refreshed_at=datetime.now(UTC))
    rows = revenue_rows(settings)
    assert rows[0] == RevenueRow(NOON, "pro", "EUR", Decimal("1000.5000"), 2)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(revenue_panel(rows))
    lines = [line.strip("│╭╰─╮╯ ").split() for line in console.export_text().splitlines()]
    assert ["Net", "revenue", "by", "window", "and", "tier,", "EUR"] in lines
    assert ["2026-03-01", "12:00", "0.00", "0.00", "1,000.50", "0.00", "1,000.50"] in lines
    assert ["2026-03-01", "12:05", "-20.00", "0.00", "0.00", "0.00", "-20.00"] in lines
    assert ["pro", "█", "1,000.50", "█" * 24] in lines
    assert "USD" not in console.export_text()


def test_revenue_rows_without_marts_say_what_to_do(settings: Settings) -> None:
    with pytest.raises(ServingError, match="rtap marts refresh"):
        revenue_rows(settings)


def test_a_panel_without_rows_says_so() -> None:
    console = Console(width=40, record=True, file=io.StringIO())
    console.print(revenue_panel([]))
    assert "No revenue yet." in console.export_text()


def test_a_sparkline_rises_with_its_values_and_shows_no_negative_ones() -> None:
    assert sparkline([Decimal(value) for value in (0, 1, 50, 100, -100)]) == " ▁▅█ "
    assert sparkline([Decimal(-1), Decimal(0)]) == "  "
    assert sparkline([]) == ""


def test_a_bar_is_as_long_as_its_share_of_the_highest() -> None:
    assert bar(Decimal(4), Decimal(4), cells=4) == "████"
    assert bar(Decimal(1), Decimal(8), cells=4) == "▌"
    assert bar(Decimal("0.001"), Decimal(8), cells=4) == "▏"
    assert bar(Decimal(-1), Decimal(8), cells=4) == ""
