"""The figures of `make bench-dashboard` in docs/performance.md: each table in its place, the other one as it was."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rtap_assets.config import PROJECT_ROOT

MANY = {"reads": 10_000, "at_once": 50, "swaps": 0, "errors": 0, "reads_per_second": 4_495, "load": 6.6} | {
    "p50_ms": 8.9, "p95_ms": 22.8, "p99_ms": 44.0, "server_cpu_ms_per_read": 0.15, "client_cpu_ms_per_read": 0.06,
}  # fmt: skip
API = {"one_at_a_time_p95_ms": {"a": 0.4, "b": 2.6}, "at_once": MANY, "at_once_under_swaps": MANY | {"swaps": 200}}
AGES = {"events": 1_200, "p50": 1_500, "p95": 2_000, "p99": 2_500}
USED = {"core_percent": 0.65, "rss_mib": {"first": 120, "last": 121, "most": 122}}
LIVE: dict[str, Any] = {
    "rate": 2_000, "seconds": 120, "triggers_s": {"bronze": 5.0, "gold": 10.0}, "load": 1.5,
    "event_to_gold_ms": AGES, "event_to_pixel_ms": AGES | {"not_seen": 0}, "five_viewers": USED, "fifty_viewers": USED,
}  # fmt: skip


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PROJECT_ROOT))
    return import_module("bench.dashboard_page")


@pytest.fixture
def page(written: ModuleType, tmp_path: Path) -> Path:
    """A copy of the page of the documentation."""
    copy = tmp_path / "performance.md"
    copy.write_text(written.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    return copy


def part(written: ModuleType, page: Path, name: str) -> str:
    text = page.read_text(encoding="utf-8")
    begin, end = written.BEGIN.format(part=name), written.END.format(part=name)
    return text[text.index(begin) + len(begin) : text.index(end)]


def test_both_tables_are_written_where_the_page_has_them_and_again(written: ModuleType, page: Path) -> None:
    before, parts = page.read_text(encoding="utf-8"), [part(written, page, name) for name in ("page", "api")]
    written.write_section({"page": LIVE, "api": API}, page=page)
    once = page.read_text(encoding="utf-8")
    assert "| Kafka → pixel, p50 / p95 / p99 of 1,200 events | 1.5 s / 2.0 s / 2.5 s |" in part(written, page, "page")
    assert "marts swapped 200 times: p50 / p95 / p99 | 8.9 / 22.8 / 44.0 ms |" in part(written, page, "api")
    written.write_section({"page": LIVE, "api": API}, page=page)
    assert page.read_text(encoding="utf-8") == once
    for name, old in zip(("page", "api"), parts, strict=True):
        end = written.END.format(part=name)
        once = once.replace(part(written, page, name) + end, old + end)
    assert once == before, "nothing else of the page has changed"


def test_one_measured_part_leaves_the_other_as_it_was(written: ModuleType, page: Path) -> None:
    before = part(written, page, "api")
    written.write_section({"page": LIVE}, page=page)
    assert part(written, page, "api") == before


def test_a_page_without_the_place_of_a_table_is_left_alone(written: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "other.md"
    page.write_text("other words\n", encoding="utf-8")
    with pytest.raises(ValueError, match="dashboard api"):
        written.write_section({"api": API}, page=page)
    assert page.read_text(encoding="utf-8") == "other words\n"
