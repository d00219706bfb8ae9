"""How long records took until each layer showed them, from the tables' own history.

A record is visible in a layer when the snapshot that holds it is committed. Its age then is that time less its Kafka
timestamp, which the broker sets. Gold's MERGE names the batch that it merged, and the batch's entry in the checkpoint the
end of what it read of silver: a record is visible in gold with the first such commit at or behind its snapshot.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import STAMP_EPOCH_ID, added_files, ancestors, summary_value
from rtap_assets.streaming.checkpoints.files import planned_batches, read_batch

PERCENTILES = (50, 99, 100)
Ages = dict[str, np.ndarray]


def ages_seconds(settings: Settings, *, since_ms: int, until_ms: int) -> Ages:
    """Return, by layer, the age in seconds of each record when it became visible; records by their Kafka timestamp."""
    catalog = open_catalog(settings)
    bronze, silver, gold = (load_table(catalog, spec.identifier) for spec in (BRONZE, SILVER, GOLD))
    merged = _merges(settings, gold, silver)
    found: dict[str, list[np.ndarray]] = {"bronze": [], "silver": [], "gold": []}
    for snapshot, stamps in _appended(bronze, since_ms, until_ms):
        found["bronze"].append(snapshot.timestamp_ms - stamps)
    ends = [end for end, _ in merged]
    for snapshot, stamps in _appended(silver, since_ms, until_ms):
        found["silver"].append(snapshot.timestamp_ms - stamps)
        at = bisect_left(ends, (snapshot.sequence_number or 0, added_files(snapshot)))
        if at < len(merged):  # else not merged yet when the measurement ended
            found["gold"].append(merged[at][1] - stamps)
    return {layer: np.concatenate(parts) / 1000 if parts else np.array([]) for layer, parts in found.items()}


def commits(settings: Settings, *, since_ms: int, until_ms: int) -> dict[str, int]:
    """Return, by layer, the commits in the interval, the platform's own maintenance included."""
    catalog = open_catalog(settings)
    return {
        layer: sum(since_ms <= one.timestamp_ms < until_ms for one in load_table(catalog, spec.identifier).snapshots())
        for layer, spec in (("bronze", BRONZE), ("silver", SILVER), ("gold", GOLD))
    }


def percentiles(ages: np.ndarray) -> tuple[float, ...]:
    """Return median, 99th percentile and maximum; NaN without records."""
    return tuple(float(value) for value in np.percentile(ages, PERCENTILES)) if len(ages) else (float("nan"),) * 3


def _appended(table: Table, since_ms: int, until_ms: int) -> Iterator[tuple[Snapshot, np.ndarray]]:
    """Yield each append with the Kafka timestamps, in milliseconds, of its records that are within the interval."""
    for snapshot in ancestors(table):
        if snapshot.timestamp_ms < since_ms or not added_files(snapshot):
            continue
        for manifest in snapshot.manifests(table.io):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            for entry in manifest.fetch_manifest_entry(table.io):
                if entry.status is not ManifestEntryStatus.ADDED:
                    continue  # a merged manifest lists files of earlier snapshots too
                path = Path(entry.data_file.file_path.removeprefix("file:"))
                column = pq.read_table(path, columns=["kafka_timestamp"], partitioning=None)["kafka_timestamp"]
                stamps = column.to_numpy().astype("datetime64[ms]").astype(np.int64)
                yield snapshot, stamps[(stamps >= since_ms) & (stamps < until_ms)]


def _merges(settings: Settings, gold: Table, silver: Table) -> list[tuple[tuple[int, int], int]]:
    """Return gold's merges in order: the exclusive end of what each read of silver, and its commit time in milliseconds."""
    checkpoint = settings.checkpoint_dir / "gold"
    planned = set(planned_batches(checkpoint))
    found = []
    for snapshot in ancestors(gold):
        batch = summary_value(snapshot, STAMP_EPOCH_ID)
        if batch is None or int(batch) not in planned:
            continue
        source = read_batch(checkpoint, int(batch)).source
        read = silver.snapshot_by_id(source["snapshot_id"])
        if read is not None:
            found.append((((read.sequence_number or 0), int(source["position"])), snapshot.timestamp_ms))
    return sorted(found)
