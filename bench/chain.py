"""`make bench`: the whole chain, cold and warm, in this working tree and, in turn with it, in another commit.

Both sides read the same records of one broker. A round sends new records, then each side drains them in a session that it
keeps: the first round is cold, the later ones are warm. A side whose lake differs from the ledger fails the bench.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench.clones import clone_of
from bench.oracle import differences
from rtap_assets.config import PROJECT_ROOT, Settings, get_settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.local.ports import free_ports
from rtap_assets.local.stack import down, up

RESULTS = Path(__file__).with_name("results")
WORKER = Path(__file__).with_name("worker.py")
MILLION = 1_000_000
WIDTH = 120
# Short of the watermark's delay, so that no record of a later round is late.
SPAN_SECONDS = 300
# What every commit judges in the same way, without a restart of its query.
REASONS = (Reason.TOO_SHORT, Reason.BAD_MAGIC, Reason.UNDECODABLE, Reason.KEY_MISMATCH, Reason.UNKNOWN_REGION)
SAME_FOR_ALL: dict[str, Any] = {"delayed": 0, "spellings": 0, "foreign_schemas": 0, "reasons": REASONS}


@dataclass
class Side:
    """One commit under measurement: its worker process, and what each round of it cost."""

    name: str
    project: Path
    state_dir: Path
    worker: Path = WORKER
    process: subprocess.Popen[str] | None = None
    start: dict[str, float] = field(default_factory=dict)
    rounds: list[list[dict[str, Any]]] = field(default_factory=list)
    peak_mebibytes: int = 0
    faults: list[str] = field(default_factory=list)

    def open(self, stack: Settings, *, heap: str) -> None:
        """Start the worker; returns when its session is up."""
        mine = {
            "RTAP_STATE_DIR": str(self.state_dir),
            "RTAP_KAFKA_BOOTSTRAP": stack.bootstrap_servers,
            "RTAP_REGISTRY_URL": stack.schema_registry_url,
            "RTAP_SPARK_DRIVER_MEMORY": heap,
            "RTAP_CACHE_DIR": str(stack.cache_dir),
            "PYTHONPATH": str(self.project),
        }
        self.process = subprocess.Popen(
            [str(self.project / ".venv" / "bin" / "python"), str(self.worker)],
            cwd=self.project,
            env=os.environ | mine,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.state_dir.parent / f"{self.name}.log").open("w"),
            text=True,
        )
        self.start = self.answer("start")["start"]

    def drain(self) -> None:
        """Have everything that the topic holds drained, and keep what it cost."""
        self.ask("drain")
        answer = self.answer("round")
        self.rounds.append(answer["round"])
        self.peak_mebibytes = answer["peak_mebibytes"]

    def ask(self, command: str) -> None:
        """Send the worker a command."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """End the worker between two rounds."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(timeout=120)

    def cpu_per_million(self, events: int, *, warm: bool) -> float:
        """Return CPU seconds per million events: of the start and the first round, or the mean of the later ones."""
        rounds = self.rounds[1:] if warm else self.rounds[:1]
        seconds = mean(sum(reading["cpu_seconds"] for reading in one) for one in rounds)
        return (seconds + (0.0 if warm else self.start["cpu_seconds"])) / events * MILLION

    def answer(self, key: str) -> dict[str, Any]:
        """Return the worker's next line that has the key.

        Raises:
            click.ClickException: the worker ended.
        """
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{") and key in (answer := json.loads(line)):
                return dict(answer)
        log = self.state_dir.parent / f"{self.name}.log"
        raise click.ClickException(f"The worker of {self.name} ended.\n{log.read_text(errors='replace')[-3000:]}")


@click.command()
@click.option("--events", type=click.IntRange(min=1000), default=MILLION, show_default=True, help="Events per round.")
@click.option("--rounds", type=click.IntRange(min=2), default=3, show_default=True, help="Rounds; the first is cold.")
@click.option("--against", metavar="REF", help="Another commit of this repository, measured in turn with this one.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the generator.")
@click.option("--heap", default="2g", show_default=True, help="Heap of each Spark driver.")
def chain(events: int, rounds: int, against: str | None, seed: int, heap: str) -> None:
    """Drain EVENTS events per round through bronze, dlq, silver and gold; print what each stream cost, cold and warm."""
    console = Console(width=WIDTH)
    with tempfile.TemporaryDirectory(prefix="rtap-bench-") as folder:
        sides = [Side("this", PROJECT_ROOT, Path(folder) / "this")]
        if against:
            sides.append(Side(against, clone_of(against, echo=console.print), Path(folder) / "against"))
        for side in sides:
            make_class_archive(side.project)
        stack = stack_settings(Path(folder))
        try:
            up(stack, echo=lambda _: None)
            measure(console, stack, sides, events=events, rounds=rounds, seed=seed, heap=heap)
            for side in sides:
                side.close()
                side.faults = differences(stack.ledger_dir, side.state_dir)
        finally:
            for side in sides:
                side.close()
            down(stack, echo=lambda _: None)
    for side in sides:
        show(console, side, events)
    compare(console, sides, events)
    _keep(console, sides, events)
    sys.exit(1 if any(side.faults for side in sides) else 0)


def measure(console: Console, stack: Settings, sides: list[Side], *, events: int, rounds: int, seed: int, heap: str) -> None:
    for number in range(rounds):
        console.print(f"round {number + 1} of {rounds} ({'warm' if number else 'cold'}): sending {events:,} events")
        options = GeneratorOptions(events=events, seed=seed + number, span_seconds=SPAN_SECONDS, **SAME_FOR_ALL)
        generate(stack, options, echo=lambda _: None)
        for side in sides if number % 2 == 0 else sides[::-1]:
            if number == 0:
                side.state_dir.mkdir(parents=True)
                side.open(stack, heap=heap)
            console.print(f"  {side.name} drains")
            side.drain()


def make_class_archive(project: Path) -> None:
    """Make the class-data archive of a commit now, which set-up has begun in the background; earlier commits have none."""
    python = project / ".venv" / "bin" / "python"
    command = [str(python), "-m", "rtap_assets.cli", "jars", "archive"]
    subprocess.run(command, cwd=project, capture_output=True, check=False)


def stack_settings(folder: Path) -> Settings:
    """Return the settings of a stack below `folder` on free ports."""
    kafka, controller, registry = free_ports(3)
    update = {
        "state_dir": folder / "stack",
        "kafka_port": kafka,
        "kafka_controller_port": controller,
        "registry_port": registry,
    }
    return get_settings().model_copy(update=update)


def show(console: Console, side: Side, events: int) -> None:
    title = f"{side.name}: {events:,} events a round, cpu-seconds per million events"
    table = Table("stream", "", title=title, title_justify="left")
    headings = ("events/s", "cpu-s/M", "tasks", "planning", "C1", "C2", "GC", "batches", "compiled/batch")
    for heading in headings:
        table.add_column(heading, justify="right")
    for index, reading in enumerate(side.rounds[0]):
        for label, rounds in (("cold", side.rounds[:1]), ("warm", side.rounds[1:])):
            table.add_row(
                reading["stream"] if label == "cold" else "", label, *_cells([one[index] for one in rounds], events)
            )
    console.print(table)
    start = side.start
    cold, warm = side.cpu_per_million(events, warm=False), side.cpu_per_million(events, warm=True)
    console.print(
        f"start {start['wall_seconds']:.1f} s, {start['cpu_seconds']:.1f} cpu-s · peak {side.peak_mebibytes:,} MiB · "
        f"total cold {cold:.1f}, warm {warm:.1f} cpu-s/M"
    )
    if side.faults:
        console.print("[bold red]FAILED: differs from the ledger[/]\n" + "\n".join(side.faults))
    else:
        console.print("[green]equal to the ledger, to the record and the cent[/]")


def _cells(readings: list[dict[str, Any]], events: int) -> list[str]:
    def average(name: str) -> float:
        return mean(reading[name] for reading in readings)

    per_million = (
        average(name) / events * MILLION for name in ("cpu_seconds", "tasks", "planning", "jit_c1", "jit_c2", "gc")
    )
    return [
        f"{events / average('wall_seconds'):,.0f}",
        *(f"{value:.1f}" for value in per_million),
        f"{average('batches'):.0f}",
        f"{average('compilations') / max(1.0, average('batches')):.1f}",
    ]


def compare(console: Console, sides: list[Side], events: int) -> None:
    """Print the two ratios, this commit over the other."""
    if len(sides) == 2:
        this, other = sides
        for label in ("cold", "warm"):
            warm = label == "warm"
            ratio = this.cpu_per_million(events, warm=warm) / other.cpu_per_million(events, warm=warm)
            console.print(f"ratio {label} cpu-s/M: {ratio:.2f}", highlight=False)


def _keep(console: Console, sides: list[Side], events: int) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{events}.json"
    document = [
        {"name": side.name, "start": side.start, "rounds": side.rounds, "peak_mebibytes": side.peak_mebibytes}
        | {"differences": side.faults}
        for side in sides
    ]
    path.write_text(json.dumps({"events": events, "sides": document}, indent=2) + "\n", encoding="utf-8")
    console.print(f"as JSON: {path}", soft_wrap=True)
