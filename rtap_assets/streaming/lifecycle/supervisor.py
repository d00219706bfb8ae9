"""Supervises one stream in a thread of its own: performs what the state machine decides, and brings back what came of it.

The thread may be held up by Spark; every other thread reads the newest `snapshot` and never waits for it.
"""

from __future__ import annotations

import logging
from collections import deque
from datetime import datetime, timedelta
from queue import SimpleQueue
from threading import Event, Lock, Thread

from rtap_assets.streaming.checkpoints.progress import ProgressLog
from rtap_assets.streaming.failures import DISK_FULL_CODE
from rtap_assets.streaming.lifecycle import events
from rtap_assets.streaming.lifecycle.command_tracker import CommandTracker
from rtap_assets.streaming.lifecycle.desired import DurableStates, KeptBreaker
from rtap_assets.streaming.lifecycle.phases import Goal, Health, Snapshot, Stopped, Stopping, StreamState
from rtap_assets.streaming.lifecycle.query_watch import Context, QueryWatch
from rtap_assets.streaming.lifecycle.restart_policy import Policy
from rtap_assets.streaming.lifecycle.state_machine import step
from rtap_assets.streaming.model.operation import Action, Operation
from rtap_assets.streaming.queries.query_handle import QueryAccess

DRAIN_TICK_SECONDS, TICK_SECONDS, IDLE_TICK_SECONDS = 0.05, 0.2, 1.0
LOG = logging.getLogger(__name__)


class StreamSupervisor:
    """One stream. `snapshot`, `submit`, `cancel`, `post`, `pause` and `close` are for other threads."""

    def __init__(
        self,
        access: QueryAccess,
        *,
        policy: Policy,
        commands: CommandTracker,
        durable: DurableStates,
        log: ProgressLog,
        context: Context,
    ) -> None:
        self.name, self.policy, self.log = access.name, policy, log
        self._commands, self._durable, self._context = commands, durable, context
        self._watch = QueryWatch(access, log=log, context=context, note=commands.note)
        kept, generation = durable.breaker(self.name), durable.generation(self.name)
        goal = Goal(durable.desired(self.name), generation)
        health = Health(last_error=kept.note, breaker=kept.breaker)
        state = StreamState(Stopped(context.clock()), goal, observed_generation=generation, health=health)
        self.snapshot = Snapshot(state, (log.newest(1) or [{}])[0])
        self._inbox: SimpleQueue[events.Event] = SimpleQueue()
        self._wake, self._resting, self._submitting = Event(), Event(), Lock()
        self._room_looked_at: datetime | None = None
        self._thread = Thread(target=self._run, name=f"stream-{self.name}", daemon=True)

    def start(self) -> None:
        """Look at the checkpoint, and begin to supervise."""
        self._handle(self._watch.look(self._state))
        self._thread.start()

    def submit(self, action: Action) -> Operation:
        """Set what is desired and return at once."""
        with self._submitting:
            operation, event = self._commands.submit(action, self.snapshot.state)
            if event is not None:
                self.post(event)
        return operation

    def operation(self, identifier: str) -> Operation | None:
        """Return the course of a command."""
        return self._commands.operations.get(identifier)

    def cancel(self, identifier: str) -> Operation | None:
        """Give a command up; what it made desired stays so."""
        operation = self._commands.operations.cancel(identifier)
        self._wake.set()
        return operation

    def post(self, event: events.Event) -> None:
        """Report an event; the thread handles it next."""
        self._inbox.put(event)
        self._wake.set()

    def pause(self, *, seconds: float) -> bool:
        """Ask for a rest between two batches; return whether it began in time. `post` a `TableWorkEnds` in any case."""
        self._resting.clear()
        self.post(events.TableWorkBegins())
        return self._resting.wait(seconds)

    def close(self, *, stop_seconds: float) -> None:
        """Ask the thread to stop its query and to end; what is desired stays."""
        self.post(events.HostClosing(stop_seconds))

    def join(self, seconds: float) -> bool:
        """Return whether the thread ended in time with no batch unfinished."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive() and not self._watch.is_unfinished()

    def _run(self) -> None:
        while not (self._state.closing_seconds is not None and isinstance(self._state.phase, Stopped)):
            self._wake.wait(self._tick_seconds())
            self._wake.clear()
            try:
                self._tick()
            except Exception as error:  # the thread must live on: the failure becomes the stream's state
                event = self._watch.fail(error)
                if isinstance(event, events.QueryEnded):  # else Spark is gone or hangs, which needs no stack trace
                    LOG.exception("%s: looking after the stream failed", self.name, exc_info=error)
                self._handle(event)
        self._commands.close()

    @property
    def _state(self) -> StreamState:
        return self.snapshot.state

    def _tick_seconds(self) -> float:
        if self._commands.has_drains:
            return DRAIN_TICK_SECONDS
        is_busy = self._commands.is_busy or isinstance(self._state.phase, Stopping)
        return TICK_SECONDS if is_busy else min(IDLE_TICK_SECONDS, self.policy.running_proof_seconds / 4)

    def _tick(self) -> None:
        while not self._inbox.empty():
            self._handle(self._inbox.get())
        try:
            self._handle(self._watch.look(self._state))
            if self._room_is_back():
                self._handle(events.DiskHasRoom())
        finally:  # where every look fails, a command must end all the same
            while found := self._commands.settle(self._state, reported=self._watch.reported):
                for event in found:
                    self._handle(event)
        if self._state.is_paused and not self._state.has_query:
            self._resting.set()

    def _handle(self, event: events.Event) -> None:
        """Take the step, publish the state, perform the effects, and handle what came of them."""
        pending = deque([event])
        while pending:
            now = self._context.clock()
            state, effects = step(self._state, pending.popleft(), self.policy, now)
            self.snapshot = Snapshot(state, (self.log.newest(1) or [{}])[0])
            pending.extend(outcome for effect in effects if (outcome := self._perform(effect)) is not None)

    def _perform(self, effect: events.Effect) -> events.Event | None:
        match effect:
            case events.StartQuery(trigger_seconds):
                return self._watch.start(trigger_seconds)
            case events.StopQuery(seconds):
                return self._watch.stop(seconds)
            case events.PersistBreaker(breaker, note):
                try:
                    self._durable.set_breaker(self.name, KeptBreaker(breaker, note))
                except OSError as error:
                    self._say(f"the breaker counts until the host ends, it could not be written: {error}")
            case events.Log(text):
                self._say(text)
        return None

    def _room_is_back(self) -> bool:
        """Whether a full disk that opened the breaker has room; looks once in the longest back-off."""
        health, now = self._state.health, self._context.clock()
        if health.breaker.opened_at is None or health.last_error is None or health.last_error.code != DISK_FULL_CODE:
            return False
        longest = timedelta(seconds=self.policy.backoff_longest_seconds)
        if self._room_looked_at is not None and now - self._room_looked_at < longest:
            return False
        self._room_looked_at = now
        return self._context.has_room()

    def _say(self, text: str) -> None:
        self._context.say(f"{self.name}: {text}")
