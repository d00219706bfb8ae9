"""One query for bronze, silver and gold (`one_trigger_worker.py`) against the platform's three.

Compares CPU of drains, latencies at a steady rate, and with the ledger what is left after kills behind each table's commit.
`docs/decisions/12-three-queries.md` has what was found.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.chain import REASONS, SPAN_SECONDS, WIDTH, Side, compare, make_class_archive, measure, show, stack_settings
from bench.latencies import ages_seconds, percentiles
from bench.one_trigger_worker import KILL_AFTER
from bench.oracle import differences
from bench.worker import TreeMeter
from rtap_assets.config import PROJECT_ROOT, Settings
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.local.stack import down, up

SETTLE_SECONDS = 45


@click.command()
@click.option("--events", default=300_000, show_default=True, help="Events per round of drains.")
@click.option("--rate", default=2_000, show_default=True, help="Events a second of the steady rate.")
@click.option("--seconds", default=40, show_default=True, help="Measured time of each form at that rate.")
def bench(events: int, rate: int, seconds: int) -> None:
    """Compare one query with three; fail when a lake differs from the ledger."""
    console, mine = Console(width=WIDTH), Path(__file__).with_name("one_trigger_worker.py")
    make_class_archive(PROJECT_ROOT)
    with tempfile.TemporaryDirectory(prefix="rtap-bench-") as temporary:
        folder = Path(temporary)
        stack = stack_settings(folder)
        killed = Side("killed", PROJECT_ROOT, folder / "killed", mine)
        sides = [
            Side("one query", PROJECT_ROOT, folder / "one", mine),
            Side("three queries", PROJECT_ROOT, folder / "three"),
        ]
        live = [Side(side.name, PROJECT_ROOT, side.state_dir, mine) for side in sides]
        try:
            up(stack, echo=lambda _: None)
            _kill(console, stack, killed)
            measure(console, stack, sides, events=events, rounds=2, seed=1, heap="2g")
            for side in sides:
                side.close()
                side.faults = differences(stack.ledger_dir, side.state_dir)
                show(console, side, events)
            compare(console, sides, events)
            for side, command in zip(live, ("live one", "live three"), strict=True):
                _live(console, stack, side, command, rate=rate, seconds=seconds)
        finally:
            for side in (*sides, *live, killed):
                side.close()
            down(stack, echo=lambda _: None)
    sys.exit(1 if any(side.faults for side in (*sides, killed)) else 0)


def _kill(console: Console, stack: Settings, side: Side) -> None:
    """Drain a few batches, killed after each table's commit in turn, and compare the lake with the ledger."""
    generate(stack, _options(events=6_000), echo=lambda _: None)
    side.state_dir.mkdir(parents=True)
    # On a busy machine the JVM of a killed process may take a while to end, and holds the checkpoints until then.
    small = {"RTAP_BRONZE_MAX_OFFSETS_PER_BATCH": "2000", "RTAP_CHECKPOINT_TAKEOVER_SECONDS": "240"}
    for step in ("bronze:0", "silver:1", "gold:1", "bronze:2"):
        with _environment(small | {KILL_AFTER: step}):
            side.open(stack, heap="1g")
        try:
            side.drain()
        except click.ClickException:
            assert side.process is not None
            if side.process.wait() != -signal.SIGKILL:
                raise
            console.print(f"killed after {step}")
            continue
        raise click.ClickException(f"The worker was to be killed after {step}.")
    with _environment(small):
        side.open(stack, heap="1g")
    side.drain()
    side.close()
    side.faults = differences(stack.ledger_dir, side.state_dir)
    console.print("\n".join(["FAILED", *side.faults]) if side.faults else "after four kills equal to the ledger")


def _live(console: Console, stack: Settings, side: Side, command: str, *, rate: int, seconds: int) -> None:
    """Run a form at a steady rate, once it had time to settle; print latencies and cores."""
    side.open(stack, heap="2g")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(
            generate, stack, _options(rate=rate, duration_seconds=SETTLE_SECONDS + seconds + 5), echo=lambda _: None
        )
        side.ask(command)
        side.answer("cpu")
        time.sleep(SETTLE_SECONDS)
        since_ms, before = time.time_ns() // 1_000_000, TreeMeter(side.process.pid).reading()["cpu_seconds"]
        time.sleep(seconds)
        until_ms, after = time.time_ns() // 1_000_000, TreeMeter(side.process.pid).reading()["cpu_seconds"]
        sent.result()
    side.ask("stop")
    side.answer("cpu")
    ages = ages_seconds(stack.model_copy(update={"state_dir": side.state_dir}), since_ms=since_ms, until_ms=until_ms)
    side.close()
    shown = ", ".join(
        f"{layer} " + " / ".join(f"{age:.2f}" for age in percentiles(values)) for layer, values in ages.items()
    )
    console.print(f"{side.name} at {rate:,}/s: p50 / p99 / max in s: {shown}; {(after - before) / seconds:.2f} cores")


def _options(**given: Any) -> GeneratorOptions:
    span = {} if "rate" in given else {"span_seconds": SPAN_SECONDS}
    return GeneratorOptions(seed=1, delayed=0, spellings=0, reasons=REASONS, **span, **given)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


if __name__ == "__main__":
    bench()
