"""A drain: make a layer complete up to now. Note where its source ends, need its query until it has committed that.

Not Spark's availableNow: on an Iceberg source it fails once the table's first snapshot has expired (apache/iceberg#18000).
The proof of a drain is the checkpoint: newest planned batch = newest committed batch, at or past the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.contracts.topics import Topic
from rtap_assets.kafka.topics import beginning_offsets, end_offsets
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import has_read_to, newest_append
from rtap_assets.streaming.checkpoints.files import committed_position
from rtap_assets.streaming.checkpoints.topic_binding import read_binding
from rtap_assets.streaming.checkpoints.topic_facts import topic_positions
from rtap_assets.streaming.lifecycle.phases import StreamState
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.queries.definitions import StreamDefinition

NEVER = -1  # no batch has this id
REPORT_SECONDS = 2.0  # Spark reports a batch a moment after its commit


def everything_there_is(settings: Settings, stream: StreamDefinition) -> Callable[[], bool]:
    """Return a test of the checkpoint: has the query committed all that its source holds now?

    Raises:
        DependencyUnavailable: broker or catalog did not answer.
    """
    checkpoint = stream.checkpoint(settings)
    if isinstance(stream.reads, Topic):
        ends, beginnings = (look(settings, stream.topic_in(settings)) for look in (end_offsets, beginning_offsets))
        binding = read_binding(checkpoint)

        def past_ends() -> bool:
            position = topic_positions(settings, stream, binding)
            return all(position.get(partition, beginnings.get(partition, 0)) >= offset for partition, offset in ends.items())

        return past_ends
    table = load_table(open_catalog(settings), stream.reads.identifier)
    newest = newest_append(table)
    if newest is None:
        return lambda: True
    return lambda: has_read_to(table.refresh(), committed_position(checkpoint), newest)


class Drain:
    """One drain under way, inspected after by its stream's thread.

    `find_target` returns, for the state as it is then, a test of the checkpoint, as `everything_there_is` does; `position`
    where the checkpoint stands.
    """

    def __init__(
        self,
        before: StreamState,
        *,
        find_target: Callable[[StreamState], Callable[[], bool]],
        position: Callable[[], dict[str, Any] | None],
        now: datetime,
    ) -> None:
        self._before, self._find_target, self._position, self._began = before, find_target, position, now
        self._has_reached: Callable[[], bool] | None = None
        self._looked_at: int | None = NEVER
        self._is_past_target = False
        self._reached_at: datetime | None = None
        self._batches: dict[int, Mapping[str, Any]] = {}
        self.away_since: datetime | None = None

    @property
    def has_target(self) -> bool:
        """Whether the end of the source is noted."""
        return self._has_reached is not None

    @property
    def needs_query(self) -> bool:
        """Whether something is left to commit."""
        return self.has_target and self._reached_at is None

    def look(self, state: StreamState, now: datetime) -> None:
        """Find the target, and whether it is reached.

        Raises:
            DependencyUnavailable: the source does not answer.
            StreamError: the checkpoint cannot be read.
        """
        committed = state.checkpoint.committed
        if self._has_reached is None:
            self._has_reached = self._find_target(state)
        if committed != self._looked_at:  # only a commit moves the position
            self._is_past_target = self._has_reached()
            self._looked_at = committed
        if state.checkpoint.is_dirty or not self._is_past_target:
            self._reached_at = None
        elif self._reached_at is None:
            self._reached_at = now

    def note(self, entry: Mapping[str, Any]) -> None:
        """Count a batch, as the progress log has it."""
        self._batches[entry["batch_id"]] = entry

    def is_complete(self, state: StreamState, now: datetime, *, reported: int | None) -> bool:
        """Return whether the report can be made. `reported`: the newest batch that the active query has reported."""
        if self._reached_at is None:
            return False
        if state.has_query and not state.runs_on:
            return False  # it is stopped first
        if reported is not None and reported < (state.checkpoint.committed or 0):
            return now - self._reached_at >= timedelta(seconds=REPORT_SECONDS)
        return state.has_query or not (state.runs_on and self._before.has_query)  # else between two attempts

    def report(self, stream: str, state: StreamState, now: datetime) -> DrainReport:
        """Return what the drain did."""
        before, committed = (
            -1 if one.checkpoint.committed is None else one.checkpoint.committed for one in (self._before, state)
        )
        counted = [entry for batch_id, entry in self._batches.items() if batch_id > before]
        restarted = state.health.restarted - self._before.health.restarted
        return DrainReport(
            stream=stream,
            batches=committed - before,
            input_rows=sum(entry["input_rows"] for entry in counted),
            dropped_late=sum(entry["dropped_late"] for entry in counted),
            position=self._position(),
            watermark_ms=state.checkpoint.watermark_ms,
            seconds=(now - self._began).total_seconds(),
            restarts=state.health.restarts[-restarted:] if restarted else (),
        )
