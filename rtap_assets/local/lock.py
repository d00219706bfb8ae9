"""One `up`, `down` or `reset` at a time per state folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rtap_assets.config import Settings
from rtap_assets.errors import LocalStackError
from rtap_assets.runtime.locks import file_lock

LOCK_NAME = "stack.lock"


@contextmanager
def stack_lock(settings: Settings, *, echo: Callable[[str], None]) -> Iterator[None]:
    """Hold the state folder's lock for the time of the block; waits for another holder, whose pid is in the file.

    Raises:
        LocalStackError: another holder kept it for longer than an `up` may take.
    """
    path = settings.state_dir / LOCK_NAME

    def holder() -> str:
        return (path.read_text(encoding="ascii").strip() if path.exists() else "") or "unknown"

    def waiting() -> None:
        echo(f"waiting for another rtap command on {settings.state_dir} (pid {holder()})")

    with file_lock(path, seconds=2 * settings.startup_timeout_seconds, waiting=waiting) as held:
        if not held:
            raise LocalStackError(
                f"Another rtap command (pid {holder()}) has been working on {settings.state_dir} for too long.",
                remedy=f"End process {holder()} and try again.",
            )
        path.write_text(str(os.getpid()), encoding="ascii")
        yield
