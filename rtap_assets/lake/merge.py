"""The MERGE statement by which a batch changes rows of a table."""

from __future__ import annotations

from collections.abc import Sequence


def merge_statement(table: str, source: str, *, on: Sequence[str], updates: Sequence[str]) -> str:
    """Return the MERGE that updates rows of a table from a view, and inserts none.

    Args:
        on: conditions that match a row `s` of the view with a row `t` of the table.
        updates: columns that a matched row takes from the view.
    """
    changes = ", ".join(f"t.{name} = s.{name}" for name in updates)
    return f"MERGE INTO {table} t USING {source} s\nON {' AND '.join(on)}\nWHEN MATCHED THEN UPDATE SET {changes}"


def between(column: str, first: str, last: str) -> str:
    """Return the condition on instants, bounds included, by which Iceberg skips table partitions and files outside."""
    return f"{column} BETWEEN TIMESTAMP '{first}' AND TIMESTAMP '{last}'"
