"""Statuses and operations survive their JSON form, and a status says when it is too old to be believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from rtap_assets.streaming.model.operation import Action, Operation, OperationError, OperationState, Step
from rtap_assets.streaming.model.states import Desired, FailureNote, Observed, StreamStatus

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FULL = StreamStatus(
    name="silver",
    desired=Desired.RUNNING,
    observed=Observed.BACKOFF,
    since=NOON,
    observed_at=NOON + timedelta(seconds=1, microseconds=5),
    valid_until=NOON + timedelta(seconds=61),
    last_commit_at=NOON - timedelta(seconds=3),
    last_batch_id=7,
    batch_seconds=0.25,
    input_rows_per_second=100.5,
    processed_rows_per_second=400.0,
    lag_records=12,
    lag_seconds=3.5,
    watermark=NOON - timedelta(minutes=10),
    state_rows=100,
    state_bytes=4096,
    waiting_for=None,
    next_start=NOON + timedelta(seconds=4),
    failures=2,
    last_error=FailureNote("Boom", "it burst", NOON, "mend it"),
)
BARE = StreamStatus("gold", Desired.STOPPED, Observed.STOPPED, NOON, NOON, NOON + timedelta(seconds=60))


def test_a_status_survives_its_json_form() -> None:
    for status in (FULL, BARE):
        assert StreamStatus.from_json(json.loads(json.dumps(status.to_json()))) == status


def test_a_status_from_a_newer_version_can_be_read() -> None:
    assert StreamStatus.from_json(BARE.to_json() | {"mood": "good"}) == BARE


def test_a_status_past_its_validity_is_unknown_and_keeps_its_last_readings() -> None:
    late = NOON + timedelta(seconds=62)
    assert FULL.is_valid_at(FULL.valid_until)
    assert not FULL.is_valid_at(late)
    unknown = FULL.as_unknown(reason="The stream host does not answer.", now=late)
    assert (unknown.observed, unknown.since, unknown.lag_records) == (Observed.UNKNOWN, late, 12)
    assert unknown.last_error is not None
    assert unknown.last_error.message == "The stream host does not answer."


def test_an_operation_survives_its_json_form() -> None:
    pending = Operation("1", "bronze", Action.DRAIN)
    failed = Operation(
        "2", "gold", Action.STOP, OperationState.FAILED, (Step(NOON, "asked to stop"),), None, OperationError("late", "wait")
    )
    done = Operation("3", "dlq", Action.START, OperationState.SUCCEEDED, (Step(NOON, "a"), Step(NOON, "b")), {"batch": 3})
    for operation in (pending, failed, done):
        assert Operation.from_json(json.loads(json.dumps(operation.to_json()))) == operation
    assert [operation.ended for operation in (pending, failed, done)] == [False, True, True]
