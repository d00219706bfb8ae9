from __future__ import annotations

import pytest

from rtap_assets.errors import ContractError, DependencyUnavailable
from rtap_assets.kafka.patience import with_patience


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def failing(times: int, error: Exception):
    left = iter(range(times))

    def call() -> str:
        if next(left, None) is not None:
            raise error
        return "answer"

    return call


def test_patience_returns_the_first_answer_after_capped_growing_pauses() -> None:
    clock = Clock()
    call = failing(8, DependencyUnavailable("no answer"))
    assert with_patience(call, what="asking", seconds=60, clock=clock, sleep=clock.sleep) == "answer"
    assert clock.pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_patience_ends_within_its_seconds_and_says_what_where_and_for_how_long() -> None:
    clock = Clock()
    call = failing(1000, DependencyUnavailable("broker at b:1 did not answer", remedy="Start it.", address="b:1"))
    with pytest.raises(DependencyUnavailable) as caught:
        with_patience(call, what="listing topics", seconds=10, clock=clock, sleep=clock.sleep)
    assert clock.now <= 10
    assert str(caught.value) == "Gave up listing topics after 6 s (6 attempts): broker at b:1 did not answer Start it."
    assert caught.value.context == {"address": "b:1"}


def test_patience_does_not_repeat_what_waiting_cannot_mend() -> None:
    clock = Clock()
    with pytest.raises(ContractError):
        with_patience(failing(1, ContractError("refused")), what="x", seconds=60, clock=clock, sleep=clock.sleep)
    assert clock.pauses == []


def test_patience_says_once_that_it_waits_for_what_and_how_long(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    call = failing(3, DependencyUnavailable("The broker at b:1 did not answer."))
    with_patience(call, what="asking", seconds=60, clock=clock, sleep=clock.sleep)
    assert [record.message for record in caplog.records] == ["The broker at b:1 did not answer. Trying for up to 60 s."]
