"""A run whose process is gone is not left as running, and definitions that die at once are noticed."""

from __future__ import annotations

import os
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from rtap_assets.local import code_server
from rtap_assets.local.code_server import fail_dead_runs


@dg.op
def nothing() -> None: ...


@dg.job
def sleepy() -> None:
    nothing()


def run_of(instance: dg.DagsterInstance, *, pid: int) -> dg.DagsterRun:
    run = instance.create_run_for_job(sleepy, status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("Executing steps in process", run, EngineEventData.in_process(pid))
    return run


def test_a_started_run_fails_when_its_process_is_gone_and_only_then() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with dg.DagsterInstance.ephemeral() as instance:
        alive, dead = run_of(instance, pid=os.getpid()), run_of(instance, pid=ended.pid)
        finished = instance.create_run_for_job(sleepy, status=dg.DagsterRunStatus.SUCCESS)
        fail_dead_runs(instance)
        states = {run.run_id: run.status for run in instance.get_runs()}
    assert states == {
        alive.run_id: dg.DagsterRunStatus.STARTED,
        dead.run_id: dg.DagsterRunStatus.FAILURE,
        finished.run_id: dg.DagsterRunStatus.SUCCESS,
    }


def test_definitions_that_die_before_the_first_look_end_the_code_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exit_with(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(code_server, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(code_server.os, "_exit", exit_with)
    monkeypatch.setattr(code_server.psutil.Process, "children", lambda _: [])
    code_server._note_birth("subprocess.Popen", (sys.executable, ["dagster", "api", "grpc"], None, None))
    with pytest.raises(SystemExit, match="1"):
        code_server._restart_when_crashed()
    assert "gone after 0 s" in capsys.readouterr().err
