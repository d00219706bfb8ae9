"""Commands of one stream: their turn, who overtakes whom, cancelling, and deadlines that hold when nobody works on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rtap_assets.streaming.lifecycle.command_queue import LAST_RESORT_SECONDS, OperationBook
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
def book(clock: Clock) -> OperationBook:
    return OperationBook("silver", timeouts=dict.fromkeys(Action, 60.0), clock=clock)


def state(book: OperationBook, operation: Operation) -> OperationState:
    found = book.get(operation.id)
    assert found is not None
    return found.state


def activated(book: OperationBook) -> list[Action]:
    return [command.action for command in book.activate()]


def test_commands_that_disturb_one_another_take_turns(book: OperationBook) -> None:
    stop, start = book.submit(Action.STOP), book.submit(Action.START)
    assert activated(book) == [Action.STOP]
    assert activated(book) == []
    book.succeed(book.active()[0], {"clean": True}, step="stopped")
    assert state(book, stop) is OperationState.SUCCEEDED
    assert activated(book) == [Action.START]
    assert state(book, start) is OperationState.PENDING


def test_two_starts_and_a_drain_go_together(book: OperationBook) -> None:
    for action in (Action.START, Action.START, Action.DRAIN):
        book.submit(action)
    assert activated(book) == [Action.START, Action.START, Action.DRAIN]


def test_two_restarts_take_turns(book: OperationBook) -> None:
    book.submit(Action.RESTART), book.submit(Action.RESTART)
    assert activated(book) == [Action.RESTART]


def test_a_stop_overtakes_what_waits_for_the_stream_to_run(book: OperationBook) -> None:
    start, drain = book.submit(Action.START), book.submit(Action.DRAIN)
    book.activate()
    stop = book.submit(Action.STOP)
    assert {state(book, start), state(book, drain)} == {OperationState.CANCELLED}
    assert activated(book) == [Action.STOP]
    told = book.get(start.id)
    assert told is not None
    assert told.steps[-1].text == f"overtaken by stop {stop.id}"


def test_an_operation_that_has_ended_never_changes(book: OperationBook) -> None:
    operation = book.submit(Action.START)
    (command,) = book.activate()
    assert (book.cancel(operation.id) or operation).state is OperationState.CANCELLED
    ended = book.get(operation.id)
    book.succeed(command, {}, step="running")
    book.step(command, "late")
    assert book.get(operation.id) == ended
    assert book.cancel(operation.id) == ended
    assert not book.has_pending


def test_a_deadline_holds_while_nobody_works_on_the_command(book: OperationBook, clock: Clock) -> None:
    operation = book.submit(Action.STOP)
    book.step(book.activate()[0], "stopping between batches")
    clock.advance(60 + LAST_RESORT_SECONDS)
    assert state(book, operation) is OperationState.PENDING
    clock.advance(0.1)
    failed = book.get(operation.id)
    assert failed is not None
    assert failed.error is not None
    assert failed.error.message == "silver did not stop within 60 s; the last step was: stopping between batches."
    assert failed.error.remedy


def test_the_time_of_a_command_begins_with_its_turn(book: OperationBook, clock: Clock) -> None:
    book.submit(Action.STOP), book.submit(Action.START)
    book.activate()
    clock.advance(50)
    book.succeed(book.active()[0], {}, step="stopped")
    (start,) = book.activate()
    assert start.deadline == clock() + timedelta(seconds=60)


def test_the_same_step_twice_in_a_row_is_said_once(book: OperationBook) -> None:
    book.submit(Action.START)
    (command,) = book.activate()
    for text in ("starting", "starting", "waiting for broker", "starting"):
        book.step(command, text)
    assert [step.text for step in command.operation.steps] == ["starting", "waiting for broker", "starting"]


def test_an_unknown_operation_is_none(book: OperationBook) -> None:
    assert book.get("nobody") is None
    assert book.cancel("nobody") is None
