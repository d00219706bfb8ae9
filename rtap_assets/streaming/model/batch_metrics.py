"""What a batch function counted while it wrote, added to Spark's report of the batch, which knows the query's own plan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any, ClassVar

KEPT_BATCHES = 500  # Spark itself keeps the reports of 100


class BatchMetrics:
    """Counts by query and batch, of this process; written by sinks, read by what looks at a query's reports."""

    _counts: ClassVar[OrderedDict[tuple[str, int], dict[str, dict[str, Any]]]] = OrderedDict()
    _states: ClassVar[OrderedDict[tuple[str, int], dict[str, Any]]] = OrderedDict()
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
    def rows_of(cls, query: str, batch_id: int, *, otherwise: int) -> int:
        """Return how many records the batch had. Spark also counts those that an attempt read that was given up."""
        with cls._lock:
            found = cls._counts.get((query, batch_id), {})
        return next((int(counts["records"]) for counts in found.values() if "records" in counts), otherwise)

    @classmethod
    def added_to(cls, report: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report with the counts and the state of its batch where Spark has those of a query's own plan."""
        key = str(report["id"]), int(report["batchId"])
        with cls._lock:
            counts, state = cls._counts.get(key), cls._states.get(key)
        counted = {"observedMetrics": {**(report.get("observedMetrics") or {}), **counts}} if counts else {}
        return {**report, **counted, **({"stateOperators": [state]} if state else {})}
