"""Renders a query's result for a terminal: DuckDB's own box, or one line per value when few rows are too wide for it."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass

import duckdb

from rtap_assets.serving.query import require_single_query, translated

# Beyond any table: the box is as wide as its content, so that what a pipe gets can be searched.
UNBOUNDED = 1_000_000
# At most this many rows are shown one value per line where the box would leave columns out.
VERTICAL_ROWS = 3
# DuckDB's renderer takes no smaller width; below it, columns of the middle are left out here.
NARROWEST_BOX = 80
RESULT = "shown_result"


@dataclass(frozen=True)
class Rendering:
    """The text of a result, and whether there are more rows than it shows."""

    text: str
    is_truncated: bool


def render_query(
    connection: duckdb.DuckDBPyConnection, statement: str, *, max_rows: int, width: int | None = None
) -> Rendering:
    """Run one query on a connection of `open_lake` and return its result as text.

    `max_rows` 0 means all rows; `width` None means as wide as the content, without columns left out.

    Raises:
        ServingError: the text is not a single query, or DuckDB refused it.
    """
    with translated(connection):
        require_single_query(connection, statement)
        if connection.extract_statements(statement)[0].type == duckdb.StatementType.EXPLAIN:
            plans = connection.execute(statement).fetchall()
            return Rendering("\n".join(str(plan[-1]) for plan in plans), is_truncated=False)
        # Kept as a table: DuckDB's renderer runs its relation again, which would read the lake twice.
        limit = f"LIMIT {max_rows + 1}" if max_rows else ""
        query = statement.rstrip().rstrip(";")
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {RESULT} AS FROM (\n{query}\n) {limit}")
        found = _count(connection)
        kept = found if not max_rows else min(found, max_rows)
        rows = connection.table(RESULT).limit(max(kept, 1))
        text = _box(rows, max_rows=kept)
        if width is not None and _width(text) > width:
            text = _vertical(rows) if 0 < kept <= VERTICAL_ROWS else _fitting(rows, max_rows=kept, width=width)
        return Rendering(text, is_truncated=found > kept)


def _count(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {RESULT}").fetchall()[0][0])


def _box(rows: duckdb.DuckDBPyRelation, *, max_rows: int, width: int = UNBOUNDED) -> str:
    shown = io.StringIO()
    with redirect_stdout(shown):
        rows.show(max_width=width, max_rows=max(max_rows, 1), max_col_width=width, null_value="NULL")
    return shown.getvalue().rstrip("\n")


def _fitting(rows: duckdb.DuckDBPyRelation, *, max_rows: int, width: int) -> str:
    """Return the box with as many columns as fit, the first and the last; one value per line where none does."""
    if width >= NARROWEST_BOX:
        return _box(rows, max_rows=max_rows, width=width)
    names = rows.columns
    for shown in range(len(names) - 1, 0, -1):
        last = shown // 2
        kept = [*names[: shown - last], *names[len(names) - last :]]
        text = _box(rows.project(", ".join(map(_quoted, kept))), max_rows=max_rows)
        if _width(text) <= width:
            return f"{text}\n  {len(names)} columns ({shown} shown)"
    return _vertical(rows)


def _width(text: str) -> int:
    return max((len(line) for line in text.splitlines()), default=0)


def _vertical(rows: duckdb.DuckDBPyRelation) -> str:
    """Return `name = value` lines, a blank line between rows; values as DuckDB writes them."""
    indent = max(len(name) for name in rows.columns)
    text = ", ".join(f"coalesce(CAST({_quoted(name)} AS VARCHAR), 'NULL')" for name in rows.columns)
    return "\n\n".join(
        "\n".join(f"{name:>{indent}} = {value}" for name, value in zip(rows.columns, row, strict=True))
        for row in rows.project(text).fetchall()
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
