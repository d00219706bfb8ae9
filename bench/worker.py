"""Drain the four streams on request, in one session, and print one JSON line per stream.

Runs in the environment of the commit that is measured, which may be an older one of this repository: it uses the standard
library, psutil and as little of the package as possible. Each line `drain` on standard input is one round; the end of input
ends the process.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

SAMPLE_SECONDS = 0.25
CLOCK_TICKS = 100.0
# Thread names of the JVM (cut to 15 characters by the kernel) -> what their CPU is counted as.
THREAD_ROLES = {
    "C1 CompilerThre": "jit_c1",
    "C2 CompilerThre": "jit_c2",
    "Executor task l": "tasks",
    "stream executio": "planning",
    "GC Thread": "gc",
    "VM Thread": "gc",
}
# Where the names have been, newest first.
HOMES = {
    "open_layers": ("rtap_assets.streaming.checkpoints.layers", "rtap_assets.streaming.layers"),
    "drain_stream": ("rtap_assets.streaming.operations.drain", "rtap_assets.streaming.drain"),
    "STREAMS": ("rtap_assets.streaming.queries.definitions", "rtap_assets.streaming.queries"),
    "start_session": ("rtap_assets.streaming.session",),
    "get_settings": ("rtap_assets.config",),
}


def found(name: str) -> Any:
    """Return the object of that name from the first module that has it."""
    for home in HOMES[name]:
        try:
            return getattr(import_module(home), name)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"This commit has no {name}: add its module to HOMES.")


class TreeMeter:
    """CPU seconds and peak resident memory of a process (this one by default) and everything below it, a JVM included.

    What the meter's own samples cost is left out: of a process that is measured from outside they are no part either.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._process = psutil.Process(pid)
        self._is_inside, self._sampling_seconds = pid is None, 0.0
        self._cpu: dict[int, float] = {}
        self._threads: dict[tuple[int, int], tuple[str, float]] = {}
        self._lock = threading.Lock()
        self.peak_bytes = 0
        threading.Thread(target=self._sample, daemon=True).start()

    def reading(self) -> dict[str, float]:
        """Return CPU seconds so far: `cpu_seconds` in all, and per role of the JVM's threads where the kernel tells."""
        with self._lock:
            for process in self._tree():
                try:
                    times = process.cpu_times()
                    self._cpu[process.pid] = times.user + times.system
                    self._read_threads(process.pid)
                except psutil.NoSuchProcess:
                    continue
            roles = dict.fromkeys([*THREAD_ROLES.values()], 0.0)
            for role, seconds in self._threads.values():
                roles[role] += seconds
            own = self._sampling_seconds if self._is_inside else 0.0
        return {"cpu_seconds": sum(self._cpu.values()) - own} | roles

    def _read_threads(self, pid: int) -> None:
        for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
            try:
                text = stat.read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            name = text[text.index("(") + 1 : text.rindex(")")]
            role = next((role for prefix, role in THREAD_ROLES.items() if name.startswith(prefix)), None)
            if role is not None:
                fields = text[text.rindex(")") + 2 :].split()
                self._threads[pid, int(stat.parent.name)] = (role, (int(fields[11]) + int(fields[12])) / CLOCK_TICKS)

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _sample(self) -> None:
        """Keep the peak of memory, and the CPU of threads that end between two readings."""
        while True:
            resident = 0
            with self._lock:
                for process in self._tree():
                    try:
                        resident += process.memory_info().rss
                        self._read_threads(process.pid)
                    except psutil.NoSuchProcess:
                        continue
            self.peak_bytes = max(self.peak_bytes, resident)
            self._sampling_seconds = time.thread_time()
            time.sleep(SAMPLE_SECONDS)


def measured(meter: TreeMeter, compilations: Callable[[], int], work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Run `work`; return what it cost (CPU seconds by role, wall seconds, code compilations) and what it returned."""
    before, compiled, began = meter.reading(), compilations(), time.monotonic()
    result = work()
    wall, after = time.monotonic() - began, meter.reading()
    cost = {name: after[name] - before[name] for name in after}
    return cost | {"wall_seconds": wall, "compilations": compilations() - compiled}, result


def main() -> None:
    """Start a session, then drain bronze, dlq, silver and gold for each line `drain`."""
    settings, meter, streams = found("get_settings")(), TreeMeter(), found("STREAMS")
    start, session = measured(meter, lambda: 0, lambda: found("start_session")(settings))

    def compilations() -> int:
        metrics = session.sparkContext._jvm.org.apache.spark.metrics.source.CodegenMetrics
        return int(metrics.METRIC_COMPILATION_TIME().getCount())

    with found("open_layers")(session, settings):
        print(json.dumps({"start": start}), flush=True)
        for line in sys.stdin:
            if line.strip() != "drain":
                continue
            readings = []
            for name in streams:
                cost, report = measured(
                    meter, compilations, lambda name=name: found("drain_stream")(session, settings, name)
                )
                readings.append({"stream": name, "rows": report.input_rows, "batches": report.batches} | cost)
            print(json.dumps({"round": readings, "peak_mebibytes": meter.peak_bytes >> 20}), flush=True)


if __name__ == "__main__":
    main()
