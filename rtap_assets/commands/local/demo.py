"""`rtap demo`: the whole pipeline on real components, then an audit of every record and cent."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from rtap_assets.audit.report import Report
from rtap_assets.commands.local.demo_summary import summary_lines
from rtap_assets.commands.local.generate import shown_progress
from rtap_assets.commands.maintenance import table_work_of
from rtap_assets.commands.reconcile import show_report, show_verdict, shown_steps
from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import PROJECT_ROOT, Settings
from rtap_assets.demo.pipeline import demo_events, demo_settings, materialize, start_from_nothing
from rtap_assets.generator.options import GenerationReport
from rtap_assets.host.launcher import ensure_host
from rtap_assets.local.stack import down, up

DEFAULT_EVENTS = 200_000


@click.command()
@click.option("--events", type=click.IntRange(min=1_000), default=DEFAULT_EVENTS, show_default=True, help="Records to send.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of all randomness.")
@click.option("--details", is_flag=True, help="Show every reason and every line of the comparison, too.")
@pass_settings
def demo(settings: Settings, events: int, seed: int, details: bool) -> None:
    """Events to revenue on real parts: broker, registry, Spark, Iceberg, DuckDB, run by Dagster, then reconciled.

    Works in `<state dir>/demo` on free ports and starts from nothing each time; a running system is not touched.
    Exit code 1 if any line of the reconciliation does not hold.
    """
    from rtap_assets.demo.outcome import read_outcome
    from rtap_assets.demo.proof import LEAST_SILVER_BATCHES, silver_batches

    console = Console(highlight=False)
    started = time.monotonic()
    settings = demo_settings(settings, events=events)
    start_from_nothing(settings)
    try:
        sent, corrected, proof = _run(settings, console, events=events, seed=seed)
        late = proof.apart("late, awaiting correction") + proof.apart("late, corrected")
        enough = silver_batches(settings) >= LEAST_SILVER_BATCHES and late > 0
        outcome = read_outcome(settings)
    finally:
        _heading(console, "Stopping")
        down(settings, echo=partial(console.print, markup=False))
    if details or not proof.holds:
        _heading(console, "Details")
        for one in outcome.quarantined:
            console.print(f"{one.records:>8,}  {one.reason:<24} {one.explanation}", markup=False, soft_wrap=True)
        show_report(proof, console)
    _heading(console, "What happened")
    for line in summary_lines(outcome, sent, proof, corrected=corrected):
        console.print(line, markup=False, soft_wrap=True)
    console.print()
    show_verdict(proof, console)
    if not enough:
        console.print(f"[bold red]Not enough to prove:[/] {silver_batches(settings)} silver batches, {late} late rows.")
    _where_next(settings, console, seconds=time.monotonic() - started)
    sys.exit(proof.exit_code if enough else 1)


def _run(
    settings: Settings, console: Console, *, events: int, seed: int
) -> tuple[GenerationReport, tuple[int, int], Report]:
    """Run every step; return what was sent, the rows that corrections added and removed, and the proof."""
    from rtap_assets.demo.proof import prove
    from rtap_assets.generator.generate import generate

    echo = partial(console.print, markup=False)
    _heading(console, "Starting a Kafka broker and a schema registry")
    up(settings, echo=echo)
    with ThreadPoolExecutor(1) as beside:  # Spark takes about ten seconds to start
        host = beside.submit(ensure_host, settings)
        _heading(console, f"Sending {events:,} sales events, with every kind of fault among them")
        with shown_progress() as progress:
            sent = generate(settings, demo_events(events=events, seed=seed), echo=lambda _: None, progress=progress)
        echo(f"  {sent.acknowledged:,} acknowledged by the broker in {sent.seconds:.1f} s")
        with console.status("Spark starts"):
            host.result()
    _heading(console, "Materializing with Dagster: bronze, dead letters, silver, gold, marts")
    started = time.monotonic()
    with console.status("Dagster starts") as status:

        def done(asset: str) -> None:
            console.print(f"  [green]✓[/] {time.monotonic() - started:5.1f} s  {asset}")

        materialize(settings, echo=done, begun=lambda step: status.update(f"Dagster runs {step}"))
    corrected = _correct(settings, console)
    _heading(console, "Comparing every record and every cent")
    with shown_steps(console) as step:
        return sent, corrected, prove(settings, progress=step)


def _correct(settings: Settings, console: Console) -> tuple[int, int]:
    """Correct what no stream could: rows that came too late, and events that were repeated much later."""
    from rtap_assets.serving.marts import refresh_marts

    _heading(console, "Correcting: late rows are added, later copies removed, gold and the marts follow")
    with console.status("The stream host corrects"):
        with table_work_of(settings, requested_by="rtap demo", quiet=True) as tables:
            report = tables.correct()
        refresh_marts(settings, refreshed_at=datetime.now(UTC))
    console.print(f"  {report['late']:,} late rows added, {report['later_copies']:,} later copies removed")
    return report["late"], report["later_copies"]


def _where_next(settings: Settings, console: Console, *, seconds: float) -> None:
    """Print the one command that opens the demo's data in the browser, and what else can be done with them."""
    _heading(console, f"Done in {seconds:.0f} s; nothing is left running")
    rtap = sys.argv[0] if Path(sys.argv[0]).name == "rtap" else "rtap"
    live = "make up RATE=500" if (PROJECT_ROOT / "Makefile").exists() else f"{rtap} up --ui --streams --start --generate 500"
    with_folder = f"RTAP_STATE_DIR={_relative(settings)} {rtap}"
    console.print(
        "  the same data in the browser:\n"
        f"    {with_folder} up --ui --streams\n"
        "  a prompt for questions to them:\n"
        f"    {with_folder} sql\n"
        "  live, with events that keep coming:\n"
        f"    {live}",
        markup=False,
        soft_wrap=True,
    )


def _relative(settings: Settings) -> str:
    try:
        return str(settings.state_dir.relative_to(settings.state_dir.cwd()))
    except ValueError:
        return str(settings.state_dir)


def _heading(console: Console, text: str) -> None:
    console.print(f"\n[bold cyan]{text}[/]")
