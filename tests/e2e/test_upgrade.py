"""Upgrade and rollback of a state folder in the middle of its work; see `tests/data/golden/README.md`.

The release before continues what today's code has written, too. Its code comes from the history of this repository.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.lake.relocation import relocate
from rtap_assets.local.ports import free_ports
from rtap_assets.streaming.checkpoints.files import has_unfinished_batch, newest_committed, newest_planned

GOLDEN = PROJECT_ROOT / "tests" / "data" / "golden" / "state.tar.xz"
MADE_AT = Path("/tmp/rtap-golden/state")
MADE_BY = "694555c3ab75303f744dda44c2452eb21a517e8d"
COMMAND_SECONDS = 180


@dataclass(frozen=True)
class Platform:
    """A state folder and the code that operates it."""

    variables: dict[str, str]
    code: Path = PROJECT_ROOT

    @property
    def state_dir(self) -> Path:
        return Path(self.variables["RTAP_STATE_DIR"])

    def rtap(self, *arguments: str) -> str:
        """Return the output of a command, which must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "rtap_assets.cli", *arguments],
            cwd=self.code,
            env=os.environ | self.variables | {"PYTHONPATH": str(self.code)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"rtap {' '.join(arguments)}\n{done.stdout}"
        return done.stdout

    def planned(self) -> dict[str, int | None]:
        return {name: newest_planned(self.state_dir / "checkpoints" / name) for name in STREAM_NAMES}

    def committed(self) -> dict[str, int | None]:
        return {name: newest_committed(self.state_dir / "checkpoints" / name) for name in STREAM_NAMES}

    def continue_exactly(self, *, seed: int, has_unread: bool = True) -> None:
        """Let the streams go on as they are desired to, with more events, and hold every layer to the ledger."""
        self.rtap("up", "--streams")
        try:
            if has_unread:  # first: events of now would move the watermark past it
                self.rtap("streams", "drain")
            self.rtap("generate", "--events", "600", "--seed", str(seed), "--span", "10m", "--invalid", "0.02")
            self.rtap("streams", "drain")
            self.rtap("correct")
            self.rtap("streams", "status")
            assert "Every line holds." in self.rtap("reconcile")
        finally:
            self.rtap("down")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The golden state folder, at a path and on ports of its own."""
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(folder, filter="data")
    state = folder / "state"
    relocate(state / "lake" / "catalog.db", moved_from=MADE_AT, to=state, lies_at=state)
    ports = ("KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "REGISTRY_PORT", "UI_PORT", "STREAMS_PORT")
    variables = {f"RTAP_{name}": str(port) for name, port in zip(ports, free_ports(len(ports)), strict=True)}
    quick = {"RTAP_KEEP_PARTS": "false", "RTAP_SPARK_DRIVER_MEMORY": "1g", "RTAP_SPARK_QUICK_START": "true"}
    quick |= {f"RTAP_TRIGGER_{name.upper()}_SECONDS": "1" for name in STREAM_NAMES}
    return Platform(variables | quick | {"RTAP_STATE_DIR": str(state)})


@pytest.fixture(scope="module")
def upgraded(golden: Platform) -> Platform:
    """The golden state after today's code has continued it."""
    before = golden.planned()
    assert has_unfinished_batch(golden.state_dir / "checkpoints" / "silver")
    golden.continue_exactly(seed=3)
    after = golden.committed()
    assert {name for name in STREAM_NAMES if (after[name] or 0) <= (before[name] or 0)} == set()
    return golden


@pytest.fixture(scope="module")
def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code that made the golden state."""
    git = ["git", "-C", str(PROJECT_ROOT)]
    if subprocess.run([*git, "cat-file", "-e", MADE_BY], capture_output=True, check=False).returncode:
        pytest.skip(f"The commit {MADE_BY[:7]} is not in this clone's history: fetch all of it (git fetch --unshallow).")
    folder = tmp_path_factory.mktemp("before")
    packed = subprocess.run([*git, "archive", MADE_BY], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_a_state_folder_of_the_release_before_is_continued_exactly(upgraded: Platform) -> None:
    assert upgraded.committed() == upgraded.planned()


def test_the_release_before_continues_what_today_has_written(upgraded: Platform, release_before: Path) -> None:
    before = upgraded.committed()
    Platform(upgraded.variables, release_before).continue_exactly(seed=4, has_unread=False)
    after = upgraded.committed()
    assert {name for name in STREAM_NAMES if (after[name] or 0) <= (before[name] or 0)} == set()
