"""The progress log: one line of JSON for every batch of a stream, bounded on disk and in memory; DuckDB reads the files."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.quality.batch_totals import dropped_copies, dropped_late
from rtap_assets.runtime.clock import to_milliseconds
from rtap_assets.streaming.model.batch_metrics import BatchMetrics
from rtap_assets.streaming.model.wire import as_instant, as_text

KEPT_IN_MEMORY = 1_000


class ProgressLog:
    """The batches of one stream. One writer; `newest` may be read from any thread and touches no disk."""

    def __init__(self, settings: Settings, stream: str) -> None:
        self.path = settings.streams_dir / "progress" / f"{stream}.jsonl"
        self._older = self.path.with_suffix(".older.jsonl")
        self._max_bytes = settings.progress_log_max_bytes
        self._entries: deque[dict[str, Any]] = deque(_tail(self.path), maxlen=KEPT_IN_MEMORY)

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return up to `limit` entries, oldest first."""
        return list(self._entries)[-limit:] if limit > 0 else []

    def append(self, entry: dict[str, Any]) -> None:
        """Raises OSError when the disk refuses the line; it is kept in memory all the same."""
        self._entries.append(entry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size >= self._max_bytes:
            self.path.replace(self._older)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def entry_of(stream: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return one line of the log, from Spark's report of a batch that it ran.

    Units: seconds, rows, bytes; `observed_metrics` holds what the query's `observe` counted, by name.
    """
    state = report.get("stateOperators", [])
    seconds = report.get("durationMs", {})
    watermark = report.get("eventTime", {}).get("watermark")
    return {
        "stream": stream,
        "batch_id": report["batchId"],
        "query_id": report["id"],
        "run_id": report["runId"],
        "started_at": as_text(as_instant(report["timestamp"])),
        "batch_seconds": seconds.get("triggerExecution", 0) / 1000,
        "step_seconds": {name: milliseconds / 1000 for name, milliseconds in seconds.items()},
        "input_rows": BatchMetrics.rows_of(report["id"], report["batchId"], otherwise=report.get("numInputRows", 0)),
        "input_rows_per_second": report.get("inputRowsPerSecond"),
        "processed_rows_per_second": report.get("processedRowsPerSecond"),
        "watermark_ms": None if watermark is None else to_milliseconds(as_instant(watermark)),
        "state_rows": sum(one["numRowsTotal"] for one in state) if state else None,
        "state_bytes": sum(one["memoryUsedBytes"] for one in state) if state else None,
        "dropped_late": dropped_late(report),
        "dropped_copies": dropped_copies(report),
        "source": [{"start": one.get("startOffset"), "end": one.get("endOffset")} for one in report.get("sources", [])],
        "observed_metrics": report.get("observedMetrics", {}),
    }


def _tail(path: Path) -> list[dict[str, Any]]:
    """Return the newest whole lines of a log that an earlier host wrote; a line that a crash cut short is left out."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-KEPT_IN_MEMORY:]:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries
