"""Previews: bounded in rows and width, the newest first, and without effect of what producers wrote."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
from lake_fixtures import NOON, gold_row, make_lake

from rtap_assets.assets.previews import CELL_CHARACTERS, MOST_COLUMNS, PREVIEW_ROWS, gold_preview, preview
from rtap_assets.config import load_settings


def test_gold_shows_its_newest_windows(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, state_dir=tmp_path)
    make_lake(settings, gold=[gold_row(NOON + timedelta(minutes=minute)) for minute in range(30)], watermark=NOON)
    lines = gold_preview(settings).value.splitlines()
    assert len(lines) == 2 + PREVIEW_ROWS
    assert lines[0].startswith("| window_start | window_end | plan_tier |")
    assert lines[2].startswith("| 2026-03-01 12:29:00 | ")
    ruled = dict(zip(lines[0].split(" | "), lines[1].split(" | "), strict=True))
    assert (ruled["region"], ruled["net_amount"], ruled["orders"]) == ("---", "---:", "---:")


def test_a_preview_is_bounded_and_breaks_no_table() -> None:
    hostile = "a|b<script>alert(1)</script>\n[x](javascript:1)\x1b[31m" + "y" * 5_000
    with duckdb.connect(":memory:") as connection:
        wide = ", ".join(f"{number} AS c{number}" for number in range(40))
        connection.execute(f"CREATE TABLE t AS SELECT ? AS text, {wide} FROM range(100)", [hostile])
        lines = preview(connection, "t", order="c1").value.splitlines()
    header, rule, *rows = lines
    assert (header.count("|"), rule.count("|")) == (MOST_COLUMNS + 1, MOST_COLUMNS + 1)
    assert len([row for row in rows if row.startswith("|")]) == PREVIEW_ROWS
    assert all(row.count("|") == MOST_COLUMNS + 1 for row in rows if row.startswith("|"))
    assert lines[-1] == f"{41 - MOST_COLUMNS} more columns"
    cell = rows[0].split("|")[1]
    assert not set("<>[]()\x1b") & set(cell)
    assert len(cell) < 8 * CELL_CHARACTERS
