"""Plans snapshot expiry: the oldest snapshots only, up to the first that is still needed.

A stream finds its next snapshot by walking the parents of the newest one, so the kept snapshots are always an unbroken
chain from the newest down; a snapshot in the middle is never removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import Cause
from rtap_assets.lake.history.snapshot_leases import leased_snapshots
from rtap_assets.lake.history.snapshots import STAMP_CAUSE, added_files, ancestors, newest_stream_commit, summary_value


@dataclass(frozen=True)
class Consumer:
    """A stream that reads the table, and the snapshots in its checkpoint; none if it has read nothing yet."""

    name: str
    snapshot_ids: tuple[int, ...]


@dataclass(frozen=True)
class ExpiryPlan:
    """The `kept` newest snapshots stay, those older than `cutoff_ms` expire; `alerts` name consumers that hold them back.

    `holds_erased`: older snapshots still name files with erased rows, so `snapshots_to_keep` does not protect them.
    """

    kept: int
    expirable: int
    cutoff_ms: int
    alerts: tuple[str, ...]
    holds_erased: bool = False


def plan_expiry(table: Table, settings: Settings, consumers: Sequence[Consumer], *, now: datetime) -> ExpiryPlan:
    """Return which snapshots of the loaded table may expire. The following are kept, with everything newer:

    - each consumer's positions (a consumer that has read nothing, or is outside the chain, keeps everything),
    - the newest snapshot that a stream wrote: it identifies a replayed micro-batch,
    - snapshots leased by readers, and those that were the newest within `snapshot_retention_seconds`,
    - the newest `snapshots_to_keep`, but none older than an erasure: erased rows are removed as early as possible.
    """
    chain = ancestors(table)
    if not chain:
        return ExpiryPlan(0, 0, 0, ())
    place = {snapshot.snapshot_id: index for index, snapshot in enumerate(chain)}
    last = len(chain) - 1
    erasure = next((index for index, one in enumerate(chain) if summary_value(one, STAMP_CAUSE) == Cause.ERASED), None)
    by_number = min(settings.snapshots_to_keep, len(chain)) - 1
    # Iceberg deletes the files that a commit removed from the table when that commit itself expires.
    kept = [by_number if erasure is None else min(by_number, max(0, erasure - 1)), _newest_within(chain, settings, now=now)]
    own = newest_stream_commit(table)
    kept += [] if own is None else [place[own.snapshot_id]]
    leased = leased_snapshots(settings, ".".join(table.name()), now=now)
    kept += [place[snapshot_id] for snapshot_id in leased if snapshot_id in place]
    for consumer in consumers:
        kept += [place.get(snapshot_id, last) for snapshot_id in consumer.snapshot_ids] or [last]
    oldest = max(kept)
    # By time, as Iceberg expires. Clocks may step back: the oldest time among the kept, not the time of the oldest.
    times = [snapshot.timestamp_ms for snapshot in chain[: oldest + 1]]
    times += [snapshot.timestamp_ms for snapshot in table.snapshots() if snapshot.snapshot_id in leased]
    alerts = [alert for consumer in consumers if (alert := _alert(consumer, chain, place, settings, now=now))]
    return ExpiryPlan(oldest + 1, last - oldest, min(times), tuple(alerts), holds_erased=erasure is not None)


def history_is_whole(table: Table) -> bool:
    """Return true when no snapshot of the table's history has expired: a stream can read it from its beginning."""
    chain = ancestors(table)
    return not chain or chain[-1].parent_snapshot_id is None


def _newest_within(chain: Sequence[Snapshot], settings: Settings, *, now: datetime) -> int:
    since_ms = (now.timestamp() - settings.snapshot_retention_seconds) * 1000
    return max((index for index in range(1, len(chain)) if chain[index - 1].timestamp_ms >= since_ms), default=0)


def _alert(
    consumer: Consumer, chain: Sequence[Snapshot], place: dict[int, int], settings: Settings, *, now: datetime
) -> str:
    """Return what an operator must know of a consumer, or an empty string."""
    lost = [snapshot_id for snapshot_id in consumer.snapshot_ids if snapshot_id not in place]
    if lost:
        return (
            f"{consumer.name} stands at snapshot {lost[0]}, which is not in the table's history: nothing expires until its "
            "layer is rebuilt or its checkpoint is put back."
        )
    start = max((place[snapshot_id] for snapshot_id in consumer.snapshot_ids), default=len(chain))
    unread = [snapshot for snapshot in chain[:start] if added_files(snapshot)]
    behind_seconds = now.timestamp() - unread[-1].timestamp_ms / 1000 if unread else 0.0
    if behind_seconds <= settings.consumer_alert_seconds:
        return ""
    return (
        f"{consumer.name} has not read {len(unread)} snapshots, the oldest of them {behind_seconds / 3600:.1f} h old: they "
        f"are kept for it and the table grows. Start or drain {consumer.name}."
    )
