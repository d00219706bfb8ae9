"""`make bench-peers`: what others need for the same work, beside this platform, on the same bytes of one topic.

Every peer drains the topic in a fresh process and is compared with the generator's ledger; the platform drains it cold, then
a second lot of fresh records warm. `--write` puts the table into docs/performance.md.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from bench.chain import SPAN_SECONDS, WIDTH, Side, make_class_archive, stack_settings
from bench.oracle import differences
from bench.peers.expected import peer_differences
from bench.peers.measuring import Cost, measured_run
from bench.peers.preparation import Prepared, prepare
from bench.peers.streams_output import save_output
from bench.peers.table import Row, table_text, write_table
from rtap_assets.config import PROJECT_ROOT, Settings, get_settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.local.stack import down, up
from rtap_assets.registry.client import Registry

# What every peer can tell from the record's own bytes.
REASONS = (Reason.TOO_SHORT, Reason.BAD_MAGIC, Reason.UNDECODABLE, Reason.UNKNOWN_PLAN_TIER, Reason.UNKNOWN_REGION)
PEERS = ("handwritten", "kafka-streams", "flink")
HERE = Path(__file__).parent
COLLECTOR = "-XX:+UseParallelGC"
# Source: Flink's own `env.java.opts.all` for Java 17 and later.
FLINK_MODULES = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.text", "java.time",
        "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch",
    )
]  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """One topic with its stack, what the peers run in, and where they write."""

    settings: Settings
    prepared: Prepared
    folder: Path
    environment: Mapping[str, str]

    def run(self, peer: str, number: int) -> tuple[Cost, list[str]]:
        """Run one peer once; return what it took and what differs."""
        output = self.folder / f"{peer}-{number}"
        cost = measured_run(
            self._command(peer, output), environment=self.environment, log=self.folder / f"{peer}-{number}.log"
        )
        if peer == "kafka-streams":
            save_output(self.settings.bootstrap_servers, output.name, output)
        return cost, peer_differences(self.settings.ledger_dir, output)

    def _command(self, peer: str, output: Path) -> Sequence[str]:
        java = self.prepared.java
        if peer == "handwritten":
            return [self.prepared.python, str(HERE / "handwritten.py"), str(output)]
        if peer == "kafka-streams":
            state = self.folder / f"{output.name}-state"
            path = self.prepared.class_path("streams")
            return [java, COLLECTOR, "-Xmx2g", "-cp", path, "StreamsPeer", str(state), output.name]
        path = self.prepared.class_path("flink")
        return [java, COLLECTOR, "-Xmx4g", *FLINK_MODULES, "-cp", path, "FlinkPeer", str(HERE / "flink.sql"), str(output)]


@click.command()
@click.option("--events", type=click.IntRange(min=1000), default=1_000_000, show_default=True, help="Records of the topic.")
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of each peer.")
@click.option("--peers", default=",".join(PEERS), show_default=True, help="Which, separated by commas.")
@click.option("--write", is_flag=True, help="Put the table into docs/performance.md.")
def bench(events: int, runs: int, peers: str, write: bool) -> None:
    """Drain EVENTS records with each peer and with the platform; fail when one differs from the ledger."""
    console = Console(width=WIDTH)
    prepared = prepare(get_settings(), echo=console.print)
    with tempfile.TemporaryDirectory(prefix="rtap-bench-peers-") as temporary:
        folder = Path(temporary)
        make_class_archive(PROJECT_ROOT)
        settings = stack_settings(folder)
        this = Side("this", PROJECT_ROOT, folder / "this")
        try:
            up(settings, echo=lambda _: None)
            _send(settings, events, seed=1)
            one = Bench(settings, prepared, folder, os.environ | _environment(settings, folder))
            rows = []
            for number in range(runs):
                for peer in peers.split(","):
                    load = os.getloadavg()[0]
                    rows.append(Row(peer, *one.run(peer, number), load))
                    console.print(table_text(rows[-1:], events=events), soft_wrap=True)
            load = os.getloadavg()[0]
            this.state_dir.mkdir(parents=True)
            this.open(settings, heap=settings.spark_driver_memory)
            this.drain()
            _send(settings, events, seed=2)
            this.drain()
            this.close()
            faults = differences(settings.ledger_dir, this.state_dir)
            rows += [Row(f"rtap, {how}", _cost(this, round_), faults, load) for round_, how in enumerate(("cold", "warm"))]
        finally:
            this.close()
            down(settings, echo=lambda _: None)
    console.print(table_text(rows, events=events), soft_wrap=True)
    if write:
        write_table(rows, events=events)
    wrong = {row.name: row.faults for row in rows if row.faults}
    if wrong:
        console.print(f"[bold red]FAILED[/] {json.dumps(wrong, indent=2)}")
    sys.exit(1 if wrong else 0)


def _send(settings: Settings, events: int, *, seed: int) -> None:
    options = GeneratorOptions(events=events, seed=seed, span_seconds=SPAN_SECONDS, delayed=0, spellings=0, reasons=REASONS)
    generate(settings, options, echo=lambda _: None)


def _environment(settings: Settings, folder: Path) -> dict[str, str]:
    """Return where the peers find topic and schemas; none of them asks the registry."""
    schemas = Registry(settings).versions(f"{settings.topic_events}-value")
    known = folder / "schemas"
    known.mkdir()
    for schema_id, text in schemas.items():
        (known / f"{schema_id}.avsc").write_text(text, encoding="utf-8")
    return {
        "BROKERS": settings.bootstrap_servers,
        "TOPIC": settings.topic_events,
        "SCHEMAS": str(known),
        "SCHEMA_IDS": ",".join(map(str, sorted(schemas))),
    }


def _cost(side: Side, number: int) -> Cost:
    """Return what a round of the platform took; the first one with its start."""
    start = side.start if number == 0 else {"wall_seconds": 0.0, "cpu_seconds": 0.0}
    return Cost(
        seconds=start["wall_seconds"] + sum(one["wall_seconds"] for one in side.rounds[number]),
        ready_seconds=start["wall_seconds"],
        cpu_seconds=start["cpu_seconds"] + sum(one["cpu_seconds"] for one in side.rounds[number]),
        ready_cpu_seconds=start["cpu_seconds"],
        peak_mebibytes=side.peak_mebibytes,
    )


if __name__ == "__main__":
    bench()
