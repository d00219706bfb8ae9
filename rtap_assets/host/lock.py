"""One stream host per state folder: a lock that its Python process holds from its first moment on.

It refuses a second host at once; the checkpoints themselves are guarded by the lock of the JVM (`ownership.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtap_assets.config import Settings
from rtap_assets.errors import StreamError
from rtap_assets.runtime.locks import OwnerNote, file_lock

LOCK_FILE, NOTE_FILE = "host.lock", "host.json"
# The holder leaves its note right after it took the lock; of two that start at once, the second may look in between.
NOTE_SECONDS, POLL_SECONDS = 2.0, 0.02


@contextmanager
def only_host(settings: Settings) -> Iterator[OwnerNote]:
    """Hold the lock of the host of this state folder for the time of the block.

    Raises:
        StreamError: there is one already; the message names its pid and since when it runs.
    """
    folder = settings.streams_dir
    with file_lock(folder / LOCK_FILE, seconds=0) as held:
        if not held:
            owner = _owner(folder / NOTE_FILE)
            raise StreamError(
                f"The streams of {settings.state_dir} have a host already: {owner or 'a process that just starts'}.",
                remedy="Talk to it with `rtap streams …`, or end it with `rtap down`.",
                pid=owner.pid if owner else None,
            )
        note = OwnerNote.of_this_process("stream host")
        note.write(folder / NOTE_FILE)
        yield note


def _owner(path: Path) -> OwnerNote | None:
    """Return the note of the living holder, waiting for one that is just starting; None if none comes in time."""
    deadline = time.monotonic() + NOTE_SECONDS
    while (owner := OwnerNote.read(path)) is None or not owner.is_alive:
        if time.monotonic() > deadline:
            return None
        time.sleep(POLL_SECONDS)
    return owner


def running_host(settings: Settings) -> OwnerNote | None:
    """Return the host process of this state folder if it is alive, whether it answers or not."""
    note = OwnerNote.read(settings.streams_dir / NOTE_FILE)
    return note if note is not None and note.is_alive else None
