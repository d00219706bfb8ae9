"""Kill -9 for processes of ours, waited for to the end."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

import psutil
from hosted import is_gone
from polling import wait_until

DEATH_SECONDS = 60


def kill(process: subprocess.Popen[str], *, with_jvm: bool) -> None:
    """Kill -9 Python, and its JVM or not; return when both are gone."""
    jvm = java_below(process.pid)
    assert len(jvm) == 1
    for pid in [process.pid, *(one.pid for one in jvm if with_jvm)]:
        os.kill(pid, signal.SIGKILL)
    assert process.wait(DEATH_SECONDS) == -signal.SIGKILL
    wait_until(lambda: all(is_gone(one.pid) for one in jvm), seconds=DEATH_SECONDS, what="the JVM is gone")


def java_below(pid: int) -> list[psutil.Process]:
    """Return the Java processes that a process started; some of them live for a moment only."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "java" in child.name():
                found.append(child)
    return found
