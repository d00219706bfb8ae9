"""One maintenance at a time per table: an expiry under a running compaction makes it fail (apache/iceberg#17202)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rtap_assets.config import Settings
from rtap_assets.errors import StreamError
from rtap_assets.runtime.locks import file_lock


def table_lock(settings: Settings, identifier: str, *, seconds: float) -> AbstractContextManager[bool]:
    """Hold the table's lock file; yields False when another holder kept it for longer than `seconds`."""
    return file_lock(settings.table_locks_dir / identifier, seconds=seconds)


@contextmanager
def locked_table(settings: Settings, identifier: str) -> Iterator[None]:
    """Keep maintenance and corrections from the table for the time of the block.

    Raises:
        StreamError: another holder kept it for longer than `table_lock_seconds`.
    """
    with table_lock(settings, identifier, seconds=settings.table_lock_seconds) as held:
        if not held:
            raise StreamError(
                f"Other maintenance, or a correction, has held {identifier} for over {settings.table_lock_seconds:.0f} s.",
                remedy="Wait for it to end, then try again; or raise RTAP_TABLE_LOCK_SECONDS.",
            )
        yield
