"""`rtap generate`: send seeded sales events to Kafka, with a ledger of the intended records."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.options import TRANSACTION_EVENTS, GenerationReport, GeneratorOptions

if TYPE_CHECKING:
    from rtap_assets.generator.generate import Progress as ProgressCallback

SECONDS_PER_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
PLAIN_LINE_SECONDS = 5.0
DEFAULTS = GeneratorOptions()


class Duration(click.ParamType[float]):
    """A time such as 90, 90s, 15m, 6h or 2d; the value is in seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds of the text."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value))
        if not found:
            self.fail(f"{value!r} is not a time such as 90s, 15m, 6h or 2d.", param, ctx)
        return float(found[1]) * SECONDS_PER_UNIT[found[2]]


class Instant(click.ParamType[datetime]):
    """A time such as 2026-03-01T12:00Z; without an offset it is UTC."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the instant of the text."""
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-03-01T12:00Z.", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


class Reasons(click.ParamType[tuple[Reason, ...]]):
    """Reason codes, separated by commas, or `all`."""

    name = "codes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Reason, ...]:
        """Return the reasons, in order of evaluation."""
        if isinstance(value, tuple):
            return value
        names = {name.strip() for name in str(value).split(",") if name.strip()}
        unknown = names - set(Reason) - {"all"}
        if unknown or not names:
            self.fail(f"{', '.join(sorted(unknown)) or 'nothing'}: not among all, {', '.join(Reason)}.", param, ctx)
        return tuple(reason for reason in Reason if "all" in names or reason in names)


@click.command()
@click.option("--events", type=click.IntRange(min=0), help="Records to send.  [default: 100000 without --rate]")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Records a second, steadily.  [default: flat out]")
@click.option("--duration", type=Duration(), help="With --rate: how long.  [default: until Ctrl-C]")
@click.option("--seed", type=click.IntRange(min=0), default=DEFAULTS.seed, show_default=True, help="Seed of all randomness.")
@click.option(
    "--start-time",
    type=Instant(),
    help="End of the simulated past; with --rate, the first event time. With --seed: repeatable.  [default: now]",
)
@click.option(
    "--span",
    type=Duration(),
    default="6h",
    show_default=True,
    help="Without --rate: the past over which event times spread.",
)
@click.option("--duplicates", type=float, default=DEFAULTS.duplicates, show_default=True, help="Share of exact copies.")
@click.option(
    "--delayed", type=float, default=DEFAULTS.delayed, show_default=True, help="Share with event times 15-40 minutes behind."
)
@click.option(
    "--invalid", type=float, default=DEFAULTS.invalid, show_default=True, help="Share of records to be quarantined."
)
@click.option(
    "--reasons",
    type=Reasons(),
    default=DEFAULTS.reasons,
    help="Reason codes of the invalid records, comma-separated, or `all`.  [default: all]",
)
@click.option("--v1-share", type=float, default=DEFAULTS.v1_share, show_default=True, help="Share written with version 1.")
@click.option(
    "--spellings",
    type=float,
    default=DEFAULTS.spellings,
    show_default=True,
    help="Share of codes in another accepted spelling.",
)
@click.option(
    "--accounts", type=click.IntRange(min=2), default=DEFAULTS.accounts, show_default=True, help="Customer accounts."
)
@click.option(
    "--later-copies",
    type=float,
    default=DEFAULTS.later_copies,
    show_default=True,
    help="Share sent again much later with a later event time: the same event, to be counted once.",
)
@click.option(
    "--foreign-schemas",
    type=float,
    default=DEFAULTS.foreign_schemas,
    show_default=True,
    help="Share of events written with another team's schema: another subject and namespace, the same fields.",
)
@click.option(
    "--transactions",
    type=click.IntRange(min=0),
    default=DEFAULTS.transactions,
    show_default=True,
    help=f"Transactions of {TRANSACTION_EVENTS} records each after all others: in turn committed, aborted, left open.",
)
@click.option("--run-id", help="Name of the run and of its ledger folder.  [default: time and seed]")
@pass_settings
def generate(
    settings: Settings,
    *,
    events: int | None,
    rate: float | None,
    duration: float | None,
    seed: int,
    start_time: datetime | None,
    span: float,
    duplicates: float,
    delayed: float,
    invalid: float,
    reasons: tuple[Reason, ...],
    v1_share: float,
    spellings: float,
    accounts: int,
    later_copies: float,
    foreign_schemas: float,
    transactions: int,
    run_id: str | None,
) -> None:
    """Send seeded sales events with every kind of fault, and record each one's ground truth in the ledger.

    The same --seed and --start-time give the same records.
    Shares are fractions of all records, between 0 and 1. Exit code 1 when a record failed or its outcome is unknown.
    """
    from rtap_assets.generator.generate import generate as run_generator

    options = GeneratorOptions(
        events=DEFAULTS.events if events is None and rate is None else events,
        rate=rate,
        duration_seconds=duration,
        seed=seed,
        start_time=start_time,
        span_seconds=span,
        duplicates=duplicates,
        delayed=delayed,
        invalid=invalid,
        reasons=reasons,
        v1_share=v1_share,
        spellings=spellings,
        accounts=accounts,
        later_copies=later_copies,
        foreign_schemas=foreign_schemas,
        transactions=transactions,
        run_id=run_id,
    )
    click.echo(f"asking the broker at {settings.bootstrap_servers} and the registry", err=True)
    with shown_progress() as progress:
        report = run_generator(settings, options, echo=click.echo, progress=progress)
    click.echo(summary(report))
    sys.exit(0 if report.acknowledged + report.aborted == report.intended else 1)


def summary(report: GenerationReport) -> str:
    """Return the report in a few lines."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.by_kind.items())
    speed = report.intended / report.seconds if report.seconds else 0.0
    aborted = f", {report.aborted:,} in transactions that were not committed" if report.aborted else ""
    lines = [
        f"run {report.run_id}: {report.intended:,} intended ({kinds})",
        f"  {report.acknowledged:,} acknowledged, {report.unknown:,} unknown, {report.failed:,} failed{aborted}",
        f"  {report.seconds:.1f} s, {speed:,.0f} a second",
    ]
    if report.by_reason:
        lines.append("  bad: " + ", ".join(f"{reason} {count}" for reason, count in report.by_reason.items()))
    return "\n".join(lines)


@contextmanager
def shown_progress() -> Iterator[ProgressCallback]:
    """Show a progress bar on a terminal, else a plain line every few seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress()
        return
    columns = (TextColumn("sent"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("sent", total=None)

    def show(settled: int, total: int | None) -> None:
        bar.start()  # with the first chunk, so that the generator's earlier lines are not written into the bar
        bar.update(task, completed=settled, total=total)

    try:
        yield show
    finally:
        bar.stop()


def _plain_progress() -> ProgressCallback:
    last = time.monotonic()

    def show(settled: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_LINE_SECONDS:
            last = time.monotonic()
            click.echo(f"  {settled:,}{'' if total is None else f' of {total:,}'} records settled")

    return show
