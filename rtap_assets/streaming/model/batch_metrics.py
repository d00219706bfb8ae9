"""What a batch function counted while it wrote, added to Spark's report of the batch, which knows the query's own plan."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar

from rtap_assets.runtime.clock import from_milliseconds
from rtap_assets.streaming.model.wire import as_text

KEPT_BATCHES = 500  # Spark itself keeps the reports of 100


@dataclass(frozen=True)
class _Read:
    """What a batch function has read itself. `rows_per_second`: since the query's batch before."""

    rows: int
    rows_per_second: float | None
    watermark_ms: int | None
    at: float


class BatchMetrics:
    """Counts by query and batch, of this process; written by sinks, read by what looks at a query's reports."""

    _counts: ClassVar[OrderedDict[tuple[str, int], dict[str, dict[str, Any]]]] = OrderedDict()
    _states: ClassVar[OrderedDict[tuple[str, int], dict[str, Any]]] = OrderedDict()
    _reads: ClassVar[OrderedDict[tuple[str, int], _Read]] = OrderedDict()
    _lock = Lock()

    @classmethod
    def put(cls, query: str, batch_id: int, name: str, counts: Mapping[str, Any]) -> None:
        with cls._lock:
            cls._counts.setdefault((query, batch_id), {})[name] = dict(counts)
            while len(cls._counts) > KEPT_BATCHES:
                cls._counts.popitem(last=False)

    @classmethod
    def put_state(cls, query: str, batch_id: int, *, rows: int, memory_bytes: int, late: int, copies: int) -> None:
        """Keep what a sink remembers between batches, and what it left out, as Spark reports an operator with state."""
        operator = {
            "numRowsTotal": rows,
            "memoryUsedBytes": memory_bytes,
            "numRowsDroppedByWatermark": late,
            "customMetrics": {"numDroppedDuplicateRows": copies},
        }
        with cls._lock:
            cls._states[query, batch_id] = operator
            while len(cls._states) > KEPT_BATCHES:
                cls._states.popitem(last=False)

    @classmethod
    def put_read(cls, query: str, batch_id: int, *, rows: int, watermark_ms: int | None) -> None:
        """Note the rows that a batch function read from the source itself, and its watermark: Spark saw neither."""
        now = time.monotonic()
        with cls._lock:
            before = cls._reads.get((query, batch_id - 1))
            rate = None if before is None else rows / max(now - before.at, 0.001)
            cls._reads[query, batch_id] = _Read(rows, rate, watermark_ms, now)
            while len(cls._reads) > KEPT_BATCHES:
                cls._reads.popitem(last=False)

    @classmethod
    def rows_of(cls, query: str, batch_id: int, *, otherwise: int) -> int:
        """Return how many records the batch had. Spark also counts those that an attempt read that was given up."""
        with cls._lock:
            found = cls._counts.get((query, batch_id), {})
        return next((int(counts["records"]) for counts in found.values() if "records" in counts), otherwise)

    @classmethod
    def added_to(cls, report: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report with what the sink counted, remembered and read itself in that batch."""
        batch = str(report["id"]), int(report["batchId"])
        with cls._lock:
            found, state, read = cls._counts.get(batch), cls._states.get(batch), cls._reads.get(batch)
        full = dict(report)
        if found:
            full["observedMetrics"] = {**(report.get("observedMetrics") or {}), **found}
        if state:
            full["stateOperators"] = [state]
        if read is not None:
            seconds = report["durationMs"].get("triggerExecution", 0) / 1000
            full |= {"numInputRows": read.rows, "inputRowsPerSecond": read.rows_per_second}
            full["processedRowsPerSecond"] = read.rows / seconds if seconds else None
            if read.watermark_ms is not None:
                full["eventTime"] = {"watermark": as_text(from_milliseconds(read.watermark_ms))}
        return full
