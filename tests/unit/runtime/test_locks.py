from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtap_assets.runtime.locks import file_lock, lock_holder, posix_lock

HOLDER = """
import signal, sys
from pathlib import Path
from rtap_assets.runtime.locks import {kind} as held
with held(Path(sys.argv[1]){options}) as is_held:
    print(is_held, flush=True)
    signal.pause()
"""


def holder_of(path: Path, *, kind: str, options: str = "") -> subprocess.Popen[str]:
    """Start a process that holds the lock, and return when it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(kind=kind, options=options), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    process.stdout.close()
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_lock_is_free_when_its_holder_was_killed(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "lock"
    holder = holder_of(path, kind="file_lock", options=", seconds=0")
    with file_lock(path, seconds=0) as held:
        assert not held
    holder.send_signal(number)
    holder.wait(timeout=10)
    with file_lock(path, seconds=0) as held:
        assert held


def test_waiting_is_reported_once_and_only_by_those_who_wait(tmp_path: Path) -> None:
    calls: list[str] = []
    with file_lock(tmp_path / "lock", seconds=0, waiting=lambda: calls.append("first")) as held:
        assert held
        with file_lock(tmp_path / "lock", seconds=0.2, waiting=lambda: calls.append("second")) as again:
            assert not again
    assert calls == ["second"]


def test_a_lock_on_a_removed_file_keeps_no_later_holder_out(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lock"
    with file_lock(path, seconds=0) as held:
        assert held
        shutil.rmtree(path.parent)  # as `rtap reset` does
        with file_lock(path, seconds=0) as later:
            assert later


def test_the_content_of_a_lock_file_survives_a_contender(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path, seconds=0):
        path.write_text("4711", encoding="ascii")
        with file_lock(path, seconds=0) as held:
            assert not held
        assert path.read_text(encoding="ascii") == "4711"


def test_the_holder_of_a_posix_lock_is_named_without_taking_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert lock_holder(path) is None
    holder = holder_of(path, kind="posix_lock")
    assert lock_holder(path) == holder.pid
    with posix_lock(path) as held:
        assert not held
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(timeout=10)
    assert lock_holder(path) is None
    with posix_lock(path) as held:
        assert held
