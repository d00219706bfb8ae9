"""The process behind Dagster's webserver and daemon: `dagster code-server`, with what it takes to start and end it well.

Run as `python -m rtap_assets.local.code_server <options of dagster code-server start>`.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

import psutil
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._cli import main as dagster_command

from rtap_assets.local.records import CREATE_TIME_SLACK_SECONDS

UNFINISHED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def main() -> None:
    """Settle what died, then serve until SIGTERM."""
    # A shell starts its background jobs with SIGINT ignored, and Dagster gives SIGTERM whatever SIGINT has.
    signal.signal(signal.SIGINT, _interrupt)
    with DagsterInstance.get() as instance:
        fail_dead_runs(instance)
    sys.argv[1:1] = ["code-server", "start"]
    dagster_command()  # type: ignore[no-untyped-call]


def fail_dead_runs(instance: DagsterInstance) -> None:
    """Report runs as failed whose process is gone. They would count as running for ever, and hold up the queue."""
    for run in instance.get_runs(RunsFilter(statuses=UNFINISHED)):
        if not _is_worked_on(instance, run):
            instance.report_run_failed(run, "The process of this run is gone: it was killed, or the machine stopped.")


def _is_worked_on(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether a process that noted its pid in the run's log lives."""
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        pid: Any = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if pid is not None and _is_same_process(int(pid.value), noted_at=entry.timestamp):
            return True
    return False


def _is_same_process(pid: int, *, noted_at: float) -> bool:
    try:
        return bool(psutil.Process(pid).create_time() < noted_at + CREATE_TIME_SLACK_SECONDS)
    except psutil.NoSuchProcess:
        return False


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Interrupt the runs too, so that each stops its streams and says how it ended; Dagster alone would wait for them."""
    for child in psutil.Process().children(recursive=True):
        if child.name() != "java":  # a run ends its own
            child.terminate()
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
