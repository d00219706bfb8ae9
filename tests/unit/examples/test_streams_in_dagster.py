"""The example of a stream in open-source Dagster: it starts with proof, comes back after a kill, and reports its commits."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest
from polling import wait_until

from rtap_assets.config import PROJECT_ROOT

EXAMPLE = PROJECT_ROOT / "examples" / "streams_in_dagster.py"
MOST_LINES = 130


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example as a module, in a folder of its own, with short intervals; its stream is ended afterwards."""
    monkeypatch.setenv("STREAM_DIR", str(tmp_path / "stream"))
    spec = importlib.util.spec_from_file_location("streams_in_dagster", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.LEASE_SECONDS = 5.0
    try:
        yield module
    finally:
        (module.FOLDER / "desired").unlink(missing_ok=True)
        end(module, signal.SIGTERM)


def end(example: ModuleType, how: signal.Signals) -> None:
    pid = example.FOLDER / "pid"
    if pid.exists():
        try:
            os.kill(int(pid.read_text()), how)
            os.waitpid(int(pid.read_text()), 0)
        except (ProcessLookupError, ChildProcessError):
            return


def tick(example: ModuleType, cursor: str | None) -> dg.SensorResult:
    with dg.build_sensor_context(cursor=cursor, definitions=example.defs) as context:
        return example.supervise(context)


def test_the_stream_starts_with_proof_is_reported_and_comes_back_after_a_kill(example: ModuleType) -> None:
    assert not example.is_running()
    assert example.start_stream.execute_in_process().success
    assert example.is_running()
    reported = tick(example, None)
    (event,) = reported.asset_events
    assert event.metadata["dagster/row_count"].value >= 10
    killed_at = example.progress()["batch"]
    end(example, signal.SIGKILL)
    wait_until(lambda: not example.is_running(), seconds=30, what="the lease of the killed stream runs out")
    tick(example, reported.cursor)
    wait_until(example.is_running, seconds=30, what="the sensor has started the stream again")
    assert example.progress()["batch"] > killed_at - 1
    assert example.stop_stream.execute_in_process().success
    assert not example.desired()


def test_the_example_stays_short() -> None:
    code = [line for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(code) <= 100
