"""The newest rows of a table as Markdown, bounded in rows and width; what producers wrote has no effect on markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD
from rtap_assets.contracts.visible import visible_markdown
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.lake_files import plan_lake

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PREVIEW_ROWS = 10
CELL_CHARACTERS = 40
MOST_COLUMNS = 20
NUMBER = re.compile(r"DECIMAL|DOUBLE|U?(TINY|SMALL|BIG|HUGE)?INT")


def preview(connection: DuckDBPyConnection, relation: str, *, order: str) -> dg.MarkdownMetadataValue:
    """Return the first rows in this order; instants are UTC, cut to the second."""
    columns = connection.execute(f"DESCRIBE {relation}").fetchall()
    shown = [_shown(name, kind) for name, kind, *_ in columns[:MOST_COLUMNS]]
    statement = f"SELECT {', '.join(shown)} FROM (FROM {relation} ORDER BY {order} LIMIT {PREVIEW_ROWS})"
    rows = connection.execute(statement).fetchall()
    header = [name for name, *_ in columns[:MOST_COLUMNS]]
    left_out = len(columns) - len(header)
    more = [f"\n{left_out} more columns"] if left_out else []
    rule = ["---:" if NUMBER.match(kind) else "---" for _, kind, *_ in columns[:MOST_COLUMNS]]
    return dg.MetadataValue.md("\n".join([*_table(header, rule, rows), *more]))


def gold_preview(settings: Settings) -> dg.MarkdownMetadataValue:
    """Return gold's newest windows. Costs a planning of the table and a read of its newest files.

    Raises:
        ServingError: the table cannot be read.
        DependencyUnavailable: the catalog did not answer.
    """
    with connect_lake(settings, plan_lake(settings, (GOLD,))) as connection:
        return preview(connection, GOLD.view, order="window_start DESC, plan_tier, region, currency")


def _shown(name: str, kind: str) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    if kind.startswith("TIMESTAMP"):
        return f"strftime({quoted}, '%Y-%m-%d %H:%M:%S')"
    return f"{quoted}::VARCHAR"


def _table(header: Sequence[str], rule: Sequence[str], rows: Sequence[Sequence[str | None]]) -> list[str]:
    cells = [[visible_markdown(cell, limit=CELL_CHARACTERS) if cell is not None else "" for cell in row] for row in rows]
    lines = [header, rule, *cells]
    return [f"| {' | '.join(line)} |" for line in lines]
