"""Processes of this machine: which one a pid means, whether it is alive, and the last lines of its log.

A pid alone names no process, for the system gives it out again: pid and creation time do.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import psutil

# Linux derives the creation time from the wall clock; no pid is given out again within this time of a start.
CREATE_TIME_SLACK_SECONDS = 2.0
TAIL_LINES, LONGEST_LINE = 15, 300


def living_process(
    pid: int, *, created_at: float | None = None, command: Sequence[str] | None = None
) -> psutil.Process | None:
    """Return the process, or None when it has ended (a zombie has ended) or its pid belongs to another one by now.

    Args:
        created_at: UNIX time in seconds at which it was created; None accepts any process of that pid.
        command: its command line, which identifies it where the wall clock was set since (a laptop that slept).

    Raises:
        psutil.AccessDenied: it belongs to another user, and the system does not show it.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        same_start = created_at is None or abs(process.create_time() - created_at) < CREATE_TIME_SLACK_SECONDS
        is_same = same_start or (command is not None and process.cmdline() == list(command))
    except psutil.NoSuchProcess:
        return None
    return process if is_same else None


def creation_time(pid: int) -> float:
    """Return the UNIX time in seconds at which a process was created; now for one that has ended already."""
    try:
        created: float = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return time.time()
    return created


def tail(path: Path) -> str:
    """Return the last lines of a log, indented; empty when there are none."""
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return "".join(f"  {line.rstrip()[:LONGEST_LINE]}\n" for line in deque(file, maxlen=TAIL_LINES))
