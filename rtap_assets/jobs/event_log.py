"""Prunes Dagster's history: finished runs and runless events past their age. The newest event of each asset stays.

Runs go through Dagster's public API. For events that belong to no run (what sensors report) there is none, so their rows are
deleted in the event log's tables, as Dagster itself deletes those of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetEventTagsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

RUNS_AT_A_TIME = 500
ROWS_AT_A_TIME = 500  # SQLite allows a thousand values in a statement, and other writers wait while rows are deleted


@dataclass(frozen=True)
class Pruning:
    """How much was removed."""

    runs: int
    runless_events: int
    check_results: int


def prune_event_log(instance: dg.DagsterInstance, *, older_than: timedelta, now: datetime) -> Pruning:
    """Remove finished runs, runless events and check results older than `older_than`.

    Kept whatever their age: the runs that hold an asset's newest materialization or a check's newest result, and each
    asset's newest runless event of each type.
    """
    before = now - older_than
    kept = _runs_of_newest_events(instance)
    runs = [run_id for run_id in _finished_before(instance, before) if run_id not in kept]
    for run_id in runs:
        _delete_run(instance, run_id)
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return Pruning(len(runs), 0, 0)
    naive = before.astimezone(UTC).replace(tzinfo=None)
    return Pruning(len(runs), _delete_runless_events(storage, naive), _delete_check_results(storage, naive))


def _finished_before(instance: dg.DagsterInstance, before: datetime) -> list[str]:
    found: list[str] = []
    wanted = dg.RunsFilter(statuses=list(FINISHED_STATUSES), updated_before=before)
    while True:
        page = instance.get_run_records(wanted, limit=RUNS_AT_A_TIME, cursor=found[-1] if found else None)
        found += [record.dagster_run.run_id for record in page]
        if len(page) < RUNS_AT_A_TIME:
            return found


def _runs_of_newest_events(instance: dg.DagsterInstance) -> set[str]:
    keys = instance.all_asset_keys()
    newest = instance.get_latest_materialization_events(keys)
    runs = {event.run_id for event in newest.values() if event is not None}
    for key in keys:
        observed = instance.fetch_observations(key, limit=1).records
        runs |= {record.event_log_entry.run_id for record in observed}
    storage = instance.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        with storage.index_connection() as connection:
            checks = AssetCheckExecutionsTable.c
            ids = sa.select(sa.func.max(checks.id)).group_by(checks.asset_key, checks.check_name)
            runs |= {row[0] for row in connection.execute(sa.select(checks.run_id).where(checks.id.in_(ids)))}
    return runs


def _delete_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """The run, its events and its captured output."""
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        # One database file per run, which the deletion only empties.
        for suffix in ("", "-wal", "-shm"):
            Path(storage.path_for_shard(run_id) + suffix).unlink(missing_ok=True)


def _delete_runless_events(storage: SqlEventLogStorage, before: datetime) -> int:
    # The rows of check results name no asset; the newest of each check is kept in the table of check results.
    events = SqlEventLogStorageTable.c
    newest = sa.select(sa.func.max(events.id)).group_by(events.asset_key, events.dagster_event_type)
    old = sa.select(events.id).where(events.run_id == RUNLESS_RUN_ID, events.timestamp < before, events.id.not_in(newest))
    with storage.index_connection() as connection:
        ids = [row[0] for row in connection.execute(old)]
        _delete(connection, SqlEventLogStorageTable, events.id, ids)
        _delete(connection, AssetEventTagsTable, AssetEventTagsTable.c.event_id, ids)
    if isinstance(storage, SqliteEventLogStorage):
        # The same events once more, in a file of their own, under other ids.
        with storage.run_connection(RUNLESS_RUN_ID) as connection:
            mirrored = [row[0] for row in connection.execute(old)]
            _delete(connection, SqlEventLogStorageTable, events.id, mirrored)
    return len(ids)


def _delete_check_results(storage: SqlEventLogStorage, before: datetime) -> int:
    checks = AssetCheckExecutionsTable.c
    newest = sa.select(sa.func.max(checks.id)).group_by(checks.asset_key, checks.check_name)
    old = sa.select(checks.id).where(checks.create_timestamp < before, checks.id.not_in(newest))
    with storage.index_connection() as connection:
        ids = [row[0] for row in connection.execute(old)]
        _delete(connection, AssetCheckExecutionsTable, checks.id, ids)
    return len(ids)


def _delete(connection: Any, table: sa.Table, column: Any, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), ROWS_AT_A_TIME):
        connection.execute(table.delete().where(column.in_(ids[start : start + ROWS_AT_A_TIME])))
