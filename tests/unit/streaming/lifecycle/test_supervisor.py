"""The supervisor and its commands over a query in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from polling import wait_until
from supervised_stream import SECONDS, Setup, open_setup

from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.streaming.lifecycle.desired import read_breakers, read_desired, read_generations
from rtap_assets.streaming.lifecycle.events import HostResumed, TableWorkEnds
from rtap_assets.streaming.lifecycle.phases import (
    Broken,
    Refused,
    Running,
    Starting,
    Stopped,
    Stopping,
    Waiting,
)
from rtap_assets.streaming.model.operation import Action, OperationState
from rtap_assets.streaming.model.states import Desired


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    found = open_setup(tmp_path)
    yield found
    found.close()


def test_a_start_ends_with_proof_and_a_second_one_adopts(setup: Setup) -> None:
    started = setup.done(Action.START)
    assert started.result == {"batch_id": 0, "proof": "batch 0 committed"}
    assert [step.text for step in started.steps][-1] == "running: batch 0 committed"
    again = setup.done(Action.START)
    assert again.steps[0].text.startswith("already running since ")
    assert len(setup.stream.queries) == 1, "two starts are one"
    assert (setup.state.goal.generation, setup.state.observed_generation) == (2, 2)
    assert read_desired(setup.settings) == {"silver": Desired.RUNNING}
    assert read_generations(setup.settings) == {"silver": 2}


def test_a_restart_is_a_new_generation_of_running(setup: Setup) -> None:
    setup.done(Action.START)
    assert setup.done(Action.RESTART).state is OperationState.SUCCEEDED
    assert [query.is_active for query in setup.stream.queries] == [False, True]


def test_a_stop_has_its_proof_and_a_second_finds_it_stopped(setup: Setup) -> None:
    setup.done(Action.START)
    assert setup.done(Action.STOP).result == {"clean": True, "batch_id": 0}
    assert setup.done(Action.STOP).steps[-1].text == ("already stopped: newest planned batch = newest committed batch = 0")
    assert setup.stream.active == []


def test_a_stop_overtakes_a_start_and_a_drain(setup: Setup) -> None:
    setup.stream.is_paced = True
    start, drain = setup.ask(Action.START), setup.ask(Action.DRAIN)
    setup.wait_for(Starting)
    stop = setup.ask(Action.STOP)
    for overtaken in (start, drain):
        assert setup.end_of(overtaken).steps[-1].text == f"overtaken by stop {stop.id}"
        assert setup.end_of(overtaken).state is OperationState.CANCELLED
    assert setup.end_of(stop).state is OperationState.SUCCEEDED
    setup.wait_for(Stopped)
    assert setup.state.drains == frozenset()


def test_a_drain_of_a_stopped_stream_stops_it_again_and_reports_what_it_did(setup: Setup) -> None:
    setup.stream.available = 3
    drained = setup.done(Action.DRAIN)
    assert drained.result is not None, drained
    assert (drained.result["batches"], drained.result["input_rows"], drained.result["position"]) == (3, 30, {"at": 1})
    assert setup.stream.active == []
    assert setup.done(Action.DRAIN).steps[-1].text == "complete already"
    assert len(setup.stream.queries) == 1
    assert setup.state.goal.desired is Desired.STOPPED


def test_a_drain_of_a_running_stream_leaves_it_running(setup: Setup) -> None:
    setup.done(Action.START)
    setup.stream.available = 4
    drained = setup.done(Action.DRAIN)
    assert drained.result is not None
    assert (drained.result["batches"], len(setup.stream.active), len(setup.stream.queries)) == (3, 1, 1)


def test_a_cancelled_drain_gives_the_stream_back(setup: Setup) -> None:
    setup.stream.is_paced = True
    drain = setup.ask(Action.DRAIN)
    setup.wait_for(Starting)
    setup.supervisor.cancel(drain.id)
    setup.wait_for(Stopped)


def test_a_drain_gives_up_on_a_source_that_stays_away_and_on_a_checkpoint_that_cannot_be_read(setup: Setup) -> None:
    setup.target_errors = [DependencyUnavailable("no answer", remedy="start it", dependency="broker")] * 1_000
    failed = setup.done(Action.DRAIN)
    assert failed.error is not None
    assert (failed.error.message, failed.error.dependency) == ("silver cannot be drained: no answer", "broker")
    setup.target_errors = [StreamError("the checkpoint is foreign.", remedy="rebuild")]
    failed = setup.done(Action.DRAIN)
    assert failed.error is not None
    assert (failed.error.message, failed.error.dependency) == ("silver cannot be drained: the checkpoint is foreign.", None)
    assert setup.stream.queries == []


def test_a_drain_gives_up_waiting_for_what_its_query_needs(setup: Setup) -> None:
    setup.stream.start_errors = [
        DependencyUnavailable("The registry is away.", remedy="Start it.", dependency="registry")
    ] * 1_000
    failed = setup.done(Action.DRAIN)
    assert failed.error is not None
    assert failed.error.message == "silver gave up after waiting 1 s for The registry is away."
    assert failed.error.dependency == "registry"
    setup.wait_for(Stopped)


def test_a_drain_fails_after_two_faults(setup: Setup) -> None:
    setup.stream.start_errors = [RuntimeError("one"), RuntimeError("two"), RuntimeError("three")]
    failed = setup.done(Action.DRAIN)
    assert failed.error is not None
    assert "two" in failed.error.message
    setup.wait_for(Stopped)


def test_a_refused_checkpoint_starts_nothing_until_it_is_asked_again(setup: Setup) -> None:
    setup.stream.start_errors = [StreamError("foreign.", remedy="rebuild")]
    failed = setup.done(Action.START)
    assert failed.error is not None
    assert (failed.error.message, failed.error.remedy) == ("silver is refused: foreign.", "rebuild")
    assert isinstance(setup.state.phase, Refused)
    assert setup.stream.queries == []
    assert setup.done(Action.START).state is OperationState.SUCCEEDED


def test_the_breaker_opens_survives_and_is_reset_by_a_start(setup: Setup) -> None:
    setup.stream.start_errors = [RuntimeError("burst")] * 3
    failed = setup.done(Action.START)
    assert failed.error is not None
    assert failed.error.message.startswith("silver is broken: ")
    assert read_breakers(setup.settings)["silver"].breaker.opened_at == setup.state.phase.since
    next_host = Setup(setup.settings)
    next_host.supervisor.post(HostResumed())
    next_host.wait_for(Broken)
    drained = next_host.done(Action.DRAIN)
    assert drained.error is not None
    assert "broken" in drained.error.message
    assert next_host.done(Action.START).state is OperationState.SUCCEEDED
    assert next_host.close()
    assert read_breakers(setup.settings)["silver"].breaker.opened_at is None


def test_a_full_disk_is_waited_for_once_the_breaker_is_open(setup: Setup) -> None:
    setup.stream.start_errors = [RuntimeError("No space left on device")] * 3
    setup.ask(Action.START)
    setup.wait_for(Broken)
    setup.has_room = True
    setup.wait_for(Running)


def test_a_broken_stream_with_another_cause_waits_for_a_start(setup: Setup) -> None:
    setup.has_room = True
    setup.stream.start_errors = [RuntimeError("OutOfMemoryError")] * 3
    assert setup.done(Action.START).state is OperationState.FAILED
    setup.done(Action.DRAIN)
    assert isinstance(setup.state.phase, Broken)


def test_a_query_that_fails_is_started_again_and_one_that_cannot_be_stopped_is_asked_again(setup: Setup) -> None:
    setup.done(Action.START)
    setup.stream.active[0].fail(RuntimeError("burst"))
    wait_until(lambda: len(setup.stream.queries) == 2, seconds=SECONDS, what="a second query")
    setup.wait_for(Running)
    setup.stream.is_dirty = False
    setup.stream.stop_errors = [RuntimeError("timed out")]
    assert setup.done(Action.STOP).state is OperationState.SUCCEEDED
    assert any("Spark has not ended the query yet" in line for line in setup.said)


def test_a_batch_that_a_stop_cut_off_is_finished(setup: Setup) -> None:
    setup.done(Action.START)
    setup.stream.available, setup.stream.is_paced = 2, True
    setup.stream.is_dirty = True
    stop = setup.ask(Action.STOP)
    wait_until(lambda: len(setup.stream.queries) == 2, seconds=SECONDS, what="the finishing query")
    assert isinstance(setup.state.phase, Stopping)
    setup.stream.is_paced = False
    assert setup.end_of(stop).result == {"clean": True, "batch_id": 1}
    assert any("finishes the batch that was cut off" in line for line in setup.said)


def test_a_stop_that_leaves_a_batch_open_says_so(tmp_path: Path) -> None:
    setup = open_setup(tmp_path, stop_timeout_seconds=0.3)
    setup.done(Action.START)
    setup.stream.is_paced, setup.stream.is_dirty = True, True
    failed = setup.done(Action.STOP)
    assert failed.error is not None
    assert "stopped in the middle of a batch after 0.3 s" in failed.error.message
    assert not setup.close()


def test_a_dependency_that_is_away_is_waited_for(setup: Setup) -> None:
    setup.stream.start_errors = [DependencyUnavailable("no answer", dependency="registry")] * 3
    start = setup.ask(Action.START)
    setup.wait_for(Waiting)
    assert setup.end_of(start).state is OperationState.SUCCEEDED
    assert [line for line in setup.said if "WAITING" in line] == ["silver: WAITING for registry: no answer"]
    assert "silver: goes on after waiting for registry" in setup.said


def test_a_rest_for_table_work_ends_the_query_and_leaves_what_is_desired(setup: Setup) -> None:
    setup.done(Action.START)
    assert setup.supervisor.pause(seconds=SECONDS)
    assert (setup.stream.active, setup.state.goal.desired) == ([], Desired.RUNNING)
    setup.supervisor.post(TableWorkEnds())
    setup.wait_for(Running)


def test_a_host_that_closes_stops_cleanly_and_the_next_one_resumes(setup: Setup) -> None:
    setup.done(Action.START)
    assert setup.close()
    assert setup.stream.active == []
    next_host = Setup(setup.settings)
    assert isinstance(next_host.state.phase, Stopped)
    next_host.supervisor.post(HostResumed())
    next_host.wait_for(Running)
    assert next_host.state.goal.generation == 1
    assert next_host.close()


def test_a_command_whose_wish_cannot_be_written_fails_and_changes_nothing(setup: Setup) -> None:
    setup.settings.streams_dir.parent.mkdir(parents=True, exist_ok=True)
    setup.settings.streams_dir.write_text("in the way")
    failed = setup.ask(Action.START)
    assert failed.error is not None
    assert "could not be written down" in failed.error.message
    assert setup.state.goal.desired is Desired.STOPPED


def test_a_dead_jvm_fails_what_is_asked_and_starts_nothing_more(setup: Setup) -> None:
    setup.done(Action.START)
    setup.stream.has_jvm = False
    setup.wait_for(Stopped)
    failed = setup.done(Action.START)
    assert failed.error is not None
    assert (setup.state.health.last_error or failed).code == "jvm_gone"  # type: ignore[union-attr]
    assert len(setup.stream.queries) == 1


def test_commands_end_even_where_every_look_at_the_stream_fails(setup: Setup) -> None:
    setup.stream.available, setup.stream.read_error = 3, AttributeError("a fault of our own")
    for action in (Action.DRAIN, Action.START):
        assert setup.done(action).state is OperationState.FAILED
    setup.stream.read_error = None
    assert setup.done(Action.START).state is OperationState.SUCCEEDED


def test_a_checkpoint_that_cannot_be_read_ends_the_query_and_not_the_supervisor(setup: Setup) -> None:
    setup.done(Action.START)
    setup.stream.read_error = OSError("gone")
    wait_until(lambda: "silver: the checkpoint cannot be read: gone" in setup.said, seconds=SECONDS, what="the reason")
    assert setup.done(Action.START).state is OperationState.FAILED
    setup.stream.read_error = None
    assert setup.done(Action.START).state is OperationState.SUCCEEDED
    setup.stream.read_error = OSError("gone")
    assert not setup.close()
