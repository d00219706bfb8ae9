"""One owner of the checkpoints at a time: the lock that the JVM holds while it runs queries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.errors import StreamError
from rtap_assets.runtime.locks import LOCK_FILE, OWNER_FILE, OwnerNote, lock_holder

POLL_SECONDS = 0.2


@contextmanager
def owned_checkpoints(session: SparkSession, settings: Settings, *, what: str = "rtap") -> Iterator[None]:
    """Hold the lock on the checkpoint folder for the time of the block; `what` describes the holder to others.

    The JVM takes the lock, since the JVM is the writer: it outlives a killed Python process for a moment, and a lock held by
    Python would already be free then. Such a dying JVM is waited for, at most `checkpoint_takeover_seconds`.

    Raises:
        StreamError: another process holds it; the message names its pid and since when it runs.
    """
    folder = settings.checkpoint_dir
    folder.mkdir(parents=True, exist_ok=True)
    jvm = session.sparkContext._jvm
    channel = jvm.java.io.RandomAccessFile(str(folder / LOCK_FILE), "rw").getChannel()
    deadline = time.monotonic() + settings.checkpoint_takeover_seconds
    while (lock := _try_lock(channel)) is None:
        owner = OwnerNote.read(folder / OWNER_FILE)
        if owner is None or owner.is_alive or time.monotonic() > deadline:
            channel.close()
            raise in_use(settings, owner)
        time.sleep(POLL_SECONDS)
    try:
        OwnerNote.of_this_process(what).write(folder / OWNER_FILE)
        yield
    finally:
        lock.release()
        channel.close()


def refuse_a_living_owner(settings: Settings) -> None:
    """Look at the lock without a JVM, so that a second owner is refused before ten seconds of a session's start.

    Raises:
        StreamError: as `owned_checkpoints`.
    """
    folder = settings.checkpoint_dir
    owner = OwnerNote.read(folder / OWNER_FILE)
    if lock_holder(folder / LOCK_FILE) is not None and owner is not None and owner.is_alive:
        raise in_use(settings, owner)


def in_use(settings: Settings, owner: OwnerNote | None) -> StreamError:
    """Return the error raised when another process owns the checkpoints."""
    held_by = lock_holder(settings.checkpoint_dir / LOCK_FILE)
    who = str(owner) if owner is not None and owner.is_alive else f"the JVM of a process that is gone (pid {held_by})"
    return StreamError(
        f"The streams' checkpoints in {settings.checkpoint_dir} are in use by {who}.",
        remedy="Ask the stream host to do it (`rtap streams --help`), or wait until that process ends; two owners would "
        "write the same tables.",
        pid=held_by if owner is None else owner.pid,
    )


def _try_lock(channel: Any) -> Any:
    try:
        return channel.tryLock()
    except Py4JJavaError as error:
        if "OverlappingFileLockException" in str(error.java_exception):
            return None  # this very process holds it
        raise
