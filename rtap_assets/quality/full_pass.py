"""The full pass of data-quality checks: exact questions to the newest snapshots, answered by DuckDB. Changes nothing.

One statement per check in `sql/`; each returns how many rows it looked at, how many broke the rule, what was observed,
and a detail. The lake is planned downstream first, so what a layer holds is in the layers above it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from importlib import resources
from typing import Any
from uuid import uuid4

import duckdb

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import OFFSET_GAPS
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TABLES
from rtap_assets.errors import ServingError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.file_positions import FilePosition, end_of_batch, file_positions
from rtap_assets.lake.history.snapshots import STAMP_EPOCH_ID, ancestors, summary_value
from rtap_assets.lake.history.stream_offsets import StreamPositions
from rtap_assets.lake.table_changes import read_changes
from rtap_assets.quality.catalog import PASS_CHECKS, REQUIRED_COLUMNS, CheckSpec, DqResult, result_of
from rtap_assets.quality.checked_files import (
    note_earlier_maximum,
    show_checked_files,
    show_consumed_bronze,
    show_earlier_silver,
)
from rtap_assets.runtime.clock import EPOCH
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.corrections import load_corrections
from rtap_assets.serving.lake_files import PLANNING_ORDER, TableFiles, local_path, plan_lake

VOLUME_INTERVALS = 10  # what `sql/volume.sql` looks at
EVERYTHING = FilePosition(2**62, 0)
NOTHING = FilePosition(-1, 0)
# What the statements that hold for more than one table look at.
VALID_ROWS = {
    BRONZE.identifier: "(SELECT *, epoch_ms(kafka_timestamp) - epoch_ms(event_time) AS delivery_latency_ms "
    "FROM bronze WHERE error_reason IS NULL)",
    SILVER.identifier: "silver",
}
# One CASE per required column; the list of columns is the contract's.
NULL_COLUMNS = ", ".join(f"CASE WHEN {column} IS NULL THEN '{column}' END" for column in REQUIRED_COLUMNS)


def run_checks(
    settings: Settings,
    *,
    positions: StreamPositions,
    now: datetime,
    lookback_hours: float = 0,
    checks: Sequence[CheckSpec] = PASS_CHECKS,
) -> list[DqResult]:
    """Return the result of each of the checks, in their order; by default of the whole pass.

    `positions` says how far the streams had read; take them before the call. Rows older than `lookback_hours` are left out
    (0: none), but for the other copies of an event.

    Raises:
        ServingError: the lake cannot be read.
        DependencyUnavailable: the catalog did not answer.
    """
    try:
        return _run(settings, positions=positions, now=now, lookback_hours=lookback_hours, checks=checks)
    except (duckdb.IOException, FileNotFoundError):  # a snapshot expired while its files were read: take the newest ones
        pass
    except duckdb.Error as error:
        raise _unreadable(error) from error
    try:
        return _run(settings, positions=positions, now=now, lookback_hours=lookback_hours, checks=checks)
    except (duckdb.Error, FileNotFoundError) as error:
        raise _unreadable(error) from error


def _run(
    settings: Settings, *, positions: StreamPositions, now: datetime, lookback_hours: float, checks: Sequence[CheckSpec]
) -> list[DqResult]:
    plans = plan_lake(settings, (*PLANNING_ORDER, OFFSET_GAPS))
    since = now - timedelta(hours=lookback_hours) if lookback_hours else EPOCH
    evaluation = f"pass/{uuid4().hex}"
    with connect_lake(settings, {OFFSET_GAPS.view: plans[OFFSET_GAPS.view]}) as connection:
        load_corrections(connection, settings)
        volume_since = now - timedelta(minutes=VOLUME_INTERVALS * settings.dq_volume_minutes)
        show_checked_files(connection, plans, since=since, volume_since=volume_since)
        bounds = _prepare(connection, settings, plans, positions)
        shared: dict[str, object] = {
            "now": now,
            "since": since,
            "correction_due": now - 2 * timedelta(minutes=settings.corrections_interval_minutes),
            "watermark": plans[GOLD.view].watermark,  # none: no window is closed, and the check looks at none
            "interval_seconds": settings.dq_volume_minutes * 60,
            "recent_seconds": 2 * settings.dq_interval_minutes * 60,  # no batch falls between two passes
            "bounded_currencies": list(settings.plausible_amounts),
            "largest_amounts": list(settings.plausible_amounts.values()),
            "skew_seconds": settings.dq_event_time_skew_seconds,
            "watermark_delay_seconds": settings.watermark_delay_seconds,
            "window_seconds": settings.window_seconds,
            "slide_seconds": settings.slide_seconds,
        }
        shared |= {f"{spec.view}_rows": plans[spec.view].rows for spec in TABLES}
        _ask(connection, "bronze_starts", shared)
        show_consumed_bronze(connection, plans[BRONZE.view])
        if any(check.needs_accounts for check in checks):
            _account(connection, plans, shared | _read(bounds["bronze"]), since=since)
        results = []
        for check in checks:
            rows = VALID_ROWS.get(check.spec.identifier, "")
            row = _ask(connection, check.statement, shared | _read(bounds["silver"]), rows=rows)
            results.append(
                result_of(
                    check,
                    settings,
                    evaluation=evaluation,
                    observed=row["observed"],
                    rows_checked=row["rows_checked"],
                    rows_failed=row["rows_failed"],
                    measured_from=since if lookback_hours else None,
                    measured_at=now,
                    snapshot_id=plans[check.spec.view].snapshot_id,
                    detail=row["detail"],
                )
            )
    return results


def _account(
    connection: duckdb.DuckDBPyConnection, plans: Mapping[str, TableFiles], bound: Mapping[str, object], *, since: datetime
) -> None:
    """Make the table `silver_accounts`; what would be lost is compared with all of silver before it is called so."""
    note_earlier_maximum(connection, plans[BRONZE.view], since=since)
    is_whole = show_earlier_silver(connection, plans[SILVER.view], since=since)
    _ask(connection, "silver_accounts", bound)
    if not is_whole and connection.execute("SELECT lost > 0 FROM silver_accounts").fetchone() == (True,):
        show_earlier_silver(connection, plans[SILVER.view], since=since, everything=True)
        _ask(connection, "silver_accounts", bound)


def _prepare(
    connection: duckdb.DuckDBPyConnection, settings: Settings, plans: Mapping[str, TableFiles], positions: StreamPositions
) -> dict[str, FilePosition]:
    """Make the tables that say what the streams have read; return up to where silver has read bronze, and gold silver."""
    connection.execute(
        "CREATE TEMP TABLE consumed_offsets (topic_epoch INTEGER, kafka_partition INTEGER, next_offset BIGINT)"
    )
    for partition, offset in positions.bronze.items():
        connection.execute("INSERT INTO consumed_offsets VALUES (?, ?, ?)", [positions.topic_epoch, partition, offset])
    _create_foreign_changes(connection, settings, histories=sum(plan.snapshot_id is not None for plan in plans.values()))
    gold = _gold_position(settings, plans[GOLD.view], positions)
    return {
        "bronze": _follow(connection, settings, plans[BRONZE.view], positions.silver, otherwise=NOTHING),
        "silver": _follow(connection, settings, plans[SILVER.view], gold, otherwise=EVERYTHING),
    }


def _create_foreign_changes(connection: duckdb.DuckDBPyConnection, settings: Settings, *, histories: int) -> None:
    connection.execute("CREATE TEMP TABLE histories AS SELECT ? AS tables", [histories])
    connection.execute(
        "CREATE TEMP TABLE foreign_changes "
        "(table_name VARCHAR, sentence VARCHAR, changed_at TIMESTAMPTZ, is_acknowledged BOOLEAN)"
    )
    for change in read_changes(settings):
        row = [change.table_name, change.sentence, change.changed_at, change.acknowledged_at is not None]
        connection.execute("INSERT INTO foreign_changes VALUES (?, ?, ?, ?)", row)


def _follow(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    files: TableFiles,
    position: Mapping[str, Any] | None,
    *,
    otherwise: FilePosition,
) -> FilePosition:
    """Make the table `<view>_order` of its files; return the end of what was read."""
    name, spec = files.spec.view, files.spec
    connection.execute(f"CREATE TEMP TABLE {name}_order (path VARCHAR, sequence_number BIGINT, file_index BIGINT)")
    if not files.paths:
        return otherwise
    with open_catalog(settings) as catalog:
        table = load_table(catalog, spec.identifier)
        rows = [[local_path(path), place.sequence_number, place.index] for path, place in file_positions(table).items()]
        end = None if position is None else end_of_batch(table, dict(position))
    if rows:
        connection.executemany(f"INSERT INTO {name}_order VALUES (?, ?, ?)", rows)
    # The snapshot of a position is protected from expiry; where it is gone all the same, its order is unknown.
    return otherwise if end is None else end


def _gold_position(settings: Settings, files: TableFiles, positions: StreamPositions) -> Mapping[str, Any] | None:
    """Return silver's offset at the end of the newest batch merged into gold; None where the checkpoint does not have it."""
    if files.snapshot_id is None:
        return None
    with open_catalog(settings) as catalog:
        table = load_table(catalog, files.spec.identifier)
        for snapshot in ancestors(table):
            epoch = summary_value(snapshot, STAMP_EPOCH_ID)
            if epoch is not None:
                return positions.gold_batches.get(int(epoch))
    return None


def _read(end: FilePosition) -> dict[str, int]:
    return {"read_sequence": end.sequence_number, "read_index": end.index}


def _ask(connection: duckdb.DuckDBPyConnection, name: str, bound: Mapping[str, object], *, rows: str = "") -> dict[str, Any]:
    """Run one statement with those of the values that it names; its only row by column, {} when it makes a table."""
    text = resources.files("rtap_assets.quality").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    text = text.replace("{required}", NULL_COLUMNS).replace("{valid_rows}", rows)
    used = {key: bound[key] for key in bound.keys() & set(re.findall(r"\$(\w+)", text))}
    cursor = connection.execute(text, used)
    columns = [column[0] for column in cursor.description or []]
    row = cursor.fetchone()
    return dict(zip(columns, row or (), strict=False))


def _unreadable(error: Exception) -> ServingError:
    return ServingError(
        f"The checks could not read the lake: {error}.", remedy="Run `rtap dq run` again; if it stays, check the disk."
    )
