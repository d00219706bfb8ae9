"""What is known of the background processes: one record each in the run folder, and their last words.

A process is known by pid and creation time, so that a pid which the system gave to somebody else is never mistaken for ours.
Any service may leave a record here; `rtap status` and `rtap down` know it then.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from rtap_assets.config import Settings

# Two clocks are involved; a recycled pid within this time of the start is not a thing.
CREATE_TIME_SLACK_SECONDS = 2.0
TAIL_LINES = 15
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class ProcessRecord:
    """What is remembered of a started process, as JSON in the run folder."""

    service: str
    title: str
    pid: int
    create_time: float
    address: str
    command: list[str]
    log_files: list[str]
    stop_seconds: float = STOP_SECONDS  # what it may take to end by itself

    def process(self) -> psutil.Process | None:
        """The process, or None when it has ended (a zombie has ended too) or its pid is somebody else's by now."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            # Linux derives the creation time from the wall clock. Where that was set anew (a laptop that slept), the command
            # line still tells.
            same_start = abs(process.create_time() - self.create_time) < CREATE_TIME_SLACK_SECONDS
            is_ours = same_start or process.cmdline() == self.command
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None  # a process of another user is not ours
        return process if is_ours else None

    def tail(self) -> str:
        """The last lines of its output and logs, each file under its name."""
        return "\n".join(text for path in self.log_files if (text := _tail(Path(path))))


def records(settings: Settings) -> list[ProcessRecord]:
    """The records in the run folder, whether their processes live or not; oldest first."""
    found = [ProcessRecord(**json.loads(path.read_text(encoding="utf-8"))) for path in settings.run_dir.glob("*.json")]
    return sorted(found, key=lambda record: record.create_time)


def record_of(settings: Settings, service: str) -> ProcessRecord | None:
    """The record of one service."""
    return next((record for record in records(settings) if record.service == service), None)


def write_record(settings: Settings, record: ProcessRecord) -> None:
    """Leave a record, complete or not at all."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    path = settings.run_dir / f"{record.service}.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
    fresh.replace(path)


def forget(settings: Settings, record: ProcessRecord) -> None:
    """Remove a record."""
    (settings.run_dir / f"{record.service}.json").unlink(missing_ok=True)


def _tail(path: Path) -> str:
    if not path.exists() or not path.stat().st_size:
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = deque(file, maxlen=TAIL_LINES)
    return f"--- {path.name}\n" + "".join(f"  {line.rstrip()[:300]}\n" for line in lines)
