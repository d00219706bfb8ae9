"""DuckDB connections over the lake: bronze, silver and gold as views over the files of their newest snapshots.

Queries run on `open_lake`, which is read-only and locked down. The refresh of marts and export uses `connect_lake`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import OFFSET_GAPS
from rtap_assets.contracts.tables import DQ_RESULTS, TableSpec
from rtap_assets.errors import ServingError
from rtap_assets.serving.duckdb_types import typed_empty_select
from rtap_assets.serving.lake_files import PLANNING_ORDER, TableFiles, plan_lake

MARTS_CATALOG = "marts"
# As `streaming/progress.py` writes them.
PROGRESS_COLUMNS = {
    "stream": "VARCHAR",
    "batch_id": "BIGINT",
    "query_id": "VARCHAR",
    "run_id": "VARCHAR",
    "started_at": "TIMESTAMPTZ",
    "batch_seconds": "DOUBLE",
    "step_seconds": "MAP(VARCHAR, DOUBLE)",
    "input_rows": "BIGINT",
    "input_rows_per_second": "DOUBLE",
    "processed_rows_per_second": "DOUBLE",
    "watermark_ms": "BIGINT",
    "state_rows": "BIGINT",
    "state_bytes": "BIGINT",
    "dropped_late": "BIGINT",
    "dropped_copies": "BIGINT",
    "source": "JSON",
    "observed_metrics": "JSON",
}


@contextmanager
def open_lake(settings: Settings, *, memory_mb: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an in-memory connection with the views of the tables (`bronze`, `silver`, `gold`, …), `quality`, `offset_gaps`,
    the streams' batches as `stream_progress` and, once refreshed, the marts as `marts.<name>`.

    Nothing outside the planned files can be read, written, attached or installed, and the configuration is locked. The
    planned files themselves are only as safe as the statement: DuckDB has no read-only permission for a path, so an
    operator's SQL goes through `query.run_query`, which accepts queries only. Use the connection itself, not a `cursor()`
    of it: the file lists are its session variables. `memory_mb` bounds what a query holds in memory, and as much again on
    disk.

    Raises:
        ServingError: the lake or the marts cannot be read.
        DependencyUnavailable: the catalog did not answer.
    """
    plans = plan_lake(settings, (*PLANNING_ORDER, DQ_RESULTS, OFFSET_GAPS))
    with connect_lake(settings, plans) as connection:
        if settings.marts_path.exists():
            try:
                connection.execute(f"ATTACH {_quoted(str(settings.marts_path))} AS {MARTS_CATALOG} (READ_ONLY)")
            except duckdb.Error as error:
                raise ServingError(
                    f"The marts in {settings.marts_path} cannot be opened: {error}.",
                    remedy="Rebuild them: `rtap marts refresh`.",
                ) from error
        logs = _create_progress_view(connection, settings)
        if memory_mb is not None:
            connection.execute(f"SET memory_limit = '{int(memory_mb)}MB'")
            connection.execute(f"SET max_temp_directory_size = '{int(memory_mb)}MB'")
        lock_down(connection, [*(path for files in plans.values() for path in files.paths), *logs])
        yield connection


def connect_lake(settings: Settings, plans: Mapping[str, TableFiles]) -> duckdb.DuckDBPyConnection:
    """Return an in-memory connection in UTC with a temporary view per plan, named as its spec says; not locked down.

    Raises:
        ServingError: DuckDB cannot read a planned file.
    """
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET python_enable_replacements = false")
        connection.execute(f"SET temp_directory = {_quoted(str(settings.state_dir / 'duckdb-tmp'))}")
        for name, files in plans.items():
            create_view(connection, name, files)
    except duckdb.Error as error:
        connection.close()
        raise ServingError(
            f"DuckDB cannot read the lake's files: {error}.", remedy="Try again; if it persists, check the disk."
        ) from error
    return connection


def create_view(connection: duckdb.DuckDBPyConnection, name: str, files: TableFiles, *, rows: str = "true") -> None:
    """Create or replace the view of a table's files, the contract's columns first: a missing table or column is still typed.

    `rows` is the condition of those that it shows. The file list is bound as a variable: inlined, thousands of paths would
    be a megabyte of SQL, parsed at each use.
    """
    select = typed_empty_select(files.spec)
    if files.paths:
        connection.execute(f"SET VARIABLE {name}_files = ?", [list(files.paths)])
        files_of_snapshot = f"getvariable('{name}_files'), union_by_name = true, hive_partitioning = false"
        select += f"\nUNION ALL BY NAME\nFROM read_parquet({files_of_snapshot})"
    view = with_first_epoch(files.spec, select)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM ({view}) WHERE {rows}")


def with_first_epoch(spec: TableSpec, select: str) -> str:
    """Return the query with topic epoch 0 where rows predate the column, so that coordinates can be compared."""
    if "topic_epoch" not in spec.column_names:
        return select
    return f"SELECT * REPLACE (coalesce(topic_epoch, 0)::INTEGER AS topic_epoch) FROM ({select})"


def _create_progress_view(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """Create the view `stream_progress` of the streams' batches; return the log files that it reads."""
    logs = sorted(str(path) for path in (settings.streams_dir / "progress").glob("*.jsonl"))
    columns = ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in PROGRESS_COLUMNS.items())
    names = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in PROGRESS_COLUMNS.items())
    select = f"SELECT {names} WHERE false"
    if logs:
        connection.execute("SET VARIABLE progress_files = ?", [logs])
        # A line that is being written, or was truncated by a crash, is skipped.
        form = f"columns = {{{columns}}}, format = 'newline_delimited', ignore_errors = true"
        select = f"SELECT * FROM read_json(getvariable('progress_files'), {form}) WHERE batch_id IS NOT NULL"
    connection.execute(f"CREATE TEMP VIEW stream_progress AS {select}")
    return logs


def lock_down(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Leave the connection nothing but these files, and no way to change its configuration."""
    connection.execute("SET allowed_paths = ?", [list(paths)])
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
