"""No room is left for the checkpoints of running streams: said with its cause, nothing half written, gone on from there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import pytest
from commands import run_rtap
from hosted import (
    END_SECONDS,
    LATE,
    START_SECONDS,
    assert_exact,
    by_name,
    hosted_settings,
    wait_for_running,
    wait_for_truth,
    wait_until_drained,
)
from polling import wait_until
from stream_fixtures import send_events

from rtap_assets.config import Settings, settings_environment
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.host.client import StreamsClient
from rtap_assets.streaming.model.states import Observed

SMALL_DISK = "24m"
IN_A_NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
MOUNTED = f'mount -t tmpfs -o size={SMALL_DISK} tmpfs "$1"'
NO_ROOM = "No space left on device"
BROKEN_SECONDS = 60
NEAR = {"delayed": 0, "duplicates": 0.02, "invalid": 0.02, "span_seconds": 60}


@dataclass(frozen=True)
class HostOnSmallDisk:
    """A host whose checkpoints lie on a small disk of their own, which only it and its children see."""

    settings: Settings
    process: subprocess.Popen[bytes]

    @property
    def checkpoints(self) -> Path:
        """The checkpoints as the host sees them."""
        return Path(f"/proc/{self.process.pid}/root{self.settings.checkpoint_dir}")

    def fill(self) -> Path:
        """Take all the room that is left; the file that does."""
        ballast = self.checkpoints / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match=NO_ROOM):
            write_without_end(file)
        return ballast


def write_without_end(file: FileIO) -> None:
    while True:
        file.write(bytes(4096))


@pytest.fixture
def small_disk(stack: Settings, tmp_path: Path) -> Iterator[HostOnSmallDisk]:
    with hosted_settings(stack, tmp_path / ".rtap", breaker_failures=3, backoff_longest_seconds=2) as settings:
        settings.checkpoint_dir.mkdir(parents=True)
        settings.log_dir.mkdir(parents=True)
        folder = str(settings.checkpoint_dir)
        if shutil.which("unshare") is None:
            pytest.skip("needs `unshare` of util-linux, to give the host a small disk of its own")
        tried = subprocess.run([*IN_A_NAMESPACE, MOUNTED, "sh", folder], capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            pytest.skip(f"a mount namespace is forbidden here: {tried.stderr.strip()}")
        with (settings.log_dir / "serve.out").open("wb") as output:
            process = subprocess.Popen(
                [*IN_A_NAMESPACE, f'{MOUNTED} && exec "$2" -m rtap_assets.cli streams serve', "sh", folder, sys.executable],
                env=os.environ | settings_environment(settings),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield HostOnSmallDisk(settings, process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_SECONDS) == 0
        finally:
            process.kill()
            process.wait()


def answers(client: StreamsClient) -> bool:
    try:
        return not client.host().stopping
    except DependencyUnavailable:
        return False


def test_a_full_disk_below_the_checkpoints_is_named_and_the_streams_go_on_once_there_is_room(
    small_disk: HostOnSmallDisk,
) -> None:
    settings = small_disk.settings
    with StreamsClient(settings) as client:
        wait_until(lambda: answers(client), seconds=START_SECONDS, what="the host answers")
        send_events(settings, events=500, **NEAR)
        code, output = run_rtap(settings, "streams", "start")
        assert code == 0, output
        wait_for_running(client)
        committed = by_name(client)["bronze"].last_batch_id

        ballast = small_disk.fill()
        fault = time.monotonic()
        send_events(settings, events=500, seed=2, **NEAR)
        told = wait_for_truth(
            client,
            lambda told: (
                told["bronze"].observed in (Observed.BACKOFF, Observed.BROKEN)
                and told["bronze"].last_error is not None
                and NO_ROOM in told["bronze"].last_error.message
            ),
            fault="disk full",
            since=fault,
        )
        assert told["bronze"].last_error is not None
        assert told["bronze"].last_error.code == "disk_full"
        wait_until(
            lambda: by_name(client)["bronze"].observed is Observed.BROKEN, seconds=BROKEN_SECONDS, what="the breaker opens"
        )
        code, output = run_rtap(settings, "streams", "status")
        assert code == 1
        assert NO_ROOM in output
        assert "  -> Make room " in output
        assert by_name(client)["bronze"].last_batch_id == committed

        ballast.unlink()
        repaired = time.monotonic()
        wait_for_running(client)  # nobody did anything but make room
        print(f"disk full: all running again {time.monotonic() - repaired:.1f} s after there was room")
        wait_until_drained(client)
        code, output = run_rtap(settings, "streams", "stop")
        assert code == 0, output
        shutil.copytree(small_disk.checkpoints, settings.checkpoint_dir, dirs_exist_ok=True)
        assert assert_exact(settings).apart(LATE) == 0
