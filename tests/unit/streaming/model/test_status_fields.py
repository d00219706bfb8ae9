"""A field of the status is named once: JSON, OpenAPI, metrics and Dagster's metadata follow from the model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Annotated

import pytest
from fake_host import status

from rtap_assets.assets.stream_state import state_evaluation
from rtap_assets.host import metrics, openapi
from rtap_assets.host.metrics import STREAM_METRICS, metrics_text
from rtap_assets.host.openapi import openapi_document
from rtap_assets.streaming.model.operation import Action, Operation
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.model.states import FailureNote, StreamStatus
from rtap_assets.streaming.model.wire import Shown

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class WiderStatus(StreamStatus):
    """The status with one more field, as a stranger would add it."""

    spilled_bytes: Annotated[
        int | None, Shown("Memory that was spilled, bytes.", "rtap_stream_spilled_bytes", "spilled")
    ] = None


@pytest.fixture
def wider(monkeypatch: pytest.MonkeyPatch) -> WiderStatus:
    """A status of the wider model, which the host's description and metrics are made from too."""
    shown = {one.metric: (name, one.doc) for name, one in WiderStatus.shown().items() if one.metric}
    monkeypatch.setattr(metrics, "STREAM_METRICS", shown)
    monkeypatch.setattr(openapi, "StreamStatus", WiderStatus)
    narrow = status()
    return WiderStatus(**{field.name: getattr(narrow, field.name) for field in fields(narrow)}, spilled_bytes=7)


def test_a_field_that_is_added_is_everywhere(wider: WiderStatus) -> None:
    assert wider.to_json()["spilled_bytes"] == 7
    assert WiderStatus.from_json(wider.to_json()) == wider
    schema = openapi_document("1")["components"]["schemas"]["WiderStatus"]
    assert schema["properties"]["spilled_bytes"]["description"] == "Memory that was spilled, bytes."
    text = metrics_text([wider], host={}, since=NOON, jvm_answers=True, counted={})
    assert 'rtap_stream_spilled_bytes{stream="bronze"} 7' in text
    assert state_evaluation(wider).metadata["spilled"].value == 7


def test_description_json_and_metrics_have_the_fields_of_the_model() -> None:
    names = {field.name for field in fields(StreamStatus)}
    schemas = openapi_document("1")["components"]["schemas"]
    assert schemas["StreamStatus"]["properties"].keys() == status().to_json().keys() == names
    assert {name for name, _ in STREAM_METRICS.values()} <= names
    assert schemas["Operation"]["properties"].keys() == Operation("1", "gold", Action.STOP).to_json().keys()
    shown_elsewhere = {"name", "observed", "waiting_for", "last_error"}  # label, state, text
    assert names - shown_elsewhere == {name for name, _ in STREAM_METRICS.values()}


def test_a_value_of_an_older_or_newer_version_is_read() -> None:
    document = status(last_error=FailureNote("a", "b", NOON, "c")).to_json()
    for name in ("desired_generation", "observed_generation"):
        del document[name]
    older = StreamStatus.from_json(document | {"mood": "good"})
    assert (older.desired_generation, older.last_error) == (0, FailureNote("a", "b", NOON, "c"))
    report = DrainReport("gold", 1, 10, 0, {"sales": {"0": 5}}, None, 1.5, ("again",))
    assert DrainReport.from_json(report.to_json() | {"more": 1}) == report
    assert replace(report, restarts=()).to_json()["restarts"] == []
