"""`rtap reconcile`: compare topic, bronze, silver, gold and the generator's ledger, record by record."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.status import Status

from rtap_assets.audit.report import COULD_NOT_COMPARE, Apart, DetailSet, Line, Report, Section
from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.errors import RtapError

if TYPE_CHECKING:
    from rtap_assets.audit.topic import Progress

NAME_WIDTH, VALUE_WIDTH = 42, 20
LINE_EVERY_SECONDS = 10.0
INTERRUPTED = 130


@click.command()
@pass_settings
def reconcile(settings: Settings) -> None:
    """Read the topic again and compare it with bronze, silver and gold, record by record and cent by cent.

    Works while streams run and with records of any producer: each layer is compared up to its committed position; records in
    flight, quarantined, late or duplicated are counted apart. Changes nothing.

    Exit code 0: everything holds. 1: something does not. 2: nothing, or not everything, could be compared yet. 3: the
    comparison itself failed.
    """
    from rtap_assets.audit.audit import audit

    console = Console(highlight=False)
    try:
        with shown_steps(console) as progress:
            report = audit(settings, progress=progress)
    except RtapError as error:
        click.secho(f"error: {error.message}", fg="red", err=True)
        if error.remedy:
            click.echo(f"  -> {error.remedy}", err=True)
        sys.exit(COULD_NOT_COMPARE)
    except KeyboardInterrupt:
        click.echo("interrupted: nothing was changed, and the comparison has no result", err=True)
        sys.exit(INTERRUPTED)
    show_report(report, console)
    sys.exit(report.exit_code)


@contextmanager
def shown_steps(console: Console) -> Iterator[Progress]:
    """Show the current step: in place on a terminal, else a line when a step begins and every ten seconds."""
    if console.is_terminal:
        with console.status("Reconciling") as status:
            yield _StatusLine(status)
    else:
        yield _Lines()


class _StatusLine:
    def __init__(self, status: Status) -> None:
        self._status = status

    def __call__(self, what: str, done: int, total: int) -> None:
        self._status.update(_step(what, done, total))


class _Lines:
    def __init__(self) -> None:
        self._what, self._at = "", 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what or now - self._at >= LINE_EVERY_SECONDS:
            self._what, self._at = what, now
            click.echo(_step(what, done, total), err=True)


def _step(what: str, done: int, total: int) -> str:
    return f"{what}: {done:,} of {total:,}" if total else what


def show_report(report: Report, console: Console) -> None:
    """Print every line, what is counted apart, and the damaged records; in 80 columns where the figures fit."""
    for section in report.sections:
        console.print(f"\n[bold]{section.title}[/]")
        _show_section(section, console)
    console.print()
    show_verdict(report, console)


def show_verdict(report: Report, console: Console) -> None:
    """Print whether everything holds."""
    if not report.holds:
        console.print("[bold red]Not every line holds.[/]")
    elif not report.compared:
        console.print("[bold yellow]Nothing to compare:[/] no record has been read yet.")
    elif report.incomplete:
        console.print("[bold yellow]What could be compared holds; not everything could.[/]")
    else:
        console.print(f"[green]Every line holds.[/] {report.compared:,} records compared in {report.seconds:.1f} s.")


def _show_section(section: Section, console: Console) -> None:
    if section.incomplete:
        console.print(f"  [yellow]–[/] nothing to compare: {section.incomplete}")
    for line in section.lines:
        console.print(_as_text(line), soft_wrap=True)
    for detail in section.damage:
        _show_detail(detail, console)
    for one in section.apart:
        console.print(_apart_as_text(one), soft_wrap=True)


def _as_text(line: Line) -> str:
    """Return the line in columns; its note beside it if it fits into 80 columns, else below."""
    mark = "[green]✓[/]" if line.equal else "[bold red]✗[/]"
    value = _grouped(line.left) if line.equal else f"{_grouped(line.left)} ≠ {_grouped(line.right)}"
    shown = f"{value:>{VALUE_WIDTH}}" if line.equal else f"[red]{value:>{VALUE_WIDTH}}[/]"
    text = f"{mark} {line.name:<{NAME_WIDTH}}{shown}"
    note = _grouped_within(line.note)
    if not note:
        return text
    room = 80 - 2 - NAME_WIDTH - max(VALUE_WIDTH, len(value)) - 2
    return f"{text}  [dim]{note}[/]" if len(note) <= room else f"{text}\n[dim]{note:>{2 + NAME_WIDTH + VALUE_WIDTH}}[/]"


def _apart_as_text(one: Apart) -> str:
    text = f"  {one.name:<{NAME_WIDTH}}{one.count:>{VALUE_WIDTH},}"
    return f"[dim]{text}[/]" if not one.meaning else f"[dim]{text}\n    {one.meaning}[/]"


def _show_detail(detail: DetailSet, console: Console) -> None:
    shown = f", {len(detail.rows)} of them shown" if detail.count > len(detail.rows) else ""
    console.print(f"  [red]{detail.name}: {detail.count:,}[/] ({detail.meaning}){shown}", soft_wrap=True)
    for row in detail.rows:
        values = (f"{name} {value}" for name, value in zip(detail.columns, row, strict=True) if value is not None)
        console.print(f"    {', '.join(values)}", soft_wrap=True, markup=False)


def _grouped_within(note: str) -> str:
    """Group the digits of each number of a note in threes; decimals stay unchanged."""
    return re.sub(r"(?<![\d.])\d{4,}", lambda number: _grouped(number[0]), note)


def _grouped(number: str) -> str:
    """Group the digits in threes; decimals stay unchanged."""
    whole, point, decimals = number.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}{point}{decimals}" if digits.isdecimal() else number
