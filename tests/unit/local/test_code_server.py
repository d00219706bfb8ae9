"""A run whose process is gone is not left as running."""

from __future__ import annotations

import os
import subprocess
import sys

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, job, op
from dagster._core.events import EngineEventData

from rtap_assets.local.code_server import fail_dead_runs


@op
def nothing() -> None: ...


@job
def sleepy() -> None:
    nothing()


def run_of(instance: DagsterInstance, *, pid: int) -> DagsterRun:
    run = instance.create_run_for_job(sleepy, status=DagsterRunStatus.STARTED)
    instance.report_engine_event("Executing steps in process", run, EngineEventData.in_process(pid))
    return run


def test_a_started_run_fails_when_its_process_is_gone_and_only_then() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with DagsterInstance.ephemeral() as instance:
        alive, dead = run_of(instance, pid=os.getpid()), run_of(instance, pid=ended.pid)
        finished = instance.create_run_for_job(sleepy, status=DagsterRunStatus.SUCCESS)
        fail_dead_runs(instance)
        states = {run.run_id: run.status for run in instance.get_runs()}
    assert states == {
        alive.run_id: DagsterRunStatus.STARTED,
        dead.run_id: DagsterRunStatus.FAILURE,
        finished.run_id: DagsterRunStatus.SUCCESS,
    }
