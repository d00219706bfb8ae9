"""The hands of the supervisor: one stream's checkpoint read, its query started, watched and stopped in Spark.

Reads the query's own progress, since a Python listener hears of it late under load. Decides nothing.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from rtap_assets.config import Settings
from rtap_assets.streaming.batch_functions import function_of
from rtap_assets.streaming.checkpoints.files import (
    commit_time,
    has_unfinished_batch,
    newest_committed,
    read_batch,
)
from rtap_assets.streaming.model.batch_metrics import BatchMetrics
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.wire import as_instant
from rtap_assets.streaming.queries.bindings import verify_binding, verify_in_place
from rtap_assets.streaming.queries.definitions import StreamDefinition
from rtap_assets.streaming.queries.kafka_metrics import fill_missing_offsets

EXECUTED = "addBatch"  # only a trigger that ran a batch has this step
STOP_POLL_SECONDS, IDLE_SECONDS = 0.005, 1.0


@dataclass(frozen=True)
class QueryProgress:
    """What one look found: reports of new batches, the end of the newest trigger, the error that ended the query."""

    batches: tuple[dict[str, Any], ...] = ()
    proven_at: datetime | None = None
    is_active: bool = True
    error: BaseException | None = None


class Query(Protocol):
    """An active query. `reported` is the newest batch whose progress was seen, -1 before the first."""

    reported: int

    def look(self, now: datetime) -> QueryProgress: ...
    def verify(self) -> None: ...
    def stop(self, *, seconds: float) -> None: ...


class QueryAccess(Protocol):
    """What the supervisor can do to one stream; tests put a fake in its place."""

    name: str

    def read_checkpoint(self) -> CheckpointReading: ...
    def verify(self) -> None: ...
    def start(self, trigger_seconds: float) -> Query: ...
    def jvm_is_alive(self) -> bool: ...


class SparkAccess:
    """Access to one stream in a Spark session."""

    def __init__(self, session: SparkSession, settings: Settings, stream: StreamDefinition) -> None:
        self._session, self._settings, self._stream = session, settings, stream
        self.name = stream.name
        self._read = CheckpointReading()

    def read_checkpoint(self) -> CheckpointReading:
        """Return what the checkpoint says now.

        Raises:
            StreamError, OSError: it cannot be read.
        """
        checkpoint = self._stream.checkpoint(self._settings)
        committed, is_dirty = newest_committed(checkpoint), has_unfinished_batch(checkpoint)
        if committed is None:
            self._read = CheckpointReading()
        elif committed != self._read.committed:
            # A stream that drops nothing has no watermark of Spark's, or what an earlier version left; the sink has its own.
            watermark_ms = read_batch(checkpoint, committed).watermark_ms if self._stream.drops_late else None
            self._read = CheckpointReading(committed, commit_time(checkpoint, committed), watermark_ms)
        return replace(self._read, is_dirty=is_dirty)

    def verify(self) -> None:
        """Make sure that checkpoint, table and source belong together; raises like `verify_binding`."""
        verify_binding(self._settings, self._stream)

    def start(self, trigger_seconds: float) -> Query:
        """Start the query.

        Raises:
            StreamError: checkpoint, table and source do not belong together.
        """
        self.verify()
        committed = newest_committed(self._stream.checkpoint(self._settings))
        query = start_stream(self._session, self._settings, self._stream, trigger_seconds=trigger_seconds)
        return SparkQuery(query, self._settings, self._stream, committed=committed)

    def jvm_is_alive(self) -> bool:
        """Return whether the session's JVM process still exists (it may be frozen)."""
        return jvm_is_alive(self._session)


class SparkQuery:
    """One active query; `committed` is the batch before its first."""

    def __init__(
        self, query: StreamingQuery, settings: Settings, stream: StreamDefinition, *, committed: int | None
    ) -> None:
        self._query, self._settings, self._stream = query, settings, stream
        self._function = function_of(stream.checkpoint(settings))
        self.reported = -1 if committed is None else committed

    def verify(self) -> None:
        """Make sure that the folder under the query is still its own; raises StreamError."""
        verify_in_place(self._settings, self._stream, self._query.id)

    def stop(self, *, seconds: float) -> None:
        """Stop between batches, or hard after `seconds`."""
        stop_between_batches(self._query, self._stream.checkpoint(self._settings), seconds=seconds)
        self._release()

    def look(self, now: datetime) -> QueryProgress:
        """Return what is new since the last look."""
        is_active = self._query.isActive
        last = self._query._jsq.lastProgress()  # PySpark's own report asks the JVM for each of its parts
        report = None if last is None else json.loads(last.json())
        batches = () if report is None else self._new(report)
        error = None if is_active else self._query.exception()
        if not is_active:
            self._release()
        return QueryProgress(batches, None if report is None else min(end_of_trigger(report), now), is_active, error)

    def _release(self) -> None:
        if self._function is not None:
            self._function.release()

    def _new(self, newest: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        executed = newest["batchId"] - (EXECUTED not in newest["durationMs"])
        if executed <= self.reported:
            return ()
        if executed == newest["batchId"] and executed == self.reported + 1:
            found = [newest]
        else:
            reports = [json.loads(entry.json()) for entry in self._query._jsq.recentProgress()]
            found = [one for one in reports if self.reported < one["batchId"] and EXECUTED in one["durationMs"]]
        self.reported = executed
        return tuple(BatchMetrics.added_to(report) for report in found)


def end_of_trigger(report: dict[str, Any]) -> datetime:
    """Return when the trigger that a report speaks of was over."""
    return as_instant(report["timestamp"]) + timedelta(milliseconds=report["durationMs"].get("triggerExecution", 0))


def jvm_is_alive(session: SparkSession) -> bool:
    """Return whether the session's JVM process still exists (it may be frozen)."""
    process = getattr(session.sparkContext._gateway, "proc", None)
    return process is None or process.poll() is None


def start_stream(
    session: SparkSession, settings: Settings, stream: StreamDefinition, *, trigger_seconds: float
) -> StreamingQuery:
    """Start one query on its checkpoint."""
    checkpoint = stream.checkpoint(settings)
    writer = (
        stream.writer(session, settings)
        .queryName(stream.name)
        .option("checkpointLocation", checkpoint.as_uri())
        .trigger(processingTime=f"{trigger_seconds} seconds")
    )
    is_recovering = stream.reads_kafka and has_unfinished_batch(checkpoint)
    query = writer.start()
    if is_recovering:
        fill_missing_offsets(session, query)
    return query


def stop_between_batches(query: StreamingQuery, checkpoint: Path, *, seconds: float) -> bool:
    """Stop a query while no batch is in flight; after the deadline stop it all the same. Return whether it was clean.

    Between two triggers is best. A query under load has no such moment, nor has one whose source does not answer: after a
    second any moment will do at which every planned batch is committed. The query may plan one more just then.
    """
    started = time.monotonic()
    while query.isActive and (waited := time.monotonic() - started) < seconds:
        if not query.status["isTriggerActive"]:
            break
        if waited > IDLE_SECONDS and not has_unfinished_batch(checkpoint):
            break
        time.sleep(STOP_POLL_SECONDS)
    query.stop()
    return not has_unfinished_batch(checkpoint)
