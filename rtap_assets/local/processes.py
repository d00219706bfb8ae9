"""Background processes that outlive their starter: starting them, waiting for them, ending them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rtap_assets.config import Settings
from rtap_assets.errors import LocalStackError
from rtap_assets.local.pid_files import ProcessRecord, write_record
from rtap_assets.runtime.background import interrupted_afterwards, spawn_background
from rtap_assets.runtime.processes import creation_time

POLL_SECONDS = 0.05
KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Service:
    """A process that can be started: what to run, where it will answer, how to know that it does."""

    name: str
    title: str
    command: list[str]
    is_ready: Callable[[], bool]
    ports: dict[str, int] = field(default_factory=dict)  # setting -> port; the first is its address
    environment: dict[str, str] = field(default_factory=dict)
    log_files: list[Path] = field(default_factory=list)  # besides its output
    starts_after: Service | None = None  # one that answers before this is started
    prepare: Callable[[], None] = lambda: None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{next(iter(self.ports.values()))}" if self.ports else ""


def start(settings: Settings, service: Service) -> ProcessRecord:
    """Start the service in a session of its own and leave its record; does not wait for it to be ready."""
    output = settings.log_dir / f"{service.name}.out"
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    service.prepare()
    with interrupted_afterwards():
        pid = spawn_background(service.command, output=output, environment=service.environment)
        record = ProcessRecord(
            service=service.name,
            title=service.title,
            pid=pid,
            create_time=creation_time(pid),
            address=service.address,
            command=service.command,
            log_files=[str(output), *map(str, service.log_files)],
        )
        write_record(settings, record)
    return record


def wait_ready(service: Service, record: ProcessRecord, *, seconds: float) -> None:
    """Return when the service answers.

    Raises:
        LocalStackError: it died, or did not answer in time; with the tail of its log.
    """
    deadline = time.monotonic() + seconds
    while not service.is_ready():
        if record.process() is None:
            raise died(record, when="while it started")
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"The {record.title} (pid {record.pid}) does not answer at {record.address} after {seconds:g} s. "
                f"Its last lines:\n{record.tail()}\n",
                remedy="Raise RTAP_STARTUP_TIMEOUT_SECONDS on a slow machine, or look at its log.",
                service=record.service,
            )
        time.sleep(POLL_SECONDS)


def died(record: ProcessRecord, *, when: str) -> LocalStackError:
    """Return the error for a dead process, with the last lines of its log."""
    return LocalStackError(
        f"The {record.title} (pid {record.pid}) died {when}. Its last lines:\n{record.tail() or '(it wrote nothing)'}\n",
        remedy=f"Its log is {record.log_files[-1]}.",
        service=record.service,
        pid=record.pid,
    )


def stop(record: ProcessRecord, *, seconds: float | None = None) -> str:
    """End the process and its children: SIGTERM, and SIGKILL after the deadline. Returns how it went.

    The deadline is the record's own, unless `seconds` says otherwise.

    Raises:
        LocalStackError: it survived SIGKILL (it hangs in the kernel), or it is not ours to end.
    """
    process = record.process()
    if process is None:
        return "was not running"
    seconds = record.stop_seconds if seconds is None else seconds
    family = [process, *_children(process)]
    _signal([process], signal.SIGTERM)
    if _all_gone([process], seconds=seconds):
        # It ends its children, or they notice by themselves; the others get the signal here.
        _signal(family, signal.SIGTERM)
        if _all_gone(family, seconds=KILL_SECONDS):
            return "stopped"
    _signal(family, signal.SIGKILL)
    if not _all_gone(family, seconds=KILL_SECONDS):
        raise LocalStackError(
            f"The {record.title} (pid {record.pid}) does not end.", remedy=f"Look at it with `ps -p {record.pid}`."
        )
    return f"killed after {seconds:g} s"


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return children


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        if _is_gone(process):
            continue
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied as error:
            raise LocalStackError(
                f"Process {process.pid} belongs to another user and cannot be ended.", remedy="End it as that user."
            ) from error


def _all_gone(processes: list[psutil.Process], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not all(_is_gone(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _is_gone(process: psutil.Process) -> bool:
    try:
        if not process.is_running():
            return True
        # Threads of a killed JVM, and the ports they hold, outlive its main thread for a moment.
        return bool(process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return True
