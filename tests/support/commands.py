"""Commands of `rtap` under test, each in a process of its own with the settings of its test."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from rtap_assets.config import Settings, settings_environment

COMMAND_SECONDS = 180
WIDE_ENOUGH = {"COLUMNS": "160"}  # so that no line of a table is broken


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment from which a process reads these settings and finds this test's Dagster instance."""
    return os.environ | settings_environment(settings) | {"DAGSTER_HOME": str(settings.dagster_home)} | WIDE_ENOUGH


def start_rtap(settings: Settings, *arguments: str, output: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a command; its output is not buffered."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "rtap_assets.cli", *arguments],
        env=environment(settings),
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(command: subprocess.Popen[str], *, seconds: float = COMMAND_SECONDS) -> tuple[int, str]:
    """Wait for a command; return its exit code and output."""
    with command:
        try:
            output, _ = command.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            command.kill()
            raise
    return command.returncode, output


def run_rtap(settings: Settings, *arguments: str, seconds: float = COMMAND_SECONDS) -> tuple[int, str]:
    """Run a command; return its exit code and output."""
    return finished(start_rtap(settings, *arguments), seconds=seconds)


def rtap(settings: Settings, *arguments: str, exit_code: int = 0) -> str:
    """Run a command that must end with this exit code; return its output."""
    code, output = run_rtap(settings, *arguments)
    assert code == exit_code, output
    return output
