"""The sensor `stream_supervisor`, with the time passed in: what it says and when, when it starts a host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import dagster as dg
import pytest
from fake_host import NOON, FakeClient, engine_with, host_over, status

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.definitions import defs
from rtap_assets.errors import StreamError
from rtap_assets.sensors.supervisor import FIRST_PAUSE_SECONDS, Memory, due_events, revive_host, stream_supervisor
from rtap_assets.streaming.model.states import Desired, FailureNote, Observed, StreamStatus

VALIDITY_SECONDS = 60.0
TICK = timedelta(seconds=10)
NOTE = FailureNote("checkpoint_foreign", "The checkpoint is another table's.", NOON, "Restore it.")


def due(
    statuses: list[StreamStatus], memory: Memory, now: datetime, *, materialized: dict[str, datetime] | None = None
) -> list[dg.AssetCheckEvaluation | dg.AssetObservation]:
    """What a tick tells; by default nothing was ever materialised."""
    return due_events(statuses, memory, now=now, validity_seconds=VALIDITY_SECONDS, materialized=materialized or {})


def told_over(seconds: int, *, memory: Memory, one: StreamStatus) -> list[int]:
    """At which seconds the state is told when nothing changes."""
    moments = range(0, seconds, 10)
    return [at for at in moments if due([one], memory, NOON + timedelta(seconds=at))]


def test_an_unchanged_state_is_renewed_before_it_lapses_and_not_at_every_tick() -> None:
    assert told_over(130, memory=Memory(), one=status()) == [0, 40, 80, 120]


def test_a_state_that_a_materialisation_hides_is_told_again_at_once_and_once() -> None:
    memory, gold = Memory(), status("gold")
    due([gold], memory, NOON, materialized={"gold": NOON - TICK})
    hidden = {"gold": NOON + TICK / 2}
    (event,) = due([gold], memory, NOON + TICK, materialized=hidden)
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert due([gold], memory, NOON + 2 * TICK, materialized=hidden) == []


def test_a_day_of_four_streams_stays_far_below_the_event_log_s_budget() -> None:
    assert 4 * len(told_over(86_400, memory=Memory(), one=status())) < 10_000


def test_a_change_is_told_at_once() -> None:
    memory = Memory()
    due([status()], memory, NOON)
    changed = [status(observed=Observed.WAITING, waiting_for="broker")]
    (event,) = due(changed, memory, NOON + TICK)
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert not event.passed


@pytest.mark.parametrize("observed", [Observed.BROKEN, Observed.REFUSED])
def test_a_stream_that_needs_a_person_is_an_alert_once(observed: Observed) -> None:
    memory, broken = Memory(), [status("gold", observed, last_error=NOTE)]
    first = due(broken, memory, NOON)
    assert [type(event) for event in first] == [dg.AssetCheckEvaluation, dg.AssetObservation]
    assert "The checkpoint is another table's. Restore it." in str(first[1].description)
    later = due(broken, memory, NOON + timedelta(minutes=5))
    assert [type(event) for event in later] == [dg.AssetCheckEvaluation]


def test_a_stream_that_waits_for_too_long_is_an_alert_once_and_again_after_it_ran() -> None:
    memory = Memory()
    waiting = [status("bronze", Observed.WAITING, waiting_for="broker", since=NOON)]

    def alerts(statuses: list[StreamStatus], seconds: int) -> int:
        now = NOON + timedelta(seconds=seconds)
        events = due_events(
            statuses, memory, now=now, validity_seconds=VALIDITY_SECONDS, materialized={}, waiting_alert_seconds=600
        )
        return sum(isinstance(event, dg.AssetObservation) for event in events)

    assert [alerts(waiting, seconds) for seconds in (0, 300, 600, 610, 620, 1200)] == [0, 0, 0, 1, 0, 0]
    assert alerts([status("bronze")], 1300) == 0
    later = [replace(waiting[0], since=NOON + timedelta(seconds=1400))]
    assert [alerts(later, seconds) for seconds in (1400, 2001)] == [0, 1]


def test_after_an_hour_without_a_daemon_every_state_is_told_at_once() -> None:
    memory = Memory()
    every = [status(name) for name in STREAM_NAMES]
    due(every, memory, NOON)
    resumed = Memory.of(memory.as_cursor())
    assert len(due(every, resumed, NOON + timedelta(hours=1))) == len(STREAM_NAMES)


def test_a_cursor_of_another_version_reports_every_state_again() -> None:
    memory = Memory.of('{"told": {"gold": {"face": "running/running//", "at": "2026-03-01T12:00:00.000Z"}}, "starts": 2}')
    assert memory == Memory()


AWAY = [status(observed=Observed.STOPPED), status("gold", Observed.STOPPED, desired=Desired.STOPPED)]


def test_a_host_that_died_is_started_when_streams_should_run() -> None:
    assert "was started" in revive_host(AWAY, Memory(), now=NOON, begin=lambda: True)


@pytest.mark.parametrize(
    "statuses",
    [
        [status(), status("gold", Observed.STOPPED)],
        [status("gold", Observed.BROKEN)],
        [status("gold", Observed.STOPPED, desired=Desired.STOPPED)],
        [status("gold", Observed.DIRTY, desired=Desired.STOPPED)],
    ],
    ids=["it answers for another stream", "broken", "nothing desired", "nothing desired, dirty"],
)
def test_no_host_is_started_otherwise(statuses: list[StreamStatus]) -> None:
    assert revive_host(statuses, Memory(), now=NOON, begin=lambda: pytest.fail("started")) == ""


def test_a_host_that_does_not_come_up_is_started_again_with_growing_pauses() -> None:
    memory, starts = Memory(), []
    for seconds in range(0, 600, 10):
        now = NOON + timedelta(seconds=seconds)
        revive_host(AWAY, memory, now=now, begin=lambda at=seconds: starts.append(at) or True)  # type: ignore[func-returns-value, misc]
        memory = Memory.of(memory.as_cursor())
    assert starts == [0, FIRST_PAUSE_SECONDS, 3 * FIRST_PAUSE_SECONDS, 7 * FIRST_PAUSE_SECONDS, 15 * FIRST_PAUSE_SECONDS]


def test_a_host_that_answers_again_ends_the_pauses() -> None:
    memory = Memory()
    revive_host(AWAY, memory, now=NOON, begin=lambda: True)
    revive_host([status()], memory, now=NOON + TICK, begin=lambda: pytest.fail("started"))
    assert "was started" in revive_host(AWAY, memory, now=NOON + 2 * TICK, begin=lambda: True)


def test_a_host_that_lives_and_does_not_answer_is_left_alone_and_said() -> None:
    memory = Memory()
    frozen = [revive_host(AWAY, memory, now=NOON + tick * TICK, begin=lambda: False) for tick in range(2)]
    assert ["its process lives" in said for said in frozen] == [True, True]
    assert "was started" in revive_host(AWAY, memory, now=NOON + 2 * TICK, begin=lambda: True)


def broken_begin() -> bool:
    raise StreamError("No Java.", remedy="Install one.")


def test_a_host_that_cannot_be_started_is_said_and_the_states_are_told_all_the_same() -> None:
    assert "No Java. Install one." in revive_host(AWAY, Memory(), now=NOON, begin=broken_begin)


def tick(client: FakeClient, *, cursor: str | None = None, begins: Iterator[bool] | None = None) -> dg.SensorResult:
    resources = {"settings": Settings(), "streams": host_over(client, begins=begins)}
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance, cursor=cursor, definitions=defs, resources=resources) as context,
    ):
        result = stream_supervisor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_a_tick_tells_all_streams_and_the_next_nothing_new() -> None:
    client = FakeClient()
    first = tick(client)
    assert len(first.asset_events) == len(STREAM_NAMES)
    assert first.skip_reason is not None
    assert first.skip_reason.skip_message == "bronze running, dlq running, silver running, gold running."
    second = tick(client, cursor=first.cursor)
    assert second.asset_events == []


def test_a_tick_without_a_host_starts_one_and_says_so() -> None:
    client = FakeClient(engine_with(*(status(name, Observed.STOPPED) for name in STREAM_NAMES)))
    result = tick(client, begins=iter([True]))
    assert result.skip_reason is not None
    assert "it was started and resumes" in result.skip_reason.skip_message
