"""What a failure does to a stream: wait for what is away, start again with back-off, open the breaker, refuse.

Called by the stream's own thread.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rtap_assets.errors import StreamError
from rtap_assets.streaming.failures import DISK_FULL_CODE, Diagnosis, Verdict, diagnose
from rtap_assets.streaming.lifecycle.desired import KeptBreaker
from rtap_assets.streaming.lifecycle.disk_room import have_room, written_folders
from rtap_assets.streaming.lifecycle.restart_policy import after_fault, fingerprint, restart_delay_seconds, was_well_before
from rtap_assets.streaming.model.states import FailureNote

if TYPE_CHECKING:
    from rtap_assets.streaming.lifecycle.runner import StreamRunner

JVM_GONE = Diagnosis(
    Verdict.FAULT, "jvm_gone", "The Java process of the host has ended.", "Start a new host: `rtap streams serve`."
)


def refused(runner: StreamRunner, error: StreamError) -> None:
    """Checkpoint and table do not belong together: only a person can go on from here."""
    runner.last_error = FailureNote("refused", error.message, runner.clock(), error.remedy)
    runner.ended()
    runner.update(refused_since=runner.clock(), waiting_for=None, waiting_since=None, failed_at=None)
    runner.say(f"REFUSED: {error.message}")


def failed(runner: StreamRunner, error: BaseException) -> None:
    """Judge a failed start or query, and decide when to start again."""
    found = diagnose(error, log=str(runner.settings.log_dir / "spark.log")) if runner.jvm_is_alive() else JVM_GONE
    if runner.query is not None and runner.facts.stopping_since is not None and found is not JVM_GONE:
        runner.say(f"Spark has not ended the query yet: {found.reason}")
        return
    if runner.last_error is None or runner.last_error.message != found.reason or found is not JVM_GONE:
        runner.last_error = FailureNote(found.code, found.reason, runner.clock(), found.remedy)
    if found is not JVM_GONE and not _query_has_ended(runner):
        return
    was_well = was_well_before(runner.facts, healthy_seconds=runner.settings.breaker_healthy_seconds)
    runner.ended()
    runner.failures += 1
    if found is JVM_GONE:
        return
    if found.verdict is Verdict.WAIT:
        _wait(runner, found)
    else:
        runner.restarts.append(found.reason)
        runner.update(failed_at=runner.clock(), waiting_for=None, waiting_since=None)
        if found.verdict is Verdict.FAULT:
            _count_fault(runner, found, was_well=was_well)
    _schedule(runner, found)


def resume_when_there_is_room(runner: StreamRunner) -> None:
    """Reset the breaker of a stream that a full disk had stopped, once there is room; looks once in the longest back-off."""
    if runner.facts.broken_since is None or runner.last_error is None or runner.last_error.code != DISK_FULL_CODE:
        return
    now = runner.clock()
    if runner.room_looked_at is not None and now - runner.room_looked_at < timedelta(
        seconds=runner.settings.backoff_longest_seconds
    ):
        return
    runner.room_looked_at = now
    if have_room(written_folders(runner.settings)):
        runner.say("there is room on the disk again: goes on")
        runner.reset()


def _query_has_ended(runner: StreamRunner) -> bool:
    """Whether no query is left: one that runs on while looking after it failed is stopped, or the next could not start."""
    if runner.query is None:
        return True
    try:
        runner.query.query.stop()
    except Exception as error:  # said here, and tried again at the next look
        runner.say(f"Spark has not ended the query yet: {error}")
        return False
    return True


def _schedule(runner: StreamRunner, found: Diagnosis) -> None:
    """Set the time of the next start: at once after a first failure, else with a capped back-off."""
    delay = restart_delay_seconds(
        failures=runner.failures,
        is_waiting=found.verdict is Verdict.WAIT,
        first_seconds=runner.settings.backoff_first_seconds,
        longest_seconds=runner.settings.backoff_longest_seconds,
    )
    runner.update(next_start=runner.clock() + timedelta(seconds=delay))
    if found.verdict is not Verdict.WAIT and runner.facts.broken_since is None:
        runner.say(f"starting again in {delay:g} s ({found.reason})")


def _wait(runner: StreamRunner, found: Diagnosis) -> None:
    if runner.facts.waiting_for != found.dependency:
        runner.say(f"WAITING for {found.dependency}: {found.reason}")
        runner.update(waiting_since=runner.clock())
    runner.update(waiting_for=found.dependency, failed_at=None)


def _count_fault(runner: StreamRunner, found: Diagnosis, *, was_well: bool) -> None:
    runner.faults += 1
    kept = runner.durable.breaker(runner.stream.name).breaker
    fault, limit = fingerprint(found.code, found.reason), runner.settings.breaker_failures
    breaker = after_fault(kept, fault, runner.clock(), was_well=was_well, limit=limit)
    runner.keep_breaker(KeptBreaker(breaker, runner.last_error))
    runner.update(broken_since=breaker.opened_at)
    if breaker.opened_at is not None:
        runner.say(f"BROKEN after the same failure {limit} times: {found.reason}")
