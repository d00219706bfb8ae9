"""The audit's own database on disk: what was read from topic and lake, in bounded memory; removed after the audit."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import duckdb

from rtap_assets.audit.state import LakeState
from rtap_assets.config import Settings
from rtap_assets.contracts.dead_letters import REDRIVE_ORIGIN
from rtap_assets.errors import ServingError
from rtap_assets.serving.duckdb_types import typed_empty_select
from rtap_assets.serving.lake_files import TableFiles

THREADS = 2
MOST_DETAIL_ROWS = 20
ABANDONED_SECONDS = 86_400


@contextmanager
def open_workspace(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection to an empty database below the state folder, with memory bounded by `audit_memory_mb`.

    Raises:
        ServingError: the folder cannot be written, or the disk is full.
    """
    parent = settings.state_dir / "audit"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        folder = Path(tempfile.mkdtemp(prefix="work-", dir=parent))
    except OSError as error:
        raise ServingError(
            f"The audit cannot write its working files below {parent}: {error.strerror}.",
            remedy="Make the state folder writable, or free space on its disk.",
        ) from error
    try:
        with duckdb.connect(str(folder / "audit.duckdb")) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET python_enable_replacements = false")
            connection.execute("SET preserve_insertion_order = false")
            connection.execute(f"SET threads = {THREADS}")
            connection.execute(f"SET memory_limit = '{settings.audit_memory_mb}MB'")
            connection.execute(f"SET temp_directory = '{str(folder / 'spill').replace(chr(39), chr(39) * 2)}'")
            connection.execute(sql("schema"))
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove the workspaces of audits that were killed."""
    for folder in parent.glob("work-*"):
        with suppress(FileNotFoundError):  # of an audit that begins or ends at this moment
            if time.time() - (folder / "audit.duckdb").stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def load_lake(connection: duckdb.DuckDBPyConnection, settings: Settings, state: LakeState) -> None:
    """Copy the compared columns of the three snapshots; afterwards the lake's files are no longer needed."""
    for name, plan in state.plans.items():
        _view(connection, f"{name}_source", plan, plan.paths)
    _view(connection, "bronze_unread_source", state.plans["bronze"], state.silver.unread)
    _view(connection, "silver_unread_source", state.plans["silver"], state.gold.unread)
    load_tables(connection, settings, keep=lambda: state.keep(settings))


def load_tables(
    connection: duckdb.DuckDBPyConnection, settings: Settings, *, keep: Callable[[], None] = lambda: None
) -> None:
    """Copy from the relations `bronze_source`, `bronze_unread_source` and so on."""
    parameters: Mapping[str, object] = {
        "topic": settings.topic_events,
        "window_us": settings.window_seconds * 1_000_000,
        "slide_us": settings.slide_seconds * 1_000_000,
        "delay_seconds": settings.watermark_delay_seconds,
        "redrive_header": REDRIVE_ORIGIN,
    }
    for name, value in parameters.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    for table in ("bronze", "silver", "gold"):
        keep()
        connection.execute(sql(f"load_{table}"))


def _view(connection: duckdb.DuckDBPyConnection, name: str, plan: TableFiles, paths: tuple[str, ...]) -> None:
    """Create a view of the files' rows with their file name; typed by the contract if there are none."""
    select = f"SELECT *, NULL::VARCHAR AS filename FROM ({typed_empty_select(plan.spec)})"
    if paths:
        connection.execute(f"SET VARIABLE {name}_files = ?", [list(paths)])
        options = "union_by_name = true, hive_partitioning = false, filename = true"
        select += f"\nUNION ALL BY NAME\nFROM read_parquet(getvariable('{name}_files'), {options})"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {select}")


def sql(name: str) -> str:
    """Return the statements of `sql/<name>.sql`."""
    return files("rtap_assets.audit").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def one(connection: duckdb.DuckDBPyConnection, statement: str) -> dict[str, int]:
    """Return the only row of a result, by column."""
    cursor = connection.execute(statement)
    names = [column[0] for column in cursor.description or ()]
    return dict(zip(names, cursor.fetchall()[0], strict=True))  # read to its end: a result left open blocks the connection
