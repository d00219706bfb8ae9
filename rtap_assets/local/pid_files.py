"""Records of the background processes, one file each in the run folder, and the last lines of their logs.

Any service may leave a record here; `rtap status` and `rtap down` know it then.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from rtap_assets.config import Settings
from rtap_assets.runtime.files import write_json
from rtap_assets.runtime.processes import living_process, tail

STOP_SECONDS = 20.0
GIVEN_UP = "keeper.state"


@dataclass(frozen=True)
class ProcessRecord:
    """The record of a started process, JSON in the run folder."""

    service: str
    title: str
    pid: int
    create_time: float
    address: str
    command: list[str]
    log_files: list[str]
    stop_seconds: float = STOP_SECONDS  # what it may take to end by itself

    def process(self) -> psutil.Process | None:
        """Return the process, or None when it has ended or its pid belongs to another one by now."""
        try:
            return living_process(self.pid, created_at=self.create_time, command=self.command)
        except psutil.AccessDenied:
            return None  # a process of another user is not ours

    def tail(self) -> str:
        """Return the last lines of its output and logs, each file under its name."""
        return "\n".join(f"--- {Path(path).name}\n{text}" for path in self.log_files if (text := tail(Path(path))))


def records(settings: Settings) -> list[ProcessRecord]:
    """Return the records in the run folder, oldest first, whether their processes are alive or not."""
    found = []
    for path in settings.run_dir.glob("*.json"):
        with suppress(FileNotFoundError):  # its service was stopped since the folder was listed
            found.append(ProcessRecord(**json.loads(path.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda record: record.create_time)


def record_of(settings: Settings, service: str) -> ProcessRecord | None:
    """Return the record of one service."""
    return next((record for record in records(settings) if record.service == service), None)


def write_record(settings: Settings, record: ProcessRecord) -> None:
    """Replace the record of a service."""
    write_json(settings.run_dir / f"{record.service}.json", asdict(record))


def forget(settings: Settings, record: ProcessRecord) -> None:
    """Remove a record."""
    (settings.run_dir / f"{record.service}.json").unlink(missing_ok=True)


def given_up(settings: Settings) -> list[str]:
    """Return the services that the keeper does not start any more."""
    try:
        return list(json.loads(_state_path(settings).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []


def write_given_up(settings: Settings, names: list[str]) -> None:
    """Leave the names of the parts that were given up, for `rtap status`."""
    write_json(_state_path(settings), names)


def _state_path(settings: Settings) -> Path:
    return settings.run_dir / GIVEN_UP
