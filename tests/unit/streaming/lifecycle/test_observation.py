"""Which state is shown for which phase and time: a proof ages out, whatever hangs. Time is passed in."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from stream_states import NOON, POLICY, at

from rtap_assets.streaming.lifecycle.observation import ProbeReadings, observe, status_of
from rtap_assets.streaming.lifecycle.phases import (
    Backoff,
    Broken,
    Phase,
    Refused,
    Running,
    Snapshot,
    Starting,
    Stopped,
    Stopping,
    StreamState,
    Wait,
    Waiting,
)
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.states import FailureNote, Observed
from rtap_assets.streaming.probes.source_probe import Lag

REST = Stopped(at(0))
TRYING = Starting(at(10), 5, 1)
AGAIN = Starting(at(20), 5, 1, Wait("registry", at(5)))
PROVEN = Running(at(15), at(10), 5, 1, at(40))

MATRIX: dict[str, tuple[Phase, float, str | None, Observed, float]] = {
    # phase, seconds after noon, what is away, state, since
    "at rest": (REST, 50, None, Observed.STOPPED, 0),
    "at rest while the broker is away": (REST, 500, "broker", Observed.STOPPED, 0),
    "attempted": (TRYING, 11, None, Observed.STARTING, 10),
    "attempted for long, cold": (TRYING, 130, None, Observed.STARTING, 10),
    "attempted for too long": (TRYING, 131, None, Observed.STALLED, 130),
    "attempted, broker away for a moment": (TRYING, 40, "broker", Observed.STARTING, 10),
    "attempted, broker away": (TRYING, 41, "broker", Observed.WAITING, 40),
    "proven": (PROVEN, 41, None, Observed.RUNNING, 15),
    "proven long enough ago": (PROVEN, 70, None, Observed.RUNNING, 15),
    "proven too long ago": (PROVEN, 71, None, Observed.STALLED, 70),
    "proven, broker away since": (PROVEN, 60, "broker", Observed.RUNNING, 15),
    "proven too long ago, broker away": (PROVEN, 71, "broker", Observed.WAITING, 70),
    "waiting between two attempts": (Waiting(at(5), "registry", at(20)), 12, None, Observed.WAITING, 5),
    "waiting, and trying again": (AGAIN, 21, None, Observed.WAITING, 5),
    "waiting, and hung in the attempt": (AGAIN, 141, None, Observed.STALLED, 140),
    "failed": (Backoff(at(9), at(12)), 10, None, Observed.BACKOFF, 9),
    "broken": (Broken(at(9)), 99, None, Observed.BROKEN, 9),
    "refused": (Refused(at(9)), 99, None, Observed.REFUSED, 9),
    "stopping": (Stopping(at(6), at(36)), 7, None, Observed.STOPPING, 6),
    "stopping forever": (Stopping(at(6), at(36)), 900, None, Observed.STOPPING, 6),
}


@pytest.mark.parametrize("case", MATRIX)
def test_the_state_follows_from_phase_and_time(case: str) -> None:
    phase, seconds, away, state, since = MATRIX[case]
    assert observe(StreamState(phase), at(seconds), policy=POLICY, readings=ProbeReadings(away)) == (state, at(since))


@pytest.mark.parametrize("case", MATRIX)
def test_what_runs_in_a_silent_jvm_is_stalled_and_all_else_stays_as_it_was(case: str) -> None:
    phase, seconds, away, state, since = MATRIX[case]
    found = observe(StreamState(phase), at(seconds), policy=POLICY, readings=ProbeReadings(away, at(12)))
    began = phase.started_at if isinstance(phase, Running) else phase.since
    stalls = isinstance(phase, Starting | Running)
    assert found == ((Observed.STALLED, max(at(12), began)) if stalls else (state, at(since)))


def test_at_rest_with_a_planned_batch_is_dirty() -> None:
    state = StreamState(REST, checkpoint=CheckpointReading(is_dirty=True))
    assert observe(state, at(50), policy=POLICY) == (Observed.DIRTY, at(0))


def test_no_phase_of_a_silent_query_says_running_for_longer_than_a_proof_lasts() -> None:
    """Whatever hangs (JVM, broker, disk): the phase stays as it is while time passes."""
    for phase in (TRYING, PROVEN, AGAIN):
        for away in ("broker", None):
            assert (
                observe(StreamState(phase), at(10_000), policy=POLICY, readings=ProbeReadings(away))[0]
                is not Observed.RUNNING
            )


def test_an_open_transaction_makes_a_stream_that_runs_wait_and_hides_no_other_state() -> None:
    held = FailureNote("open_transaction", "held", NOON - timedelta(seconds=300), "")

    def state(phase: Phase, seconds: float) -> tuple[Observed, datetime]:
        return observe(StreamState(phase), at(seconds), policy=POLICY, readings=ProbeReadings(held=held))

    assert state(PROVEN, 41) == (Observed.WAITING, held.at)
    assert state(PROVEN, 71) == (Observed.STALLED, at(70))
    assert state(REST, 50) == (Observed.STOPPED, at(0))
    assert state(TRYING, 11) == (Observed.STARTING, at(10))


def test_a_status_is_made_from_one_snapshot_and_names_what_is_waited_for() -> None:
    def status(state: StreamState, readings: ProbeReadings) -> tuple[str | None, str | None, int | None]:
        found = status_of(
            "bronze",
            Snapshot(state, {"batch_seconds": 0.5}),
            readings,
            policy=POLICY,
            now=at(41),
            validity_seconds=60,
            reads_kafka=True,
        )
        assert (found.valid_until, found.batch_seconds) == (at(101), 0.5)
        return found.waiting_for, None if found.last_error is None else found.last_error.code, found.lag_records

    lag, held = Lag(at(40), 7, None), FailureNote("open_transaction", "held", at(0), "")
    assert status(StreamState(PROVEN), ProbeReadings(lag=lag)) == (None, None, 7)
    assert status(StreamState(PROVEN), ProbeReadings(held=held)) == ("an open transaction", "open_transaction", None)
    assert status(StreamState(AGAIN), ProbeReadings(held=held)) == ("registry", None, None)
    assert status(StreamState(PROVEN), ProbeReadings(jvm_silent_since=at(12))) == (None, "jvm_silent", None)
    refused = replace(StreamState(Refused(at(9))))
    assert status(refused, ProbeReadings(lag=lag)) == (None, None, None), (
        "its position is not one of the topic that is there"
    )
