"""What runs of the embedded stack, as `rtap status` shows it; read from the records alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psutil

from rtap_assets.config import Settings
from rtap_assets.local.pid_files import ProcessRecord, given_up, records


@dataclass(frozen=True)
class ServiceStatus:
    """One line of `rtap status`."""

    service: str
    title: str
    state: str  # "running", "died", or "failed" where the keeper has given it up
    address: str
    pid: int
    since: datetime
    memory_bytes: int  # with its children, such as the JVM of the stream host
    tail: str  # last lines of the log of a process that died, else empty


def status(settings: Settings) -> list[ServiceStatus]:
    """Return what runs, and what died without a request to end; empty when nothing runs."""
    names = given_up(settings)
    lines = [_status_of(record) for record in records(settings)]
    return [replace(line, state="failed") if line.state == "died" and line.service in names else line for line in lines]


def _memory_of_children(process: psutil.Process) -> int:
    memory = 0
    for child in process.children(recursive=True):
        try:
            memory += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # it has just ended
    return memory


def _status_of(record: ProcessRecord) -> ServiceStatus:
    process = record.process()
    memory = 0
    if process is not None:
        try:
            memory = process.memory_info().rss + _memory_of_children(process)
        except psutil.NoSuchProcess:
            process = None
    return ServiceStatus(
        service=record.service,
        title=record.title,
        state="died" if process is None else "running",
        address=record.address,
        pid=record.pid,
        since=datetime.fromtimestamp(record.create_time, tz=UTC),
        memory_bytes=memory,
        tail=record.tail() if process is None else "",
    )
