"""What a person's commands do to a stream, and when each has its proof: start, stop, restart, drain.

Called by the stream's own thread: `begin` once, when the command's turn has come, `settle` after each look at the stream.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rtap_assets.errors import DependencyUnavailable
from rtap_assets.streaming.checkpoints.files import committed_position, has_unfinished_batch
from rtap_assets.streaming.lifecycle.command_queue import Command
from rtap_assets.streaming.lifecycle.restart_policy import Patience, observe
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.model.states import Desired, Observed, as_text
from rtap_assets.streaming.operations.drain import everything_there_is

if TYPE_CHECKING:
    from rtap_assets.streaming.lifecycle.runner import StreamRunner

FAULTS_OF_A_DRAIN = 2
REPORT_SECONDS = 2.0  # Spark tells of a batch a moment after its commit


def has_stopped(command: Command) -> bool:
    """Whether a restart has its first half behind it."""
    return "stopped" in command.memory


def needs_query(command: Command) -> bool:
    """Whether a drain knows its target and has not reached it."""
    return "target" in command.memory and "reached_at" not in command.memory


def begin(runner: StreamRunner, command: Command) -> None:
    """What the command changes at once."""
    memory = command.memory
    memory.update(before=runner.committed, began=runner.clock(), faults=runner.faults, restarts=len(runner.restarts))
    memory["ran"] = runner.query is not None
    if command.action is Action.DRAIN:
        if runner.facts.broken_since is not None:
            _fail_with_cause(runner, command, "its breaker is open")
        elif runner.desired is Desired.STOPPED:
            runner.update(refused_since=None, failed_at=None, next_start=None)
        return
    wanted = Desired.STOPPED if command.action is Action.STOP else Desired.RUNNING
    state, since = _observed(runner)
    if command.action is Action.START and state is Observed.RUNNING and runner.desired is wanted:
        runner.book.step(command, f"already running since {as_text(since)}, adopted")
    try:
        runner.durable.set_desired(runner.stream.name, wanted)
    except OSError as error:
        runner.book.fail(
            command,
            f"What {runner.stream.name} should do could not be written down: {error}.",
            remedy="Make room on the disk of the state folder and ask again; nothing was changed.",
        )
        return
    runner.desired = wanted
    if wanted is Desired.RUNNING:
        runner.may_run = True
        runner.reset()


def settle(runner: StreamRunner, command: Command) -> None:
    """End the command when its proof or its failure is there; else note what it waits for."""
    if command.action is Action.DRAIN:
        _settle_drain(runner, command)
    elif command.action is Action.STOP:
        _settle_stop(runner, command)
    elif command.action is Action.RESTART and not has_stopped(command):
        if runner.query is None:
            command.memory["stopped"] = True
            runner.book.step(command, _how_it_stands(runner))
            runner.wake()
    else:
        _settle_start(runner, command)


def _settle_start(runner: StreamRunner, command: Command) -> None:
    state, _ = _observed(runner)
    if state is Observed.RUNNING:
        ran = runner.committed is not None and runner.committed != command.memory["before"]
        proof = f"batch {runner.committed} committed" if ran else f"idle input after batch {runner.committed}"
        runner.book.succeed(command, {"batch_id": runner.committed, "proof": proof}, step=f"running: {proof}")
    elif state in (Observed.BROKEN, Observed.REFUSED):
        _fail_with_cause(runner, command, state.value)
    elif runner.clock() > command.deadline:
        what = _awaited(runner) if state is Observed.WAITING else state.value
        _fail_with_cause(runner, command, f"{what} after {runner.settings.start_timeout_seconds:g} s; it stays desired")
    else:
        runner.book.step(command, _awaited(runner) if state is Observed.WAITING else state.value)


def _settle_stop(runner: StreamRunner, command: Command) -> None:
    if runner.query is not None or runner.finish_by is not None:
        is_cut = runner.finish_by is not None
        runner.book.step(command, "finishing the batch that the stop cut off" if is_cut else "stopping between batches")
        return
    is_dirty = runner.facts.is_dirty
    if is_dirty and command.memory["ran"]:
        runner.book.fail(
            command,
            f"{runner.stream.name} was stopped in the middle of a batch after "
            f"{runner.settings.stop_timeout_seconds:g} s: {_how_it_stands(runner)}.",
            remedy="The next start repeats the batch; what it had written already is recognized and not written again.",
        )
        return
    word = "stopped" if command.memory["ran"] else "already stopped"
    step = f"{word}: {_how_it_stands(runner)}"
    runner.book.succeed(command, {"clean": not is_dirty, "batch_id": runner.committed}, step=step)


def _settle_drain(runner: StreamRunner, command: Command) -> None:
    memory, book = command.memory, runner.book
    state, since = _observed(runner)
    if state in (Observed.BROKEN, Observed.REFUSED) or runner.faults - memory["faults"] >= FAULTS_OF_A_DRAIN:
        _fail_with_cause(runner, command, state.value)
        return
    if runner.clock() > command.deadline:
        _fail_with_cause(runner, command, f"{state.value}, not drained in {runner.settings.drain_timeout_seconds:g} s")
        return
    patience = timedelta(seconds=runner.settings.dependency_patience_seconds)
    try:
        if state is Observed.WAITING and runner.clock() - since > patience:
            _fail_with_cause(runner, command, _awaited(runner))
            return
        _look_at_target(runner, command)
    except DependencyUnavailable as error:
        book.step(command, f"waiting: {error.message}")
        if runner.clock() - memory.setdefault("away_since", runner.clock()) > patience:
            book.fail(command, f"{runner.stream.name} cannot be drained: {error.message}", remedy=error.remedy)
    else:
        memory.pop("away_since", None)


def _look_at_target(runner: StreamRunner, command: Command) -> None:
    """Note the source's end, look whether it is reached; at the end leave the stream as it is desired, and report."""
    memory, query = command.memory, runner.query
    if "target" not in memory:
        memory["target"] = everything_there_is(runner.settings, runner.stream)
        runner.book.step(command, f"the source's end is noted; committed so far: batch {runner.committed}")
        runner.wake()
    if has_unfinished_batch(runner.checkpoint) or not memory["target"]():
        memory.pop("reached_at", None)
        return
    reached_at = memory.setdefault("reached_at", runner.clock())
    if query is not None and runner.desired is Desired.STOPPED:
        runner.wake()  # the next look stops it
        return
    if query is not None and query.reported < (runner.committed or 0):
        if runner.clock() - reached_at < timedelta(seconds=REPORT_SECONDS):
            return
    elif query is None and runner.desired is Desired.RUNNING and memory["ran"]:
        return  # between two attempts
    report = _report(runner, memory)
    step = f"{report.input_rows:,} rows in {report.batches} batches" if report.batches else "complete already"
    runner.book.succeed(command, asdict(report), step=step)


def _report(runner: StreamRunner, memory: dict[str, Any]) -> DrainReport:
    before = -1 if memory["before"] is None else memory["before"]
    entries = {one["batch_id"]: one for one in runner.log.newest(1_000) if one["batch_id"] > before}
    return DrainReport(
        stream=runner.stream.name,
        batches=(-1 if runner.committed is None else runner.committed) - before,
        input_rows=sum(one["input_rows"] for one in entries.values()),
        dropped_late=sum(one["dropped_late"] for one in entries.values()),
        position=committed_position(runner.checkpoint),
        watermark_ms=runner.watermark_ms,
        seconds=(runner.clock() - memory["began"]).total_seconds(),
        restarts=tuple(runner.restarts[memory["restarts"] :]),
    )


def _observed(runner: StreamRunner) -> tuple[Observed, Any]:
    is_away = runner.source_away() is not None
    return observe(runner.facts, runner.clock(), patience=patience_of(runner), is_source_away=is_away)


def _awaited(runner: StreamRunner) -> str:
    return f"waiting for {runner.facts.waiting_for or runner.source_away()}"


def patience_of(runner: StreamRunner) -> Patience:
    """A proof is good for one trigger interval longer: an idle stream proves itself only when its trigger comes."""
    settings = runner.settings
    proof = settings.running_proof_seconds + runner.stream.trigger_seconds(settings)
    return Patience(proof_seconds=proof, start_seconds=settings.start_timeout_seconds)


def _how_it_stands(runner: StreamRunner) -> str:
    if runner.facts.is_dirty:
        return f"the batch after {runner.committed} was planned and not committed"
    return f"newest planned batch = newest committed batch = {runner.committed}"


def _fail_with_cause(runner: StreamRunner, command: Command, state: str) -> None:
    note = runner.last_error
    if note is not None and note.at < command.memory["began"] and runner.facts.broken_since is None:
        note = None if runner.facts.refused_since is None else note  # an error from before the command is not its cause
    cause = f": {note.message}" if note is not None and note.message else ""
    remedy = note.remedy if note is not None else "Look at `rtap streams status` and the log of the host."
    runner.book.fail(command, f"{runner.stream.name} is {state}{cause}", remedy=remedy)
