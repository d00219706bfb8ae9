"""What survives the host: desired states, breakers, the progress log with its bound, and files that a crash cut short."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lake_fixtures import make_lake

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import StreamError
from rtap_assets.runtime.files import write_json
from rtap_assets.serving.connection import PROGRESS_COLUMNS, open_lake
from rtap_assets.streaming.checkpoints.progress import ProgressLog, entry_of
from rtap_assets.streaming.lifecycle.desired import (
    DESIRED_FILE,
    DurableStates,
    KeptBreaker,
    read_breakers,
    read_desired,
)
from rtap_assets.streaming.lifecycle.restart_policy import Breaker
from rtap_assets.streaming.model.states import Desired, FailureNote

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REPORT = {
    "id": "q",
    "runId": "r",
    "batchId": 3,
    "timestamp": "2026-03-01T12:00:00.000Z",
    "eventTime": {"watermark": "1970-01-01T00:00:01.000Z"},
    "numInputRows": 10,
    "processedRowsPerSecond": 40.0,
    "durationMs": {"addBatch": 200, "triggerExecution": 250},
    "stateOperators": [{"numRowsTotal": 7, "memoryUsedBytes": 4096, "numRowsDroppedByWatermark": 2}],
    "sources": [{"startOffset": None, "endOffset": {"sales": {"0": 10}}}],
    "observedMetrics": {"quality": {"rows": 10, "invalid": 1}},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / ".rtap", progress_log_max_bytes=10_000)


def test_desired_states_and_breakers_survive(settings: Settings) -> None:
    broken = KeptBreaker(Breaker(("a", "a"), NOON), FailureNote("Boom", "it burst", NOON, "mend it"))
    durable = DurableStates(settings)
    assert durable.desired("gold") is Desired.STOPPED
    assert durable.declare("gold", Desired.RUNNING) == 1
    assert durable.declare("dlq", Desired.STOPPED) == 1
    durable.set_breaker("gold", broken)
    again = DurableStates(settings)
    assert again.desired("gold") is Desired.RUNNING
    assert again.breaker("gold") == broken
    assert again.breaker("dlq") == KeptBreaker()
    assert read_desired(settings) == {"gold": Desired.RUNNING, "dlq": Desired.STOPPED}
    again.set_breaker("gold", KeptBreaker())
    assert read_breakers(settings) == {"gold": KeptBreaker()}


def test_a_desired_state_that_cannot_be_written_does_not_count(settings: Settings) -> None:
    durable = DurableStates(settings)
    settings.streams_dir.parent.mkdir(parents=True)
    settings.streams_dir.write_text("in the way")
    with pytest.raises(OSError):
        durable.declare("gold", Desired.RUNNING)
    assert (durable.desired("gold"), durable.generation("gold")) == (Desired.STOPPED, 0)


def test_each_command_has_a_generation_of_its_own_across_hosts(settings: Settings) -> None:
    durable = DurableStates(settings)
    assert [durable.declare("gold", Desired.RUNNING), durable.declare("gold"), durable.declare("dlq")] == [1, 2, 1]
    assert durable.desired("gold") is Desired.RUNNING, "a drain changes nothing that is desired"
    assert DurableStates(settings).declare("gold", Desired.STOPPED) == 3


def test_files_of_a_version_without_generations_are_read_and_stay_readable_by_it(settings: Settings) -> None:
    write_json(settings.streams_dir / DESIRED_FILE, {"gold": "running"})
    durable = DurableStates(settings)
    assert (durable.desired("gold"), durable.generation("gold")) == (Desired.RUNNING, 0)
    durable.declare("silver", Desired.RUNNING)
    assert json.loads((settings.streams_dir / DESIRED_FILE).read_text()) == {"gold": "running", "silver": "running"}


def test_the_engine_of_one_command_reads_and_writes_nothing(settings: Settings) -> None:
    DurableStates(settings).declare("gold", Desired.RUNNING)
    own = DurableStates(settings, is_durable=False)
    assert (own.desired("gold"), own.declare("gold", Desired.STOPPED)) == (Desired.STOPPED, 1)
    own.set_breaker("gold", KeptBreaker(Breaker(("a",))))
    assert (read_desired(settings), read_breakers(settings)) == ({"gold": Desired.RUNNING}, {})


@pytest.mark.parametrize("text", ["{", "[]", '{"gold": "dancing"}'])
def test_a_damaged_file_is_named(settings: Settings, text: str) -> None:
    settings.streams_dir.mkdir(parents=True)
    (settings.streams_dir / "desired.json").write_text(text)
    with pytest.raises(StreamError, match=r"desired\.json cannot be read") as caught:
        DurableStates(settings)
    assert caught.value.remedy


def test_the_progress_log_is_bounded_and_read_again_by_the_next_host(settings: Settings) -> None:
    log = ProgressLog(settings, "silver")
    for number in range(200):
        log.append(entry_of("silver", REPORT | {"batchId": number}))
    files = sorted(log.path.parent.iterdir())
    assert [file.name for file in files] == ["silver.jsonl", "silver.older.jsonl"]
    assert all(file.stat().st_size < 11_000 for file in files)
    assert [entry["batch_id"] for entry in log.newest(2)] == [198, 199]
    with log.path.open("a") as file:
        file.write('{"stream": "silver", "batch_id": 2')
    assert ProgressLog(settings, "silver").newest(2) == log.newest(2)
    assert log.newest(0) == []


def test_the_progress_log_can_be_asked_in_sql(settings: Settings) -> None:
    make_lake(settings)
    question = "SELECT batch_id, input_rows, state_rows, dropped_late, observed_metrics->'quality'->>'invalid', started_at"
    with open_lake(settings) as connection:
        assert connection.execute(f"{question} FROM stream_progress").fetchall() == []
    entry = entry_of("silver", REPORT)
    assert set(PROGRESS_COLUMNS) == set(entry)
    assert entry["watermark_ms"] == 1000
    log = ProgressLog(settings, "silver")
    log.append(entry)
    with log.path.open("a") as file:
        file.write(json.dumps(entry)[:40])
    with open_lake(settings) as connection:
        assert connection.execute(f"{question} FROM stream_progress").fetchall() == [(3, 10, 7, 2, "1", NOON)]
