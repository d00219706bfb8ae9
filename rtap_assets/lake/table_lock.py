"""One maintenance at a time per table: an expiry under a running compaction makes it fail (apache/iceberg#17202)."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rtap_assets.config import Settings

POLL_SECONDS = 0.1


@contextmanager
def table_lock(settings: Settings, identifier: str, *, seconds: float) -> Iterator[bool]:
    """Hold the table's lock file for the time of the block; yields False when another kept it for longer than `seconds`.

    It holds between threads as between processes, and the kernel frees it when its holder ends.
    """
    settings.table_locks_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with (settings.table_locks_dir / identifier).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(POLL_SECONDS)
        yield True
