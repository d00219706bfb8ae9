"""`python -m bench`: drain N generated events through the real chain in a fresh process, check them against the ledger.

A run that does not reconcile is reported as failed, whatever its figures. Compare only runs made in one session,
interleaved: absolute times vary by a quarter and more from run to run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from rtap_assets.audit.audit import audit
from rtap_assets.config import PROJECT_ROOT, Settings, get_settings, settings_environment
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GenerationReport, GeneratorOptions
from rtap_assets.local.ports import free_ports
from rtap_assets.local.stack import down, up

RESULTS = Path(__file__).with_name("results")
MILLION = 1_000_000


@click.command()
@click.option("--events", type=click.IntRange(min=1), default=MILLION, show_default=True, help="Events to drain.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the generator.")
@click.option("--heap", default="2g", show_default=True, help="Heap of the Spark driver.")
def bench(events: int, seed: int, heap: str) -> None:
    """Drain EVENTS generated events and print, per stream and in total, speed, CPU, memory, batches, files, snapshots."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="rtap-bench-") as folder:
        settings = _bench_settings(Path(folder), heap=heap)
        try:
            up(settings, echo=lambda _: None)
            console.print(f"sending {events:,} events")
            generated = generate(settings, GeneratorOptions(events=events, seed=seed), echo=lambda _: None)
            console.print(f"draining them in a fresh process, {heap} of heap")
            result = _drain(settings) | {"events": events, "heap": heap, "generator": _speed(generated)}
            result["reconciled"] = audit(settings).holds
        finally:
            down(settings, echo=lambda _: None)
    _show(console, result)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{events}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.print(f"as JSON: {path}", soft_wrap=True)
    sys.exit(0 if result["reconciled"] else 1)


def _bench_settings(folder: Path, *, heap: str) -> Settings:
    kafka, controller, registry = free_ports(3)
    update = {
        "state_dir": folder / "state",
        "kafka_port": kafka,
        "kafka_controller_port": controller,
        "registry_port": registry,
        "spark_driver_memory": heap,
    }
    return get_settings().model_copy(update=update)


def _drain(settings: Settings) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.worker"],
        cwd=PROJECT_ROOT,
        env=os.environ | settings_environment(settings),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    streams = [line["reading"] for line in lines if "reading" in line]
    total = {
        key: sum(stream[key] for stream in streams)
        for key in ("wall_seconds", "cpu_seconds", "batches", "files", "snapshots")
    }
    (last,) = [line for line in lines if "start" in line]
    return {"streams": streams, "total": total, "start": last["start"], "peak_mebibytes": last["peak_mebibytes"]}


def _speed(report: GenerationReport) -> dict[str, float]:
    return {"events": report.intended, "seconds": report.seconds, "events_per_second": report.intended / report.seconds}


def _show(console: Console, result: dict[str, Any]) -> None:
    events = result["events"]
    table = Table("stream", title=f"{events:,} events, {result['heap']} heap", title_justify="left")
    for heading in ("events/s", "cpu-s/M events", "wall s", "batches", "files", "snapshots"):
        table.add_column(heading, justify="right")
    for name, reading in [(stream["stream"], stream) for stream in result["streams"]] + [("total", result["total"])]:
        table.add_row(
            name,
            f"{events / reading['wall_seconds']:,.0f}",
            f"{reading['cpu_seconds'] / events * MILLION:.1f}",
            f"{reading['wall_seconds']:.1f}",
            *(f"{reading[key]:,}" for key in ("batches", "files", "snapshots")),
            style="bold" if name == "total" else "",
        )
    console.print(table)
    start = result["start"]
    console.print(
        f"peak memory {result['peak_mebibytes']:,} MiB (process tree) · start {start['start_seconds']:.1f} s, "
        f"{start['start_cpu_seconds']:.1f} cpu-s · generator {result['generator']['events_per_second']:,.0f} events/s"
    )
    verdict = (
        "[green]reconciled with the ledger, exactly[/]"
        if result["reconciled"]
        else "[bold red]FAILED: does not reconcile[/]"
    )
    console.print(verdict)


if __name__ == "__main__":
    bench()
