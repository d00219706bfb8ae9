"""`rtap dq`: run the data-quality checks over the lake, and list them."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.quality.catalog import CHECKS, DqResult, Outcome
from rtap_assets.runtime.terminal import text_width, wrapped
from rtap_assets.streaming.checkpoints.files import stream_positions

VERDICT_WIDTH = 18
NAME_WIDTH = max(len(check.name) for check in CHECKS.values())


@click.group()
def dq() -> None:
    """Data-quality checks. Thresholds are settings (RTAP_DQ_…)."""


@dq.command()
@click.option("--lookback-hours", type=click.FloatRange(min=0), default=0, help="Skip older rows; 0: check all.")
@click.option("--publish/--no-publish", default=True, show_default=True, help="Send the results to the topic and the table.")
@click.option("--details", is_flag=True, help="Show the details of checks that passed, too.")
@pass_settings
def run(settings: Settings, lookback_hours: float, publish: bool, details: bool) -> None:
    """Check bronze, silver and gold at their newest snapshots. Exit code 1 when a blocking check fails."""
    from rtap_assets.quality.archive import archive_results
    from rtap_assets.quality.full_pass import run_checks
    from rtap_assets.quality.offset_gaps import explain_gaps
    from rtap_assets.quality.results_topic import DqPublisher

    now = datetime.now(UTC)
    click.echo("checking bronze, silver and gold at their newest snapshots", err=True)
    positions = stream_positions(settings.checkpoint_dir, topic=settings.topic_events)
    gaps = explain_gaps(settings, positions=positions)
    if gaps.recorded:
        found = ", ".join(f"{kind} {records:,}" for kind, records in gaps.recorded.items())
        click.echo(f'offsets without a readable record, recorded now: {found} (`rtap sql "FROM offset_gaps"`)')
    for missing in gaps.unexplained:
        click.secho(f"missing and not explained: {missing}", fg="red")
    results = run_checks(settings, positions=positions, now=now, lookback_hours=lookback_hours)
    click.echo("\n".join(result_lines(results, width=text_width(), details=details)))
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
    for table, checks in groupby(CHECKS.values(), key=lambda check: check.key[0]):
        click.secho(table, bold=True)
        for check in checks:
            severity = f"{check.severity}, blocking" if check.blocking else str(check.severity)
            setting = f"RTAP_{check.threshold_setting.upper()}={check.threshold(settings):g}"
            click.echo(f"  {check.name:<{NAME_WIDTH}}  {severity}")
            click.echo("\n".join(wrapped(f"    {check.sentence}", hanging=0)))
            click.echo(f"    {setting}")


def result_lines(results: Sequence[DqResult], *, width: int, details: bool = False) -> Iterator[str]:
    """Yield a line per result below the name of its table; details of what failed, or of all, are wrapped below it."""
    for table, of_table in groupby(results, key=lambda result: result.table_name):
        yield click.style(table, bold=True)
        for result in of_table:
            text, color = verdict(result)
            name = f"  {click.style(f'{text:<{VERDICT_WIDTH}}', fg=color)}{result.check_name:<{NAME_WIDTH}}"
            if result.outcome is Outcome.NOTHING_TO_CHECK and not details:
                yield name.rstrip()
                continue
            yield f"{name}  {result.observed:.6g} (at most {result.threshold:g})"
            if details or not result.passed:
                rows = {"rows checked": f"{result.rows_checked:,}", "rows failed": f"{result.rows_failed:,}"}
                indent = " " * (2 + VERDICT_WIDTH)
                listed = ", ".join(f"{name} {value}" for name, value in (rows | dict(result.detail)).items())
                yield textwrap.fill(listed, width, initial_indent=indent, subsequent_indent=indent)
    counted = Counter(verdict(result)[0] for result in results)
    yield ", ".join(f"{count} {text}" for text, count in counted.items())


def verdict(result: DqResult) -> tuple[str, str | None]:
    """Return `pass`, `nothing to check`, `warn`, `FAIL`, or `FAIL, blocking`, and its color."""
    if result.outcome is Outcome.NOTHING_TO_CHECK:
        return str(result.outcome), None
    if result.passed:
        return "pass", "green"
    if result.severity == "warn":
        return "warn", "yellow"
    return ("FAIL, blocking" if result.blocking else "FAIL"), "red"
