"""The states of the streams while no host runs: from their checkpoints and the host's files alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.host.offline_status import has_no_owner, offline_statuses, unknown_statuses
from rtap_assets.streaming.lifecycle.desired import DurableStates, KeptBreaker
from rtap_assets.streaming.lifecycle.restart_policy import Breaker
from rtap_assets.streaming.model.states import Desired, FailureNote, Observed

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COMMITTED = NOW - timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / ".rtap")


def batch(settings: Settings, stream: str, batch_id: int, *, committed: bool) -> None:
    for log in ("offsets", "commits") if committed else ("offsets",):
        path = settings.checkpoint_dir / stream / log / str(batch_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("v1")
        os.utime(path, (COMMITTED.timestamp(), COMMITTED.timestamp()))


def test_streams_that_never_ran_are_stopped_since_now(settings: Settings) -> None:
    found = offline_statuses(settings, now=NOW)
    assert [one.name for one in found] == list(STREAM_NAMES)
    assert {(one.desired, one.observed, one.since, one.last_commit_at, one.last_batch_id) for one in found} == {
        (Desired.STOPPED, Observed.STOPPED, NOW, None, None)
    }
    assert {one.valid_until for one in found} == {NOW + timedelta(seconds=settings.status_validity_seconds)}


def test_a_planned_batch_that_was_not_committed_is_dirty(settings: Settings) -> None:
    batch(settings, "bronze", 4, committed=True)
    batch(settings, "silver", 4, committed=True)
    batch(settings, "silver", 5, committed=False)
    found = {one.name: one for one in offline_statuses(settings, now=NOW)}
    assert (found["bronze"].observed, found["silver"].observed) == (Observed.STOPPED, Observed.DIRTY)
    assert (found["silver"].last_batch_id, found["silver"].last_commit_at, found["silver"].since) == (
        4,
        COMMITTED,
        COMMITTED,
    )


def test_what_is_desired_and_why_a_breaker_opened_are_those_of_the_last_host(settings: Settings) -> None:
    note = FailureNote("Boom", "it burst", NOW, "mend it")
    durable = DurableStates(settings)
    durable.declare("gold", Desired.RUNNING)
    durable.set_breaker("gold", KeptBreaker(Breaker(("a", "a"), NOW), note))
    found = {one.name: one for one in offline_statuses(settings, now=NOW)}
    assert (found["gold"].desired, found["gold"].failures, found["gold"].last_error) == (Desired.RUNNING, 2, note)
    assert (found["dlq"].desired, found["dlq"].failures, found["dlq"].last_error) == (Desired.STOPPED, 0, None)


def test_a_host_that_does_not_answer_leaves_every_state_unknown_and_keeps_what_is_desired(settings: Settings) -> None:
    DurableStates(settings).declare("gold", Desired.RUNNING)
    found = {one.name: one for one in unknown_statuses(settings, reason="it is frozen", now=NOW)}
    assert {one.observed for one in found.values()} == {Observed.UNKNOWN}
    assert (found["gold"].desired, found["dlq"].desired) == (Desired.RUNNING, Desired.STOPPED)


def test_what_is_desired_of_a_host_elsewhere_is_unknown_too(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path, streams_url="http://streams:18090")
    assert {one.desired for one in unknown_statuses(settings, reason="away", now=NOW)} == {Desired.UNKNOWN}


def test_checkpoints_without_a_lock_have_no_writer(settings: Settings) -> None:
    assert has_no_owner(settings)
    settings.checkpoint_dir.mkdir(parents=True)
    (settings.checkpoint_dir / "lock").touch()
    assert has_no_owner(settings)
