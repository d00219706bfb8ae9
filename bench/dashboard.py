"""Measures the dashboard: `python -m bench.dashboard api` its API under swaps, `… live` the page on a live system.

api: p95 of each reading, then 10,000 reads with 50 at once while the marts are swapped 200 times; no stack is needed.
live: events at a steady rate through all streams; from the record's Kafka timestamp to the figure on the page in Chromium,
processor time and memory of the dashboard's process with five viewers, and with fifty.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.host.client import StreamsClient
from rtap_assets.local.pid_files import ProcessRecord
from rtap_assets.local.ports import free_ports
from rtap_assets.local.processes import start, stop, wait_ready
from rtap_assets.local.services.dashboard import address_of, dashboard_service
from rtap_assets.local.stack import down, up
from rtap_assets.runtime.clock import utc_now
from rtap_assets.serving.connection import open_lake
from rtap_assets.serving.marts import refresh_marts

READINGS = (
    "/api/revenue?limit=200", "/api/windows/rolling?limit=200", "/api/windows/tumbling?limit=200&currency=EUR",
    "/api/corrections?limit=200", "/api/dead-letters", "/api/latency", "/api/quality", "/api/streams",
)  # fmt: skip
READS, AT_ONCE, SWAPS, SAMPLES = 10_000, 50, 200, 100
CURRENCY = "USD"
Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.dashboard", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("what", choices=["api", "live"])
    parser.add_argument("--state-dir", type=Path, help="api: a state folder with marts, for example that of the demo")
    parser.add_argument("--rate", type=float, default=2_000)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    figures = measure_api(given.state_dir) if given.what == "api" else measure_live(given.rate, given.seconds)
    print(json.dumps(figures, indent=2))


def measure_api(state_dir: Path | None) -> Figures:
    """Return the latencies of each reading, and the outcome of many reads under swaps."""
    if state_dir is None:
        sys.exit("Name a state folder with marts: --state-dir .rtap/demo")
    kafka, dashboard = free_ports(2)
    settings = load_settings(state_dir=state_dir, kafka_port=kafka, dashboard_port=dashboard)
    record = _started(settings)
    try:
        with httpx2.Client(base_url=address_of(settings), timeout=30, trust_env=False) as client:
            latencies = {path: _p95_ms(lambda path=path: client.get(path), SAMPLES) for path in READINGS}  # type: ignore[misc]
        return {"p95_ms": latencies, "under_swaps": _many_reads(settings), "process": _usage(record)}
    finally:
        stop(record)


def _many_reads(settings: Settings) -> Figures:
    original, over = settings.marts_path.read_bytes(), threading.Event()

    def swap() -> int:
        for number in range(SWAPS):
            copy = settings.marts_path.with_suffix(".swap")
            copy.write_bytes(original)
            copy.replace(settings.marts_path)
            if over.wait(0.05):
                return number + 1
        return SWAPS

    def read(numbers: range) -> tuple[list[float], list[str]]:
        times, faults = [], []
        with httpx2.Client(base_url=address_of(settings), timeout=60, trust_env=False) as client:
            for number in numbers:
                path = READINGS[number % 6]
                began = time.perf_counter()
                answer = client.get(path)
                times.append((time.perf_counter() - began) * 1_000)
                if answer.status_code != 200:
                    faults.append(f"{path}: {answer.status_code} {answer.text[:200]}")
        return times, faults

    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        swapping = pool.submit(swap)
        done = [one.result() for one in [pool.submit(read, range(n, READS, AT_ONCE)) for n in range(AT_ONCE)]]
        swaps = swapping.result()
        over.set()
    times = sorted(one for found, _ in done for one in found)
    faults = [one for _, found in done for one in found]
    return {
        "reads": len(times), "at_once": AT_ONCE, "swaps": swaps, "errors": len(faults), "first_errors": faults[:3],
        "seconds": round(time.perf_counter() - began, 1), "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(times[int(len(times) * 0.95)], 1),
    }  # fmt: skip


def measure_live(rate: float, seconds: float) -> Figures:
    """Return event → pixel, processor time and memory on a stack of its own, which is removed afterwards."""
    kafka, controller, registry, ui, dashboard, streams = free_ports(6)
    with tempfile.TemporaryDirectory(prefix="rtap-bench-") as folder, ExitStack() as leaving:
        settings = load_settings(
            state_dir=Path(folder) / ".rtap", kafka_port=kafka, kafka_controller_port=controller, registry_port=registry,
            ui_port=ui, dashboard_port=dashboard, streams_port=streams, keep_parts=False,
        )  # fmt: skip
        leaving.callback(down, settings, echo=lambda _: None)
        up(settings, streams=True, rate=rate, echo=lambda _: None)
        with StreamsClient(settings) as client:
            for name in STREAM_NAMES:
                client.wait(client.submit(name, "start"))
        record = _started(settings)
        time.sleep(30)  # the first batches are those of a cold JVM
        refresh_marts(settings, refreshed_at=utc_now())
        pixels, with_five = _watched(settings, record, seconds=seconds)
        with _viewers(settings, 50):
            time.sleep(3)
            with_fifty = _during(record, seconds=15)
        return {
            "rate": rate, "triggers_s": {name: getattr(settings, f"trigger_{name}_seconds") for name in STREAM_NAMES},
            "event_to_pixel_ms": _event_to_pixel(settings, pixels), "five_viewers": with_five, "fifty_viewers": with_fifty,
        }  # fmt: skip


def _watched(settings: Settings, record: ProcessRecord, *, seconds: float) -> tuple[list[tuple[float, int]], Figures]:
    """Return when the page showed how many events, and what the process used with this viewer and four more."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a tool of the tests

    script = """() => { window.seen = []; const count = () => { const digits = id => Number(document.getElementById(id)
        .textContent.replace(/[^0-9]/g, '')); const all = digits('total-orders') + digits('total-refunds');
        if (!seen.length || seen.at(-1)[1] !== all) seen.push([Date.now() / 1000, all]); };
        new MutationObserver(count).observe(document.body, {subtree: true, childList: true, characterData: true}); }"""
    with sync_playwright() as playwright, _viewers(settings, 4):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{address_of(settings)}/?currency={CURRENCY}&range=1")
        page.wait_for_selector("#windows tbody tr")
        page.evaluate(script)
        used: list[Figures] = []
        beside = threading.Thread(target=lambda: used.append(_during(record, seconds=seconds)))
        beside.start()
        page.wait_for_timeout(seconds * 1_000)
        beside.join()
        seen = [(float(at), int(count)) for at, count in page.evaluate("seen")]
        browser.close()
    return seen, used[0]


def _event_to_pixel(settings: Settings, pixels: list[tuple[float, int]]) -> Figures:
    """Return the percentiles from an event's Kafka timestamp to the first figure that counts as many events.

    The counts say that as many events are in the figure, not which: events of one batch change places, no more.
    """
    with open_lake(settings) as connection:
        rows = connection.execute(
            "SELECT epoch_ms(kafka_timestamp) / 1000 FROM silver WHERE currency = ? ORDER BY 1", [CURRENCY]
        ).fetchall()
    first, last = pixels[0][1], pixels[-1][1]
    latencies, index = [], 0
    for number in range(first, min(last, len(rows))):
        while pixels[index][1] <= number:
            index += 1
        latencies.append((pixels[index][0] - rows[number][0]) * 1_000)
    latencies.sort()
    at = {
        name: round(latencies[int(len(latencies) * share)]) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }
    return {"events": len(latencies), "changes_of_the_page": len(pixels), **at}


class _viewers:  # noqa: N801 - used as a context manager
    """Viewers that read the stream of events and throw it away."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._address, self._count, self._over = (
            f"{address_of(settings)}/events?currency={CURRENCY}",
            count,
            threading.Event(),
        )

    def __enter__(self) -> None:
        for _ in range(self._count):
            threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        with httpx2.Client(timeout=30, trust_env=False) as client, client.stream("GET", self._address) as answer:
            for _ in answer.iter_bytes():
                if self._over.is_set():
                    return


def _started(settings: Settings) -> ProcessRecord:
    service = dashboard_service(settings)
    record = start(settings, service)
    wait_ready(service, record, seconds=60)
    return record


def _during(record: ProcessRecord, *, seconds: float) -> Figures:
    before, began = _cpu_seconds(record), time.monotonic()
    time.sleep(seconds)
    used = _cpu_seconds(record) - before
    return {"core_percent": round(100 * used / (time.monotonic() - began), 2), **_usage(record)}


def _usage(record: ProcessRecord) -> Figures:
    return {"rss_mb": round(psutil.Process(record.pid).memory_info().rss / 2**20)}


def _cpu_seconds(record: ProcessRecord) -> float:
    times = psutil.Process(record.pid).cpu_times()
    return float(times.user + times.system)


def _p95_ms(call: Callable[[], Any], count: int) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1_000)
    return round(sorted(times)[int(count * 0.95)], 1)


if __name__ == "__main__":
    main()
