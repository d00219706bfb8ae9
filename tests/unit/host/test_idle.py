"""When an embedded stream host counts as idle. Time is passed in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_host import FakeEngine, status_now

from rtap_assets.host.idle import Activity
from rtap_assets.streaming.model.operation import OperationState
from rtap_assets.streaming.model.states import Desired


class Clock:
    """Seconds that only a test advances."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_host_is_idle_from_its_start_until_something_is_asked(clock: Clock) -> None:
    engine = FakeEngine()
    activity = Activity(engine, clock=clock)
    clock.now = 100
    assert activity.idle_seconds() == 100
    activity.asked(engine.submit("gold", "stop"))
    assert activity.idle_seconds() == 0
    clock.now = 130
    assert activity.idle_seconds() == 30


def test_looking_at_states_keeps_no_host_alive(clock: Clock) -> None:
    engine = FakeEngine()
    activity = Activity(engine, clock=clock)
    for clock.now in (10, 20, 30):
        engine.statuses()
    assert activity.idle_seconds() == 30


def test_a_host_whose_stream_should_run_is_never_idle_and_is_so_from_the_stop_on(clock: Clock) -> None:
    engine = FakeEngine()
    engine.found["silver"] = status_now("silver", desired=Desired.RUNNING)
    activity = Activity(engine, clock=clock)
    clock.now = 1_000
    assert activity.idle_seconds() == 0
    engine.found["silver"] = status_now("silver")
    clock.now = 1_060
    assert activity.idle_seconds() == 60


def test_an_operation_under_way_keeps_the_host_until_it_ends_or_is_forgotten(clock: Clock) -> None:
    engine = FakeEngine(outcome=OperationState.PENDING)
    activity = Activity(engine, clock=clock)
    first, second = engine.submit("gold", "drain"), engine.submit("dlq", "drain")
    activity.asked(first)
    activity.asked(second)
    clock.now = 500
    assert activity.idle_seconds() == 0
    engine.operations[first.id] = replace(first, state=OperationState.SUCCEEDED)
    clock.now = 600
    assert activity.idle_seconds() == 0
    del engine.operations[second.id]
    clock.now = 700
    assert activity.idle_seconds() == 100
