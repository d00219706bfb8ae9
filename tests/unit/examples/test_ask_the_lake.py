"""The notebook's cells, run one after the other over marts of a small lake; marimo itself is not needed."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lake_fixtures import NOON, bronze_row, gold_row, make_lake

from rtap_assets.config import PROJECT_ROOT, load_settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.serving.marts import refresh_marts

NOTEBOOK = PROJECT_ROOT / "examples" / "ask_the_lake.py"


def run_cells() -> dict[str, Any]:
    """Run each cell's body in one namespace, as marimo does, with a stand-in for what it shows."""
    shown: list[Any] = []
    stand_in = SimpleNamespace(md=shown.append, ui=SimpleNamespace(table=shown.append))
    names: dict[str, Any] = {"shown": shown}
    for cell in ast.parse(NOTEBOOK.read_text(encoding="utf-8")).body:
        if not isinstance(cell, ast.FunctionDef):
            continue
        body = [one for one in cell.body if not isinstance(one, ast.Return)]
        body = [one for one in body if not (isinstance(one, ast.Import) and one.names[0].name == "marimo")]
        assert {argument.arg for argument in cell.args.args} <= names.keys() | {"mo"}
        names["mo"] = stand_in
        exec(compile(ast.Module(body, type_ignores=[]), str(NOTEBOOK), "exec"), names)
    return names


def test_every_cell_answers_from_the_marts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTAP_STATE_DIR", str(tmp_path))
    settings = load_settings()
    make_lake(
        settings,
        gold=[gold_row(NOON), gold_row(NOON, currency="USD")],
        bronze=[bronze_row(1, error_reason=str(Reason.TOO_SHORT)), bronze_row(2)],
        watermark=NOON,
    )
    refresh_marts(settings, refreshed_at=NOON)
    names = run_cells()
    assert {"rolling_revenue", "tumbling_revenue", "dlq_by_reason"} <= {mart for mart, _ in names["described"]}
    assert sorted(row[1] for row in names["last_hour"]) == ["EUR", "USD"]
    assert names["certain"] == {"provisional": 2}
    assert names["refused"][0][:2] == ("too_short", 1)
    assert len(names["shown"]) == 4
    names["marts"].close()
