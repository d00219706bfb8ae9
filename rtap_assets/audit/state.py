"""A consistent state of the platform to audit: one snapshot per table, and each layer's position in the one above.

Planned downstream first, each position from the stamp of the snapshot itself: what gold holds is in silver's snapshot, what
silver holds is in bronze's, what bronze holds was in the topic. So a live system is compared as if it stood still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from rtap_assets.config import Settings
from rtap_assets.lake.catalog import catalog_session
from rtap_assets.lake.history.snapshot_leases import lease_snapshots
from rtap_assets.lake.history.snapshots import (
    NATIVE_EPOCH_ID,
    NATIVE_QUERY_ID,
    STAMP_EPOCH_ID,
    STAMP_QUERY_ID,
    added_files,
    ancestors,
    summary_value,
)
from rtap_assets.lake.history.stream_offsets import BEFORE_THE_FIRST_SNAPSHOT
from rtap_assets.runtime.clock import utc_now
from rtap_assets.serving.lake_files import TableFiles, local_path, plan_lake
from rtap_assets.streaming.checkpoints.files import committed_position, kafka_beginnings, query_id, read_batch
from rtap_assets.streaming.checkpoints.topic_binding import read_binding


@dataclass(frozen=True)
class Consumed:
    """What a layer has read of the table above it: the whole snapshot except `unread`, the files it has not read yet.

    `position` is None when it has read nothing; `is_known` is false when the position's snapshot is gone.
    """

    position: Mapping[str, Any] | None
    unread: tuple[str, ...] = ()
    is_known: bool = True


@dataclass(frozen=True)
class LakeState:
    """Snapshots and positions that belong together.

    Kafka positions are next offsets by Kafka partition, in the topic's current `topic_epoch`.
    """

    plans: Mapping[str, TableFiles]
    begins: Mapping[int, int]
    ends: Mapping[int, int]
    silver: Consumed
    gold: Consumed
    topic_epoch: int = 0

    @property
    def snapshots(self) -> dict[str, int]:
        return {plan.spec.identifier: plan.snapshot_id for plan in self.plans.values() if plan.snapshot_id is not None}

    def keep(self, settings: Settings) -> None:
        """Renew the pins: the files stay for another `reader_pin_seconds`."""
        lease_snapshots(settings, self.snapshots, now=utc_now())


def plan_state(settings: Settings) -> LakeState:
    """Return the current state; leases its snapshots.

    Raises:
        DependencyUnavailable: the catalog did not answer.
        ServingError: a table's files are out of reach.
        StreamError: a checkpoint cannot be read.
    """
    plans = plan_lake(settings)
    tables = _tables(settings, plans)
    checkpoints = {name: settings.checkpoint_dir / name for name in plans}
    at = {name: _position(checkpoints[name], tables.get(name), plans[name].snapshot_id) for name in plans}
    ends = _offsets(at["bronze"], settings.topic_events)
    binding = read_binding(checkpoints["bronze"])
    begins = kafka_beginnings(checkpoints["bronze"], settings.topic_events)
    if binding is not None:
        begins |= dict(binding.starting_offsets)
        ends = ends or dict(binding.starting_offsets)
    return LakeState(
        plans=plans,
        begins=begins,
        ends=ends,
        silver=_consumed(tables.get("bronze"), plans["bronze"].snapshot_id, at["silver"]),
        gold=_consumed(tables.get("silver"), plans["silver"].snapshot_id, at["gold"]),
        topic_epoch=0 if binding is None else binding.topic_epoch,
    )


def _tables(settings: Settings, plans: Mapping[str, TableFiles]) -> dict[str, Table]:
    found = {}
    with catalog_session(settings) as catalog:
        for name, plan in plans.items():
            try:
                found[name] = catalog.load_table(plan.spec.identifier)
            except NoSuchTableError:
                continue
    return found


def _chain(table: Table, snapshot_id: int | None) -> Sequence[Snapshot]:
    """Return the planned snapshot and its retained ancestors, newest first."""
    chain = ancestors(table)
    planned = next((index for index, snapshot in enumerate(chain) if snapshot.snapshot_id == snapshot_id), None)
    return () if planned is None else chain[planned:]


def _position(checkpoint: Path, table: Table | None, snapshot_id: int | None) -> dict[str, Any] | None:
    """Return the source offset at the end of the newest batch in the planned snapshot; None without a committed batch.

    From the stamp of the stream's newest commit in the snapshot's history; without one, from the commit log.
    """
    query = query_id(checkpoint)
    for snapshot in () if table is None else _chain(table, snapshot_id):
        for query_key, epoch_key in ((NATIVE_QUERY_ID, NATIVE_EPOCH_ID), (STAMP_QUERY_ID, STAMP_EPOCH_ID)):
            epoch = summary_value(snapshot, epoch_key)
            if epoch is None or summary_value(snapshot, query_key) != query:
                continue
            if (checkpoint / "offsets" / epoch).exists():
                source = read_batch(checkpoint, int(epoch)).source
                return None if source.get("snapshot_id") == BEFORE_THE_FIRST_SNAPSHOT else source
    return committed_position(checkpoint)


def _offsets(position: Mapping[str, Any] | None, topic: str) -> dict[int, int]:
    return {int(partition): int(offset) for partition, offset in (position or {}).get(topic, {}).items()}


def _consumed(table: Table | None, snapshot_id: int | None, position: dict[str, Any] | None) -> Consumed:
    """Return what lies beyond the position, as files that their own snapshots appended: compactions do not affect it."""
    if position is None or table is None:
        return Consumed(None)
    unread: list[str] = []
    for snapshot in _chain(table, snapshot_id):
        is_reached = snapshot.snapshot_id == position["snapshot_id"]
        read = int(position["position"]) if is_reached else 0
        if added_files(snapshot) > read:
            unread += _appended(table, snapshot)[read:]
        if is_reached:
            return Consumed(position, tuple(unread))
    # The stream may be ahead of the planned snapshot (its commit came after the plan): then nothing is unread.
    newer = table.snapshot_by_id(position["snapshot_id"])
    return Consumed(position, is_known=newer is not None)


def _appended(table: Table, snapshot: Snapshot) -> list[str]:
    """Return the data files that the snapshot appended, in the order of Iceberg's streaming source."""
    return [
        local_path(entry.data_file.file_path)
        for manifest in snapshot.manifests(table.io)
        if manifest.added_snapshot_id == snapshot.snapshot_id
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        if entry.status is ManifestEntryStatus.ADDED and entry.snapshot_id == snapshot.snapshot_id
    ]
