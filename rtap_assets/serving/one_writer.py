"""One writer at a time for the marts' file and for the published folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtap_assets.errors import ServingError
from rtap_assets.runtime.locks import file_lock

PATIENCE_SECONDS = 120.0


@contextmanager
def one_writer(lock_path: Path, *, seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock file for the time of the block.

    Raises:
        ServingError: another process kept it for longer than `seconds`.
    """
    with file_lock(lock_path, seconds=seconds) as held:
        if not held:
            raise ServingError(
                f"Another refresh has held {lock_path} for over {seconds:.0f} s.",
                remedy="Wait for it, or end the process that holds the file.",
            )
        yield
