"""When a command has its proof or its failure: what it asked for against the state that is there. Pure functions.

A command sets what is desired and gets a generation. It has succeeded when the stream serves that generation, with proof.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rtap_assets.streaming.lifecycle.observation import ProbeReadings, observe, waited_for
from rtap_assets.streaming.lifecycle.phases import Broken, Refused, Stopping, StreamState
from rtap_assets.streaming.lifecycle.restart_policy import Policy
from rtap_assets.streaming.model.operation import Action, OperationError
from rtap_assets.streaming.model.states import Observed
from rtap_assets.streaming.model.wire import as_text

FAULTS_OF_A_DRAIN = 2


@dataclass(frozen=True)
class Request:
    """A command as it was declared: its generation, and the stream as it was `before`."""

    stream: str
    action: Action
    generation: int
    before: StreamState
    at: datetime


@dataclass(frozen=True)
class Outcome:
    """A step on the way while `result` and `error` are None; else the end."""

    step: str
    result: Mapping[str, Any] | None = None
    error: OperationError | None = None


@dataclass(frozen=True)
class View:
    """A stream at one moment: its state, and what is known of its surroundings."""

    state: StreamState
    policy: Policy
    readings: ProbeReadings
    now: datetime

    @property
    def observed(self) -> Observed:
        return observe(self.state, self.now, policy=self.policy, readings=self.readings)[0]

    @property
    def since(self) -> datetime:
        return observe(self.state, self.now, policy=self.policy, readings=self.readings)[1]

    @property
    def word(self) -> str:
        """The state as a step shows it."""
        return (
            f"waiting for {waited_for(self.state, self.readings)}"
            if self.observed is Observed.WAITING
            else self.observed.value
        )


def first_step(request: Request, view: View) -> str | None:
    """Return what is noted at once: that a start found the stream running."""
    if request.action is Action.START and view.observed is Observed.RUNNING and view.state.runs_on:
        return f"already running since {as_text(view.since)}, adopted"
    return None


def judge_start(request: Request, view: View, *, is_overdue: bool, seconds: float) -> Outcome:
    """Return how a start or restart goes: proven by a commit or idle input of a query that serves its generation."""
    state, word = view.state, view.word
    is_served = state.observed_generation >= request.generation
    if is_served and view.observed is Observed.RUNNING:
        committed = state.checkpoint.committed
        has_run = committed is not None and committed != request.before.checkpoint.committed
        proof = f"batch {committed} committed" if has_run else f"idle input after batch {committed}"
        return Outcome(f"running: {proof}", {"batch_id": committed, "proof": proof})
    if is_served and (isinstance(state.phase, Broken | Refused) or not state.has_jvm):
        return failure(request, view, view.observed.value)
    if is_overdue:
        return failure(request, view, f"{word} after {seconds:g} s; it stays desired")
    return Outcome("stopping between batches" if isinstance(state.phase, Stopping) else word)


def judge_stop(request: Request, view: View) -> Outcome:
    """Return how a stop goes: proven when every planned batch is committed."""
    state = view.state
    if state.observed_generation < request.generation or isinstance(state.phase, Stopping):
        is_cut = isinstance(state.phase, Stopping) and state.phase.is_finishing
        return Outcome("finishing the batch that the stop cut off" if is_cut else "stopping between batches")
    committed, is_dirty = state.checkpoint.committed, state.checkpoint.is_dirty
    stands = (
        f"the batch after {committed} was planned and not committed"
        if is_dirty
        else "no batch was planned yet"
        if committed is None
        else f"newest planned batch = newest committed batch = {committed}"
    )
    if is_dirty and request.before.has_query:
        error = OperationError(
            f"{request.stream} was stopped in the middle of a batch after {view.policy.stop_seconds:g} s: {stands}.",
            "The next start repeats the batch; what it had written already is recognized and not written again.",
        )
        return Outcome(stands, error=error)
    word = "stopped" if request.before.has_query else "already stopped"
    return Outcome(f"{word}: {stands}", {"clean": not is_dirty, "batch_id": committed})


def failure_of_drain(
    request: Request, view: View, *, is_overdue: bool, seconds: float, patience_seconds: float
) -> Outcome | None:
    """Return why a drain cannot get there; None while it can."""
    state = view.state
    if state.observed_generation < request.generation:
        return None
    if (why := _why_not_drained(request, view)) is not None:
        return failure(request, view, why)
    if is_overdue:
        return failure(request, view, f"{view.word}, not drained in {seconds:g} s")
    waited_seconds = (view.now - view.since).total_seconds()
    if view.observed is not Observed.WAITING or waited_seconds <= patience_seconds:
        return None
    dependency, note = waited_for(state, view.readings) or "an open transaction", state.health.last_error
    note = None if note is None or note.at < request.at else note
    cause, remedy = (dependency, "See `rtap status`.") if note is None else (note.message.rstrip("."), note.remedy)
    message = f"{request.stream} gave up after waiting {waited_seconds:.0f} s for {cause}."
    again = f"{remedy} Then run the command again: it goes on where it stopped."
    return Outcome(message, error=OperationError(message, again, dependency))


def _why_not_drained(request: Request, view: View) -> str | None:
    state = view.state
    if state.health.breaker.opened_at is not None:
        return "broken" if isinstance(state.phase, Broken) else "its breaker is open"
    if isinstance(state.phase, Refused) or not state.has_jvm:
        return view.observed.value
    if state.health.faults - request.before.health.faults >= FAULTS_OF_A_DRAIN:
        return f"{view.word} after {FAULTS_OF_A_DRAIN} faults"
    return None


def failure(request: Request, view: View, state: str) -> Outcome:
    """Return the failure of a command with its cause; an error from before the command is none, unless it still holds."""
    phase, note = view.state.phase, view.state.health.last_error
    holds = isinstance(phase, Broken | Refused) or view.state.health.breaker.opened_at is not None
    if note is not None and note.at < request.at and not holds:
        note = None
    cause = f": {note.message}" if note is not None and note.message else ""
    remedy = note.remedy if note is not None else "Look at `rtap streams status` and the log of the host."
    message = f"{request.stream} is {state}{cause}"
    return Outcome(state, error=OperationError(message, remedy))
