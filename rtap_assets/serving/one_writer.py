"""One writer at a time for the marts' file and for the published folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtap_assets.errors import ServingError

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 120.0


@contextmanager
def one_writer(lock_path: Path, *, seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock file; the kernel frees it when the holder ends, however it ends.

    Raises:
        ServingError: another process kept it for longer than `seconds`.
    """
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with lock_path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ServingError(
                        f"Another refresh has held {lock_path} for over {seconds:.0f} s.",
                        remedy="Wait for it, or end the process that holds the file.",
                    ) from error
                time.sleep(POLL_SECONDS)
        yield
