"""One stream's query in the supervisor's hands: started, inspected at, stopped; what came of it is returned as an event.

Decides nothing. Every call may be held up by Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rtap_assets.errors import StreamError
from rtap_assets.streaming.checkpoints.progress import ProgressLog, entry_of
from rtap_assets.streaming.failures import Diagnosis, Verdict, diagnose, error_in
from rtap_assets.streaming.lifecycle import events
from rtap_assets.streaming.lifecycle.phases import Phase, Running, Starting, StreamState
from rtap_assets.streaming.lifecycle.recovery import note_of
from rtap_assets.streaming.lifecycle.state_machine import FINISHING_TRIGGER_SECONDS
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.states import FailureNote
from rtap_assets.streaming.probes.source_probe import Refusal
from rtap_assets.streaming.queries.query_handle import Query, QueryAccess, QueryProgress

JVM_GONE = Diagnosis(
    Verdict.FAULT, "jvm_gone", "The Java process of the host has ended.", "Start a new host: `rtap streams serve`."
)


@dataclass(frozen=True)
class Context:
    """What a stream's supervisor calls beside its query. `refusal` is what the probe found wrong with the source.

    `has_room` returns whether a disk that was full has room; `spark_log` is where the whole story of a failure is.
    """

    clock: Callable[[], datetime]
    say: Callable[[str], None]
    spark_log: str
    has_room: Callable[[], bool]
    refusal: Callable[[], Refusal | None]
    on_batch: Callable[[Mapping[str, Any]], object]


class QueryWatch:
    """The query of one stream, while there is one. `note` gets each batch as the progress log has it."""

    def __init__(
        self, access: QueryAccess, *, log: ProgressLog, context: Context, note: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._access, self._log, self._context, self._note = access, log, context, note
        self._query: Query | None = None
        self._checkpoint = CheckpointReading()
        self._unread = ""  # why the checkpoint could not be read, as it was logged

    @property
    def reported(self) -> int | None:
        """The newest batch that the active query has reported; None without a query."""
        return None if self._query is None else self._query.reported

    def is_unfinished(self) -> bool:
        """Return whether the checkpoint has a batch that was planned and not committed, or cannot be read."""
        try:
            return self._access.read_checkpoint().is_dirty
        except (OSError, StreamError):
            return True

    def start(self, trigger_seconds: float) -> events.Event | None:
        """Start the query; return what went wrong, if anything did."""
        try:
            self._query = self._access.start(trigger_seconds)
        except StreamError as error:
            return self._refused(error)
        except Exception as error:  # judged, counted and shown
            return self._ended(error, events.Inspected(self._checkpoint))
        how = "started"
        if trigger_seconds == FINISHING_TRIGGER_SECONDS:
            how = "finishes the batch that was cut off"
        elif trigger_seconds:
            how = f"started, every {trigger_seconds:g} s"
        self._context.say(f"{self._access.name}: {how}")
        return None

    def stop(self, seconds: float) -> events.Event:
        """Stop the query; one that Spark cannot end stays, and is asked again at the next look."""
        try:
            if self._query is None:
                return events.QueryStopped(self._read())
            self._query.stop(seconds=seconds)
            inspected = self._take(self._query.look(self._context.clock()))
        except Exception as error:  # shown, and tried again
            return self._unstoppable(error)
        self._query = None
        return events.QueryStopped(inspected)

    def look(self, state: StreamState) -> events.Event:
        """Return what became of checkpoint and query since the last look."""
        if state.has_jvm and not self._access.jvm_is_alive():
            self._query = None
            return events.JvmEnded(note_of(JVM_GONE, self._context.clock()))
        query = self._query
        if query is None:
            return self._read()
        try:
            query.verify()
            self._verify_source(state.phase)
        except StreamError as error:
            query.stop(seconds=0.0)
            self._query = None
            return self._refused(error)
        progress = query.look(self._context.clock())
        inspected = self._take(progress)
        if progress.is_active:
            return inspected
        self._query = None
        if progress.error is None:
            return self._ended(StreamError(f"The query of {self._access.name} ended by itself."), inspected)
        own = error_in(progress.error)
        return self._refused(own) if isinstance(own, StreamError) else self._ended(progress.error, inspected)

    def _verify_source(self, phase: Phase) -> None:
        """Raise what the probe has found since this query was started."""
        found = self._context.refusal()
        if not isinstance(phase, Starting | Running):
            return
        began = phase.since if isinstance(phase, Starting) else phase.started_at
        if found is not None and found.at > began:
            raise found.error

    def _read(self) -> events.Inspected:
        """Look at the checkpoint alone; where it cannot be read, a start says why."""
        try:
            self._checkpoint, self._unread = self._access.read_checkpoint(), ""
        except (OSError, StreamError) as error:
            if self._unread != str(error):
                self._unread = str(error)
                self._context.say(f"{self._access.name}: the checkpoint cannot be read: {error}")
        return events.Inspected(self._checkpoint)

    def _take(self, progress: QueryProgress) -> events.Inspected:
        """Take over a look at the query: its batches go into the progress log, to the quality results and to the drains."""
        self._checkpoint = self._access.read_checkpoint()
        inspected = events.Inspected(self._checkpoint, progress.proven_at)
        for report in progress.batches:
            entry = entry_of(self._access.name, report)
            self._note(entry)
            try:
                self._context.on_batch(report)
            except StreamError as error:
                self._context.say(f"{self._access.name}: batch {entry['batch_id']} has no quality results: {error}")
            try:
                self._log.append(entry)
            except OSError as error:
                self._context.say(
                    f"{self._access.name}: batch {entry['batch_id']} is missing from the progress log: {error}"
                )
        return inspected

    def fail(self, error: Exception) -> events.Event:
        """A query that runs on while looking after it failed is stopped, or the next could not start."""
        try:
            if self._query is not None:
                self._query.stop(seconds=0.0)
        except Exception as failure:  # shown, and tried again
            return self._unstoppable(failure)
        self._query = None
        return self._ended(error, events.Inspected(self._checkpoint))

    def _unstoppable(self, error: Exception) -> events.Event:
        if not self._access.jvm_is_alive():
            self._query = None
            return events.JvmEnded(note_of(JVM_GONE, self._context.clock()))
        return events.StopFailed(note_of(diagnose(error, log=self._context.spark_log), self._context.clock()))

    def _ended(self, error: BaseException, inspected: events.Inspected) -> events.Event:
        if not self._access.jvm_is_alive():
            return events.JvmEnded(note_of(JVM_GONE, self._context.clock()))
        return events.QueryEnded(diagnose(error, log=self._context.spark_log), inspected)

    def _refused(self, error: StreamError) -> events.RefusalFound:
        return events.RefusalFound(FailureNote("refused", error.message, self._context.clock(), error.remedy))
