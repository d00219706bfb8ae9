from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from lake_fixtures import NOON, bronze_row, gold_row, make_lake
from rich.console import Console

from rtap_assets.cli import cli, main
from rtap_assets.commands.revenue_view import RevenueRow, bar, revenue_panel, revenue_rows, sparkline
from rtap_assets.config import Settings, get_settings
from rtap_assets.errors import ServingError


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("RTAP_STATE_DIR", str(tmp_path))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def run(*arguments: str, stdin: str | None = None) -> tuple[str, str]:
    result = CliRunner().invoke(cli, arguments, input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_marts_refresh_prints_the_rows_and_publishes(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(1)], gold=[gold_row(NOON)], watermark=NOON)
    output, _ = run("marts", "refresh")
    assert "rolling_revenue" in output
    assert "2026-03-01 12:00:00+00:00" in output
    assert "1 rows in 1 files, 1 of them new" in output
    assert "no data yet         silver" in output
    assert (settings.export_dir / "current").is_symlink()


def test_sql_prints_a_table_with_a_note_when_it_is_cut(settings: Settings) -> None:
    output, note = run("sql", "SELECT n, n > 1 AS b, NULL AS nothing FROM range(3) t(n)", "--max-rows", "2")
    assert [line.split() for line in output.splitlines() if "false" in line] == [
        ["│", "0", "│", "false", "│", "NULL", "│"],
        ["│", "1", "│", "false", "│", "NULL", "│"],
    ]
    assert "Only the first 2 rows are shown" in note


def test_sql_prints_json_with_decimals_as_text_from_a_statement_on_stdin(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON)], bronze=[bronze_row(1)])
    output, note = run(
        "sql", "-", "--format", "json", stdin="SELECT window_start, net_amount, orders, revision IS NULL AS b FROM gold"
    )
    assert json.loads(output) == [
        {"window_start": "2026-03-01 12:00:00+00:00", "net_amount": "10.0000", "orders": 1, "b": False}
    ]
    assert note == ""
    headers, _ = run("sql", "SELECT raw_key, kafka_headers FROM bronze", "--format", "json")
    assert json.loads(headers) == [{"raw_key": b"account-1".hex(), "kafka_headers": [{"key": "trace", "value": "31"}]}]


def test_sql_prints_csv_that_reads_back(settings: Settings) -> None:
    output, _ = run("sql", "SELECT 'a,\"b\"' AS text, 1.50 AS amount, NULL AS nothing", "--format", "csv")
    assert list(csv.reader(io.StringIO(output))) == [["text", "amount", "nothing"], ['a,"b"', "1.50", ""]]


def test_sql_ends_with_a_message_and_no_stack_trace(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rtap", "sql", "FROM nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert "Table with name nowhere does not exist" in shown
    assert "Tables: bronze, silver, gold" in shown
    assert "Traceback" not in shown


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
    run("marts", "refresh")
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
