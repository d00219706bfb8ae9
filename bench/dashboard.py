"""`make bench-dashboard`: the live page on a running system, and its API on the demo's data.

The page: events at a steady rate through all streams of a stack of its own; from a record's Kafka timestamp to the figure on
the page in Chromium, beside the age at which gold committed it; cores and memory of the dashboard with five viewers and with
fifty. The API: see `bench/api_reads.py`; it runs on a copy of the state folder's marts and checks.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import click
import httpx2
import numpy as np
import psutil

from bench.api_reads import Figures, measure_reads
from bench.dashboard_page import write_section
from bench.latencies import ages_seconds
from rtap_assets.config import PROJECT_ROOT, Settings, get_settings
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

PORTS = ("kafka_port", "kafka_controller_port", "registry_port", "ui_port", "dashboard_port", "streams_port")
SETTLE_SECONDS, TAIL_SECONDS = 60, 60
CURRENCY, SHARES = "USD", {"p50": 0.5, "p95": 0.95, "p99": 0.99}
COUNT_CHANGES = """() => {
    const digits = id => Number(document.getElementById(id).textContent.replace(/[^0-9]/g, '')), seen = window.seen = [];
    const count = () => {
        const all = digits('total-orders') + digits('total-refunds');
        if (!seen.length || seen.at(-1)[1] !== all) seen.push([Date.now(), all]);
    };
    new MutationObserver(count).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@click.command()
@click.option("--only", type=click.Choice(["page", "api"]), help="Measure one of the two.")
@click.option("--rate", type=click.FloatRange(min=1), default=2_000, show_default=True, help="Events a second.")
@click.option("--seconds", type=click.IntRange(min=20), default=120, show_default=True, help="Measured time of the page.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=PROJECT_ROOT / ".rtap" / "demo",
    help="Where the API's marts are.",
)
@click.option("--write", is_flag=True, help="Put the figures into docs/performance.md.")
def dashboard(only: str | None, rate: float, seconds: int, state_dir: Path, write: bool) -> None:
    """Measure the page and the API."""
    if only != "page" and not get_settings().model_copy(update={"state_dir": state_dir}).marts_path.exists():
        raise click.ClickException(f"There are no marts in {state_dir}: run `make demo`, or name a folder by --state-dir.")
    figures: Figures = {}
    if only != "api":
        figures["page"] = measure_page(rate, seconds=seconds)
    if only != "page":
        figures["api"] = measure_api(state_dir)
    click.echo(json.dumps(figures, indent=2))
    if write:
        write_section(figures)


def measure_api(state_dir: Path) -> Figures:
    """Return the figures of `bench.api_reads` for a dashboard on a copy of the folder, which goes on being used."""
    with tempfile.TemporaryDirectory(prefix="rtap-bench-") as folder:
        for part in ("marts", "lake"):  # the tables' files are named by their path: those of the folder itself are read
            shutil.copytree(state_dir / part, Path(folder) / part)
        settings = _on_free_ports(Path(folder))
        record = _started(settings)
        try:
            return measure_reads(settings.dashboard_port, settings.marts_path, record.pid)
        finally:
            stop(record)


def measure_page(rate: float, *, seconds: int) -> Figures:
    """Return event → pixel, cores and memory on a stack of its own, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="rtap-bench-") as folder, ExitStack() as leaving:
        settings = _on_free_ports(Path(folder) / ".rtap")
        leaving.callback(down, settings, echo=lambda _: None)
        up(settings, streams=True, rate=rate, echo=lambda _: None)
        with StreamsClient(settings) as client:
            for name in STREAM_NAMES:
                client.wait(client.submit(name, "start"))
        record = _started(settings)
        click.echo(f"{SETTLE_SECONDS} s to settle, {seconds} s with five viewers, 20 s with fifty", err=True)
        time.sleep(SETTLE_SECONDS)  # the first batches are those of a cold JVM
        refresh_marts(settings, refreshed_at=utc_now())
        pixels, with_five, (since_ms, until_ms) = _watched(settings, record, seconds=seconds)
        with _Viewers(settings, 50):
            with_fifty = _during(record, seconds=20)
        gold = ages_seconds(settings, since_ms=since_ms, until_ms=until_ms)["gold"]
        return {
            "rate": rate,
            "seconds": seconds,
            "triggers_s": {name: getattr(settings, f"trigger_{name}_seconds") for name in STREAM_NAMES},
            "event_to_gold_ms": _shares(gold * 1_000),
            "event_to_pixel_ms": _event_to_pixel(settings, pixels, since_ms=since_ms, until_ms=until_ms),
            "load": round(os.getloadavg()[0], 1),
            "five_viewers": with_five,
            "fifty_viewers": with_fifty,
        }


def _watched(
    settings: Settings, record: ProcessRecord, *, seconds: int
) -> tuple[list[tuple[int, int]], Figures, tuple[int, int]]:
    """Return when the page showed how many events, what the process used with this viewer and four more, and the interval.

    The page is watched for a time after the interval, so that its last events are seen too.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a tool of the tests

    used: list[Figures] = []
    with sync_playwright() as playwright, _Viewers(settings, 4):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{address_of(settings)}/?currency={CURRENCY}&range=6")
        page.wait_for_selector("#windows tbody tr")
        page.evaluate(COUNT_CHANGES)
        beside = threading.Thread(target=lambda: used.append(_during(record, seconds=seconds)))
        since_ms = round(time.time() * 1_000)
        beside.start()
        page.wait_for_timeout(seconds * 1_000)
        beside.join()
        until_ms = round(time.time() * 1_000)
        page.wait_for_timeout(TAIL_SECONDS * 1_000)
        seen = [(int(at), int(count)) for at, count in page.evaluate("seen")]
        browser.close()
    return seen, used[0], (since_ms, until_ms)


def _event_to_pixel(settings: Settings, pixels: list[tuple[int, int]], *, since_ms: int, until_ms: int) -> dict[str, int]:
    """Return the percentiles from a record's Kafka timestamp to the first figure that counts as many events.

    The counts say that as many events are in the figure, not which: events of one batch change places, no more.
    """
    with open_lake(settings) as connection:
        rows = connection.execute(
            "SELECT epoch_ms(kafka_timestamp) FROM silver WHERE currency = ? ORDER BY 1", [CURRENCY]
        ).fetchall()
    stamps = np.array([row[0] for row in rows], dtype=np.int64)
    times, counts = (np.array(column, dtype=np.int64) for column in zip(*pixels, strict=True))
    first, end = np.searchsorted(stamps, [since_ms, until_ms])
    numbers = np.arange(max(first, counts[0]), min(end, counts[-1]))
    ages = times[np.searchsorted(counts, numbers, side="right")] - stamps[numbers]
    return _shares(ages) | {"not_seen": int(max(0, end - counts[-1]))}


def _shares(values: np.ndarray) -> dict[str, int]:
    return {"events": len(values)} | {name: round(float(np.quantile(values, share))) for name, share in SHARES.items()}


class _Viewers:
    """Viewers that read the stream of events and throw it away, for the time of a block."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._address, self._count = f"{address_of(settings)}/events?currency={CURRENCY}", count
        self._over, self._connected = threading.Event(), threading.Semaphore(0)

    def __enter__(self) -> None:
        for _ in range(self._count):
            threading.Thread(target=self._watch, daemon=True).start()
        for _ in range(self._count):
            if not self._connected.acquire(timeout=30):
                raise click.ClickException(f"not all of {self._count} viewers were served within 30 s")

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        with httpx2.Client(timeout=30, trust_env=False) as client, client.stream("GET", self._address) as answer:
            answer.raise_for_status()
            self._connected.release()
            for _ in answer.iter_bytes():
                if self._over.is_set():
                    return


def _on_free_ports(state_dir: Path) -> Settings:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    return get_settings().model_copy(update={"state_dir": state_dir, "keep_parts": False} | ports)


def _started(settings: Settings) -> ProcessRecord:
    service = dashboard_service(settings)
    record = start(settings, service)
    wait_ready(service, record, seconds=60)
    return record


def _during(record: ProcessRecord, *, seconds: int) -> Figures:
    process, rss = psutil.Process(record.pid), []
    before, began = process.cpu_times(), time.monotonic()
    for second in range(seconds):
        if second % 10 == 0:
            rss.append(process.memory_info().rss >> 20)
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return {
        "core_percent": round(100 * used / (time.monotonic() - began), 2),
        "rss_mib": {"first": rss[0], "last": process.memory_info().rss >> 20, "most": max(rss)},
    }


if __name__ == "__main__":
    dashboard()
