"""Finds changes of a table by other programs, in the table's retained history.

The platform's own commits carry a stamp in their summaries. A compaction (`replace`) changes no row and is never a change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from zlib import crc32

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot

from rtap_assets.contracts.table_changes import TableChange
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.history.snapshots import NATIVE_QUERY_ID, ancestors
from rtap_assets.lake.history.table_layout import layout_changes
from rtap_assets.runtime.clock import from_milliseconds

OWN_PREFIX = "rtap."
ENGINE_KEYS = ("engine-name", "app-name", "created-by")


def foreign_changes(table: Table, spec: TableSpec, *, now: datetime) -> list[TableChange]:
    """Return the changes by other programs, oldest first: of rows, of the history itself, of the layout."""
    chain = ancestors(table)
    rows = [_of_snapshot(snapshot, spec) for snapshot in reversed(chain) if _is_foreign(snapshot)]
    layout = [
        TableChange(
            change_id=f"{spec.namespace}-{crc32(change.detail.encode()):08x}",
            table_name=spec.identifier,
            operation=change.operation,
            snapshot_id=None,
            rows_added=0,
            rows_deleted=0,
            files_added=0,
            files_deleted=0,
            engine="not known",
            detail=change.detail,
            changed_at=now,
        )
        for change in layout_changes(table, spec)
    ]
    return [*rows, *_rollbacks(table, spec, chain), *layout]


def _is_foreign(snapshot: Snapshot) -> bool:
    if snapshot.summary is None or snapshot.summary.operation is Operation.REPLACE:
        return False
    summary = snapshot.summary.additional_properties
    if any(key == NATIVE_QUERY_ID or key.startswith(OWN_PREFIX) for key in summary):
        return False
    return any(_count(summary, key) for key in ("added-data-files", "deleted-data-files", "added-delete-files"))


def _of_snapshot(snapshot: Snapshot, spec: TableSpec) -> TableChange:
    assert snapshot.summary is not None
    summary = snapshot.summary.additional_properties
    hidden = _count(summary, "added-position-deletes") + _count(summary, "added-equality-deletes")
    return TableChange(
        change_id=str(snapshot.snapshot_id),
        table_name=spec.identifier,
        operation=snapshot.summary.operation.value,
        snapshot_id=snapshot.snapshot_id,
        rows_added=_count(summary, "added-records"),
        rows_deleted=_count(summary, "deleted-records") + hidden,
        files_added=_count(summary, "added-data-files"),
        files_deleted=_count(summary, "deleted-data-files"),
        engine=_engine(summary),
        detail="",
        changed_at=_time_of(snapshot),
    )


def _rollbacks(table: Table, spec: TableSpec, chain: list[Snapshot]) -> Iterator[TableChange]:
    """Yield the ends of branches that were once current and no longer are.

    Only those newer than the oldest snapshot of the history: an expiry may have disconnected older ones.
    """
    own = {snapshot.snapshot_id for snapshot in chain}
    oldest = chain[-1].sequence_number or 0 if chain else 0
    was_current = {entry.snapshot_id for entry in table.metadata.snapshot_log}
    retained = {snapshot.snapshot_id: snapshot for snapshot in table.snapshots()}
    left = {
        id: snapshot
        for id, snapshot in retained.items()
        if id in was_current - own and (snapshot.sequence_number or 0) > oldest
    }
    parents = {snapshot.parent_snapshot_id for snapshot in left.values()}
    for identifier, snapshot in left.items():
        if identifier not in parents:
            # A formerly current snapshot, with its ancestors that are no longer in the table's history.
            gone = len(list(_branch(snapshot, left)))
            yield TableChange(
                change_id=f"rollback-{identifier}",
                table_name=spec.identifier,
                operation="rollback",
                snapshot_id=identifier,
                rows_added=0,
                rows_deleted=0,
                files_added=0,
                files_deleted=0,
                engine="not known",
                detail=f"{gone} snapshots up to {identifier} are no longer part of its history",
                changed_at=_time_of(snapshot),
            )


def _branch(snapshot: Snapshot, left: Mapping[int, Snapshot]) -> Iterator[Snapshot]:
    current: Snapshot | None = snapshot
    while current is not None:
        yield current
        current = left.get(current.parent_snapshot_id or -1)


def _engine(summary: Mapping[str, str]) -> str:
    name = next((summary[key] for key in ENGINE_KEYS if key in summary), None)
    version = summary.get("engine-version", "")
    return "a program that does not say which it is" if name is None else f"{name} {version}".strip()


def _count(summary: Mapping[str, str], key: str) -> int:
    return int(summary.get(key) or 0)


def _time_of(snapshot: Snapshot) -> datetime:
    return from_milliseconds(snapshot.timestamp_ms)
