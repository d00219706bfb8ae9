"""Runs one stream in a thread of its own: starts its query, watches it, judges its failures, stops it between batches.

The thread may be held up by Spark; whoever asks reads what it published last (`facts`, `desired`, …) and never waits for it.
What people's commands do is in `command_handlers.py`, what follows a failure in `recovery.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.errors import StreamError
from rtap_assets.streaming.checkpoints.files import commit_time, has_unfinished_batch, newest_committed, read_batch
from rtap_assets.streaming.checkpoints.progress import ProgressLog, entry_of
from rtap_assets.streaming.failures import error_in
from rtap_assets.streaming.lifecycle import command_handlers, recovery
from rtap_assets.streaming.lifecycle.command_queue import OperationBook
from rtap_assets.streaming.lifecycle.desired import DurableStates, KeptBreaker
from rtap_assets.streaming.lifecycle.lag import Refusal
from rtap_assets.streaming.lifecycle.query_progress import Sight, WatchedQuery
from rtap_assets.streaming.lifecycle.restart_policy import (
    Facts,
    extend_proof,
)
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.model.states import Desired, FailureNote
from rtap_assets.streaming.operations.drain import start_stream, stop_between_batches
from rtap_assets.streaming.queries.bindings import verify_binding, verify_in_place
from rtap_assets.streaming.queries.definitions import StreamDefinition

# With an interval this long a started query runs the batch that was planned, and then pauses.
FINISHING_TRIGGER_SECONDS = 3_600.0
TICK_SECONDS, IDLE_TICK_SECONDS = 0.2, 1.0
LOG = logging.getLogger(__name__)


class StreamRunner:
    """One stream; everything public but `start`, `wake` and `close` is written by its thread alone."""

    def __init__(
        self,
        session: SparkSession,
        settings: Settings,
        stream: StreamDefinition,
        *,
        durable: DurableStates,
        book: OperationBook,
        clock: Callable[[], datetime],
        say: Callable[[str], None],
        jvm_is_alive: Callable[[], bool],
        source_away: Callable[[StreamDefinition], str | None],
        source_refusal: Callable[[StreamDefinition], Refusal | None] = lambda _: None,
        on_batch: Callable[[Mapping[str, Any]], object],
    ) -> None:
        self.session, self.settings, self.stream = session, settings, stream
        self.durable, self.book, self.clock, self.jvm_is_alive = durable, book, clock, jvm_is_alive
        self._source_away, self._source_refusal = source_away, source_refusal
        self.checkpoint = stream.checkpoint(settings)
        self.log = ProgressLog(settings, stream.name)
        self.desired = durable.desired(stream.name)
        kept = durable.breaker(stream.name)
        self.last_error: FailureNote | None = kept.note
        self.facts = Facts(ended_at=clock(), broken_since=kept.breaker.opened_at)
        self.committed: int | None = None
        self.last_commit_at: datetime | None = None
        self.watermark_ms: int | None = None
        self.failures, self.faults = 0, 0
        self.restarts: list[str] = []
        self.query: WatchedQuery | None = None
        self.finish_by: datetime | None = None  # set while a batch that a stop cut off is to be run to its end
        self.room_looked_at: datetime | None = None
        self.may_run = False  # until the host resumes, or a person starts
        self._resting: Event | None = None  # while paused; set once no query is active
        self._say, self._on_batch = say, on_batch
        self._closing, self._wake = Event(), Event()
        self._stop_seconds = settings.stop_timeout_seconds
        self._thread = Thread(target=self._run, name=f"stream-{stream.name}", daemon=True)

    def start(self) -> None:
        self._read_checkpoint()
        self._thread.start()

    def wake(self) -> None:
        """Look at the commands now."""
        self._wake.set()

    def pause(self) -> Event:
        """Ask for a rest between two batches; the event is set when it has begun. One at a time: the caller sees to that."""
        self._resting = Event()
        self._wake.set()
        return self._resting

    def go_on(self) -> None:
        """End the rest."""
        self._resting = None
        self._wake.set()

    def close(self, *, stop_seconds: float) -> None:
        """Ask the thread to stop its query and to end; what is desired stays."""
        self._stop_seconds = min(stop_seconds, self._stop_seconds)
        self._closing.set()
        self._wake.set()

    def join(self, seconds: float) -> bool:
        """Whether the thread ended in time with no batch unfinished."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive() and not has_unfinished_batch(self.checkpoint)

    def source_away(self) -> str | None:
        """The dependency that does not answer its probe, if any."""
        return self._source_away(self.stream)

    def say(self, text: str) -> None:
        self._say(f"{self.stream.name}: {text}")

    def update(self, **changes: Any) -> None:
        """Publish new facts, all at once."""
        self.facts = replace(self.facts, **changes)

    def reset(self) -> None:
        """Forget breaker, refusal and back-off: a person wants it tried now."""
        self.failures = 0
        self.keep_breaker(KeptBreaker())
        self.update(broken_since=None, refused_since=None, failed_at=None, next_start=None)

    def keep_breaker(self, kept: KeptBreaker) -> None:
        try:
            self.durable.set_breaker(self.stream.name, kept)
        except OSError as error:
            self.say(f"the breaker counts until the host ends, it could not be written: {error}")

    def _run(self) -> None:
        while True:
            busy = self.book.has_pending or self._closing.is_set()
            self._wake.wait(TICK_SECONDS if busy else min(IDLE_TICK_SECONDS, self.settings.running_proof_seconds / 4))
            self._wake.clear()
            try:
                self._tick()
            except Exception as error:  # the thread must live on: the failure becomes the stream's state
                LOG.exception("%s: looking after the stream failed", self.stream.name)
                recovery.failed(self, error)
            if self._closing.is_set() and self.query is None and self.finish_by is None:
                for command in self.book.active():
                    self.book.fail(command, "The stream host ended.", remedy="Ask again once it runs.")
                return

    def _tick(self) -> None:
        for command in self.book.activate():
            command_handlers.begin(self, command)
        if self.query is not None:
            self._look(self.query)
        recovery.resume_when_there_is_room(self)
        wanted = self._wanted_trigger()
        self.update(is_wanted=wanted is not None)
        query = self.query
        if query is not None and (wanted is None or wanted != query.trigger_seconds):
            self._stop(query)
        if self.query is None and wanted is not None and self._may_start():
            self._start(wanted)
        if (resting := self._resting) is not None and self.query is None:
            resting.set()
            return
        for command in self.book.active():
            command_handlers.settle(self, command)

    def _wanted_trigger(self) -> float | None:
        """The trigger interval that the query should run with now; None: it should not run."""
        if not self.jvm_is_alive():
            self.finish_by = None
            return None
        if self._resting is not None or any(
            not command_handlers.has_stopped(command) for command in self.book.active(Action.RESTART)
        ):
            return None
        if self._closing.is_set() or self.book.active(Action.STOP):
            return self._finishing_trigger()
        if self.desired is Desired.RUNNING and self.may_run:
            return self.stream.trigger_seconds(self.settings)
        if any(command_handlers.needs_query(command) for command in self.book.active(Action.DRAIN)):
            return 0.0
        return self._finishing_trigger()

    def _finishing_trigger(self) -> float | None:
        """A stop that cut a batch off, with time left: run that batch alone, and stop in the pause after it."""
        if self.finish_by is None or self.clock() > self.finish_by or not has_unfinished_batch(self.checkpoint):
            self.finish_by = None
            return None
        is_ours = self.query is None or self.query.trigger_seconds == FINISHING_TRIGGER_SECONDS
        return FINISHING_TRIGGER_SECONDS if is_ours else None

    def _may_start(self) -> bool:
        facts = self.facts
        is_due = facts.next_start is None or self.clock() >= facts.next_start
        return is_due and facts.refused_since is None and facts.broken_since is None

    def _start(self, trigger_seconds: float) -> None:
        is_finishing = trigger_seconds == FINISHING_TRIGGER_SECONDS
        self.finish_by = self.finish_by if is_finishing else None
        self.update(attempt_since=self.clock(), proven_at=None, proven_since=None, next_start=None)
        self.update(stopping_since=self.clock() if is_finishing else None)
        try:
            verify_binding(self.settings, self.stream)
            committed = newest_committed(self.checkpoint)
            query = start_stream(self.session, self.settings, self.stream, trigger_seconds=trigger_seconds)
        except StreamError as error:
            recovery.refused(self, error)
        except Exception as error:  # judged, counted and shown
            recovery.failed(self, error)
        else:
            self.query = WatchedQuery(query, trigger_seconds=trigger_seconds, committed=committed)
            self.say("finishes the batch that was cut off" if is_finishing else f"started, every {trigger_seconds:g} s")

    def _look(self, query: WatchedQuery) -> None:
        try:
            verify_in_place(self.settings, self.stream, query.query.id)
            self._verify_source()
        except StreamError as error:
            query.query.stop()
            recovery.refused(self, error)
            return
        sight = query.look(self.clock())
        self._note(sight)
        if not sight.is_active and self.facts.stopping_since is not None:
            self.ended()
        elif not sight.is_active:
            self.query = None
            fault = sight.error or StreamError(f"The query of {self.stream.name} ended by itself.")
            if sight.error is not None and isinstance(own := error_in(fault), StreamError):
                recovery.refused(self, own)
            else:
                recovery.failed(self, fault)
            if self._closing.is_set() or self.book.active(Action.STOP):
                self.finish_by = self.clock() + timedelta(seconds=self._stop_seconds)  # as if the stop had cut its batch off

    def _verify_source(self) -> None:
        """Raise what the probe has found since this query was started."""
        found, began = self._source_refusal(self.stream), self.facts.attempt_since
        if found is not None and began is not None and found.at > began:
            raise found.error

    def _note(self, sight: Sight) -> None:
        """Take over what a look at the query found."""
        before = self.committed
        self._read_checkpoint()
        if sight.proven_at is not None and sight.proven_at != self.facts.proven_at:
            self._proven(sight.proven_at)
        elif self.committed != before:
            self._proven(self.last_commit_at or self.clock())
        for report in sight.batches:
            entry = entry_of(self.stream.name, report)
            try:
                self._on_batch(report)
            except StreamError as error:
                self.say(f"batch {entry['batch_id']} has no quality results: {error}")
            try:
                self.log.append(entry)
            except OSError as error:
                self.say(f"batch {entry['batch_id']} is missing from the progress log: {error}")

    def _proven(self, at: datetime) -> None:
        if self.facts.waiting_for is not None:
            self.say(f"goes on after waiting for {self.facts.waiting_for}")
        self.failures = 0
        trigger = 0.0 if self.query is None else self.query.trigger_seconds
        proven_at, since = extend_proof(self.facts, at, proof_seconds=self.settings.running_proof_seconds + trigger)
        self.update(proven_at=proven_at, proven_since=since, waiting_for=None, waiting_since=None, failed_at=None)

    def _read_checkpoint(self) -> None:
        committed = newest_committed(self.checkpoint)
        if committed is not None and committed != self.committed:
            self.last_commit_at = commit_time(self.checkpoint, committed)
            self.watermark_ms = read_batch(self.checkpoint, committed).watermark_ms
            self.committed = committed
        if self.query is None:
            self.update(is_dirty=has_unfinished_batch(self.checkpoint))

    def _stop(self, query: WatchedQuery) -> None:
        """Stop between batches, or hard after the deadline. A query that Spark cannot end stays, and is asked again."""
        now = self.clock()
        asked_before = self.facts.stopping_since is not None
        deadline = self.finish_by or now + timedelta(seconds=self._stop_seconds)
        self.update(stopping_since=self.facts.stopping_since or now)
        seconds = 0.0 if asked_before else (deadline - now).total_seconds()
        self.finish_by = None if stop_between_batches(query.query, self.checkpoint, seconds=seconds) else deadline
        sight = query.look(self.clock())
        self.query = None
        self._note(sight)
        self.ended()

    def ended(self) -> None:
        """Publish that no query is active."""
        self.query = None
        self.update(attempt_since=None, stopping_since=None, ended_at=self.clock())
        try:
            self._read_checkpoint()
        except (OSError, StreamError) as error:
            self.say(f"the checkpoint cannot be read: {error}")
