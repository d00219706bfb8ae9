"""Takes the commands for one stream: gives each its generation, and follows it until it has its proof or its failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, RtapError
from rtap_assets.streaming.failures import as_error
from rtap_assets.streaming.lifecycle import events
from rtap_assets.streaming.lifecycle.commands import (
    Outcome,
    Request,
    View,
    failure_of_drain,
    first_step,
    judge_start,
    judge_stop,
)
from rtap_assets.streaming.lifecycle.desired import DurableStates
from rtap_assets.streaming.lifecycle.drains import Drain
from rtap_assets.streaming.lifecycle.observation import ProbeReadings
from rtap_assets.streaming.lifecycle.operation_log import Command, OperationLog
from rtap_assets.streaming.lifecycle.phases import StreamState
from rtap_assets.streaming.lifecycle.restart_policy import Policy
from rtap_assets.streaming.model.operation import Action, Operation, OperationError, OperationState
from rtap_assets.streaming.model.states import Desired

HARD_STOP_SECONDS = 20.0  # beyond Spark's own `stopTimeout`
OVERTAKEN = {
    Action.STOP: {Action.START, Action.RESTART, Action.DRAIN},
    Action.START: {Action.STOP},
    Action.RESTART: {Action.STOP},
    Action.DRAIN: set[Action](),
}


@dataclass(frozen=True)
class Pending:
    """A command that is followed, with what it asked for."""

    command: Command
    request: Request
    drain: Drain | None = None


class CommandTracker:
    """The commands of one stream. `submit` is for any thread, the rest for the stream's own.

    `timeouts` and `patience_seconds` bound a command; `begin_drain` returns a drain that begins with this state.
    """

    def __init__(
        self,
        stream: str,
        *,
        policy: Policy,
        durable: DurableStates,
        timeouts: Mapping[Action, float],
        patience_seconds: float,
        begin_drain: Callable[[StreamState], Drain],
        away: Callable[[], str | None],
        clock: Callable[[], datetime],
        spark_log: str,
    ) -> None:
        self.operations = OperationLog(stream, timeouts=timeouts, clock=clock)
        self._stream, self._policy, self._durable, self._clock = stream, policy, durable, clock
        self._timeouts, self._patience_seconds, self._spark_log = timeouts, patience_seconds, spark_log
        self._begin_drain, self._away = begin_drain, away
        self._lock = Lock()
        self._pending: list[Pending] = []
        self._needing: set[int] = set()  # generations of drains that a query runs for

    @property
    def is_busy(self) -> bool:
        """Whether a command is under way."""
        return bool(self._pending)

    @property
    def has_drains(self) -> bool:
        """Whether a drain is under way."""
        return any(one.drain is not None for one in self._pending)

    def submit(self, action: Action, before: StreamState) -> tuple[Operation, events.Event | None]:
        """Return a new operation and the event for the state machine; None: it could not be made durable, and has failed.

        A later command overtakes those that want the opposite.
        """
        command, now = self.operations.submit(action), self._clock()
        desired = {Action.STOP: Desired.STOPPED, Action.DRAIN: None}.get(action, Desired.RUNNING)
        try:
            generation = self._durable.declare(self._stream, desired)
        except OSError as error:
            message = f"What {self._stream} should do could not be written down: {error}."
            remedy = "Make room on the disk of the state folder and ask again; nothing was changed."
            self.operations.fail(command, OperationError(message, remedy))
            return command.operation, None
        for other in self.operations.pending():
            if other is not command and other.action in OVERTAKEN[action]:
                self.operations.end(other, OperationState.CANCELLED, step=f"overtaken by {action} {command.operation.id}")
        self.operations.number(command, generation)
        request = Request(self._stream, action, generation, before, now)
        if (text := first_step(request, self._view(before))) is not None:
            self.operations.step(command, text)
        drain = self._begin_drain(before) if action is Action.DRAIN else None
        with self._lock:
            self._pending.append(Pending(command, request, drain))
        if desired is None:
            return command.operation, events.DrainDeclared(generation)
        return command.operation, events.Declared(desired, generation, is_restart=action is Action.RESTART)

    def settle(self, state: StreamState, *, reported: int | None) -> list[events.Event]:
        """Look at each command, note its step or its end, and return what its drains need now.

        `reported` is the newest batch that the active query has reported; None without one.
        """
        self.operations.pending()  # fails what is overdue
        for one in list(self._pending):
            if not one.command.operation.ended:
                self._record(one.command, self._judge(one, state, reported))
        with self._lock:
            self._pending = [one for one in self._pending if not one.command.operation.ended]
        needing = {one.request.generation for one in self._pending if one.drain is not None and one.drain.needs_query}
        begun, over, self._needing = needing - self._needing, self._needing - needing, needing
        return [*map(events.DrainNeedsQuery, sorted(begun)), *map(events.DrainEnded, sorted(over))]

    def note(self, entry: Mapping[str, Any]) -> None:
        """Count a batch for the drains under way."""
        for one in self._pending:
            if one.drain is not None:
                one.drain.note(entry)

    def close(self) -> None:
        """Fail what has not ended: the host ends."""
        for command in self.operations.pending():
            self.operations.fail(command, OperationError("The stream host ended.", "Ask again once it runs."))

    def _view(self, state: StreamState) -> View:
        return View(state, self._policy, ProbeReadings(away=self._away()), self._clock())

    def _judge(self, one: Pending, state: StreamState, reported: int | None) -> Outcome | None:
        view, action = self._view(state), one.command.action
        is_overdue, seconds = view.now > one.command.deadline, self._timeouts[action]
        if one.drain is not None:
            patience = self._patience_seconds
            failed = failure_of_drain(one.request, view, is_overdue=is_overdue, seconds=seconds, patience_seconds=patience)
            return failed or self._look_at(one.drain, view, reported)
        if action is Action.STOP:
            return judge_stop(one.request, view)
        return judge_start(one.request, view, is_overdue=is_overdue, seconds=self._timeouts[Action.START])

    def _look_at(self, drain: Drain, view: View, reported: int | None) -> Outcome | None:
        """Find target and position of a drain; it gives up where its source stays away or its checkpoint cannot be read."""
        had_target, state = drain.has_target, view.state
        try:
            drain.look(state, view.now)
        except DependencyUnavailable as error:
            drain.away_since = drain.away_since or view.now
            if (view.now - drain.away_since).total_seconds() <= self._patience_seconds:
                return Outcome(f"waiting: {error.message}")
            message, away = f"{self._stream} cannot be drained: {error.message}", error.context.get("dependency")
            return Outcome("", error=OperationError(message, error.remedy, str(away or "source")))
        except Exception as error:  # the drain's failure, not the stream's
            found: RtapError = as_error(error, log=self._spark_log)
            return Outcome("", error=OperationError(f"{self._stream} cannot be drained: {found.message}", found.remedy))
        drain.away_since = None
        if drain.is_complete(state, view.now, reported=reported):
            report = drain.report(self._stream, state, view.now)
            step = f"{report.input_rows:,} rows in {report.batches} batches" if report.batches else "complete already"
            return Outcome(step, report.to_json())
        if had_target:
            return None
        return Outcome(f"the source's end is noted; committed so far: batch {state.checkpoint.committed}")

    def _record(self, command: Command, outcome: Outcome | None) -> None:
        if outcome is None:
            return
        if outcome.error is not None:
            self.operations.fail(command, outcome.error)
        elif outcome.result is not None:
            self.operations.succeed(command, outcome.result, step=outcome.step)
        else:
            self.operations.step(command, outcome.step)


def timeouts_of(settings: Settings) -> dict[Action, float]:
    """Return how many seconds each command may take."""
    stop = settings.stop_timeout_seconds + HARD_STOP_SECONDS
    return {
        Action.START: settings.start_timeout_seconds,
        Action.STOP: stop,
        Action.RESTART: stop + settings.start_timeout_seconds,
        Action.DRAIN: settings.drain_timeout_seconds,
    }
