"""The operations of one stream: their steps and ends, cancelling, and deadlines that hold while the thread hangs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rtap_assets.streaming.lifecycle.operation_log import LAST_RESORT_SECONDS, OperationLog
from rtap_assets.streaming.model.operation import Action, Operation, OperationState


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> OperationLog:
    return OperationLog("silver", timeouts=dict.fromkeys(Action, 60.0), clock=clock)


def state(log: OperationLog, operation: Operation) -> OperationState:
    found = log.get(operation.id)
    assert found is not None
    return found.state


def test_an_operation_that_has_ended_never_changes(log: OperationLog) -> None:
    command = log.submit(Action.START)
    identifier = command.operation.id
    assert (log.cancel(identifier) or command.operation).state is OperationState.CANCELLED
    ended = log.get(identifier)
    log.succeed(command, {}, step="running")
    log.step(command, "late")
    assert log.get(identifier) == ended
    assert log.cancel(identifier) == ended
    assert log.pending() == []


def test_a_deadline_holds_while_the_thread_that_works_hangs(log: OperationLog, clock: Clock) -> None:
    command = log.submit(Action.STOP)
    log.step(command, "stopping between batches")
    clock.advance(60 + LAST_RESORT_SECONDS)
    assert state(log, command.operation) is OperationState.PENDING
    clock.advance(0.1)
    failed = log.get(command.operation.id)
    assert failed is not None
    assert failed.error is not None
    assert failed.error.message == "silver did not stop within 60 s; the last step was: stopping between batches."
    assert failed.error.remedy


def test_the_time_of_a_command_that_waits_for_its_turn_begins_with_it(log: OperationLog, clock: Clock) -> None:
    log.submit(Action.MAINTAIN)
    second = log.submit(Action.CORRECT)
    clock.advance(50)
    log.begin(second)
    assert second.deadline == clock() + timedelta(seconds=60)


def test_the_same_step_twice_in_a_row_is_noted_once(log: OperationLog) -> None:
    command = log.submit(Action.START)
    for text in ("starting", "starting", "waiting for broker", "starting"):
        log.step(command, text)
    assert [step.text for step in command.operation.steps] == ["starting", "waiting for broker", "starting"]


def test_an_unknown_operation_is_none(log: OperationLog) -> None:
    assert log.get("unknown") is None
    assert log.cancel("unknown") is None
