"""`rtap dq`: run the data-quality checks over the lake, and list them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.quality.catalog import CHECKS, DqResult, Outcome
from rtap_assets.streaming.checkpoints.files import stream_positions

PIPE_WIDTH = 240


@click.group()
def dq() -> None:
    """Data-quality checks. Thresholds are settings (RTAP_DQ_…)."""


@dq.command()
@click.option("--lookback-hours", type=click.FloatRange(min=0), default=0, help="Skip older rows; 0: check all.")
@click.option("--publish/--no-publish", default=True, show_default=True, help="Send the results to the topic and the table.")
@pass_settings
def run(settings: Settings, lookback_hours: float, publish: bool) -> None:
    """Check bronze, silver and gold at their newest snapshots. Exit code 1 when a blocking check fails."""
    from rtap_assets.quality.archive import archive_results
    from rtap_assets.quality.full_pass import run_checks
    from rtap_assets.quality.results_topic import DqPublisher
    from rtap_assets.serving.offset_gaps import explain_gaps

    now = datetime.now(UTC)
    positions = stream_positions(settings.checkpoint_dir, topic=settings.topic_events)
    gaps = explain_gaps(settings, positions=positions)
    if gaps.recorded:
        found = ", ".join(f"{kind} {records:,}" for kind, records in gaps.recorded.items())
        click.echo(f'offsets without a readable record, recorded now: {found} (`rtap sql "FROM offset_gaps"`)')
    for missing in gaps.unexplained:
        click.secho(f"missing and not explained: {missing}", fg="red")
    results = run_checks(settings, positions=positions, now=now, lookback_hours=lookback_hours)
    _console().print(results_table(results))
    if publish:
        DqPublisher(settings).publish(results)
        archive_results(settings)
    failed = [f"{result.table_name} {result.check_name}" for result in results if result.blocking and not result.passed]
    if failed:
        click.secho(f"blocking checks failed: {', '.join(failed)}", fg="red", err=True)
        sys.exit(1)


@dq.command("list")
@pass_settings
def list_checks(settings: Settings) -> None:
    """Show every check with its threshold."""
    table = Table("table", "check", "severity", "setting", "threshold", "what it says", box=None, pad_edge=False)
    for check in CHECKS.values():
        severity = f"{check.severity}, blocking" if check.blocking else str(check.severity)
        setting = f"RTAP_{check.threshold_setting.upper()}"
        table.add_row(*check.key, severity, setting, f"{check.threshold(settings):g}", check.sentence)
    _console().print(table)


def _console() -> Console:
    """Return a console that, without a terminal, is as wide as its content: folded cells cannot be searched."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def results_table(results: Sequence[DqResult]) -> Table:
    """Return a table with one line per result."""
    table = Table("verdict", "table", "check", title="Data quality", title_justify="left")
    for column in ("observed", "threshold", "rows checked", "rows failed"):
        table.add_column(column, justify="right")
    table.add_column("detail", overflow="fold")
    for result in results:
        table.add_row(
            verdict(result),
            result.table_name,
            result.check_name,
            f"{result.observed:.6g}",
            f"{result.threshold:g}",
            f"{result.rows_checked:,}",
            f"{result.rows_failed:,}",
            ", ".join(f"{name} {value}" for name, value in result.detail.items()),
        )
    return table


def verdict(result: DqResult) -> str:
    """Return `pass`, `nothing to check`, `warn`, `FAIL`, or `FAIL, blocking`, with markup."""
    if result.outcome is Outcome.NOTHING_TO_CHECK:
        return f"[dim]{result.outcome}[/]"
    if result.passed:
        return "[green]pass[/]"
    if result.severity == "warn":
        return "[yellow]warn[/]"
    return "[red]FAIL, blocking[/]" if result.blocking else "[red]FAIL[/]"
