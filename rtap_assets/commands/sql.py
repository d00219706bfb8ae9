"""`rtap sql`: queries over bronze, silver, gold and the marts, printed as a table, CSV or JSON; or a prompt for several."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.commands.sql_prompt import run_prompt
from rtap_assets.config import Settings

if TYPE_CHECKING:
    from rtap_assets.serving.query import QueryResult


@click.command()
@click.argument("statement", required=False)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("--max-rows", type=click.IntRange(min=0), default=100, show_default=True, help="0 shows all rows.")
@click.option("--timeout", type=click.FloatRange(min=0.1), help="Deadline, seconds.  [default: RTAP_SQL_TIMEOUT_SECONDS]")
@pass_settings
def sql(settings: Settings, statement: str | None, form: str, max_rows: int, timeout: float | None) -> None:
    """Answer a query over the newest snapshots; without one, open a prompt. Nothing can be changed.

    With `-`, or without a terminal, the query is read from the standard input.

    Tables: bronze, silver, gold, quality (results of checks), offset_gaps (Kafka offsets without a row, and why),
    stream_progress (the streams' batches), and marts.<name> (see
    `rtap sql "SHOW ALL TABLES"`). Times are in UTC.
    """

    def answer(text: str) -> None:
        show_answer(settings, text, form=form, max_rows=max_rows, seconds=timeout or settings.sql_timeout_seconds)

    if statement is None and sys.stdin.isatty():
        run_prompt(answer, history=settings.log_dir / "sql-history")
    else:
        answer(sys.stdin.read() if statement in {None, "-"} else str(statement))


def show_answer(settings: Settings, statement: str, *, form: str, max_rows: int, seconds: float) -> None:
    """Run one query over the newest snapshots and print its result; `seconds` is its deadline.

    Raises:
        ServingError: it is no query, or DuckDB refused it, or the lake cannot be read.
    """
    from rtap_assets.serving.box import render_query
    from rtap_assets.serving.connection import open_lake
    from rtap_assets.serving.query import deadline, ending_late, interruptible, run_query

    with (
        open_lake(settings) as connection,
        ending_late(seconds, partial(_end_late, seconds)),
        deadline(connection, seconds),
    ):
        if form == "table":
            render = partial(render_query, connection, statement, max_rows=max_rows, width=_terminal_width())
            shown = interruptible(connection, render)
            click.echo(shown.text)
            is_truncated = shown.is_truncated
        else:
            result = interruptible(connection, partial(run_query, connection, statement, max_rows=max_rows))
            WRITERS[form](result)
            is_truncated = result.is_truncated
    if is_truncated:
        click.echo(f"Only the first {max_rows} rows are shown; --max-rows 0 shows all.", err=True)


def _end_late(seconds: float) -> NoReturn:
    from rtap_assets.serving.query import late_query

    error = late_query(seconds)
    click.echo(f"error: {error.message}\n  -> {error.remedy}", err=True)
    sys.stderr.flush()
    os._exit(1)  # DuckDB is in a function that cannot be interrupted


def _terminal_width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


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


WRITERS: dict[str, Callable[[QueryResult], None]] = {"csv": _write_csv, "json": _write_json}
