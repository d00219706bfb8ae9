"""The table of a comparison with peers, as Markdown, and its place in docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.peers.measuring import Cost
from rtap_assets.config import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- peers: written by `make bench-peers` -->", "<!-- end of peers -->"
HEAD = (
    "| | s to last commit | s of start | events/s after start | CPU s/M | CPU s of start | peak MiB | load | results |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---|"
)
MILLION = 1_000_000


@dataclass(frozen=True)
class Row:
    """One run."""

    name: str
    cost: Cost
    faults: Sequence[str]
    load: float


def table_text(rows: Sequence[Row], *, events: int) -> str:
    """Return the rows under their heading; CPU seconds are per million records, the start's are not per million."""
    return "\n".join([HEAD, *(_line(row, events) for row in rows)])


def write_table(rows: Sequence[Row], *, events: int, page: Path = PAGE) -> None:
    """Replace the table on the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(
        f"{before}{BEGIN}\n\n{_method(events)}\n\n{table_text(rows, events=events)}\n\n{END}{after}", encoding="utf-8"
    )


def _line(row: Row, events: int) -> str:
    cost = row.cost
    rate = events / (cost.seconds - cost.ready_seconds)
    cells = (
        row.name,
        f"{cost.seconds:.1f}",
        f"{cost.ready_seconds:.1f}",
        f"{rate:,.0f}",
        f"{cost.cpu_seconds / events * MILLION:.1f}",
        f"{cost.ready_cpu_seconds:.1f}",
        f"{cost.peak_mebibytes:,}",
        f"{row.load:.1f}",
        "differ" if row.faults else "equal",
    )
    return f"| {' | '.join(cells)} |"


def _method(events: int) -> str:
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, `make bench-peers N={events}`: {events:,} records in three Kafka partitions,\n"
        f"drained by each in a process of its own, one after the other; {os.cpu_count()} cores ({platform.machine()}), "
        f"{memory:.0f} GiB,\nbroker and registry on the same cores. Results are compared with the generator's ledger: "
        "counts, and each sum of gold\nto the cent."
    )
