"""The oracle's comparison: ledger, bronze, silver and gold, record by record and cent by cent, without any tolerance.

The SQL is in `sql/`, run in the order of `STEPS`. Whether each late record was older than the watermark that its batch used
is proven elsewhere, from the offset log: here "late" only means that silver has no row of the event.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from rtap_assets.config import Settings
from rtap_assets.generator.ledger import INTENDED, OUTCOME

STEPS = ("1_match.sql", "2_silver.sql", "3_gold.sql", "details.sql")
LINES = "lines.sql"
MOST_DETAIL_ROWS = 20
MICROSECONDS = 1_000_000

# Sets that must be empty when everything is right, and what a row of them means.
DAMAGE = {
    "lost": "acknowledged, but not in bronze with the bytes that were sent",
    "unintended": "in bronze, but intended by no run in the ledger",
    "doubled_in_bronze": "one Kafka record in several rows of bronze",
    "other_topic": "rows of bronze from another topic",
    "wrong_reason": "the ledger and bronze disagree about the reason",
    "doubled_in_silver": "one event in several rows of silver",
    "silver_differs": "a row of silver that is not what the ledger has for its Kafka record",
    "gold_differs": "a window that is not the sum of silver's events",
}
# Sets that may have members.
REMARKABLE = {
    "conflicting": "one event_id with different contents",
    "late": "valid, but without a row of its event in silver",
    "settled": "outcome unknown to the producer, found in bronze",
}


@dataclass(frozen=True)
class Line:
    """One equation. `left` and `right` are exact, as text; `note` gives the parts of a sum."""

    name: str
    left: str
    right: str
    equal: bool
    note: str = ""


@dataclass(frozen=True)
class DetailSet:
    """Records behind a line: what they mean, how many there are, and the first few."""

    name: str
    meaning: str
    count: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Reconciliation:
    """All lines, and the records behind them."""

    lines: tuple[Line, ...]
    details: dict[str, DetailSet]

    @property
    def holds(self) -> bool:
        """Whether every line is equal and no record is damaged."""
        return all(line.equal for line in self.lines) and not self.damage

    @property
    def damage(self) -> list[DetailSet]:
        """The sets that should be empty and are not."""
        return [self.details[name] for name in DAMAGE if self.details[name].count]


def reconcile(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Reconciliation:
    """Compare the ledger's truth with the views `bronze`, `silver` and `gold` on `connection`.

    Works on a locked-down connection. Leaves its temporary tables there (`classified`, `judged`, `gold_differs`, …), so that
    further questions can be asked of the same state.
    """
    _provide_ledger(connection, settings.ledger_dir)
    _provide_parameters(connection, settings)
    for step in STEPS:
        connection.execute(_sql(step))
    rows = connection.execute(_sql(LINES)).fetchall()
    lines = tuple(Line(name, left, right, bool(equal), note) for _, name, left, right, equal, note in rows)
    return Reconciliation(lines, {name: _detail(connection, name, text) for name, text in (DAMAGE | REMARKABLE).items()})


def _provide_ledger(connection: duckdb.DuckDBPyConnection, ledger_dir: Path) -> None:
    """The ledger's files as the tables `intended` and `outcomes`, read through Arrow: a locked connection opens no files."""
    for table, pattern, schema in (
        ("intended", "*/intended-*.parquet", INTENDED),
        ("outcomes", "*/outcome-*.parquet", OUTCOME),
    ):
        paths = sorted(str(path) for path in ledger_dir.glob(pattern))
        source = ds.dataset(paths, schema=schema) if paths else pa.Table.from_pylist([], schema=schema)
        connection.register(f"{table}_files", source)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS FROM {table}_files")
        connection.unregister(f"{table}_files")


def _provide_parameters(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    connection.execute("CREATE OR REPLACE TEMP TABLE parameters (topic VARCHAR, window_us BIGINT, slide_us BIGINT)")
    connection.execute(
        "INSERT INTO parameters VALUES (?, ?, ?)",
        [settings.topic_events, settings.window_seconds * MICROSECONDS, settings.slide_seconds * MICROSECONDS],
    )


def _detail(connection: duckdb.DuckDBPyConnection, name: str, meaning: str) -> DetailSet:
    counted = connection.execute(f"SELECT count(*) FROM detail_{name}").fetchone()
    shown = connection.execute(f"FROM detail_{name} ORDER BY ALL LIMIT {MOST_DETAIL_ROWS}")
    columns = tuple(column[0] for column in shown.description or ())
    return DetailSet(name, meaning, counted[0] if counted else 0, columns, tuple(shown.fetchall()))


def _sql(name: str) -> str:
    return files("rtap_assets.generator").joinpath("sql", name).read_text(encoding="utf-8")
