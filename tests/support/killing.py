"""Kill -9 for processes of ours, waited for to the end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

import psutil
from polling import wait_until

DEATH_SECONDS = 60


def kill(process: subprocess.Popen[bytes], *, with_jvm: bool) -> None:
    """Kill -9 Python, and its JVM or not; return when both are gone."""
    children = psutil.Process(process.pid).children(recursive=True)
    jvm: Sequence[psutil.Process] = [child for child in children if "java" in child.name()]
    assert len(jvm) == 1
    for pid in [process.pid, *(one.pid for one in jvm if with_jvm)]:
        os.kill(pid, signal.SIGKILL)
    assert process.wait(DEATH_SECONDS) == -signal.SIGKILL
    wait_until(lambda: not any(one.is_running() for one in jvm), seconds=DEATH_SECONDS, what="the JVM is gone")
