"""Rows that the streams' batches counted, added up for `/metrics` since the process started. Judges nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Any

DROPPED_COPIES = "numDroppedDuplicateRows"

Report = Mapping[str, Any]


def dropped_late(report: Report) -> int:
    """Return the rows that a batch dropped because they were older than the watermark."""
    return sum(int(operator.get("numRowsDroppedByWatermark", 0)) for operator in report.get("stateOperators") or [])


def dropped_copies(report: Report) -> int:
    """Return the rows that a batch dropped because it had seen their event before."""
    operators = report.get("stateOperators") or []
    return sum(int((operator.get("customMetrics") or {}).get(DROPPED_COPIES, 0)) for operator in operators)


def counts_of(report: Report) -> dict[str, int]:
    """Return what a batch counted, by name: what its query observed, and for a query with state what it dropped."""
    observed: Mapping[str, Mapping[str, int]] = report.get("observedMetrics") or {}
    counts = {name: int(count) for counted in observed.values() for name, count in counted.items()}
    if report.get("stateOperators"):
        counts |= {"late": dropped_late(report), "copies": dropped_copies(report)}
    return counts


class BatchTotals:
    """Totals by stream and name of the count. Threads may add and read at the same time."""

    def __init__(self) -> None:
        self._totals: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def add(self, report: Report) -> None:
        """Add the counts of a committed batch, from Spark's report of it."""
        with self._lock:
            self._totals.update({(str(report.get("name")), name): count for name, count in counts_of(report).items()})

    def read(self) -> dict[tuple[str, str], int]:
        """Return the totals by stream and name, in the order of their first batch."""
        with self._lock:
            return dict(self._totals)
