"""A run whose process is gone is not left as running."""

from __future__ import annotations

import os
import subprocess
import sys

import dagster as dg
from dagster._core.events import EngineEventData

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
