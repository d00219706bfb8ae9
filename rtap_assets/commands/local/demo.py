"""`rtap demo`: the whole pipeline on real components, then an audit of every record and cent."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import click
from rich.console import Console
from rich.table import Table

from rtap_assets.audit.report import Report
from rtap_assets.commands.local.generate import shown_progress, summary
from rtap_assets.commands.maintenance import table_work_of
from rtap_assets.commands.reconcile import show_report, shown_steps
from rtap_assets.commands.revenue_view import revenue_panel, revenue_rows
from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.demo.pipeline import demo_events, demo_settings, materialize, start_from_nothing
from rtap_assets.host.launcher import ensure_host
from rtap_assets.local.stack import down, up

DEFAULT_EVENTS = 200_000


@click.command()
@click.option("--events", type=click.IntRange(min=1_000), default=DEFAULT_EVENTS, show_default=True, help="Records to send.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of all randomness.")
@pass_settings
def demo(settings: Settings, events: int, seed: int) -> None:
    """Events to revenue on real parts: broker, registry, Spark, Iceberg, DuckDB, run by Dagster, then reconciled.

    Works in `<state dir>/demo` on free ports and starts from nothing each time; a running system is not touched.
    Exit code 1 if any line of the reconciliation does not hold.
    """
    from rtap_assets.demo.proof import LEAST_SILVER_BATCHES, silver_batches

    console = Console()
    started = time.monotonic()
    settings = demo_settings(settings, events=events)
    start_from_nothing(settings)
    try:
        proof = _run(settings, console, events=events, seed=seed)
        late = proof.apart("late, awaiting correction") + proof.apart("late, corrected")
        enough = silver_batches(settings) >= LEAST_SILVER_BATCHES and late > 0
        _show_result(settings, console, proof)
    finally:
        _heading(console, "Stopping")
        down(settings, echo=partial(console.print, highlight=False, markup=False))
    if not enough:
        console.print(f"[bold red]Not enough to prove:[/] {silver_batches(settings)} silver batches, {late} late rows.")
    _where_next(settings, console, seconds=time.monotonic() - started)
    sys.exit(proof.exit_code if enough else 1)


def _run(settings: Settings, console: Console, *, events: int, seed: int) -> Report:
    from rtap_assets.demo.proof import prove
    from rtap_assets.generator.generate import generate

    echo = partial(console.print, highlight=False, markup=False)
    _heading(console, "Starting a Kafka broker and a schema registry")
    up(settings, echo=echo)
    with ThreadPoolExecutor(1) as beside:  # Spark takes about ten seconds to start
        host = beside.submit(ensure_host, settings)
        _heading(console, f"Sending {events:,} sales events, with every kind of fault among them")
        with shown_progress() as progress:
            report = generate(settings, demo_events(events=events, seed=seed), echo=echo, progress=progress)
        echo(summary(report))
        host.result()
    _heading(console, "Materializing with Dagster: bronze, dead letters, silver, gold, marts")
    started = time.monotonic()

    def done(asset: str) -> None:
        console.print(f"  [green]✓[/] {time.monotonic() - started:5.1f} s  {asset}", highlight=False)

    with console.status("Dagster runs"):
        materialize(settings, echo=done)
    _correct(settings, console)
    with shown_steps(console) as step:
        return prove(settings, progress=step)


def _correct(settings: Settings, console: Console) -> None:
    """Correct what no stream could: rows that came too late, and events that were repeated much later."""
    from rtap_assets.serving.marts import refresh_marts

    _heading(console, "Correcting: late rows are added, later copies removed, gold and the marts follow")
    with console.status("The stream host corrects"):
        with table_work_of(settings, requested_by="rtap demo", quiet=True) as tables:
            report = tables.correct()
        refresh_marts(settings, refreshed_at=datetime.now(UTC))
    console.print(f"  {report['late']:,} late rows added, {report['later_copies']:,} later copies removed", highlight=False)


def _show_result(settings: Settings, console: Console, proof: Report) -> None:
    _heading(console, "Results in the marts")
    console.print(revenue_panel(revenue_rows(settings)))
    console.print(_quarantined(settings))
    _heading(console, "Every record and every cent: the topic read again, layer by layer, and the generator's ledger")
    show_report(proof, console)


def _quarantined(settings: Settings) -> Table:
    import duckdb

    table = Table("reason", title="Dead letters by reason", title_justify="left")
    table.add_column("records", justify="right")
    table.add_column("meaning")
    with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
        rows = connection.execute("SELECT reason, records, explanation FROM dlq_by_reason").fetchall()
    for reason, records, meaning in rows:
        table.add_row(reason, f"{records:,}", meaning)
    return table


def _where_next(settings: Settings, console: Console, *, seconds: float) -> None:
    _heading(console, f"Done in {seconds:.0f} s; nothing is left running")
    console.print(
        f"  query the demo's data RTAP_STATE_DIR={_relative(settings)} .venv/bin/rtap sql "
        '"SELECT * FROM marts.revenue_by_plan_hour LIMIT 10"\n'
        "  the live system       make up      broker, registry and the Dagster UI\n"
        "  how it works          docs/architecture.md",
        highlight=False,
        soft_wrap=True,
    )


def _relative(settings: Settings) -> str:
    try:
        return str(settings.state_dir.relative_to(settings.state_dir.cwd()))
    except ValueError:
        return str(settings.state_dir)


def _heading(console: Console, text: str) -> None:
    console.print(f"\n[bold cyan]{text}[/]")
