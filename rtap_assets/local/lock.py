"""One `up`, `down` or `reset` at a time per state folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rtap_assets.config import Settings
from rtap_assets.errors import LocalStackError

LOCK_NAME = "stack.lock"
POLL_SECONDS = 0.1


@contextmanager
def stack_lock(settings: Settings, *, echo: Callable[[str], None]) -> Iterator[None]:
    """Hold the state folder's lock; waits for another holder, whose pid is in the file.

    The kernel frees the lock when its holder ends, however it ends, so there is no stale lock to clean up.

    Raises:
        LocalStackError: another holder kept it for longer than an `up` may take.
    """
    path = settings.state_dir / LOCK_NAME
    deadline = time.monotonic() + 2 * settings.startup_timeout_seconds
    told = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="ascii") as file:
            if _try_lock(file, path):
                yield
                return
            file.seek(0)
            holder = file.read().strip() or "unknown"
        if not told:
            echo(f"waiting for another rtap command on {settings.state_dir} (pid {holder})")
            told = True
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"Another rtap command (pid {holder}) has been working on {settings.state_dir} for too long.",
                remedy=f"End process {holder} and try again.",
            )
        time.sleep(POLL_SECONDS)


def _try_lock(file: IO[str], path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # `reset` may have removed the file in between; a lock on a removed file guards nothing.
    if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
        return False
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return True
