"""Drain: make a layer complete up to now. Note where its source ends, run its query until it has committed that, stop it.

Not Spark's availableNow: on an Iceberg source it fails once the table's first snapshot has expired (apache/iceberg#18000).
The proof of a drain is the checkpoint: newest planned batch = newest committed batch, at or past the target.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.listener import StreamingQueryProgress
from pyspark.sql.streaming.query import StreamingQuery

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, RtapError, StreamError
from rtap_assets.kafka.patience import with_patience
from rtap_assets.kafka.topics import beginning_offsets, end_offsets
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import has_read_to, newest_append
from rtap_assets.streaming.checkpoints.files import (
    committed_position,
    has_unfinished_batch,
    newest_committed,
    newest_planned,
    read_batch,
)
from rtap_assets.streaming.checkpoints.topic_binding import read_binding
from rtap_assets.streaming.checkpoints.topic_facts import bronze_positions
from rtap_assets.streaming.failures import Verdict, error_in, judge
from rtap_assets.streaming.model.batch_metrics import BatchMetrics
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.queries.bindings import verify_binding
from rtap_assets.streaming.queries.definitions import STREAMS, StreamDefinition
from rtap_assets.streaming.queries.kafka_metrics import fill_missing_offsets

POLL_SECONDS = 0.02
WAIT_SECONDS = 2.0
STOP_POLL_SECONDS, IDLE_SECONDS = 0.005, 1.0
MAX_RESTARTS = 5
PROGRESS_KEPT = 50  # Spark keeps the progress of the last 100 batches


def drain_stream(
    session: SparkSession, settings: Settings, name: str, *, echo: Callable[[str], None] = lambda _: None
) -> DrainReport:
    """Run one stream until it has committed everything that its source holds at the call, then stop it between batches.

    Raises:
        StreamError: the query failed twice in the same way, did not get there in `drain_timeout_seconds`, or its checkpoint
            does not belong to its table.
        DependencyUnavailable: broker, registry or catalog did not answer for `dependency_patience_seconds`.
    """
    stream = STREAMS[name]
    started = time.monotonic()
    checkpoint = stream.checkpoint(settings)
    with_patience(
        lambda: verify_binding(settings, stream),
        what=f"verifying the checkpoint of {name}",
        seconds=settings.dependency_patience_seconds,
    )
    reached = with_patience(
        lambda: everything_there_is(settings, stream),
        what=f"the source of {name}",
        seconds=settings.dependency_patience_seconds,
    )
    before = newest_committed(checkpoint)
    run = _Run(session, settings, stream, reached, echo)
    if has_unfinished_batch(checkpoint) or not reached():
        run.until_reached()
    after = newest_committed(checkpoint)
    watermark_ms = None if after is None else read_batch(checkpoint, after).watermark_ms
    return DrainReport(
        stream=name,
        batches=(after if after is not None else -1) - (before if before is not None else -1),
        input_rows=run.input_rows,
        dropped_late=run.dropped_late,
        position=committed_position(checkpoint),
        watermark_ms=watermark_ms,
        seconds=time.monotonic() - started,
        restarts=tuple(run.restarts),
    )


def everything_there_is(settings: Settings, stream: StreamDefinition) -> Callable[[], bool]:
    """A test of the checkpoint: has the query committed all that its source holds now?"""
    checkpoint = stream.checkpoint(settings)
    if stream.reads is None:
        ends, beginnings = (look(settings, settings.topic_events) for look in (end_offsets, beginning_offsets))
        binding = read_binding(settings.checkpoint_dir)

        def past_ends() -> bool:
            position = bronze_positions(settings, binding)
            return all(position.get(partition, beginnings.get(partition, 0)) >= offset for partition, offset in ends.items())

        return past_ends
    table = load_table(open_catalog(settings), stream.reads.identifier)
    newest = newest_append(table)
    if newest is None:
        return lambda: True
    return lambda: has_read_to(table.refresh(), committed_position(checkpoint), newest)


class _Run:
    """The attempts to reach one target; keeps what the progress of each batch said."""

    def __init__(
        self,
        session: SparkSession,
        settings: Settings,
        stream: StreamDefinition,
        reached: Callable[[], bool],
        echo: Callable[[str], None],
    ) -> None:
        self.session, self.settings, self.stream, self.reached, self.echo = session, settings, stream, reached, echo
        self.checkpoint = stream.checkpoint(settings)
        self.deadline = time.monotonic() + settings.drain_timeout_seconds
        self.away_since: float | None = None
        self.faults: list[str] = []
        self.restarts: list[str] = []
        self.progress: dict[int, tuple[int, int]] = {}

    @property
    def input_rows(self) -> int:
        return sum(rows for rows, _ in self.progress.values())

    @property
    def dropped_late(self) -> int:
        return sum(dropped for _, dropped in self.progress.values())

    def until_reached(self) -> None:
        while True:
            try:
                if self.restarts:
                    verify_binding(self.settings, self.stream)  # says why in words, where the query only failed
                query = start_stream(self.session, self.settings, self.stream, trigger_seconds=0)
                try:
                    self._watch(query)
                finally:
                    stop_between_batches(query, self.checkpoint, seconds=self.settings.request_timeout_seconds)
                    self._collect(query)
                return
            except (PySparkException, Py4JError, DependencyUnavailable) as error:
                self._judge(error)

    def _watch(self, query: StreamingQuery) -> None:
        seen = newest_committed(self.checkpoint)
        while True:
            committed = newest_committed(self.checkpoint)
            if committed is not None and committed != seen:
                seen, self.away_since = committed, None
                if committed % PROGRESS_KEPT == 0:
                    self._collect(query)
            if not query.isActive:
                error = query.exception()
                if error is not None:
                    raise error
            if not has_unfinished_batch(self.checkpoint) and self.reached():
                return
            if time.monotonic() > self.deadline:
                raise StreamError(
                    f"{self.stream.name} did not drain within {self.settings.drain_timeout_seconds:.0f} s; it has committed "
                    f"batch {newest_committed(self.checkpoint)}.",
                    remedy="Run the command again, it goes on where it stopped; or raise RTAP_DRAIN_TIMEOUT_SECONDS.",
                )
            time.sleep(POLL_SECONDS)

    def _collect(self, query: StreamingQuery) -> None:
        for entry in query.recentProgress:
            rows = BatchMetrics.rows_of(str(entry.id), entry.batchId, otherwise=entry.numInputRows)
            self.progress[entry.batchId] = (rows, dropped_rows(entry))

    def _judge(self, error: Exception) -> None:
        error = error_in(error) or error
        if isinstance(error, RtapError) and not isinstance(error, DependencyUnavailable):
            raise error
        verdict, reason = (Verdict.WAIT, error.message) if isinstance(error, DependencyUnavailable) else judge(error)
        if verdict is Verdict.FAULT and reason in self.faults:
            raise StreamError(
                f"{self.stream.name} failed twice in the same way: {reason}.",
                remedy=f"The full text is in {self.settings.log_dir / 'spark.log'}. The checkpoint is kept.",
                stream=self.stream.name,
            ) from error
        if verdict is Verdict.WAIT:
            self._wait_for(reason, error)
            return
        if len(self.restarts) >= MAX_RESTARTS:
            raise StreamError(
                f"{self.stream.name} was restarted {MAX_RESTARTS} times: {reason}.",
                remedy=f"See {self.settings.log_dir / 'spark.log'}; the command goes on where it stopped.",
            ) from error
        if verdict is Verdict.FAULT:
            self.faults.append(reason)
        self.restarts.append(reason)
        self.echo(f"{self.stream.name}: starting again on the same checkpoint ({reason})")

    def _wait_for(self, reason: str, error: Exception) -> None:
        """Pause before the next attempt; `reason` is the name of what is away, or a sentence about it."""
        now = time.monotonic()
        self.away_since = self.away_since or now
        if now - self.away_since > self.settings.dependency_patience_seconds:
            remedy = error.remedy if isinstance(error, DependencyUnavailable) else "See `rtap status`."
            raise DependencyUnavailable(
                f"{self.stream.name} gave up after waiting {now - self.away_since:.0f} s for {reason}",
                remedy=f"{remedy} Then run the command again: it goes on where it stopped.",
            ) from error
        self.echo(f"{self.stream.name}: waiting for {reason}")
        time.sleep(WAIT_SECONDS)


def start_stream(
    session: SparkSession, settings: Settings, stream: StreamDefinition, *, trigger_seconds: float
) -> StreamingQuery:
    """Start one query on its checkpoint."""
    writer = (
        stream.writer(session, settings)
        .queryName(stream.name)
        .option("checkpointLocation", stream.checkpoint(settings).as_uri())
        .trigger(processingTime=f"{trigger_seconds} seconds")
    )
    is_recovering = stream.reads is None and has_unfinished_batch(stream.checkpoint(settings))
    if stream.writes is not None and stream.native_sink:
        query = writer.toTable(f"{settings.catalog_name}.{stream.writes.identifier}")
    else:
        query = writer.start()
    if is_recovering:
        fill_missing_offsets(session, query)
    return query


def stop_between_batches(query: StreamingQuery, checkpoint: Path, *, seconds: float) -> bool:
    """Stop a query while no batch is in flight; after the deadline stop it all the same. Returns whether it was clean.

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


def dropped_rows(progress: StreamingQueryProgress) -> int:
    """How many rows a batch dropped because they were older than the watermark."""
    return sum(operator.numRowsDroppedByWatermark for operator in progress.stateOperators)


def is_drained(settings: Settings, stream: StreamDefinition) -> bool:
    """The proof: every planned batch of the stream is committed."""
    checkpoint = stream.checkpoint(settings)
    return newest_planned(checkpoint) == newest_committed(checkpoint)
