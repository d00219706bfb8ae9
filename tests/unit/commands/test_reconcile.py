"""The page of `rtap reconcile`: what it shows, marks and cuts."""

from __future__ import annotations

from audited_lake import AuditedLake
from rich.console import Console

from rtap_assets.audit.report import NOTHING_TO_COMPARE
from rtap_assets.audit.state import Consumed
from rtap_assets.commands.reconcile import show_report


def test_a_list_that_was_cut_says_so(lake: AuditedLake) -> None:
    lake.sql("DELETE FROM silver_source; DELETE FROM gold_source")
    console = Console(record=True, width=200)
    show_report(lake.report(), console)
    assert ", 20 of them shown" in console.export_text()


def test_where_nothing_was_read_nothing_holds(lake: AuditedLake) -> None:
    for table in ("bronze_source", "silver_source", "gold_source", "records", "ranges"):
        lake.sql(f"DELETE FROM {table}")
    lake.ends, lake.silver, lake.gold = {}, Consumed(None), Consumed(None)
    for path in lake.settings.ledger_dir.glob("*/*.parquet"):
        path.unlink()
    report = lake.report()
    assert report.exit_code == NOTHING_TO_COMPARE
    console = Console(record=True, width=80)
    show_report(report, console)
    assert "Nothing to compare" in console.export_text()


def test_the_page_fits_80_columns_and_marks_what_does_not_hold(lake: AuditedLake) -> None:
    console = Console(record=True, width=80)
    lake.sql("UPDATE gold_source SET orders = orders + 1 WHERE rowid = (SELECT min(rowid) FROM gold_source)")
    show_report(lake.report(), console)
    text = console.export_text()
    assert "✓" in text
    assert "✗ windows of gold = windows of silver" in text
    assert "finding differs" in text
    assert "Not every line holds." in text
    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    assert max(len(line) for line in lines) <= 80
