"""Which state follows from which facts, when a failed stream starts again, when the breaker opens. Time is passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rtap_assets.streaming.lifecycle.restart_policy import (
    Breaker,
    Facts,
    Patience,
    after_fault,
    extend_proof,
    fingerprint,
    observe,
    restart_delay_seconds,
    was_well_before,
)
from rtap_assets.streaming.model.states import Observed

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PATIENCE = Patience(proof_seconds=30, start_seconds=120)


def at(seconds: float) -> datetime:
    """An instant after noon."""
    return NOON + timedelta(seconds=seconds)


REST = Facts(ended_at=at(0))
WANTED = Facts(ended_at=at(0), is_wanted=True)
TRYING = Facts(ended_at=at(0), is_wanted=True, attempt_since=at(10))
PROVEN = Facts(ended_at=at(0), is_wanted=True, attempt_since=at(10), proven_since=at(15), proven_at=at(40))
WAITING = Facts(ended_at=at(9), is_wanted=True, waiting_for="registry", waiting_since=at(5), next_start=at(20))

MATRIX: dict[str, tuple[Facts, float, bool, Observed, float]] = {
    # facts, seconds after noon, is the source away, state, since
    "at rest": (REST, 50, False, Observed.STOPPED, 0),
    "at rest and dirty": (Facts(at(0), is_dirty=True), 50, False, Observed.DIRTY, 0),
    "at rest while the broker is away": (REST, 500, True, Observed.STOPPED, 0),
    "wanted, before the first attempt": (WANTED, 1, False, Observed.STARTING, 0),
    "attempted": (TRYING, 11, False, Observed.STARTING, 10),
    "attempted for long, cold": (TRYING, 130, False, Observed.STARTING, 10),
    "attempted for too long": (TRYING, 131, False, Observed.STALLED, 130),
    "attempted, broker away for a moment": (TRYING, 40, True, Observed.STARTING, 10),
    "attempted, broker away": (TRYING, 41, True, Observed.WAITING, 40),
    "proven": (PROVEN, 41, False, Observed.RUNNING, 15),
    "proven long enough ago": (PROVEN, 70, False, Observed.RUNNING, 15),
    "proven too long ago": (PROVEN, 71, False, Observed.STALLED, 70),
    "proven, broker away since": (PROVEN, 60, True, Observed.RUNNING, 15),
    "proven too long ago, broker away": (PROVEN, 71, True, Observed.WAITING, 70),
    "waiting between two attempts": (WAITING, 12, False, Observed.WAITING, 5),
    "waiting, and trying again": (
        Facts(at(9), is_wanted=True, waiting_for="registry", waiting_since=at(5), attempt_since=at(20)),
        21,
        False,
        Observed.WAITING,
        5,
    ),
    "waiting, and hung in the attempt": (
        Facts(at(9), is_wanted=True, waiting_for="registry", waiting_since=at(5), attempt_since=at(20)),
        141,
        False,
        Observed.STALLED,
        140,
    ),
    "failed": (Facts(at(9), is_wanted=True, failed_at=at(9), next_start=at(12)), 10, False, Observed.BACKOFF, 9),
    "broken": (Facts(at(9), is_wanted=True, failed_at=at(9), broken_since=at(9)), 99, False, Observed.BROKEN, 9),
    "broken, then stopped by a person": (Facts(at(9), broken_since=at(9)), 99, False, Observed.STOPPED, 9),
    "refused": (Facts(at(9), is_wanted=True, refused_since=at(9)), 99, False, Observed.REFUSED, 9),
    "stopping": (Facts(at(0), attempt_since=at(1), proven_at=at(5), stopping_since=at(6)), 7, False, Observed.STOPPING, 6),
    "stopping for ever": (Facts(at(0), attempt_since=at(1), stopping_since=at(6)), 900, False, Observed.STOPPING, 6),
}


@pytest.mark.parametrize("case", MATRIX)
def test_the_state_follows_from_the_facts(case: str) -> None:
    facts, seconds, away, state, since = MATRIX[case]
    assert observe(facts, at(seconds), patience=PATIENCE, is_source_away=away) == (state, at(since))


@pytest.mark.parametrize("case", MATRIX)
def test_what_runs_in_a_silent_jvm_is_stalled_and_all_else_stays_as_it_was(case: str) -> None:
    facts, seconds, away, state, since = MATRIX[case]
    tried = {Observed.STARTING, Observed.RUNNING, Observed.STALLED, Observed.WAITING}
    stalls = facts.attempt_since is not None and state in tried
    found = observe(facts, at(seconds), patience=PATIENCE, is_source_away=away, jvm_silent_since=at(12))
    assert found == ((Observed.STALLED, max(at(12), facts.attempt_since or at(0))) if stalls else (state, at(since)))


def test_no_facts_of_a_silent_query_say_running_for_longer_than_a_proof_lasts() -> None:
    """Whoever hangs (JVM, broker, disk): the facts stay as they are while time passes."""
    for facts in (TRYING, PROVEN, WAITING):
        for away in (False, True):
            assert observe(facts, at(10_000), patience=PATIENCE, is_source_away=away)[0] is not Observed.RUNNING


def test_proofs_close_together_are_one_series_and_a_gap_begins_a_new_one() -> None:
    first = extend_proof(TRYING, at(15), proof_seconds=30)
    assert first == (at(15), at(15))
    running = Facts(at(0), attempt_since=at(10), proven_at=first[0], proven_since=first[1])
    assert extend_proof(running, at(45), proof_seconds=30) == (at(45), at(15))
    assert extend_proof(running, at(46), proof_seconds=30) == (at(46), at(46))
    assert extend_proof(running, at(12), proof_seconds=30) == (at(15), at(15))  # told late, it proves nothing new


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
    well = Facts(at(0), attempt_since=at(10), proven_since=at(15), proven_at=at(315))
    assert was_well_before(well, healthy_seconds=300)
    assert not was_well_before(well, healthy_seconds=301)
    assert not was_well_before(TRYING, healthy_seconds=0)


def test_reports_of_one_fault_have_one_fingerprint() -> None:
    one = fingerprint("TaskFailed", "Lost task 3.0 in stage 71 (TID 90), id 0b8d6c1e-5c2f-4b6e-9d0a-3f7f1c2d4e5f")
    other = fingerprint("TaskFailed", "Lost task 0.0 in stage 9 (TID 7), id 7c7d6c1e-5c2f-4b6e-9d0a-3f7f1c2d4e00")
    assert one == other
    assert one != fingerprint("TaskFailed", "No space left on device")


def test_an_open_transaction_makes_a_stream_that_runs_wait_and_hides_no_other_state() -> None:
    since = NOON - timedelta(seconds=300)

    def state(facts: Facts, seconds: float) -> tuple[Observed, datetime]:
        return observe(facts, at(seconds), patience=PATIENCE, held_since=since)

    assert state(PROVEN, 41) == (Observed.WAITING, since)
    assert state(PROVEN, 71) == (Observed.STALLED, at(70))
    assert state(REST, 50) == (Observed.STOPPED, at(0))
    assert state(TRYING, 11) == (Observed.STARTING, at(10))
