"""When a failed stream starts again, when the breaker opens, how long proofs are one series. Time is passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rtap_assets.streaming.lifecycle.restart_policy import (
    Breaker,
    after_fault,
    extend_proof,
    fingerprint,
    restart_delay_seconds,
)

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """An instant after noon."""
    return NOON + timedelta(seconds=seconds)


def test_proofs_close_together_are_one_series_and_a_gap_begins_a_new_one() -> None:
    assert extend_proof(at(15), at(15), at(45), gap_seconds=30) == (at(45), at(15))
    assert extend_proof(at(15), at(15), at(46), gap_seconds=30) == (at(46), at(46))
    assert extend_proof(at(15), at(15), at(12), gap_seconds=30) == (at(15), at(15))  # reported late, it proves nothing new


def test_a_first_failure_starts_again_at_once_and_later_ones_back_off_up_to_a_cap() -> None:
    def delay(failures: int, *, is_waiting: bool) -> float:
        return restart_delay_seconds(failures=failures, is_waiting=is_waiting, first_seconds=1, longest_seconds=30)

    assert [delay(count, is_waiting=False) for count in (1, 2, 3, 5, 6, 10_000)] == [0, 2, 4, 16, 30, 30]
    assert [delay(count, is_waiting=True) for count in (1, 2, 6)] == [1, 2, 30]


def after(breaker: Breaker, *faults: str, was_well: bool = False) -> Breaker:
    for seconds, fault in enumerate(faults):
        breaker = after_fault(breaker, fault, at(seconds), was_well=was_well, limit=3)
    return breaker


def test_the_breaker_opens_on_the_same_failure_again_and_again() -> None:
    assert after(Breaker(), "a", "a").opened_at is None
    assert after(Breaker(), "a", "a", "a").opened_at == at(2)
    assert after(Breaker(), "a", "b", "a", "b", "a").opened_at is None
    assert after(Breaker(), "b", "a", "a", "a").opened_at == at(3)


def test_a_stream_that_was_well_has_its_failures_forgotten() -> None:
    twice = after(Breaker(), "a", "a")
    assert after(twice, "a", was_well=True) == Breaker(("a",))


def test_reports_of_one_fault_have_one_fingerprint() -> None:
    one = fingerprint("TaskFailed", "Lost task 3.0 in stage 71 (TID 90), id 0b8d6c1e-5c2f-4b6e-9d0a-3f7f1c2d4e5f")
    other = fingerprint("TaskFailed", "Lost task 0.0 in stage 9 (TID 7), id 7c7d6c1e-5c2f-4b6e-9d0a-3f7f1c2d4e00")
    assert one == other
    assert one != fingerprint("TaskFailed", "No space left on device")
