"""The process behind Dagster's webserver and daemon: `dagster code-server`, with what it takes to start and end it well.

The definitions are in a child of it, which a UI may ask to load again. Dagster does not notice when that child crashes:
nothing would run any more behind a code server that looks alive. So it is watched, and the same process starts over.

Run as `python -m rtap_assets.local.code_server`, embedded and in containers alike; the settings say the rest.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from threading import Event, Thread
from types import FrameType
from typing import Any

import dagster as dg
import psutil
from dagster._cli import main as dagster_command

from rtap_assets.config import Settings, get_settings
from rtap_assets.local.dagster_ui import code_server_options, code_socket, write_dagster_home
from rtap_assets.runtime.processes import CREATE_TIME_SLACK_SECONDS, living_process

UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
WATCH_SECONDS = 0.5
STEADY_SECONDS = 30.0  # definitions that crash sooner than this would do so again and again
_born, _ending = Event(), Event()


def main(settings: Settings) -> None:
    """Write DAGSTER_HOME, report runs that died, then serve until SIGTERM."""
    # A shell starts its background jobs with SIGINT ignored, and Dagster gives SIGTERM whatever SIGINT has.
    signal.signal(signal.SIGINT, _interrupt)
    write_dagster_home(settings)
    code_socket(settings).parent.mkdir(parents=True, exist_ok=True)
    with dg.DagsterInstance.get() as instance:
        fail_dead_runs(instance)
    sys.addaudithook(_note_birth)
    Thread(target=_restart_when_crashed, name="watch", daemon=True).start()
    sys.argv[1:] = ["code-server", "start", *code_server_options(settings)]
    dagster_command()  # type: ignore[no-untyped-call]


def fail_dead_runs(instance: dg.DagsterInstance) -> None:
    """Report runs as failed whose process is gone. They would count as running for ever, and hold up the queue."""
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if not _is_worked_on(instance, run):
            instance.report_run_failed(run, "The process of this run is gone: it was killed, or the machine stopped.")


def _is_worked_on(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a process that noted its pid in the run's log lives."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
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
    """Interrupt the runs too, so that each stops its streams and reports how it ended; Dagster alone would wait for them."""
    _ending.set()
    for child in psutil.Process().children(recursive=True):
        if child.name() != "java":  # a run ends its own
            child.terminate()
    raise KeyboardInterrupt


def _note_birth(event: str, arguments: tuple[Any, ...]) -> None:
    """Set `_born` when the child with the definitions is started: an audit hook, as it may be gone before anyone looks."""
    if event == "subprocess.Popen" and "grpc" in arguments[1]:
        _born.set()


def _restart_when_crashed() -> None:
    """Start over when the child with the definitions is gone; end when it lived for less than `STEADY_SECONDS`."""
    _born.wait()
    since = time.monotonic()
    known: list[int] = []
    while not _ending.wait(WATCH_SECONDS):
        # The children are listed again only when those known are gone: that reads every process of the machine.
        if not any(living_process(pid) for pid in known):
            known = [child.pid for child in psutil.Process().children() if living_process(child.pid)]
            if not known:
                break
    if _ending.is_set():
        return
    lived = time.monotonic() - since
    text = f"The process with the definitions is gone after {lived:.0f} s: it crashed or was killed."
    if lived < STEADY_SECONDS:
        print(f"{text} It did not live long, so it is not started again: `rtap up --ui` does.", file=sys.stderr, flush=True)
        os._exit(1)
    print(f"{text} The code server starts over.", file=sys.stderr, flush=True)
    with suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # what comes after this does not know the child, and would leave it a zombie
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - the same program once more


if __name__ == "__main__":
    main(get_settings())
