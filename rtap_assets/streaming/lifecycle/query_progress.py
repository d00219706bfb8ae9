"""Watches one active query: which batches it has run since the last look, and what proves that it lives.

Reads the query's own progress, since a Python listener hears of it late under load. Starts and stops nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pyspark.sql.streaming.query import StreamingQuery

from rtap_assets.streaming.model.batch_metrics import BatchMetrics
from rtap_assets.streaming.model.states import as_instant

EXECUTED = "addBatch"  # only a trigger that ran a batch has this step


@dataclass(frozen=True)
class Sight:
    """What one look found: reports of new batches, the end of the newest trigger, the error that ended the query."""

    batches: tuple[dict[str, Any], ...]
    proven_at: datetime | None
    is_active: bool
    error: BaseException | None


class WatchedQuery:
    """An active query; `trigger_seconds` is the interval it was started with, `committed` the batch before its first.

    `reported` is the newest batch whose progress was seen.
    """

    def __init__(self, query: StreamingQuery, *, trigger_seconds: float, committed: int | None) -> None:
        self.query = query
        self.trigger_seconds = trigger_seconds
        self.reported = -1 if committed is None else committed

    def look(self, now: datetime) -> Sight:
        """What is new since the last look."""
        is_active = self.query.isActive
        last = self.query.lastProgress
        report = None if last is None else json.loads(last.json)
        batches = () if report is None else self._new(report)
        error = None if is_active else self.query.exception()
        return Sight(batches, None if report is None else min(end_of_trigger(report), now), is_active, error)

    def _new(self, newest: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        executed = newest["batchId"] - (EXECUTED not in newest["durationMs"])
        if executed <= self.reported:
            return ()
        if executed == newest["batchId"] and executed == self.reported + 1:
            found = [newest]
        else:
            reports = [json.loads(entry.json) for entry in self.query.recentProgress]
            found = [one for one in reports if self.reported < one["batchId"] and EXECUTED in one["durationMs"]]
        self.reported = executed
        return tuple(BatchMetrics.added_to(report) for report in found)


def end_of_trigger(report: dict[str, Any]) -> datetime:
    """When the trigger that a report speaks of was over."""
    return as_instant(report["timestamp"]) + timedelta(milliseconds=report["durationMs"].get("triggerExecution", 0))
