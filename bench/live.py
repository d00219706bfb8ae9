"""`make bench-live`: what the running platform costs at steady rates and idle, and how long events take to be seen.

One stack of its own with everything that `make up` starts; for each rate a generator beside it, a time to settle and a time
that is measured. Ends with the comparison of the lake with the generator's ledger.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.table import Table

from bench.chain import REASONS, RESULTS, WIDTH, make_class_archive
from bench.latencies import ages_seconds, commits, percentiles
from bench.oracle import differences
from rtap_assets.config import PROJECT_ROOT, Settings, get_settings, settings_environment
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.following import carry_out
from rtap_assets.local.pid_files import records
from rtap_assets.local.ports import free_ports
from rtap_assets.local.stack import down, up
from rtap_assets.streaming.model.operation import Action

COMPILED = "Code generated in"
PORTS = ("kafka_port", "kafka_controller_port", "registry_port", "ui_port", "streams_port")
HOST_JVM = "stream host, JVM"


@dataclass(frozen=True)
class Reading:
    """One rate: seconds measured, cores and resident MiB by part, ages by layer, and what happened in a minute.

    `mebibytes` are those at the beginning and at the end; `load` is the machine's load average at the end.
    """

    rate: int
    seconds: float
    load: float
    cores: dict[str, float]
    mebibytes: dict[str, tuple[int, int]]
    ages: dict[str, tuple[float, ...]]
    commits_per_minute: dict[str, float]
    compilations_per_minute: float


@click.command()
@click.option("--rates", default="2000,200,0", show_default=True, help="Events a second, in turn; 0 is idle.")
@click.option("--seconds", type=click.IntRange(min=10), default=180, show_default=True, help="Measured time of each rate.")
@click.option("--settle", type=click.IntRange(min=0), default=60, show_default=True, help="Seconds before it.")
def live(rates: str, seconds: int, settle: int) -> None:
    """Measure cores, memory and latencies of the live platform at each rate; triggers and heap come from the settings."""
    console, readings = Console(width=WIDTH), []
    make_class_archive(PROJECT_ROOT)
    with tempfile.TemporaryDirectory(prefix="rtap-bench-live-") as folder:
        settings = own_settings(Path(folder) / "stack", java_option="-Drtap.log.codegen=info")
        try:
            up(settings, ui=True, streams=True, echo=lambda _: None)
            with StreamsClient(settings) as client:
                for _ in carry_out(client, Action.START, STREAM_NAMES, echo=lambda *_: None):
                    pass
            for rate in map(int, rates.split(",")):
                console.print(f"{rate:,} events/s: {settle} s to settle, {seconds} s measured")
                with _generated(settings, rate):
                    time.sleep(settle)
                    readings.append(_measured(settings, rate, seconds))
                _show(console, readings[-1])
            with StreamsClient(settings) as client:
                for _ in carry_out(client, Action.DRAIN, STREAM_NAMES, echo=lambda *_: None):
                    pass
        finally:
            down(settings, echo=lambda _: None)
        faults = differences(settings.ledger_dir, settings.state_dir) if any(one.rate for one in readings) else []
    console.print("[bold red]FAILED: differs from the ledger[/]\n" + "\n".join(faults) if faults else "equal to the ledger")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"live-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps([asdict(one) for one in readings], indent=2) + "\n", encoding="utf-8")
    console.print(f"as JSON: {path}", soft_wrap=True)
    sys.exit(1 if faults else 0)


def own_settings(state_dir: Path, *, java_option: str) -> Settings:
    """Return the settings of a stack of its own on free ports, whose driver gets one more Java option."""
    settings = get_settings()
    extra = settings.spark_extra_conf | {"spark.driver.defaultJavaOptions": java_option}
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    return settings.model_copy(update={"state_dir": state_dir, "spark_extra_conf": extra} | ports)


@contextmanager
def _generated(settings: Settings, rate: int) -> Iterator[None]:
    """Have a generator send at the rate for the time of the block; its process is no part of the platform's cost."""
    if not rate:
        yield
        return
    command = [
        sys.executable,
        "-m",
        "rtap_assets.cli",
        "generate",
        "--rate",
        str(rate),
        "--delayed",
        "0",
        "--spellings",
        "0",
    ]
    log = settings.state_dir.parent / "generator.log"
    with (
        log.open("a") as output,
        subprocess.Popen(
            [*command, "--reasons", ",".join(REASONS)],
            env=os.environ | settings_environment(settings),
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            yield
        finally:
            process.send_signal(2)
            if process.wait(timeout=60):
                raise click.ClickException(f"The generator failed.\n{log.read_text()[-2000:]}")


def _measured(settings: Settings, rate: int, seconds: int) -> Reading:
    memory, compiled = _memory(settings), _compilations(settings)
    before, began, since_ms = _cpu(settings), time.monotonic(), _now_ms()
    time.sleep(seconds)
    after, took, until_ms, load = _cpu(settings), time.monotonic() - began, _now_ms(), os.getloadavg()[0]
    compilations = _compilations(settings) - compiled
    grown = _memory(settings)
    time.sleep(20 if rate else 0)  # the last records reach gold
    ages = ages_seconds(settings, since_ms=since_ms, until_ms=until_ms) if rate else {}
    return Reading(
        rate=rate,
        seconds=took,
        load=load,
        cores={part: (after[part] - before.get(part, 0.0)) / took for part in after},
        mebibytes={part: (memory.get(part, 0), held) for part, held in grown.items()},
        ages={layer: percentiles(values) for layer, values in ages.items()},
        commits_per_minute={
            layer: count / took * 60 for layer, count in commits(settings, since_ms=since_ms, until_ms=until_ms).items()
        },
        compilations_per_minute=compilations / took * 60,
    )


def _parts(settings: Settings) -> Iterator[tuple[str, psutil.Process]]:
    """Yield every process of the platform with its part; the JVM of the stream host is a part of its own."""
    for record in records(settings):
        process = record.process()
        if process is None:
            continue
        yield record.title, process
        for child in process.children(recursive=True):
            is_jvm = record.service == "stream-host" and child.name() == "java"
            yield HOST_JVM if is_jvm else record.title, child


def _cpu(settings: Settings) -> dict[str, float]:
    """Return CPU seconds so far by part; children that ended count with the process that waited for them."""
    found: dict[str, float] = {}
    for part, process in _parts(settings):
        times = process.cpu_times()
        own = times.user + times.system
        ended = 0.0 if part == HOST_JVM else times.children_user + times.children_system
        found[part] = found.get(part, 0.0) + own + ended
    return found


def _memory(settings: Settings) -> dict[str, int]:
    found: dict[str, int] = {}
    for part, process in _parts(settings):
        found[part] = found.get(part, 0) + (process.memory_info().rss >> 20)
    return found


def _compilations(settings: Settings) -> int:
    return sum(path.read_text(errors="replace").count(COMPILED) for path in settings.log_dir.glob("spark*.log"))


def _now_ms() -> int:
    return round(time.time() * 1000)


def _show(console: Console, reading: Reading) -> None:
    title = f"{reading.rate:,} events/s for {reading.seconds:.0f} s, load average {reading.load:.1f}"
    table = Table("part", title=title, title_justify="left")
    for column in ("cores", "MiB, first", "MiB, last"):
        table.add_column(column, justify="right")
    for part, cores in reading.cores.items():
        first, last = reading.mebibytes.get(part, (0, 0))
        table.add_row(part, f"{cores:.3f}", f"{first:,}", f"{last:,}")
    first, last = (sum(held) for held in zip(*reading.mebibytes.values(), strict=True))
    table.add_row("sum", f"{sum(reading.cores.values()):.3f}", f"{first:,}", f"{last:,}")
    console.print(table)
    console.print(
        "\n".join(
            [
                *(f"Kafka to {layer}: {_seconds(ages)} s (p50, p99, max)" for layer, ages in reading.ages.items()),
                "commits a minute: "
                + ", ".join(f"{name} {count:.0f}" for name, count in reading.commits_per_minute.items()),
                f"code compilations a minute: {reading.compilations_per_minute:.0f}",
            ]
        )
    )


def _seconds(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values)


if __name__ == "__main__":
    live()
