"""Reads Spark's checkpoint folders: what a query has planned, what it has committed, and whose checkpoint it is.

Only reads. Format: `offsets/<batch>` holds a version line, a JSON line of batch metadata and one JSON line per source;
`commits/<batch>` exists once the batch is in its sink; `metadata` holds the query id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rtap_assets.errors import StreamError
from rtap_assets.lake.history.stream_offsets import BEFORE_THE_FIRST_SNAPSHOT, StreamPositions
from rtap_assets.streaming.checkpoints.topic_binding import by_partition, read_binding

# How many of gold's batches a pass of checks looks back for the one that its snapshot holds.
GOLD_BATCHES = 20


@dataclass(frozen=True)
class LoggedBatch:
    """One micro-batch of the offset log. `source` is where it ends in its source; times are milliseconds since the epoch."""

    batch_id: int
    source: dict[str, Any]
    watermark_ms: int
    timestamp_ms: int


def newest_planned(checkpoint: Path) -> int | None:
    """Return the id of the newest batch in the offset log; None before the first."""
    return _newest(checkpoint / "offsets")


def newest_committed(checkpoint: Path) -> int | None:
    """Return the id of the newest batch in the commit log; None before the first."""
    return _newest(checkpoint / "commits")


def has_unfinished_batch(checkpoint: Path) -> bool:
    """Return whether a batch was planned and not committed: it will be run again at the next start."""
    return newest_planned(checkpoint) != newest_committed(checkpoint)


def read_batch(checkpoint: Path, batch_id: int) -> LoggedBatch:
    """Return the batch as it was planned.

    Raises:
        StreamError: the entry is not there or has a form that this version does not know.
    """
    path = checkpoint / "offsets" / str(batch_id)
    try:
        version, metadata, source = path.read_text(encoding="utf-8").splitlines()
        details = json.loads(metadata)
        if version != "v1":
            raise ValueError(f"version {version}")
        return LoggedBatch(batch_id, json.loads(source), details["batchWatermarkMs"], details["batchTimestampMs"])
    except (OSError, ValueError, KeyError) as error:
        raise StreamError(
            f"The offset log entry {path} cannot be read: {error}.",
            remedy="Restore the checkpoint folder from its backup, or rebuild the layer.",
        ) from error


def source_range(checkpoint: Path, batch_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the offsets in a table from which and up to which a batch reads, as Iceberg's streaming source writes them.

    Raises:
        StreamError: an entry of the offset log cannot be read, or the first batch's beginning.
    """
    end = read_batch(checkpoint, batch_id).source
    if batch_id:
        return read_batch(checkpoint, batch_id - 1).source, end
    path = initial_offset_file(checkpoint)
    try:
        return json.loads(path.read_text(encoding="utf-8")), end
    except (OSError, ValueError) as error:
        raise StreamError(
            f"The beginning of the checkpoint, {path}, cannot be read: {error}.",
            remedy="Restore the checkpoint folder from its backup, or rebuild the layer.",
        ) from error


def planned_batches(checkpoint: Path) -> list[int]:
    """Return the ids of all batches that the offset log still holds, oldest first."""
    folder = checkpoint / "offsets"
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


def committed_position(checkpoint: Path) -> dict[str, Any] | None:
    """Return where the newest committed batch ends in its source; None when nothing of it was read."""
    batch_id = newest_committed(checkpoint)
    source = None if batch_id is None else read_batch(checkpoint, batch_id).source
    return None if source is None or source.get("snapshot_id") == BEFORE_THE_FIRST_SNAPSHOT else source


def commit_time(checkpoint: Path, batch_id: int) -> datetime:
    """Return when the batch was committed: the time at which its entry in the commit log was written."""
    return datetime.fromtimestamp((checkpoint / "commits" / str(batch_id)).stat().st_mtime, tz=UTC)


def stream_positions(checkpoints: Path, *, topic: str) -> StreamPositions:
    """Return the offsets up to which bronze, silver and gold have read, from the checkpoints as they are now."""
    checkpoint = checkpoints / "bronze"
    bronze, binding = (committed_position(checkpoint) or {}).get(topic), read_binding(checkpoint)
    begun = {} if binding is None or binding.topic != topic else dict(binding.starting_offsets)
    gold = checkpoints / "gold"
    return StreamPositions(
        bronze=begun if bronze is None else by_partition(bronze),
        topic_epoch=0 if binding is None else binding.topic_epoch,
        topic_id=None if binding is None else binding.topic_id,
        silver=committed_position(checkpoints / "silver"),
        gold_batches={batch: read_batch(gold, batch).source for batch in planned_batches(gold)[-GOLD_BATCHES:]},
    )


def query_id(checkpoint: Path) -> str | None:
    """Return the id that the query's commits carry; None when nothing ever ran here.

    Raises:
        StreamError: the log has batches and `metadata` is gone. Spark 4.1 would make up a new id then, and the sink could no
            longer tell a replayed batch from a new one (SPARK-55058).
    """
    path = checkpoint / "metadata"
    if path.exists():
        return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    if newest_planned(checkpoint) is not None:
        raise StreamError(
            f"The checkpoint {checkpoint} has batches and no `metadata` file.",
            remedy="Restore that file from a backup; without it a replayed batch would be written twice.",
        )
    return None


def initial_offset_file(checkpoint: Path) -> Path:
    """Return the file in which Iceberg's streaming source keeps the offset that the checkpoint began with."""
    return checkpoint / "sources" / "0" / "offsets" / "0"


def kafka_beginnings(checkpoint: Path, topic: str) -> dict[int, int]:
    """Return, by Kafka partition, the offset that the checkpoint began with; a partition that was added later has none."""
    path = checkpoint / "sources" / "0" / "0"
    if not path.exists():
        return {}
    # A byte of an old version's format, a version line, then the offsets as JSON.
    text = path.read_bytes().lstrip(b"\x00").decode("utf-8")
    offsets = json.loads(text[text.index("{") :]).get(topic, {})
    return {int(partition): int(offset) for partition, offset in offsets.items()}


def begins_with_everything(checkpoint: Path) -> bool:
    """Return whether the checkpoint begins with all files of a snapshot, as `rebuild` prepares it."""
    path = initial_offset_file(checkpoint)
    return path.exists() and bool(json.loads(path.read_text(encoding="utf-8"))["scan_all_files"])


def _newest(folder: Path) -> int | None:
    # Compaction and temporary files have other names than plain batch ids.
    names = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return max(names, default=None)
