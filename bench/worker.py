"""Drains the four streams one after the other in this fresh process and prints one JSON line for each.

Run by `python -m bench`; the settings come from the environment.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass

import psutil

from rtap_assets.config import Settings, get_settings
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import table_state
from rtap_assets.streaming.checkpoints.layers import open_layers
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.queries.definitions import STREAMS, StreamDefinition
from rtap_assets.streaming.session import start_session

SAMPLE_SECONDS = 0.25
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class StreamReading:
    """One stream's drain: rows in, wall and CPU seconds of the whole process tree, batches, files and snapshots written."""

    stream: str
    rows: int
    wall_seconds: float
    cpu_seconds: float
    batches: int
    files: int
    snapshots: int


class TreeMeter:
    """CPU seconds and peak resident memory of this process and everything below it, the JVM included."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.peak_bytes = 0
        self.ended_cpu: dict[int, float] = {}
        threading.Thread(target=self._sample, daemon=True).start()

    def cpu_seconds(self) -> float:
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                times = process.cpu_times()
                self.ended_cpu[process.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        return sum(self.ended_cpu.values())

    def _sample(self) -> None:
        while True:
            resident = 0
            for process in [self.process, *self.process.children(recursive=True)]:
                try:
                    resident += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak_bytes = max(self.peak_bytes, resident)
            time.sleep(SAMPLE_SECONDS)


def main() -> None:
    """Start a session, drain bronze, dlq, silver and gold, print a reading of each and of the start."""
    settings = get_settings()
    meter = TreeMeter()
    started = time.monotonic()
    with open_layers(start_session(settings), settings) as session:
        start = {"start_seconds": time.monotonic() - started, "start_cpu_seconds": meter.cpu_seconds()}
        for stream in STREAMS.values():
            before, cpu = time.monotonic(), meter.cpu_seconds()
            report = drain_stream(session, settings, stream.name)
            files, snapshots = _written(settings, stream)
            reading = StreamReading(
                stream=stream.name,
                rows=report.input_rows,
                wall_seconds=time.monotonic() - before,
                cpu_seconds=meter.cpu_seconds() - cpu,
                batches=report.batches,
                files=files,
                snapshots=snapshots,
            )
            print(json.dumps({"reading": asdict(reading)}), flush=True)
        print(json.dumps({"start": start, "peak_mebibytes": meter.peak_bytes // MEBIBYTE}), flush=True)


def _written(settings: Settings, stream: StreamDefinition) -> tuple[int, int]:
    if stream.writes is None:
        return 0, 0
    snapshots = len(load_table(open_catalog(settings), stream.writes.identifier).snapshots())
    return table_state(settings, stream.writes).files, snapshots


if __name__ == "__main__":
    main()
