"""File locks between processes, who holds one, and the note that its holder leaves.

The kernel frees a lock when its holder ends, however it ends, so there is no stale lock to remove; the note beside a lock
only names the holder. Two kinds are used: `flock` for our own processes, and the POSIX lock that Java's FileLock takes on
the checkpoints. The latter belongs to a process, and is freed when that process closes any descriptor of the file: look at
it from another process only.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psutil
from filelock import FileLock, Timeout

from rtap_assets.runtime.files import write_json
from rtap_assets.runtime.processes import creation_time, living_process

# In the checkpoint folder; the JVM of the process that runs the queries holds the lock.
LOCK_FILE, OWNER_FILE = "lock", "owner"
POLL_SECONDS = 0.05

# struct flock: Linux starts with the type, macOS and the BSDs with the offsets.
FLOCK_LAYOUT = "hhqqi" if sys.platform == "linux" else "qqihh"


@contextmanager
def file_lock(path: Path, *, seconds: float, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock file for the time of the block; yields False when another holder kept it for longer than `seconds`.

    Excludes threads as well as processes. `waiting` is called once when the lock is not free immediately.
    """
    # Not a soft lock, which would outlive a killed holder; not per thread, since a generator may end in another one.
    lock = FileLock(path, mode=0o600, fallback_to_soft=False, thread_local=False)
    deadline, is_waiting = time.monotonic() + seconds, False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)  # each time: `rtap reset` removes the folder with its lock held
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if not is_waiting:
                waiting()
                is_waiting = True
            if time.monotonic() >= deadline:
                yield False
                return
            time.sleep(POLL_SECONDS)
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def posix_lock(path: Path) -> Iterator[bool]:
    """Hold the lock that Java's FileLock takes for the time of the block; yields False when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def lock_holder(path: Path) -> int | None:
    """Return the pid that holds the POSIX lock on a file, or None; takes nothing, so it disturbs no holder.

    A holder in another container has pid 0.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        answer = struct.unpack(FLOCK_LAYOUT, fcntl.fcntl(descriptor, fcntl.F_GETLK, _flock(fcntl.F_WRLCK)))
    finally:
        os.close(descriptor)
    kind, pid = (answer[0], answer[4]) if FLOCK_LAYOUT.startswith("h") else (answer[3], answer[2])
    return None if kind == fcntl.F_UNLCK else int(pid)


def _flock(kind: int) -> bytes:
    values = (kind, os.SEEK_SET, 0, 0, 0) if FLOCK_LAYOUT.startswith("h") else (0, 0, 0, kind, os.SEEK_SET)
    return struct.pack(FLOCK_LAYOUT, *values)


@dataclass(frozen=True)
class OwnerNote:
    """The holder of a lock: `what` it is, its pid, and its creation time (a later process may get the same pid)."""

    what: str
    pid: int
    since: datetime

    @classmethod
    def of_this_process(cls, what: str) -> Self:
        return cls(what, os.getpid(), datetime.fromtimestamp(creation_time(os.getpid()), UTC))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the note in the file; None when there is none, or only a part of one (its writer was killed)."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(document["what"], document["pid"], datetime.fromisoformat(document["since"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        write_json(path, asdict(self) | {"since": self.since.isoformat()})

    @property
    def is_alive(self) -> bool:
        """Return whether that very process still runs."""
        try:
            return living_process(self.pid, created_at=self.since.timestamp()) is not None
        except psutil.AccessDenied:
            return True  # of another user: refusing is safe

    def __str__(self) -> str:
        return f"process {self.pid} ({self.what}, since {self.since:%Y-%m-%d %H:%M:%S}Z)"
