"""File locks between processes: who holds one, told without taking it, and the note that its holder leaves.

The kernel frees a lock when its holder ends, however it ends; the note beside it only says who that was. Java's FileLock is
a POSIX lock (`fcntl`), the kind that is looked at here. It belongs to a process, and is freed when that process closes any
descriptor of the file: look at it from another one only.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psutil

# In the checkpoint folder; the JVM of whoever runs the queries holds the lock.
LOCK_FILE, OWNER_FILE = "lock", "owner"

# struct flock: Linux starts with the type, macOS and the BSDs with the offsets.
FLOCK_LAYOUT = "hhqqi" if sys.platform == "linux" else "qqihh"
CREATE_TIME_SLACK_SECONDS = 2.0


@dataclass(frozen=True)
class OwnerNote:
    """Who holds a lock: `what` it is, its pid and since when it runs (which tells it from a later process of that pid)."""

    what: str
    pid: int
    since: datetime

    @classmethod
    def of_this_process(cls, what: str) -> Self:
        return cls(what, os.getpid(), datetime.fromtimestamp(psutil.Process().create_time(), UTC))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The note in the file; None when there is none, or only a part of one (its writer was killed)."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(document["what"], document["pid"], datetime.fromisoformat(document["since"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.write_text(json.dumps(asdict(self) | {"since": self.since.isoformat()}) + "\n", encoding="utf-8")
        fresh.replace(path)

    @property
    def is_alive(self) -> bool:
        """Whether that very process still runs (a zombie does not)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.since.timestamp()) < CREATE_TIME_SLACK_SECONDS
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def __str__(self) -> str:
        return f"process {self.pid} ({self.what}, since {self.since:%Y-%m-%d %H:%M:%S}Z)"


def lock_holder(path: Path) -> int | None:
    """The pid that holds a lock on the file; None when nobody does. Takes nothing, so it disturbs nobody.

    A holder in another container has pid 0.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fields = _flock(fcntl.F_WRLCK)
        answer = struct.unpack(FLOCK_LAYOUT, fcntl.fcntl(descriptor, fcntl.F_GETLK, fields))
    finally:
        os.close(descriptor)
    kind, pid = (answer[0], answer[4]) if FLOCK_LAYOUT.startswith("h") else (answer[3], answer[2])
    return None if kind == fcntl.F_UNLCK else int(pid)


def _flock(kind: int) -> bytes:
    values = (kind, os.SEEK_SET, 0, 0, 0) if FLOCK_LAYOUT.startswith("h") else (0, 0, 0, kind, os.SEEK_SET)
    return struct.pack(FLOCK_LAYOUT, *values)
