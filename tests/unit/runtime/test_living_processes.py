from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
from polling import wait_until

from rtap_assets.runtime.processes import LONGEST_LINE, TAIL_LINES, creation_time, living_process, tail


def test_a_process_is_its_pid_and_its_creation_time() -> None:
    created_at = creation_time(os.getpid())
    assert living_process(os.getpid()) is not None
    assert living_process(os.getpid(), created_at=created_at) is not None
    assert living_process(os.getpid(), created_at=created_at - 3600) is None


def test_a_command_line_identifies_a_process_after_the_wall_clock_was_set() -> None:
    command = psutil.Process().cmdline()
    assert living_process(os.getpid(), created_at=1.0, command=command) is not None
    assert living_process(os.getpid(), created_at=1.0, command=["another"]) is None


def test_a_zombie_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, seconds=60, what="it has ended")
    assert living_process(process.pid) is None
    process.wait()
    assert living_process(process.pid) is None


def test_the_tail_of_a_log_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_text("x" * 1000 + "\n" * 100 + "last\n", encoding="utf-8")
    assert tail(log).splitlines()[-1] == "  last"
    assert len(tail(log).splitlines()) == TAIL_LINES
    log.write_text("x" * 1000, encoding="utf-8")
    assert tail(log) == "  " + "x" * LONGEST_LINE + "\n"
