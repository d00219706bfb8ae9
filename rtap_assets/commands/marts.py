"""`rtap marts`: refresh the DuckDB marts and the published Parquet folder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings

if TYPE_CHECKING:
    from rtap_assets.serving.export import ExportReport
    from rtap_assets.serving.marts import MartsReport


@click.group()
def marts() -> None:
    """Refresh the analytical tables in DuckDB, and gold as a plain Parquet folder."""


@marts.command()
@pass_settings
def refresh(settings: Settings) -> None:
    """Build the marts from the newest snapshots, swap them in, and publish gold as Parquet."""
    from rtap_assets.serving.export import export_gold
    from rtap_assets.serving.marts import refresh_marts

    now = datetime.now(UTC)
    click.echo("building the marts from the newest snapshots", err=True)
    report = refresh_marts(settings, refreshed_at=now)
    export = export_gold(settings, now=now)
    console = Console()
    console.print(_rows_table(report))
    for line in _summary(report, export):
        console.print(line, soft_wrap=True, highlight=False)


def _rows_table(report: MartsReport) -> Table:
    table = Table("mart", title="Marts", title_justify="left")
    table.add_column("rows", justify="right")
    for mart, rows in report.rows.items():
        table.add_row(mart, f"{rows:,}")
    return table


def _summary(report: MartsReport, export: ExportReport) -> list[str]:
    missing = [layer for layer, snapshot_id in report.snapshot_ids.items() if snapshot_id is None]
    watermark = "none yet" if report.watermark is None else report.watermark.isoformat(sep=" ", timespec="seconds")
    lines = [
        f"watermark of gold   {watermark}",
        f"marts               {report.path} ({report.seconds:.2f} s)",
        f"published Parquet   {export.path}: {export.rows:,} rows in {export.leaves} files, "
        f"{export.leaves_written} of them new ({export.seconds:.2f} s)",
    ]
    if missing:
        lines.append(f"no data yet         {', '.join(missing)}: `rtap drain` processes what is in Kafka")
    return lines
