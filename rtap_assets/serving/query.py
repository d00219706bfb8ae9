"""Runs an operator's SQL: one query, on a locked-down connection, with a bounded number of rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer
from typing import Any, NoReturn, TypeVar

import duckdb

from rtap_assets.contracts.tables import DQ_RESULTS, TABLES
from rtap_assets.errors import ServingError
from rtap_assets.serving.connection import MARTS_CATALOG

Result = TypeVar("Result")
VIEWS = tuple(spec.view for spec in (*TABLES, DQ_RESULTS))

LOOK_SECONDS = 0.2  # between two looks for Ctrl-C during a query
GRACE_SECONDS = 1.0  # from the interruption of a query to the end of its process

_EXPLAIN = re.compile(r"\s*EXPLAIN\b\s*(\([^)]*\)|ANALYZE\b|VERBOSE\b)*", re.IGNORECASE)


@dataclass(frozen=True)
class QueryResult:
    """The result's columns with DuckDB's types, its first rows, and whether there are more."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_truncated: bool


def run_query(
    connection: duckdb.DuckDBPyConnection, statement: str, *, max_rows: int, seconds: float | None = None
) -> QueryResult:
    """Run one query on a connection of `open_lake`; `max_rows` 0 means all rows, `seconds` is its deadline.

    A function that works on one enormous value (`repeat('x', 2000000000)`) does not notice that its query was interrupted
    until it returns: who must not wait for that ends the process (`ending_late`).

    Raises:
        ServingError: the text is not a single query, it was interrupted at its deadline, or DuckDB refused it; the remedy
            lists the tables.
    """
    with translated(connection), deadline(connection, seconds):
        require_single_query(connection, statement)
        result = connection.execute(statement)
        rows = result.fetchmany(max_rows + 1) if max_rows else result.fetchall()
        description = result.description or []
    return QueryResult(
        columns=tuple(column[0] for column in description),
        types=tuple(str(column[1]) for column in description),
        rows=rows[:max_rows] if max_rows else rows,
        is_truncated=bool(max_rows) and len(rows) > max_rows,
    )


@contextmanager
def ending_late(seconds: float, end: Callable[[], NoReturn]) -> Iterator[None]:
    """Call `end`, which ends the process, when the block has not ended a moment after the deadline of its query."""
    with _timer(seconds + GRACE_SECONDS, end):
        yield


def late_query(seconds: float) -> ServingError:
    """Return the error of a query that was ended at its deadline."""
    return ServingError(
        f"The query was ended after {seconds:g} s, its deadline.",
        remedy="Ask for less (a time range, an aggregate), or raise the deadline: --timeout, RTAP_SQL_TIMEOUT_SECONDS.",
    )


@contextmanager
def deadline(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """Interrupt the connection's query after so many seconds; None for no deadline.

    Raises:
        ServingError: the query was interrupted at its deadline.
    """
    if seconds is None:
        yield
        return
    try:
        with _timer(seconds, connection.interrupt):
            yield
    except duckdb.InterruptException as error:
        raise late_query(seconds) from error


@contextmanager
def _timer(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    timer = Timer(seconds, action)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def translated(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Raise DuckDB's failures in the block as a `ServingError` whose remedy lists the tables; an interruption stays one."""
    try:
        yield
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise ServingError(str(error).strip(), remedy=queryable_tables(connection)) from error


def require_single_query(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Raise unless the text is a single query.

    The lockdown alone would let COPY overwrite a data file that the views read, and let the marts be attached again for
    writing. DuckDB also accepts COPY, INSERT, UPDATE and DELETE inside a WITH clause, where the statement's type is SELECT;
    but only at the top level, so planning the statement as a subquery rejects them.

    Raises:
        ServingError: it is not a query, more than one, or names something that does not exist.
        duckdb.Error: the text does not parse.
    """
    statements = connection.extract_statements(statement)
    if len(statements) != 1:
        raise ServingError(f"Only one query at a time: this text has {len(statements)}.", remedy="Remove the rest.")
    kind, query = statements[0].type, statements[0].query
    if kind == duckdb.StatementType.EXPLAIN:
        query = query[match.end() :] if (match := _EXPLAIN.match(query)) else ""
        require_single_query(connection, query)
        return
    if kind not in {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}:
        raise ServingError(
            f"A {kind.name} statement is not a query; the lake and the marts are read-only here.",
            remedy="Use SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW TABLES or EXPLAIN.",
        )
    try:
        connection.execute(f"EXPLAIN FROM (\n{query.rstrip().rstrip(';')}\n)").fetchall()
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        # The line number in the operator's text, without the line added above it.
        message = re.sub(r"LINE (\d+):", lambda match: f"LINE {int(match[1]) - 1}:", str(error))
        raise ServingError(message.strip(), remedy=queryable_tables(connection)) from error


def queryable_tables(connection: duckdb.DuckDBPyConnection) -> str:
    """Return a sentence that names the tables, views and marts that a query may read."""
    marts = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_catalog = ? AND table_schema = 'main' ORDER BY ALL",
        [MARTS_CATALOG],
    ).fetchall()
    names = [*VIEWS, *(f"{MARTS_CATALOG}.{name}" for (name,) in marts)]
    hint = "" if marts else " There are no marts yet: `rtap marts refresh` builds them."
    return f"Tables: {', '.join(names)}.{hint}"


def interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], Result]) -> Result:
    """Return what `work` returns; it runs in a thread of its own, and Ctrl-C interrupts the connection's query.

    DuckDB runs a query in one long call, in which Python would not notice the signal.

    Raises:
        KeyboardInterrupt: after the query has ended.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="query") as worker:
        running = worker.submit(work)
        try:
            while True:
                try:
                    return running.result(LOOK_SECONDS)
                except StillRunning:
                    if running.done():  # the work itself has raised a TimeoutError
                        raise
        except KeyboardInterrupt:
            connection.interrupt()
            raise
