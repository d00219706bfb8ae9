"""Reads the dashboard's API as programs do: each reading alone, then many at once, still and while the marts are swapped.

The client is one asyncio loop over plain sockets that are kept open; what it takes of the processor itself is reported.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

MARTS_READINGS = (
    "/api/revenue?limit=200", "/api/windows/rolling?limit=200", "/api/windows/tumbling?limit=200&currency=EUR",
    "/api/corrections?limit=200", "/api/dead-letters", "/api/latency",
)  # fmt: skip
READINGS = (*MARTS_READINGS, "/api/quality", "/api/streams")
READS, AT_ONCE, SWAPS, SAMPLES = 10_000, 50, 200, 100
Figures = dict[str, Any]


@dataclass
class Load:
    """Reads from one server, and how long each took in milliseconds."""

    port: int
    times: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def reader(self, numbers: range) -> None:
        """Read one after the other over a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for number in numbers:
            path = MARTS_READINGS[number % len(MARTS_READINGS)]
            began = time.perf_counter()
            status, body = await read_once(reader, writer, path)
            self.times.append((time.perf_counter() - began) * 1_000)
            if status != 200 or not body.startswith(b'{"as_of":"'):
                self.faults.append(f"{path}: {status} {body[:200]!r}")
        writer.close()
        await writer.wait_closed()

    async def swapper(self, marts: Path, swaps: int, *, every: int) -> None:
        """Put another file in the place of the marts after each so many reads."""
        content = marts.read_bytes()
        for number in range(1, swaps + 1):
            while len(self.times) + len(self.faults) < number * every - every // 2:
                await asyncio.sleep(0.001)
            await asyncio.to_thread(_swap, marts, content)

    async def run(self, marts: Path, *, reads: int, at_once: int, swaps: int) -> None:
        """Run readers and swaps to their end."""
        work = [self.reader(range(first, reads, at_once)) for first in range(at_once)]
        if swaps:
            work.append(self.swapper(marts, swaps, every=reads // swaps))
        await asyncio.gather(*work)


async def read_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bytes]:
    """Return status and body of one request."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)


def measure_reads(port: int, marts: Path, server: int) -> Figures:
    """Return p95 of each reading alone, and the outcome of many reads at once from the server process."""
    return {
        "one_at_a_time_p95_ms": asyncio.run(_alone(port)),
        "at_once": _many(port, marts, server, swaps=0),
        "at_once_under_swaps": _many(port, marts, server, swaps=SWAPS),
    }


async def _alone(port: int) -> dict[str, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = {}
    for path in READINGS:
        times = []
        for _ in range(SAMPLES):
            began = time.perf_counter()
            await read_once(reader, writer, path)
            times.append((time.perf_counter() - began) * 1_000)
        found[path] = round(sorted(times)[int(SAMPLES * 0.95)], 1)
    writer.close()
    await writer.wait_closed()
    return found


def _many(port: int, marts: Path, server: int, *, swaps: int) -> Figures:
    load, process = Load(port), psutil.Process(server)
    before, own, began = _cpu_seconds(process), time.process_time(), time.perf_counter()
    asyncio.run(load.run(marts, reads=READS, at_once=AT_ONCE, swaps=swaps))
    seconds = time.perf_counter() - began
    times = sorted(load.times)
    return {
        "reads": len(times), "at_once": AT_ONCE, "swaps": swaps, "errors": len(load.faults),
        "first_errors": load.faults[:3], "seconds": round(seconds, 1), "reads_per_second": round(len(times) / seconds),
        "p50_ms": round(statistics.median(times), 1), "p95_ms": round(times[int(len(times) * 0.95)], 1),
        "p99_ms": round(times[int(len(times) * 0.99)], 1),
        "server_cpu_ms_per_read": round((_cpu_seconds(process) - before) * 1_000 / len(times), 2),
        "client_cpu_ms_per_read": round((time.process_time() - own) * 1_000 / len(times), 2),
        "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def _swap(marts: Path, content: bytes) -> None:
    copy = marts.with_suffix(".swap")
    copy.write_bytes(content)
    copy.replace(marts)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
