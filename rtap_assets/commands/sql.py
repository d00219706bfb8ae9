"""`rtap sql`: one query over bronze, silver, gold and the marts, printed as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings

if TYPE_CHECKING:
    from rtap_assets.serving.query import QueryResult

# Without a terminal a table is as wide as its content: folded cells cannot be searched or compared.
PIPE_WIDTH = 10_000
NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")


@click.command()
@click.argument("statement")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("--max-rows", type=click.IntRange(min=0), default=100, show_default=True, help="0 shows all rows.")
@pass_settings
def sql(settings: Settings, statement: str, form: str, max_rows: int) -> None:
    """Answer one query (with `-`, read from the standard input) over the newest snapshots. Nothing can be changed.

    Tables: bronze, silver, gold, quality (results of checks), offset_gaps (Kafka offsets without a row, and why),
    stream_progress (the streams' batches), and marts.<name> (see
    `rtap sql "SHOW ALL TABLES"`). Times are in UTC.
    """
    from rtap_assets.serving.connection import open_lake
    from rtap_assets.serving.query import run_query

    text = sys.stdin.read() if statement == "-" else statement
    with open_lake(settings) as connection:
        result = run_query(connection, text, max_rows=max_rows)
    WRITERS[form](result)
    if result.is_truncated:
        click.echo(f"Only the first {max_rows} rows are shown; --max-rows 0 shows all.", err=True)


def _write_table(result: QueryResult) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    table = Table()
    for name, kind in zip(result.columns, result.types, strict=True):
        table.add_column(Text(name), justify="right" if NUMERIC.fullmatch(kind) else "left", overflow="fold")
    for row in result.rows:
        table.add_row(*(Text("NULL", style="dim") if value is None else Text(_shown(value)) for value in row))
    console.print(table)


def _write_csv(result: QueryResult) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows([["" if value is None else _shown(value) for value in row] for row in result.rows])


def _write_json(result: QueryResult) -> None:
    """Write one object per row; decimals are strings, since a reader would turn a number into a float."""
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    click.echo(json.dumps(rows, indent=2, ensure_ascii=False, default=_shown))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_shown)
    return str(value)


WRITERS: dict[str, Callable[[QueryResult], None]] = {"table": _write_table, "csv": _write_csv, "json": _write_json}
