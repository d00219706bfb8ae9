"""Runs one peer as a process tree and measures it: time, CPU of every process, resident memory at its peak."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bench.worker import TreeMeter

MARK = re.compile(r"MARK (\w+) ([\d.]+)")


@dataclass(frozen=True)
class Cost:
    """What a run took to its last commit, and of it until it was ready: wall and CPU seconds; MiB at the peak."""

    seconds: float
    ready_seconds: float
    cpu_seconds: float
    ready_cpu_seconds: float
    peak_mebibytes: int


def measured_run(command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> Cost:
    """Run the command to its end, which prints `MARK ready` and `MARK commit` with the time.

    Raises:
        ClickException: it failed; with the last lines of its log.
    """
    began, marks, ready_cpu = time.time(), {}, 0.0
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        meter = TreeMeter(process.pid)
        assert process.stdout is not None
        for line in process.stdout:
            output.write(line)
            if found := MARK.match(line):
                marks[found[1]] = float(found[2])
                reading = meter.reading()["cpu_seconds"]
                ready_cpu = reading if found[1] == "ready" else ready_cpu
                commit_cpu = reading
        code = process.wait()
    if code or "commit" not in marks:
        raise click.ClickException(f"{command[0]} ended with {code}.\n{log.read_text(errors='replace')[-3000:]}")
    return Cost(
        seconds=marks["commit"] - began,
        ready_seconds=marks["ready"] - began,
        cpu_seconds=commit_cpu,
        ready_cpu_seconds=ready_cpu,
        peak_mebibytes=meter.peak_bytes >> 20,
    )
