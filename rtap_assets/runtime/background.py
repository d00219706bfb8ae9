"""Starting a process that outlives its starter."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

PRIVATE_UMASK = 0o077  # what services write is for this user alone
MAX_OUTPUT_BYTES = 10_000_000

# `exec` in a background job of a shell: the process is init's child from the start, so it survives its starter, is reaped by
# init however it ends, and leaves no unfinished child object behind in a long-lived caller.
LAUNCHER = 'log="$1"; shift; exec "$@" </dev/null >>"$log" 2>&1 & echo $!'


def spawn_background(command: Sequence[str], *, output: Path, environment: Mapping[str, str]) -> int:
    """Start the command in a session of its own, with its output appended to a bounded file. Returns its pid."""
    output.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if output.exists() and output.stat().st_size > MAX_OUTPUT_BYTES:
        output.replace(output.with_suffix(".out.1"))
    done = subprocess.run(
        ["/bin/sh", "-c", LAUNCHER, "sh", str(output), *command],
        env=os.environ | environment,  # handed on, not read
        start_new_session=True,
        umask=PRIVATE_UMASK,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Put off a Ctrl-C to the end of the block, so that no process is started without a record."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python gives signals to the main thread alone
        return
    interrupts: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        interrupts.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        signal.raise_signal(signal.SIGINT)
