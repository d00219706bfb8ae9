"""The figures of the dashboard as Markdown, and their place in docs/performance.md."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rtap_assets.config import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "performance.md"
BEGIN = "<!-- dashboard {part}: written by `make bench-dashboard WRITE=1` -->"
END = "<!-- end of dashboard {part} -->"
Figures = dict[str, Any]


def write_section(figures: Figures, *, page: Path = PAGE) -> None:
    """Replace what was measured on the page: the part of the live page, that of the API, or both.

    Raises:
        ValueError: the page has no place for it.
    """
    text = page.read_text(encoding="utf-8")
    for part, lines in (("page", page_lines), ("api", api_lines)):
        if part in figures:
            begin, end = BEGIN.format(part=part), END.format(part=part)
            if begin not in text or end not in text.partition(begin)[2]:
                raise ValueError(f"{page.name} has no place for the table `dashboard {part}`")
            before, _, rest = text.partition(begin)
            table = "\n".join(
                [f"| {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores | |", "|---|---:|", *lines(figures[part])]
            )
            text = f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")


def page_lines(found: Figures) -> list[str]:
    """Return the rows of the live page's table."""
    triggers = ", ".join(f"{name} {seconds:g}" for name, seconds in found["triggers_s"].items())
    rows = [
        (f"events/s, for {found['seconds']} s; triggers in s", f"{found['rate']:,.0f}; {triggers}"),
        ("load of the machine at the end", f"{found['load']}"),
    ]
    for title, name in (("Kafka → gold's commit", "event_to_gold_ms"), ("Kafka → pixel", "event_to_pixel_ms")):
        ages = found[name]
        rows.append(
            (
                f"{title}, p50 / p95 / p99 of {ages['events']:,} events",
                " / ".join(_seconds(ages[one]) for one in ("p50", "p95", "p99")),
            )
        )
    for title, name in (("five viewers", "five_viewers"), ("fifty viewers", "fifty_viewers")):
        used = found[name]
        memory = used["rss_mib"]
        rows.append((f"{title}: share of a core", f"{used['core_percent']:.1f} %"))
        rows.append(
            (f"{title}: MiB at the start, at the end, at most", f"{memory['first']} / {memory['last']} / {memory['most']}")
        )
    return [_row(*row) for row in rows]


def api_lines(found: Figures) -> list[str]:
    """Return the rows of the API's table."""
    alone = found["one_at_a_time_p95_ms"]
    rows = [("p95 of a reading, one at a time", f"{min(alone.values())} to {max(alone.values())} ms")]
    for name in ("at_once", "at_once_under_swaps"):
        many = found[name]
        title = f"{many['reads']:,} reads, {many['at_once']} at once" + (
            f", marts swapped {many['swaps']} times" if many["swaps"] else ""
        )
        rows.append((f"{title}: errors", f"{many['errors']}"))
        rows.append((f"{title}: reads/s, at a load of", f"{many['reads_per_second']:,}, {many['load']}"))
        rows.append((f"{title}: p50 / p95 / p99", f"{many['p50_ms']} / {many['p95_ms']} / {many['p99_ms']} ms"))
        rows.append(
            (
                f"{title}: CPU per read, server / client",
                f"{many['server_cpu_ms_per_read']} / {many['client_cpu_ms_per_read']} ms",
            )
        )
    return [_row(*row) for row in rows]


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1_000:.1f} s"


def _row(title: str, figure: str) -> str:
    return f"| {title} | {figure} |"
