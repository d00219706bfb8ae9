"""What a stream committed since a given batch, from its checkpoint and its progress log. Reads files; no Spark, no network.

The checkpoint is the proof: it alone says what is committed. The log adds rows and durations, and may lack a batch after a
crash or be rotated away; `is_complete` is false then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.streaming.checkpoints.files import newest_committed, query_id, read_batch
from rtap_assets.streaming.model.reports import DrainReport


@dataclass(frozen=True)
class Standing:
    """The newest committed batch of a stream, and the query whose checkpoint it is in."""

    query_id: str
    batch_id: int


@dataclass(frozen=True)
class RollUp:
    """Batches `first_batch` to `report`'s newest as one. `is_complete`: the progress log knows each of them."""

    report: DrainReport
    first_batch: int
    newest_batch: int
    query_id: str
    is_complete: bool


def standing(settings: Settings, stream: str) -> Standing | None:
    """Return where the checkpoint stands; None before its first commit."""
    checkpoint = settings.checkpoint_dir / stream
    newest, query = newest_committed(checkpoint), query_id(checkpoint)
    return None if newest is None or query is None else Standing(query, newest)


def roll_up(settings: Settings, stream: str, *, reached: Standing, after_batch: int) -> RollUp:
    """Return the batches after `after_batch` up to `reached`; `after_batch` is -1 for all of them.

    Raises:
        StreamError: the checkpoint cannot be read.
    """
    newest = read_batch(settings.checkpoint_dir / stream, reached.batch_id)
    known = {
        entry["batch_id"]: entry
        for entry in _entries(settings.streams_dir / "progress" / f"{stream}.jsonl", reached.query_id, after_batch)
        if after_batch < entry["batch_id"] <= reached.batch_id
    }
    report = DrainReport(
        stream=stream,
        batches=reached.batch_id - after_batch,
        input_rows=sum(entry["input_rows"] for entry in known.values()),
        dropped_late=sum(entry["dropped_late"] for entry in known.values()),
        position=newest.source,
        watermark_ms=newest.watermark_ms,
        seconds=sum(entry["batch_seconds"] for entry in known.values()),
        restarts=(),
    )
    is_complete = len(known) == reached.batch_id - after_batch
    return RollUp(report, after_batch + 1, reached.batch_id, reached.query_id, is_complete)


def _entries(path: Path, query: str, after_batch: int) -> list[dict[str, Any]]:
    """Return the log's entries of this query, oldest first, back to the first that is not needed (and maybe some more)."""
    needed: list[dict[str, Any]] = []
    for part in (path, path.with_suffix(".older.jsonl")):
        lines = part.read_bytes().splitlines() if part.exists() else []
        for line in reversed(lines):
            entry = _parsed(line)
            if entry is None:
                continue
            if entry["query_id"] != query or entry["batch_id"] <= after_batch:
                return needed[::-1]
            needed.append(entry)
    return needed[::-1]


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return None for a line that a crash cut short."""
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return entry
