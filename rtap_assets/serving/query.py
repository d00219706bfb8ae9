"""Questions in SQL from a person: one query, on a locked-down connection, answered with at most so many rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import duckdb

from rtap_assets.contracts.tables import DQ_RESULTS, TABLES
from rtap_assets.errors import ServingError
from rtap_assets.serving.connection import MARTS_CATALOG

VIEWS = tuple(spec.view for spec in (*TABLES, DQ_RESULTS))

_EXPLAIN = re.compile(r"\s*EXPLAIN\b\s*(\([^)]*\)|ANALYZE\b|VERBOSE\b)*", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """The result's columns with DuckDB's types, its first rows, and whether there are more."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_cut: bool


def answer(connection: duckdb.DuckDBPyConnection, statement: str, *, max_rows: int) -> Answer:
    """Run one query on a connection of `open_lake`; `max_rows` 0 means all rows.

    Raises:
        ServingError: the text is not a single query, or DuckDB refused it; the message says what can be asked.
    """
    try:
        refuse_what_is_no_query(connection, statement)
        result = connection.execute(statement)
        rows = result.fetchmany(max_rows + 1) if max_rows else result.fetchall()
        description = result.description or []
    except duckdb.Error as error:
        raise ServingError(str(error).strip(), remedy=_what_can_be_asked(connection)) from error
    return Answer(
        columns=tuple(column[0] for column in description),
        types=tuple(str(column[1]) for column in description),
        rows=rows[:max_rows] if max_rows else rows,
        is_cut=bool(max_rows) and len(rows) > max_rows,
    )


def refuse_what_is_no_query(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Let only a single query through.

    The lock-down alone would let COPY overwrite a data file that the views read, and let the marts be attached again for
    writing. DuckDB also takes COPY, INSERT, UPDATE and DELETE inside a WITH clause, where the statement's type is SELECT;
    but only at the top level, so planning the statement as a subquery refuses them.

    Raises:
        ServingError: it is something else than a query, or more than one, or names what does not exist.
        duckdb.Error: it does not parse.
    """
    statements = connection.extract_statements(statement)
    if len(statements) != 1:
        raise ServingError(f"One query at a time, please: this text has {len(statements)}.", remedy="Remove the rest.")
    kind, query = statements[0].type, statements[0].query
    if kind == duckdb.StatementType.EXPLAIN:
        query = query[match.end() :] if (match := _EXPLAIN.match(query)) else ""
        refuse_what_is_no_query(connection, query)
        return
    if kind not in {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}:
        raise ServingError(
            f"A {kind.name} statement is not a query; the lake and the marts are read-only here.",
            remedy="Ask with SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW TABLES or EXPLAIN.",
        )
    try:
        connection.execute(f"EXPLAIN FROM (\n{query.rstrip().rstrip(';')}\n)").fetchall()
    except duckdb.Error as error:
        # The line that the person wrote, without the one that was put before it.
        message = re.sub(r"LINE (\d+):", lambda match: f"LINE {int(match[1]) - 1}:", str(error))
        raise ServingError(message.strip(), remedy=_what_can_be_asked(connection)) from error


def _what_can_be_asked(connection: duckdb.DuckDBPyConnection) -> str:
    marts = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_catalog = ? ORDER BY ALL", [MARTS_CATALOG]
    ).fetchall()
    names = [*VIEWS, *(f"{MARTS_CATALOG}.{name}" for (name,) in marts)]
    hint = "" if marts else " There are no marts yet: `rtap marts refresh` builds them."
    return f"You can ask {', '.join(names)}.{hint}"
