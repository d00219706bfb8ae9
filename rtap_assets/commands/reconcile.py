"""`rtap reconcile`: ledger, bronze, silver and gold compared; exit code 1 when any line does not hold."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import closing

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rtap_assets.config import get_settings
from rtap_assets.generator.reconcile import DetailSet, Line, Reconciliation
from rtap_assets.generator.reconcile import reconcile as compare
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.lake_files import plan_lake


@click.command()
def reconcile() -> None:
    """Compare what was intended with what bronze, silver and gold hold, record by record and cent by cent.

    Exit code 1 when any line does not hold.
    """
    settings = get_settings()
    with closing(connect_lake(settings, plan_lake(settings))) as connection:
        result = compare(connection, settings)
    show_reconciliation(result, Console())
    sys.exit(0 if result.holds else 1)


def show_reconciliation(result: Reconciliation, console: Console, *, more: Sequence[Line] = ()) -> None:
    """Print the lines as a table, `more` at its end, then the damaged records and the remarkable ones."""
    table = Table(title="Reconciliation", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("what", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("parts")
    for line in (*result.lines, *more):
        mark = "[green]✓[/]" if line.equal else "[bold red]✗[/]"
        value = _grouped(line.left) if line.equal else f"[red]{_grouped(line.left)} ≠ {_grouped(line.right)}[/]"
        table.add_row(f"{mark} {line.name}", value, _grouped_within(line.note))
    console.print(table)
    for detail in result.damage:
        _show_detail(detail, console)
    for name in ("settled", "conflicting", "late"):
        if result.details[name].count:
            console.print(f"{result.details[name].count:,} {name}: {result.details[name].meaning}")
    holds = result.holds and all(line.equal for line in more)
    verdict = "[green]Every line holds.[/]" if holds else "[bold red]Not every line holds.[/]"
    console.print(verdict)


def _show_detail(detail: DetailSet, console: Console) -> None:
    table = Table(title=f"{detail.name}: {detail.count:,} ({detail.meaning})", title_style="red")
    for column in detail.columns:
        table.add_column(column)
    for row in detail.rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)


def _grouped_within(note: str) -> str:
    """Each number of a note in groups of three; decimals stay as they are."""
    return re.sub(r"(?<![\d.])\d{4,}", lambda number: _grouped(number[0]), note)


def _grouped(number: str) -> str:
    """Digits in groups of three; the decimals stay as they are."""
    whole, point, decimals = number.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}{point}{decimals}" if digits.isdecimal() else number
